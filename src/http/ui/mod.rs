//! The pages for operators at `/ui/`: containers, and rollouts. They are static and need no token, because they contain no data: they
//! read everything from the API, with the token that the operator types in.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use openclaw::sha256_hex12;

use super::{App, error};
use crate::domain::{RawSize, Size};

/// Scripts, styles and requests only of this origin, and no text ever becomes markup: if an id or a message of ECS contains
/// a script, the browser does not run it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     form-action 'none'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

/// The file served at `/ui/`.
const INDEX: &str = "index.html";

/// A file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    body: String,
    etag: String,
}

macro_rules! file {
    ($name:literal, $content_type:expr) => {
        Asset::new($name, $content_type, include_str!($name).to_owned())
    };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    vec![
        file!("index.html", HTML),
        file!("style.css", CSS),
        file!("icon.svg", "image/svg+xml"),
        file!("app.js", SCRIPT),
        file!("actions.js", SCRIPT),
        file!("api.js", SCRIPT),
        file!("detail.js", SCRIPT),
        file!("dom.js", SCRIPT),
        file!("fleet.js", SCRIPT),
        file!("follow.js", SCRIPT),
        file!("rollouts.css", CSS),
        file!("rollouts.html", HTML),
        file!("rollouts.js", SCRIPT),
        file!("sign_in.js", SCRIPT),
        file!("summary.js", SCRIPT),
        file!("table.js", SCRIPT),
        Asset::new("sizes.json", JSON, sizes()),
    ]
});

impl Asset {
    fn new(name: &'static str, content_type: &'static str, body: String) -> Self {
        let etag = format!("\"{}\"", sha256_hex12(body.as_bytes()));
        Self { name, content_type, body, etag }
    }
}

/// Every Fargate size, so that the page needs no list of its own.
fn sizes() -> String {
    let sizes: Vec<RawSize> = Size::all().map(RawSize::from).collect();
    serde_json::to_string(&sizes).unwrap_or_default()
}

/// The page's routes. Addresses in it are relative, so it also works below a proxy's path prefix.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/ui", get(|| async { (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "ui/")]) }))
        .route("/ui/", get(|headers: HeaderMap| async move { serve(INDEX, &headers) }))
        .route("/ui/{file}", get(|Path(file): Path<String>, headers: HeaderMap| async move { serve(&file, &headers) }))
        .layer(map_response(|response| async { guarded_by(POLICY, response) }))
}

fn serve(name: &str, request: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return error::there_is_no_such_route().into_response();
    };
    let known = request.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known =
        known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag));
    // `no-cache`: kept, but revalidated each time, so that an upgrade is visible at once and all files are of one release.
    let caching = [(ETAG, asset.etag.as_str()), (CACHE_CONTROL, "no-cache")];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, asset.content_type)], asset.body.as_str()).into_response()
}

/// Adds the headers that limit what the page may do.
pub(super) fn guarded_by(policy: &'static str, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
