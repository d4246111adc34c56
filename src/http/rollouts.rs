//! Rollouts over the fleet.

mod answer;
pub(super) mod events;
mod planned;
mod users;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::App;
use super::body::{Json, OptionalJson};
use super::code::Code;
use super::error::Problem;
use super::openapi;
use super::requests::{NoFields, RolloutRequest};
use crate::reconcile::Caller;
use crate::rollout::words::Change;
use crate::rollout::{Action, RolloutError};
use answer::{RolloutBody, RolloutsBody};
use users::RolloutUsersBody;

type IdPath = Result<Path<String>, PathRejection>;

fn id_in(path: IdPath) -> String {
    path.map_or_else(|_| "\u{fffd}".to_owned(), |Path(id)| id)
}

/// Start a rollout
///
/// Changes users in waves, and pauses by itself when too many fail. With `dry_run` it shows which user would be in which wave.
#[utoipa::path(post, path = "/rollouts", operation_id = "start_rollout", tag = "fleet", request_body = RolloutRequest,
    responses(
        (status = 201, description = "Started", body = RolloutBody),
        (status = 200, description = "With `dry_run`: what would be started", body = RolloutBody),
        openapi::StartsRollout))]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<RolloutRequest>,
) -> Result<Response, Problem> {
    let (mut wanted, is_dry) = request.parse(&app)?;
    if wanted.change == Change::Base("newest".to_owned()) {
        let newest = app.reconciler.fleet_base().await?.newest;
        wanted.change = Change::Base(
            newest.ok_or_else(|| Problem::new(Code::BaseUnusable, "the base family has no ACTIVE revision"))?,
        );
    }
    let (status, planned) = match is_dry {
        true => (StatusCode::OK, app.rollouts.plan(&caller, wanted).await?),
        false => (StatusCode::CREATED, app.rollouts.start(&caller, wanted).await?),
    };
    Ok((status, axum::Json(RolloutBody::planned(planned, is_dry))).into_response())
}

/// List all rollouts
#[utoipa::path(get, path = "/rollouts", operation_id = "list_rollouts", tag = "fleet",
    responses((status = 200, description = "The newest first", body = RolloutsBody), openapi::OfFleet))]
pub(super) async fn list(State(app): State<App>) -> Result<Response, Problem> {
    Ok(axum::Json(RolloutsBody::new(app.rollouts.list().await?)).into_response())
}

/// Show the progress of a rollout
#[utoipa::path(get, path = "/rollouts/{rollout_id}", operation_id = "get_rollout", tag = "fleet",
    params(openapi::OfRollout),
    responses((status = 200, description = "Its progress", body = RolloutBody), openapi::OfOneRollout))]
pub(super) async fn show(State(app): State<App>, path: IdPath) -> Result<Response, Problem> {
    respond(&app, &id_in(path)).await
}

/// Show the progress of each user of a rollout
///
/// By user id.
#[utoipa::path(get, path = "/rollouts/{rollout_id}/users", operation_id = "list_rollout_users", tag = "fleet",
    params(openapi::OfRollout),
    responses((status = 200, description = "All of its users", body = RolloutUsersBody), openapi::OfOneRollout))]
pub(super) async fn users(State(app): State<App>, path: IdPath) -> Result<Response, Problem> {
    let (rollout, journal) = app.rollouts.get(&id_in(path)).await?;
    Ok(axum::Json(RolloutUsersBody::new(&rollout, &journal)).into_response())
}

async fn respond(app: &App, id: &str) -> Result<Response, Problem> {
    let (rollout, journal) = app.rollouts.get(id).await?;
    Ok(axum::Json(RolloutBody::with_progress(&rollout, &journal, app.rollouts.now())).into_response())
}

async fn act(app: &App, caller: &Caller, path: IdPath, action: Action) -> Result<Response, Problem> {
    let id = id_in(path);
    app.rollouts.act(caller, &id, action).await?;
    respond(app, &id).await
}

/// Pause a rollout
///
/// It begins with no more users. Users who are being changed are finished.
#[utoipa::path(post, path = "/rollouts/{rollout_id}/pause", operation_id = "pause_rollout", tag = "fleet",
    params(openapi::OfRollout), request_body = Option<NoFields>,
    responses((status = 200, description = "Paused", body = RolloutBody), openapi::ChangesRollout))]
pub(super) async fn pause(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: IdPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    act(&app, &caller, path, Action::Pause).await
}

/// Resume a rollout
///
/// Users who have failed so far no longer count.
#[utoipa::path(post, path = "/rollouts/{rollout_id}/resume", operation_id = "resume_rollout", tag = "fleet",
    params(openapi::OfRollout), request_body = Option<NoFields>,
    responses((status = 200, description = "Running again", body = RolloutBody), openapi::ChangesRollout))]
pub(super) async fn resume(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: IdPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    act(&app, &caller, path, Action::Resume).await
}

/// Abort a rollout
///
/// Users who were moved stay where they are.
#[utoipa::path(post, path = "/rollouts/{rollout_id}/abort", operation_id = "abort_rollout", tag = "fleet",
    params(openapi::OfRollout), request_body = Option<NoFields>,
    responses((status = 200, description = "Aborted", body = RolloutBody), openapi::ChangesRollout))]
pub(super) async fn abort(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: IdPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    act(&app, &caller, path, Action::Abort).await
}

/// Roll a rollout back
///
/// Users who were moved return to what they had, through the same waves and gates. Also works after a rollout is over.
#[utoipa::path(post, path = "/rollouts/{rollout_id}/rollback", operation_id = "roll_back_rollout", tag = "fleet",
    params(openapi::OfRollout), request_body = Option<NoFields>,
    responses((status = 200, description = "Rolling back", body = RolloutBody), openapi::ChangesRollout))]
pub(super) async fn rollback(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: IdPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    act(&app, &caller, path, Action::Rollback).await
}

impl From<RolloutError> for Problem {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::Invalid(invalid) => invalid.into(),
            RolloutError::List(refused) => refused.into(),
            RolloutError::Converge(error) => error.into(),
            RolloutError::NotFound { .. } => Self::new(Code::RolloutNotFound, error.to_string()),
            RolloutError::NotUnderstood { .. } => Self::new(Code::RolloutNotUnderstood, error.to_string()),
            RolloutError::UnderWay { .. } => Self::new(Code::RolloutUnderWay, error.to_string()),
            RolloutError::PlanChanged => Self::new(Code::RolloutPlanChanged, error.to_string()),
            RolloutError::NotNow { .. } => Self::new(Code::RolloutOver, error.to_string()),
        }
    }
}
