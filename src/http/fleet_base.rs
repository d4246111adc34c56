//! The base of the fleet: the promoted one, the newest one, and how many users are on each base.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::body::Json;
use super::error::Problem;
use super::openapi;
use super::requests::PromoteRequest;
use crate::domain::Promotion;
use crate::fleet::OnBases;
use crate::reconcile::{Caller, FleetBase};

/// The base of the fleet.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetBase)]
pub(super) struct FleetBaseResponse {
    /// The base family of the settings.
    family: String,
    /// The promoted base; null: none is promoted, and the newest is used.
    #[schema(required)]
    promoted: Option<PromotedBody>,
    /// The newest ACTIVE revision; null when there is none.
    #[schema(required)]
    newest: Option<NewestBody>,
    /// How many users are on each base, from the snapshot of the list; null while there is no snapshot.
    #[schema(required)]
    users: Option<UsersBody>,
}

/// The promoted base.
#[derive(Serialize, ToSchema)]
#[schema(as = PromotedBase)]
struct PromotedBody {
    revision: String,
    #[schema(format = DateTime)]
    promoted_at: String,
    /// The name of the token that promoted it.
    promoted_by: String,
    /// The rollout that moves the fleet to another base; null: none.
    #[schema(required)]
    rollout_id: Option<String>,
}

/// The newest base.
#[derive(Serialize, ToSchema)]
#[schema(as = NewestBase)]
struct NewestBody {
    revision: String,
    #[schema(required, format = DateTime)]
    registered_at: Option<String>,
}

/// Users by base.
#[derive(Serialize, ToSchema)]
#[schema(as = UsersByBase)]
struct UsersBody {
    bases: Vec<OnBaseBody>,
    /// Users whose definition has not been read yet.
    unread_definitions: usize,
    age_seconds: u64,
}

/// The users of one base.
#[derive(Serialize, ToSchema)]
#[schema(as = OnBase)]
struct OnBaseBody {
    revision: String,
    users: usize,
}

/// Show the promoted base, and how many users are on each base
#[utoipa::path(get, path = "/fleet/base", operation_id = "get_fleet_base", tag = "fleet",
    responses((status = 200, description = "Promoted, newest, and users by base", body = FleetBaseResponse), openapi::OfFleet))]
pub(super) async fn show(State(app): State<App>) -> Result<Response, Problem> {
    let base = app.reconciler.fleet_base().await?;
    respond(&app, base).await
}

/// Promote a base
///
/// New users get it from then on. Existing containers keep their base until a redeploy or a rollout moves them.
#[utoipa::path(put, path = "/fleet/base", operation_id = "promote_base", tag = "fleet", request_body = PromoteRequest,
    responses((status = 200, description = "Promoted", body = FleetBaseResponse), openapi::ChangesFleet))]
pub(super) async fn promote(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<PromoteRequest>,
) -> Result<Response, Problem> {
    let revision = match request.revision.as_str() {
        PromoteRequest::NEWEST => None,
        text => Some(app.reconciler.base_revision(text)?),
    };
    let base = app.reconciler.promote(&caller, revision).await?;
    respond(&app, base).await
}

/// Follow the newest base again
///
/// From then on every user moves to the newest base at their next provision.
#[utoipa::path(delete, path = "/fleet/base", operation_id = "follow_newest_base", tag = "fleet",
    responses((status = 200, description = "Nothing is promoted", body = FleetBaseResponse), openapi::ChangesFleet))]
pub(super) async fn follow(State(app): State<App>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let base = app.reconciler.follow_newest(&caller).await?;
    respond(&app, base).await
}

async fn respond(app: &App, base: FleetBase) -> Result<Response, Problem> {
    let FleetBase { family, promotion, newest, newest_registered_at } = base;
    // The promoted base is shown also when the list cannot be read.
    let users = app.fleet.roster.on_bases().await.ok().map(UsersBody::new);
    let registered_at = newest_registered_at.map(|at| at.to_string());
    let newest = newest.map(|revision| NewestBody { revision, registered_at });
    let promoted = promotion.map(PromotedBody::new);
    Ok(axum::Json(FleetBaseResponse { family, promoted, newest, users }).into_response())
}

impl PromotedBody {
    fn new(promotion: Promotion) -> Self {
        let Promotion { revision, promoted_at, by, rollout, at_end_of: _ } = promotion;
        let rollout_id = rollout.map(|rollout| rollout.id);
        Self { revision, promoted_at: promoted_at.to_string(), promoted_by: by, rollout_id }
    }
}

impl UsersBody {
    fn new(on: OnBases) -> Self {
        let bases = on.containers.into_iter().map(|(base, users)| OnBaseBody { revision: base.to_string(), users });
        Self { bases: bases.collect(), unread_definitions: on.unread_definitions, age_seconds: on.age.as_secs() }
    }
}
