//! Wrong requests: refused with field and fix, before AWS is called, before a file is written, and without quoting
//! secrets of the request.

mod auth;
mod fields;
mod paths;
mod requests;

use axum::body::Body;
use serde_json::Value;

use crate::harness::{Answer, TestApp, provision_body};

/// Stands for every secret in a request; no answer may contain it.
const SENTINEL: &str = "SENTINEL-SECRET";

/// A provision request that is valid except for `change`, with the sentinel as its refresh token.
fn request(change: impl FnOnce(&mut Value)) -> String {
    let mut body = provision_body("alice");
    body["auth"]["tokens"]["refresh_token"] = SENTINEL.into();
    change(&mut body);
    body.to_string()
}

/// Sends a request that has to be refused, and checks what all refusals have in common.
async fn refusal(app: &TestApp, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let before = app.files();
    app.emulator.clear_calls();
    let answer = app.raw(method, path, headers, body).await;
    assert_eq!(app.calls(), Vec::<String>::new(), "AWS was called for {method} {path}");
    assert_eq!(app.files(), before, "a file changed with {method} {path}");
    let Answer { status, headers, body, .. } = &answer;
    assert!((400..500).contains(status), "{status}: {body}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{status}");
    assert_eq!(body["status"], *status);
    assert_eq!(body["type"], "about:blank");
    assert_eq!(body["retryable"], false, "{body}");
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
    for member in ["title", "detail", "code", "request_id"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {body}");
    }
    let said = format!("{body} {headers:?}");
    assert!(!said.contains(SENTINEL), "{said}");
    answer
}

/// The refusal of a field in one line: `422 invalid_field <field>: <fix>`.
async fn refused(app: &TestApp, method: &str, path: &str, body: impl Into<Body>) -> String {
    let Answer { status, body, .. } = refusal(app, method, path, &[], body).await;
    let text = |member: &str| body[member].as_str().unwrap_or("nothing").to_owned();
    format!("{status} {} {}: {}", text("code"), text("field"), text("fix"))
}

/// The refusals of several requests, one a line.
async fn refusals(app: &TestApp, method: &str, path: &str, bodies: impl IntoIterator<Item = String>) -> String {
    let mut lines = Vec::new();
    for body in bodies {
        lines.push(refused(app, method, path, body).await);
    }
    lines.join("\n")
}
