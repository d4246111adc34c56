//! Every route, in one place.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::{App, auth, body, containers, credentials, error, fleet, gateway, health, request_id, ui, watching};

/// The whole API.
pub fn router(app: App) -> Router {
    let guarded = Router::new()
        .route("/provision", post(containers::provision))
        .route("/containers", get(fleet::list))
        .route("/containers/{user_id}", get(containers::show).delete(containers::delete))
        .route(
            "/containers/{user_id}/credentials",
            get(credentials::show).put(credentials::put).delete(credentials::delete),
        )
        .route("/containers/{user_id}/credentials/repair", post(credentials::repair))
        .route("/containers/{user_id}/resize", post(containers::resize))
        .route("/containers/{user_id}/redeploy", post(containers::redeploy))
        .route("/containers/{user_id}/start", post(containers::start))
        .route("/containers/{user_id}/stop", post(containers::stop))
        .route("/containers/{user_id}/cancel", post(containers::cancel))
        .route("/containers/{user_id}/wait", get(watching::wait))
        .route("/containers/{user_id}/events", get(watching::events))
        .route("/metrics", get(health::metrics))
        .route_layer(from_fn_with_state(app.clone(), auth::require_token));
    let secret = Router::new()
        .route("/containers/{user_id}/gateway", get(gateway::show))
        .route("/containers/{user_id}/gateway/rotate", post(gateway::rotate))
        .route_layer(from_fn_with_state(app.clone(), auth::require_provision));
    let open = Router::new().route("/healthz", get(health::healthz)).route("/readyz", get(health::readyz));
    guarded
        .merge(secret)
        .merge(open)
        .merge(ui::routes())
        .method_not_allowed_fallback(error::method_not_allowed)
        .fallback(error::no_such_route)
        .layer(DefaultBodyLimit::max(body::MAX_BYTES))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn(request_id::assign))
        .with_state(app)
}
