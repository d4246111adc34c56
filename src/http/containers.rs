//! Users' containers: provision, look, resize, redeploy, start, stop, delete.

use axum::Extension;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;

use super::App;
use super::body::{Json, OptionalJson};
use super::error::Problem;
use super::openapi::{self, schemas};
use super::query::Query;
use super::requests::{DeleteQuery, NoFields, ProvisionRequest, RedeployRequest, ResizeRequest, StartRequest};
use super::responses::{CancelResponse, ContainerResponse};
use super::user::User;
use crate::domain::{State as ContainerState, UserId};
use crate::reconcile::{AcceptedWork, Caller, ConvergeError, ConvergeOutcome, Converged, Intent, Refusal};

/// Provision a user's container
///
/// Creates it if needed. The sign-in is on disk before any task can start. Fields that are left out stay as they are.
#[utoipa::path(post, path = "/provision", operation_id = "provision", tag = "containers",
    request_body = ProvisionRequest,
    responses(openapi::Creates, openapi::Sends))]
pub(super) async fn provision(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<ProvisionRequest>,
) -> Result<Response, Problem> {
    respond(&app, request.parse(&caller)?).await
}

/// Show a user's container
///
/// Its state in ECS at this moment.
#[utoipa::path(get, path = "/containers/{user_id}", operation_id = "get_container", tag = "containers",
    params(openapi::OfUser),
    responses((status = 200, description = "The container", body = ContainerResponse), openapi::Looks))]
pub(super) async fn show(State(app): State<App>, User(user): User) -> Result<Response, Problem> {
    let (looked, accepted, sizes) =
        tokio::join!(app.reconciler.look(&user), app.reconciler.accepted_work(&user), app.storage.sizes());
    let response = match looked {
        Ok(view) => {
            let credentials = app.reconciler.sign_in_state(&user, &view).await;
            ContainerResponse::of_view(&user, view, credentials).with_accepted(accepted)
        }
        // Accepted work is shown before AWS shows anything of it, and after.
        Err(ConvergeError::Refused(Refusal::NotFound)) => {
            let work = accepted.and_then(|work| Some((work.status()?, work)));
            let (status, work) = work.ok_or(Refusal::NotFound).map_err(ConvergeError::from)?;
            ContainerResponse::of_accepted(&user, status, work)
        }
        Err(error) => return Err(error.into()),
    };
    Ok(axum::Json(response.with_directory(&user, &sizes)).into_response())
}

/// Change the size of a user's container
#[utoipa::path(post, path = "/containers/{user_id}/resize", operation_id = "resize_container", tag = "containers",
    params(openapi::OfUser), request_body(content = inline(schemas::ResizeRequest)),
    responses(openapi::Converges, openapi::Sends))]
pub(super) async fn resize(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
    Json(request): Json<ResizeRequest>,
) -> Result<Response, Problem> {
    let resized = respond(&app, request.parse(&caller, user)?).await;
    // Here the size is the whole body.
    resized.map_err(|problem| problem.without_field_prefix("size."))
}

/// Render a user's container again from the newest base
///
/// And pin or unpin its image, or restart it.
#[utoipa::path(post, path = "/containers/{user_id}/redeploy", operation_id = "redeploy_container", tag = "containers",
    params(openapi::OfUser), request_body = Option<RedeployRequest>,
    responses(openapi::Converges, openapi::Sends))]
pub(super) async fn redeploy(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
    OptionalJson(request): OptionalJson<RedeployRequest>,
) -> Result<Response, Problem> {
    respond(&app, request.parse(&caller, user)?).await
}

/// Start a user's container
#[utoipa::path(post, path = "/containers/{user_id}/start", operation_id = "start_container", tag = "containers",
    params(openapi::OfUser), request_body = Option<StartRequest>,
    responses(openapi::Converges, openapi::Sends))]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
    OptionalJson(request): OptionalJson<StartRequest>,
) -> Result<Response, Problem> {
    respond(&app, request.parse(&caller, user)).await
}

/// Stop a user's container
///
/// Files, access point and service stay.
#[utoipa::path(post, path = "/containers/{user_id}/stop", operation_id = "stop_container", tag = "containers",
    params(openapi::OfUser), request_body = Option<NoFields>,
    responses(openapi::Converges, openapi::Sends))]
pub(super) async fn stop(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    respond(&app, Intent::stop(&caller, user)).await
}

/// Cancel a user's pending operations and in-progress deployment
///
/// Cancels the operations that are under way or accepted, in every replica, and the deployment that ECS has in progress: back to
/// the one before it, or to no task.
#[utoipa::path(post, path = "/containers/{user_id}/cancel", operation_id = "cancel_container", tag = "containers",
    params(openapi::OfUser), request_body = Option<NoFields>,
    responses(
        (status = 202, description = "Stopped", body = CancelResponse),
        (status = 200, description = "Nothing was under way", body = CancelResponse),
        openapi::Sends))]
pub(super) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    // In a task of its own, so that nothing is half cancelled when the caller goes away.
    let (reconciler, of) = (app.reconciler.clone(), user.clone());
    let cancel = async move { reconciler.cancel(&caller, &of).await };
    let cancelled = tokio::spawn(cancel.in_current_span()).await.unwrap_or(Err(ConvergeError::Crashed))?;
    let status = match cancelled.outcome() {
        ConvergeOutcome::Unchanged => StatusCode::OK,
        ConvergeOutcome::Created | ConvergeOutcome::Changed | ConvergeOutcome::Waiting => StatusCode::ACCEPTED,
    };
    Ok((status, axum::Json(CancelResponse::new(&user, cancelled))).into_response())
}

/// Delete a user's container
///
/// Removes service, revisions and access point. Repeat it until it answers 404: 202 means that some work was left.
#[utoipa::path(delete, path = "/containers/{user_id}", operation_id = "delete_container", tag = "containers",
    params(openapi::OfUser, DeleteQuery),
    responses((status = 202, description = "On its way", body = ContainerResponse, headers(("Location" = String, description = "Where to look next"))), openapi::Changes))]
pub(super) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, Problem> {
    respond(&app, query.parse(&caller, user)).await
}

pub(super) async fn respond(app: &App, intent: Intent) -> Result<Response, Problem> {
    let (user, on_the_way) = (intent.user().clone(), intent.on_the_way());
    let converged = app.reconciler.apply(intent).await?;
    let accepted = match converged.outcome {
        ConvergeOutcome::Waiting => app.reconciler.accepted_work(&user).await,
        ConvergeOutcome::Created | ConvergeOutcome::Changed | ConvergeOutcome::Unchanged => None,
    };
    Ok(answer(&user, on_the_way, converged, accepted))
}

/// The answer to a converge, with where to look next.
fn answer(user: &UserId, on_the_way: ContainerState, converged: Converged, accepted: Option<AcceptedWork>) -> Response {
    let status = status_of(&converged);
    let body = ContainerResponse::of_converged(user, on_the_way, converged).with_accepted(accepted);
    let mut response = (status, axum::Json(body)).into_response();
    if let Ok(location) = HeaderValue::try_from(format!("/containers/{user}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// 201 created, 202 changed, 200 nothing to change. A request for a state (provision, start, stop) gets 202 also while the
/// container is still on its way there.
const fn status_of(converged: &Converged) -> StatusCode {
    match converged.outcome {
        ConvergeOutcome::Created => StatusCode::CREATED,
        ConvergeOutcome::Changed | ConvergeOutcome::Waiting => StatusCode::ACCEPTED,
        ConvergeOutcome::Unchanged if converged.is_on_its_way => StatusCode::ACCEPTED,
        ConvergeOutcome::Unchanged => StatusCode::OK,
    }
}
