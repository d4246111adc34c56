//! Address and token of a user's gateway, for a web app. The answer is a secret: it needs the scope `provision` although it
//! changes nothing, and must not be cached.

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
/// Address and token of a user's gateway, for a web app.
#[derive(Serialize, ToSchema)]
#[schema(as = Gateway)]
pub(super) struct GatewayResponse<'a> {
    #[schema(schema_with = schemas::user_id)]
    user_id: &'a str,
    /// The private IPv4 address of the running task; null while none runs.
    #[schema(required)]
    host: Option<String>,
    /// The port that the gateway listens on, from its command, its environment or `openclaw.json`.
    port: u16,
    /// The bearer token of the gateway, if this service knows it.
    #[schema(required)]
    token: Option<&'a str>,
    /// `openclaw_json`; `environment` or `reference` if this service does not know the token; null before it is made.
    #[schema(schema_with = schemas::token_source, required)]
    token_source: Option<&'static str>,
    /// Whether a task of the wanted revision runs and is healthy.
    ready: bool,
}

/// Show the address and the token of a user's gateway
///
/// The address changes with every task: ask again when a connection breaks.
#[utoipa::path(get, path = "/containers/{user_id}/gateway", operation_id = "get_gateway", tag = "gateway",
    params(openapi::OfUser),
    responses(
        (status = 200, description = "Address and token; the answer must not be cached", body = GatewayResponse,
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
/// A running container is restarted with it; a stopped one gets it when it starts.
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
