//! Every route, in one place.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    App, auth, body, containers, credentials, docs, error, fleet, fleet_base, fleet_capacity, gateway, health, openapi,
    request_id, rollouts, ui, watching,
};

/// The whole API, its document, and the pages.
pub fn router(app: App) -> Router {
    let (guarded, of_guarded) = guarded().split_for_parts();
    let (secret, of_secret) = secret().split_for_parts();
    let (admin, of_admin) = admin().split_for_parts();
    let (open, of_open) = open().split_for_parts();
    let document = openapi::document(of_guarded, of_secret, of_admin, of_open);
    guarded
        .route_layer(from_fn_with_state(app.clone(), auth::require_token))
        .merge(secret.route_layer(from_fn_with_state(app.clone(), auth::require_provision)))
        .merge(admin.route_layer(from_fn_with_state(app.clone(), auth::require_admin)))
        .merge(open)
        .merge(ui::routes())
        .merge(docs::routes(&document))
        .method_not_allowed_fallback(error::method_not_allowed)
        .fallback(error::no_such_route)
        .layer(DefaultBodyLimit::max(body::MAX_BYTES))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn(request_id::assign))
        .with_state(app)
}

/// The OpenAPI document of [`router`].
#[must_use]
pub fn openapi_document() -> OpenApi {
    let (secret, admin) = (secret().into_openapi(), admin().into_openapi());
    openapi::document(guarded().into_openapi(), secret, admin, open().into_openapi())
}

/// Routes that need a token whose scope follows from the method.
fn guarded() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(containers::provision))
        .routes(routes!(fleet::list))
        .routes(routes!(fleet_base::show))
        .routes(routes!(fleet_capacity::show))
        .routes(routes!(rollouts::list))
        .routes(routes!(rollouts::show))
        .routes(routes!(rollouts::users))
        .routes(routes!(rollouts::events::events))
        .routes(routes!(containers::show, containers::delete))
        .routes(routes!(credentials::show, credentials::put, credentials::delete))
        .routes(routes!(credentials::repair))
        .routes(routes!(containers::resize))
        .routes(routes!(containers::redeploy))
        .routes(routes!(containers::start))
        .routes(routes!(containers::stop))
        .routes(routes!(containers::cancel))
        .routes(routes!(watching::wait))
        .routes(routes!(watching::events))
        .routes(routes!(health::metrics))
}

/// Routes whose answers are secrets: they always need the scope `provision`.
fn secret() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(gateway::show)).routes(routes!(gateway::rotate))
}

/// Routes that change what concerns all users: they need the scope `admin`.
fn admin() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(fleet_base::promote, fleet_base::follow))
        .routes(routes!(rollouts::start))
        .routes(routes!(rollouts::pause))
        .routes(routes!(rollouts::resume))
        .routes(routes!(rollouts::abort))
        .routes(routes!(rollouts::rollback))
}

/// Routes that need no token.
fn open() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health::healthz)).routes(routes!(health::readyz))
}
