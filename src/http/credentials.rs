//! A user's sign-in by itself: put, show, remove. No answer carries a token.

use std::fmt;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::App;
use super::auth::Caller;
use super::body::Json;
use super::containers::{UserPath, user_in};
use super::dto::{WarningBody, warned};
use super::error::Problem;
use crate::domain::ChatGptAuth;
use crate::reconcile::{Credentials, PutCredentials};
use crate::staging::Location;

/// `PUT /containers/{user_id}/credentials`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutRequest {
    auth: Value,
    /// Write it also over a fresher one.
    #[serde(default)]
    force: bool,
}

impl fmt::Debug for PutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutRequest").field("force", &self.force).finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize)]
struct PutResponse {
    user_id: String,
    credentials: &'static str,
    credentials_reason: &'static str,
    detail: &'static str,
    warnings: Vec<WarningBody>,
}

#[derive(Debug, Serialize)]
struct ShowResponse {
    user_id: String,
    openclaw_version: Option<String>,
    /// Which kind of place the release uses.
    authority: &'static str,
    locations: Vec<LocationBody>,
    warnings: Vec<WarningBody>,
}

#[derive(Debug, Serialize)]
struct LocationBody {
    path: String,
    kind: &'static str,
    present: bool,
    readable: bool,
    account: Option<String>,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    refresh_token_fingerprint: Option<String>,
    mode: Option<String>,
    owner: Option<String>,
    authoritative: bool,
    shadowing: bool,
}

impl From<Location> for LocationBody {
    fn from(location: Location) -> Self {
        Self {
            path: location.path,
            kind: location.kind.name(),
            present: location.present,
            readable: location.readable,
            account: location.account,
            issued_at: location.issued_at,
            expires_at: location.expires_at,
            refresh_token_fingerprint: location.refresh_token_fingerprint,
            mode: location.mode,
            owner: location.owner,
            authoritative: location.authoritative,
            shadowing: location.shadowing,
        }
    }
}

pub(super) async fn show(State(app): State<App>, path: UserPath) -> Result<Response, Problem> {
    let user = user_in(path)?;
    let Credentials { release, locations } = app.reconciler.credentials(&user).await?;
    let body = ShowResponse {
        user_id: user.to_string(),
        openclaw_version: release.version().map(|version| version.to_string()),
        authority: release.plan().authority.name(),
        locations: locations.into_iter().map(LocationBody::from).collect(),
        warnings: warned(&release.warnings()),
    };
    Ok(axum::Json(body).into_response())
}

pub(super) async fn put(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: UserPath,
    Json(request): Json<PutRequest>,
) -> Result<Response, Problem> {
    let user = user_in(path)?;
    let auth = ChatGptAuth::parse(request.auth)?;
    let result = app.reconciler.put_credentials(user.clone(), auth, request.force).await;
    let outcome = result.as_ref().map_or("failed", |put| put.staged.outcome.name());
    tracing::info!(target: "audit", caller = caller.0, operation = "put_credentials", user_id = %user, outcome, "audit");
    let PutCredentials { staged, warnings } = result?;
    let body = PutResponse {
        user_id: user.to_string(),
        credentials: staged.outcome.name(),
        credentials_reason: staged.reason.name(),
        detail: staged.reason.sentence(),
        warnings: warned(&warnings),
    };
    Ok(axum::Json(body).into_response())
}

pub(super) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: UserPath,
) -> Result<Response, Problem> {
    let user = user_in(path)?;
    let result = app.reconciler.remove_credentials(user.clone()).await;
    let outcome = if result.is_ok() { "removed" } else { "failed" };
    let operation = "remove_credentials";
    tracing::info!(target: "audit", caller = caller.0, operation, user_id = %user, outcome, "audit");
    result?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
