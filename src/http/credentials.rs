//! A user's sign-in by itself: put, show, remove, repair. No answer carries a token.

use std::fmt;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::App;
use super::body::{Json, OptionalJson};
use super::containers::{UserPath, user_in};
use super::dto::{NoFields, WarningBody, warned};
use super::error::Problem;
use crate::domain::ChatGptAuth;
use crate::domain::user_id::sha256_hex12;
use crate::reconcile::{Caller, Outcome, SignInChange, Target};
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
    credentials: Option<&'static str>,
    credentials_reason: Option<&'static str>,
    detail: Option<&'static str>,
    /// The container was started again, because its release takes a sign-in up at its start alone.
    restarted: bool,
    reauth_required: bool,
    warnings: Vec<WarningBody>,
}

#[derive(Debug, Serialize)]
struct ShowResponse {
    user_id: String,
    openclaw_version: Option<String>,
    provider: &'static str,
    /// Which kind of place the release uses; null where the provider takes no sign-in.
    authority: Option<&'static str>,
    present: bool,
    /// The first 12 hex digits of SHA-256 of the account.
    account: Option<String>,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    refresh_token_fingerprint: Option<String>,
    reauth_required: bool,
    /// The sign-in is taken up when a task starts.
    waits_for_start: bool,
    locations: Vec<LocationBody>,
    warnings: Vec<WarningBody>,
}

#[derive(Debug, Serialize)]
struct RepairResponse {
    user_id: String,
    moved: Vec<Moved>,
}

#[derive(Debug, Serialize)]
struct Moved {
    from: String,
    to: String,
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
    stale: bool,
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
            stale: location.stale,
        }
    }
}

pub(super) async fn show(State(app): State<App>, path: UserPath) -> Result<Response, Problem> {
    let user = user_in(path)?;
    let found = app.reconciler.credentials(&user).await?;
    let live = found.live.as_ref();
    let body = ShowResponse {
        user_id: user.to_string(),
        openclaw_version: found.release.version().map(|version| version.to_string()),
        provider: found.kind.name(),
        authority: found.plan.map(|plan| plan.authority.name()),
        present: live.is_some(),
        account: live.and_then(|live| live.account_id.as_ref()).map(|account| sha256_hex12(account.as_bytes())),
        issued_at: live.and_then(|live| live.last_refresh.or(live.issued_at)),
        expires_at: live.and_then(|live| live.expires_at),
        refresh_token_fingerprint: live.map(|live| live.fingerprint.clone()).filter(|text| !text.is_empty()),
        reauth_required: found.reauth_required,
        waits_for_start: found.waits_for_start,
        locations: found.locations.into_iter().map(LocationBody::from).collect(),
        warnings: warned(&found.release.warnings(found.kind)),
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
    let auth = Box::new(ChatGptAuth::parse(request.auth)?);
    let sign_in = SignInChange::Send { auth, force: request.force };
    let converged = app.reconciler.apply(&caller, user.clone(), Target::unchanged(), sign_in).await?;
    let placed = converged.sign_in.as_ref().map(|sign_in| &sign_in.placed);
    let staged = placed.and_then(|placed| placed.staged);
    let body = PutResponse {
        user_id: user.to_string(),
        credentials: staged.map(|staged| staged.outcome.name()),
        credentials_reason: staged.map(|staged| staged.reason.name()),
        detail: staged.map(|staged| staged.reason.sentence()),
        restarted: matches!(converged.outcome, Outcome::Changed),
        reauth_required: placed.is_some_and(|placed| placed.reauth_required),
        warnings: warned(&converged.warnings()),
    };
    // Nothing is known yet where another call on the user, or a file system, takes its time; the work goes on.
    let status = if staged.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, axum::Json(body)).into_response())
}

pub(super) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: UserPath,
) -> Result<Response, Problem> {
    let user = user_in(path)?;
    app.reconciler.apply(&caller, user, Target::unchanged(), SignInChange::Remove).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn repair(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: UserPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    let user = user_in(path)?;
    let moved = app.reconciler.repair_credentials(&caller, &user).await?;
    let moved = moved.into_iter().map(|(from, to)| Moved { from, to }).collect();
    Ok(axum::Json(RepairResponse { user_id: user.to_string(), moved }).into_response())
}
