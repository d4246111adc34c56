//! How a web app reaches a user's gateway. The answer is a secret: it needs the scope `provision` though it changes
//! nothing, and nobody may keep it.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::App;
use super::body::OptionalJson;
use super::containers::{UserPath, answer, user_in};
use super::dto::NoFields;
use super::error::Problem;
use crate::domain::State as ContainerState;
use crate::domain::credential_plan::openclaw_json::GATEWAY_PORT;
use crate::reconcile::{Caller, GatewayAuth};

/// Without `Debug`: it holds the token.
#[derive(Serialize)]
struct GatewayResponse<'a> {
    user_id: &'a str,
    /// The private IPv4 address of the running task.
    host: Option<String>,
    port: u16,
    token: Option<&'a str>,
    /// `openclaw_json`; `environment` or `reference` where this service does not know it; null before it is made.
    token_source: Option<&'static str>,
    ready: bool,
}

pub(super) async fn show(State(app): State<App>, path: UserPath) -> Result<Response, Problem> {
    let user = user_in(path)?;
    let gateway = app.reconciler.gateway(&user).await?;
    let body = GatewayResponse {
        user_id: user.as_str(),
        host: gateway.host,
        port: GATEWAY_PORT,
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

pub(super) async fn rotate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: UserPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    let user = user_in(path)?;
    let rotated = app.reconciler.rotate_gateway_token(&caller, user.clone()).await?;
    Ok(answer(&user, ContainerState::Provisioning, false, rotated))
}
