//! The OpenAPI document at `/openapi.json`, and Swagger UI for it at `/docs/`. Both need no token: they contain what
//! README.md says, and no user's data.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, serve};

use super::{App, error, ui};

/// The page loads nothing from elsewhere. Swagger UI needs inline styles, and icons as data URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
     img-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// The routes. Addresses in the page are relative, so it also works below a proxy's path prefix.
pub(super) fn routes(document: &OpenApi) -> Router<App> {
    let json = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    let document = move || async move { ([(CONTENT_TYPE, "application/json")], json) };
    // No badge from an online validator; requests from the browser use the token that the reader typed in.
    let config = Config::new(["../openapi.json"]).validator_url("none").use_base_layout();
    let config = Arc::new(config.try_it_out_enabled(true).display_request_duration(true));
    let index = Arc::clone(&config);
    let pages = Router::new()
        .route("/docs", get(|| async { (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "docs/")]) }))
        .route("/docs/", get(move || async move { file("index.html", index) }))
        .route("/docs/{file}", get(move |Path(name): Path<String>| async move { file(&name, config) }))
        .layer(map_response(|response| async { ui::guarded_by(POLICY, response) }));
    Router::new().route("/openapi.json", get(document)).merge(pages)
}

fn file(name: &str, config: Arc<Config<'static>>) -> Response {
    let Ok(Some(file)) = serve(name, config) else {
        return error::there_is_no_such_route().into_response();
    };
    let headers = [(CONTENT_TYPE, file.content_type), (CACHE_CONTROL, "no-cache".to_owned())];
    let mut response = (headers, file.bytes.into_owned()).into_response();
    if file.gzpipped {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
