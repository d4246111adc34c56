//! How a web app reaches a user's gateway. The answer is a secret: it needs the scope `provision` though it changes
//! nothing, and nobody may keep it.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::body::OptionalJson;
use super::containers::respond;
use super::error::Problem;
use super::openapi::{self, schemas};
use super::requests::NoFields;
use super::user::User;
use crate::reconcile::{Caller, GatewayAuth, Intent};

// Without `Debug`: it holds the token.
/// How a web app reaches a user's gateway.
#[derive(Serialize, ToSchema)]
#[schema(as = Gateway)]
pub(super) struct GatewayResponse<'a> {
    #[schema(schema_with = schemas::user_id)]
    user_id: &'a str,
    /// The private IPv4 address of the running task; null while none runs.
    #[schema(required)]
    host: Option<String>,
    /// The port that the gateway listens on, by its command, its environment or `openclaw.json`.
    port: u16,
    /// The bearer token of the gateway, where this service knows it.
    #[schema(required)]
    token: Option<&'a str>,
    /// `openclaw_json`; `environment` or `reference` where this service does not know it; null before it is made.
    #[schema(schema_with = schemas::token_source, required)]
    token_source: Option<&'static str>,
    /// Whether a task of the wanted revision runs and is healthy.
    ready: bool,
}

/// Where a user's gateway is, and its token
///
/// The address changes with every task: ask again when a connection breaks.
#[utoipa::path(get, path = "/containers/{user_id}/gateway", operation_id = "get_gateway", tag = "gateway",
    params(openapi::OfUser),
    responses(
        (status = 200, description = "Where it is; nobody may keep the answer", body = GatewayResponse,
            headers(("Cache-Control" = String, description = "`no-store`"))),
        openapi::Looks))]
pub(super) async fn show(State(app): State<App>, User(user): User) -> Result<Response, Problem> {
    let gateway = app.reconciler.gateway(&user).await?;
    let body = GatewayResponse {
        user_id: user.as_str(),
        host: gateway.host,
        port: gateway.port,
        token: match &gateway.token {
            GatewayAuth::File(token) => Some(token.expose_secret()),
            GatewayAuth::Environment | GatewayAuth::Reference | GatewayAuth::Missing => None,
        },
        token_source: gateway.token.source(),
        ready: gateway.ready,
    };
    let mut response = axum::Json(body).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Give a user's gateway a new token
///
/// A running container is restarted with it, a stopped one has it when it starts.
#[utoipa::path(post, path = "/containers/{user_id}/gateway/rotate", operation_id = "rotate_gateway_token", tag = "gateway",
    params(openapi::OfUser), request_body = Option<NoFields>,
    responses(openapi::Converges, openapi::Sends))]
pub(super) async fn rotate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    User(user): User,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    respond(&app, Intent::rotate_gateway_token(&caller, user)).await
}
