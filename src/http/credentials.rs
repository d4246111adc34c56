//! A user's sign-in by itself: put, show, remove, repair. No answer carries a token.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use openclaw::{ChatGptAuth, Provider, sha256_hex12};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::body::{Json, OptionalJson};
use super::error::Problem;
use super::openapi::{self, schemas};
use super::requests::{NoFields, PutRequest};
use super::responses::{WarningBody, warned};
use super::user::User;
use crate::reconcile::{Caller, ConvergeOutcome, Intent};
use crate::staging::Location;

/// What became of a sign-in that was sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PutCredentials)]
pub(super) struct PutResponse {
    #[schema(schema_with = schemas::user_id)]
    user_id: String,
    /// Written or kept; null while nothing is known yet.
    #[schema(schema_with = schemas::credentials, required)]
    credentials: Option<&'static str>,
    /// Why it was written or kept.
    #[schema(required)]
    credentials_reason: Option<&'static str>,
    /// The reason as a sentence.
    #[schema(required)]
    detail: Option<&'static str>,
    /// The container was restarted, because its release reads a sign-in only when it starts.
    restarted: bool,
    /// Whether the user has to sign in again.
    reauth_required: bool,
    warnings: Vec<WarningBody>,
}

/// A user's sign-in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Credentials)]
pub(super) struct ShowResponse {
    #[schema(schema_with = schemas::user_id)]
    user_id: String,
    /// The OpenClaw release, which decides where the sign-in is; null if unknown.
    #[schema(required)]
    openclaw_version: Option<String>,
    #[schema(value_type = Provider)]
    provider: &'static str,
    /// Which kind of place the release uses; null where the provider takes no sign-in.
    #[schema(schema_with = schemas::authority, required)]
    authority: Option<&'static str>,
    /// Whether there is a sign-in.
    present: bool,
    /// The first 12 hex digits of SHA-256 of the account.
    #[schema(required)]
    account: Option<String>,
    /// When its tokens were last refreshed or issued.
    #[schema(required)]
    issued_at: Option<Timestamp>,
    /// When its access token expires.
    #[schema(required)]
    expires_at: Option<Timestamp>,
    /// The first 12 hex digits of SHA-256 of the refresh token.
    #[schema(required)]
    refresh_token_fingerprint: Option<String>,
    /// Whether the user has to sign in again.
    reauth_required: bool,
    /// Whether the sign-in is used only once a task starts.
    waits_for_start: bool,
    /// Every place that may hold a sign-in.
    locations: Vec<Location>,
    warnings: Vec<WarningBody>,
}

/// The files that a repair moved aside.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RepairedCredentials)]
pub(super) struct RepairResponse {
    #[schema(schema_with = schemas::user_id)]
    user_id: String,
    moved: Vec<Moved>,
}

/// Paths relative to the user's directory.
#[derive(Debug, Serialize, ToSchema)]
struct Moved {
    from: String,
    to: String,
}

/// Show where a user's sign-in is
///
/// Lists every place with a sign-in, which one is used, and whether the user has to sign in again; never a token.
#[utoipa::path(get, path = "/containers/{user_id}/credentials", operation_id = "get_credentials", tag = "credentials",
    params(openapi::OfUser),
    responses((status = 200, description = "Where it is", body = ShowResponse), openapi::Looks))]
pub(super) async fn show(State(app): State<App>, User(user): User) -> Result<Response, Problem> {
    let found = app.reconciler.credentials(&user).await?;
    let live = found.live.as_ref();
    let body = ShowResponse {
        user_id: user.to_string(),
        openclaw_version: found.release.version().map(|version| version.to_string()),
        provider: found.kind.name(),
        authority: found.plan.map(|plan| plan.authority.name()),
        present: live.is_some(),
        account: live.and_then(|live| live.identity.account()).map(|account| sha256_hex12(account.as_bytes())),
        issued_at: live.and_then(|live| live.last_refresh.or(live.issued_at)),
        expires_at: live.and_then(|live| live.expires_at),
        refresh_token_fingerprint: live.map(|live| live.fingerprint.clone()).filter(|text| !text.is_empty()),
        reauth_required: found.reauth_required,
        waits_for_start: found.waits_for_start,
        locations: found.locations,
        warnings: warned(&found.warnings),
    };
    Ok(axum::Json(body).into_response())
}

/// Stage a newer sign-in
///
/// A fresher one stays, unless `force` is set.
#[utoipa::path(put, path = "/containers/{user_id}/credentials", operation_id = "put_credentials", tag = "credentials",
    params(openapi::OfUser), request_body = PutRequest,
    responses(
        (status = 200, description = "Written or kept", body = PutResponse),
        (status = 202, description = "Nothing is known yet; the work goes on", body = PutResponse),
        openapi::Sends))]
pub(super) async fn put(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
    Json(request): Json<PutRequest>,
) -> Result<Response, Problem> {
    let auth = ChatGptAuth::parse(request.auth)?;
    let converged = app.reconciler.apply(Intent::put_credentials(&caller, user.clone(), auth, request.force)).await?;
    let result = converged.sign_in.as_ref().map(|sign_in| &sign_in.result);
    let staged = result.and_then(|result| result.staged);
    let body = PutResponse {
        user_id: user.to_string(),
        credentials: staged.map(|staged| staged.outcome.name()),
        credentials_reason: staged.map(|staged| staged.reason.name()),
        detail: staged.map(|staged| staged.reason.sentence()),
        restarted: matches!(converged.outcome, ConvergeOutcome::Changed),
        reauth_required: result.is_some_and(|result| result.reauth_required),
        warnings: warned(&converged.warnings()),
    };
    // The result is not known yet while another call on the user, or the file system, is slow; the work goes on.
    let status = if staged.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, axum::Json(body)).into_response())
}

/// Sign a user out
#[utoipa::path(delete, path = "/containers/{user_id}/credentials", operation_id = "delete_credentials", tag = "credentials",
    params(openapi::OfUser),
    responses(
        (status = 204, description = "There is none any more"),
        (status = 202, description = "Nothing is known yet; the work goes on"),
        openapi::Changes))]
pub(super) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
) -> Result<Response, Problem> {
    let converged = app.reconciler.apply(Intent::remove_credentials(&caller, user)).await?;
    Ok(known_or_accepted(converged.outcome, StatusCode::NO_CONTENT).into_response())
}

/// The status `done` for work that has ended, and 202 for work that goes on.
const fn known_or_accepted(outcome: ConvergeOutcome, done: StatusCode) -> StatusCode {
    match outcome {
        ConvergeOutcome::Waiting => StatusCode::ACCEPTED,
        ConvergeOutcome::Created | ConvergeOutcome::Changed | ConvergeOutcome::Unchanged => done,
    }
}

/// Move aside what shadows a user's sign-in
///
/// Nothing is deleted.
#[utoipa::path(post, path = "/containers/{user_id}/credentials/repair", operation_id = "repair_credentials", tag = "credentials",
    params(openapi::OfUser), request_body = Option<NoFields>,
    responses(
        (status = 200, description = "What was moved", body = RepairResponse),
        (status = 202, description = "Nothing is known yet; the work goes on", body = RepairResponse),
        openapi::Sends))]
pub(super) async fn repair(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    let converged = app.reconciler.apply(Intent::repair_credentials(&caller, user.clone())).await?;
    let status = known_or_accepted(converged.outcome, StatusCode::OK);
    let moved = converged.sign_in.map(|sign_in| sign_in.moved_aside).unwrap_or_default();
    let moved = moved.into_iter().map(|(from, to)| Moved { from, to }).collect();
    Ok((status, axum::Json(RepairResponse { user_id: user.to_string(), moved })).into_response())
}
