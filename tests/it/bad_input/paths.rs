//! User ids in the path, and query parameters.

use axum::body::Body;
use serde_json::json;

use super::{refusal, refused};
use crate::harness::TestApp;

/// Every route with a user id, and a valid body for it.
fn routes() -> [(&'static str, &'static str, String); 6] {
    [
        ("GET", "", String::new()),
        ("DELETE", "", String::new()),
        ("POST", "/resize", json!({"cpu": 512, "memory_mib": 2048}).to_string()),
        ("POST", "/redeploy", String::new()),
        ("POST", "/start", String::new()),
        ("POST", "/stop", String::new()),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_user_id_in_the_path_with_other_characters_is_refused() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    let long = "x".repeat(65);
    let ids = [
        "",
        "..",
        ".",
        "%2e%2e",
        "%2E%2E%2Falice",
        "a%2Fb",
        "a%5Cb",
        "a%00b",
        ".hidden",
        "%2Ehidden",
        "Zo%C3%AB",
        "a%20b",
        "a%0Ab",
        "%FF",
        "%E2%80%AE",
        "alice%00",
        "a.b",
        "%25",
        &long,
    ];
    for id in ids {
        for (method, rest, body) in routes() {
            if id.is_empty() && rest.is_empty() {
                continue; // "/containers/" is no route.
            }
            let line = refused(&app, method, &format!("/containers/{id}{rest}"), body).await;
            let expected = "422 invalid_field user_id: use 1 to 64 characters of A-Z, a-z, 0-9, _ and -";
            assert_eq!(line, expected, "{method} {id}{rest}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_without_a_user_id_is_no_route() {
    let app = TestApp::start().await;
    for (method, path) in [
        ("GET", "/containers/"),
        ("DELETE", "/containers/"),
        ("GET", "/containers/a/b"),
        ("GET", "/containers/../provision"),
        ("GET", "//containers/alice"),
    ] {
        let answer = refusal(&app, method, path, &[], Body::empty()).await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("no_such_route")), "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_other_than_keep_or_purge_deletes_nothing() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    for query in ["data=", "data=all", "data=Purge", "data=purge%20", "data=keep,purge"] {
        let line = refused(&app, "DELETE", &format!("/containers/alice?{query}"), Body::empty()).await;
        let fix = "leave it out to keep the user's files, or write data=purge to remove them";
        assert_eq!(line, format!("422 invalid_field data: {fix}"), "{query}");
    }
    for (query, expected) in [
        ("purge", "purge: expected one of data, force"),
        ("purge=true", "purge: expected one of data, force"),
        ("Data=purge", "Data: expected one of data, force"),
        ("data=keep&data=purge", "data: give it once"),
    ] {
        let line = refused(&app, "DELETE", &format!("/containers/alice?{query}"), Body::empty()).await;
        assert_eq!(line, format!("422 invalid_field {expected}"), "{query}");
    }
    for query in ["force=1", "data=purge&force=yes"] {
        let line = refused(&app, "DELETE", &format!("/containers/alice?{query}"), Body::empty()).await;
        assert!(line.starts_with("422 invalid_field force: "), "{query}: {line}");
    }
}
