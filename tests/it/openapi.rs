//! The OpenAPI document and its page. `tests/openapi` compares the running service with the document, `tests/ui` opens the
//! page in a browser.

use std::collections::BTreeSet;

use axum::body::Body;
use serde_json::Value;

use crate::harness::{Answer, READ_TOKEN, TestApp};

async fn open(app: &TestApp, path: &str) -> Answer {
    app.raw("GET", path, &[("authorization", "")], Body::empty()).await
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

#[tokio::test(start_paused = true)]
async fn the_document_is_served_without_a_token_and_lists_what_docs_api_lists() {
    let app = TestApp::start().await;
    let answer = open(&app, "/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let document = answer.body.clone();
    assert_eq!(document["openapi"], "3.1.0");
    let documented = include_str!("../../docs/api.md");
    for (path, method, operation) in operations(&document) {
        let last = path.rsplit('/').next().unwrap();
        let row = format!("`{} {path}", method.to_uppercase());
        assert!(documented.contains(&row) || documented.contains(&format!(", `/{last}`")), "{row}: {operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_scope_in_the_document_is_the_one_that_the_route_needs() {
    let app = TestApp::start().await;
    let document = open(&app, "/openapi.json").await.body;
    let mut scopes = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let scope = operation["security"][0]["token"][0].as_str();
        let path = path.replace("{user_id}", "nobody");
        let method = method.to_uppercase();
        let without = app.raw(&method, &path, &[("authorization", "")], Body::empty()).await;
        assert_eq!(without.status == 401, scope.is_some(), "{method} {path}: {scope:?}");
        let token = format!("Bearer {READ_TOKEN}");
        let reader = app.raw(&method, &path, &[("authorization", &token)], Body::empty()).await;
        assert_eq!(reader.status == 403, matches!(scope, Some("provision" | "admin")), "{method} {path}: {scope:?}");
        assert_eq!(
            operation["responses"]["403"].is_object(),
            matches!(scope, Some("provision" | "admin")),
            "{method} {path}"
        );
        scopes.insert(scope.map(str::to_owned));
    }
    let all = [None, Some("admin".to_owned()), Some("provision".to_owned()), Some("read".to_owned())];
    assert_eq!(scopes, BTreeSet::from(all));
}

#[tokio::test(start_paused = true)]
async fn every_reason_code_is_explained_and_retryable_problems_have_retry_after() {
    let app = TestApp::start().await;
    let document = open(&app, "/openapi.json").await.body;
    let codes = &document["components"]["schemas"]["ReasonCode"];
    let explained = codes["description"].as_str().unwrap();
    for code in codes["enum"].as_array().unwrap() {
        assert!(explained.contains(&format!("\n- `{}`: ", code.as_str().unwrap())), "{code}: {explained}");
    }
    for (path, method, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let at = format!("{method} {path} {status}");
            assert!(response["headers"]["X-Request-Id"].is_object(), "{at}");
            let is_problem = response["content"]["application/problem+json"].is_object();
            if is_problem && ["503", "504"].contains(&status.as_str()) {
                assert!(response["headers"]["Retry-After"].is_object(), "{at}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_error_code_is_documented_with_its_status() {
    let app = TestApp::start().await;
    let document = open(&app, "/openapi.json").await.body;
    let all = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    let said: String = operations(&document)
        .flat_map(|(_, _, operation)| operation["responses"].as_object().unwrap().values())
        .filter_map(|response| response["description"].as_str())
        .collect();
    // Not errors of an operation, but of an unknown address.
    let of_no_operation = ["no_such_route", "method_not_allowed"];
    for code in all.iter().map(|code| code.as_str().unwrap()) {
        assert!(said.contains(&format!("`{code}`: ")) || of_no_operation.contains(&code), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_files_of_the_page_are_in_the_binary() {
    let app = TestApp::start().await;
    let moved = open(&app, "/docs").await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("docs/")));
    for (name, content_type) in [
        ("", "text/html"),
        ("swagger-ui.css", "text/css"),
        ("index.css", "text/css"),
        ("swagger-ui-bundle.js", "text/javascript"),
        ("swagger-ui-standalone-preset.js", "text/javascript"),
        ("swagger-initializer.js", "text/javascript"),
    ] {
        let answer = app.raw("GET", &format!("/docs/{name}"), &[("authorization", "")], Body::empty()).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{name}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{name}: {policy}");
    }
    assert_eq!(open(&app, "/docs/no-such-file").await.status, 404);
}
