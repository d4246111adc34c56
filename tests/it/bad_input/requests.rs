//! Errors found before any field is read: the caller, the route, the encoding, the size.

use axum::body::Body;
use serde_json::{Value, json};

use super::{SENTINEL, refusal, refusals, refused, request};
use crate::harness::{READ_TOKEN, TOKEN, TestApp};

#[tokio::test(start_paused = true)]
async fn a_body_over_256_kib_is_refused_and_one_of_256_kib_is_read() {
    let app = TestApp::start().await;
    let padded = |bytes: usize| {
        let start = request(|body| body["padding"] = json!(""));
        start.replace("\"padding\":\"\"", &format!("\"padding\":\"{}\"", "x".repeat(bytes - start.len())))
    };
    let most = 256 * 1024;
    assert_eq!(padded(most).len(), most);
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", [padded(most), padded(most + 1)]).await, @r#"
    422 invalid_field padding: expected one of `user_id`, `auth`, `provider`, `size`, `image`, `openclaw_version`, `variables`, `secrets`, `labels`, `rollout_order`
    413 payload_too_large body: send fewer or shorter fields
    "#);
    let line = refused(&app, "POST", "/containers/alice/stop", padded(most + 1)).await;
    insta::assert_snapshot!(line, @"413 payload_too_large body: send fewer or shorter fields");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_announced_as_json_is_refused() {
    let app = TestApp::start().await;
    for announced in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "text/json"] {
        for (path, body) in [
            ("/provision", request(|_| {})),
            ("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 2048}).to_string()),
            ("/containers/alice/redeploy", json!({"force": true}).to_string()),
            ("/containers/alice/stop", "{}".to_owned()),
        ] {
            let answer = refusal(&app, "POST", path, &[("content-type", announced)], body).await;
            let said = (answer.status, &answer.body["code"], &answer.body["field"], &answer.body["fix"]);
            let fix = json!("send Content-Type: application/json");
            let expected = (415, &json!("unsupported_media_type"), &json!("Content-Type"), &fix);
            assert_eq!(said, expected, "{announced} to {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_one_json_document_is_refused() {
    let app = TestApp::start().await;
    let right = request(|_| {});
    let bodies: [Vec<u8>; 8] = [
        b"".to_vec(),
        b"not json".to_vec(),
        format!("user_id=alice&auth={SENTINEL}").into_bytes(),
        right.as_bytes()[..right.len() - 1].to_vec(),
        format!("{right} {SENTINEL}").into_bytes(),
        format!("{right}{right}").into_bytes(),
        [&right.as_bytes()[..right.len() - 2], b"\xff\"}"].concat(),
        format!("{{\"auth\":{}{}", "[".repeat(200), "]".repeat(200)).into_bytes(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let line = refused(&app, "POST", "/provision", body).await;
        assert_eq!(line, "400 invalid_json body: send one JSON object", "{shown}");
    }
    let with_mark = refused(&app, "POST", "/provision", format!("\u{feff}{right}")).await;
    assert_eq!(with_mark, "400 invalid_json body: save it as UTF-8 without BOM");
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_given_twice_is_refused() {
    let app = TestApp::start().await;
    let right = request(|_| {});
    let twice = [right.replacen('{', "{\"user_id\":\"mallory\",", 1)];
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", twice).await, @"422 invalid_field user_id: give it once");
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_a_valid_token_only_learns_how_to_send_one() {
    let app = TestApp::start().await;
    let (basic, almost, longer) = (format!("Basic {TOKEN}"), &TOKEN[..TOKEN.len() - 1], format!("Bearer {TOKEN}x"));
    let almost = format!("Bearer {almost}");
    let unknown = format!("Bearer {SENTINEL}");
    let absent = "send the header Authorization: Bearer <token>";
    let wrong = "the token is not one of the accepted ones";
    for (authorization, detail) in [
        ("", absent),
        (TOKEN, absent),
        (basic.as_str(), absent),
        ("Bearer", absent),
        ("Bearer ", wrong),
        (almost.as_str(), wrong),
        (longer.as_str(), wrong),
        (unknown.as_str(), wrong),
    ] {
        for (method, path) in [
            ("POST", "/provision"),
            ("GET", "/containers/alice"),
            ("DELETE", "/containers/alice"),
            ("POST", "/containers/alice/resize"),
            ("POST", "/containers/alice/redeploy"),
            ("POST", "/containers/alice/start"),
            ("POST", "/containers/alice/stop"),
        ] {
            // The body is wrong, too: callers without a token must learn nothing about fields.
            let answer = refusal(&app, method, path, &[("authorization", authorization)], SENTINEL).await;
            let said = (answer.status, &answer.body["code"], &answer.body["detail"], &answer.body["field"]);
            let expected = (401, &json!("unauthorized"), &json!(detail), &Value::Null);
            assert_eq!(said, expected, "{authorization:?} {method} {path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
}

/// Incident 32: a personal user passed the organisation-admin check and could patch anybody's container.
#[tokio::test(start_paused = true)]
async fn a_read_only_token_changes_nothing() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    app.pass_seconds(3).await;
    let authorization = format!("Bearer {READ_TOKEN}");
    let read = [("authorization", authorization.as_str())];
    for (method, path, body) in [
        ("POST", "/provision", request(|_| {})),
        ("DELETE", "/containers/alice", String::new()),
        ("DELETE", "/containers/alice?data=purge", String::new()),
        ("POST", "/containers/alice/resize", json!({"cpu": 512, "memory_mib": 2048}).to_string()),
        ("POST", "/containers/alice/redeploy", json!({"force": true}).to_string()),
        ("POST", "/containers/alice/start", String::new()),
        ("POST", "/containers/alice/stop", String::new()),
    ] {
        let answer = refusal(&app, method, path, &read, body).await;
        let detail = json!("the token \"dashboard\" may not do this; it needs the scope provision");
        let said = (answer.status, &answer.body["code"], &answer.body["detail"]);
        assert_eq!(said, (403, &json!("forbidden"), &detail), "{method} {path}");
    }
    let seen = app.raw("GET", "/containers/alice", &read, Body::empty()).await;
    assert_eq!((seen.status, &seen.body["state"]), (200, &json!("running")));
}

#[tokio::test(start_paused = true)]
async fn a_route_or_method_that_is_not_there_says_so() {
    let app = TestApp::start().await;
    for path in ["/", "/nothing", "/provision/alice", "/containers/alice/explode", "/Provision"] {
        let answer = refusal(&app, "GET", path, &[], Body::empty()).await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("no_such_route")), "{path}");
    }
    for (method, path) in [
        ("GET", "/provision"),
        ("PUT", "/provision"),
        ("PATCH", "/containers/alice"),
        ("POST", "/containers/alice"),
        ("GET", "/containers/alice/resize"),
        ("DELETE", "/containers/alice/stop"),
        ("POST", "/healthz"),
    ] {
        let answer = refusal(&app, method, path, &[], Body::empty()).await;
        assert_eq!((answer.status, &answer.body["code"]), (405, &json!("method_not_allowed")), "{method} {path}");
        assert!(answer.header("allow").is_some(), "{method} {path} says which methods are there");
    }
}

#[tokio::test(start_paused = true)]
async fn a_valid_request_id_of_the_caller_is_used() {
    let app = TestApp::start().await;
    let longest = "x".repeat(128);
    for id in ["abc-123", "Root=1-67891233-abcdef012345678912345678", "a/b+c==:d.e_f", &longest] {
        let problem = app.raw("GET", "/nothing", &[("x-request-id", id)], Body::empty()).await;
        assert_eq!((problem.header("x-request-id"), &problem.body["request_id"]), (Some(id), &json!(id)));
        let fine = app.raw("GET", "/healthz", &[("x-request-id", id)], Body::empty()).await;
        assert_eq!((fine.status, fine.header("x-request-id")), (200, Some(id)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_id_that_could_spoil_a_log_is_replaced() {
    let app = TestApp::start().await;
    let too_long = "x".repeat(129);
    let mut seen = Vec::new();
    for id in ["", "a b", "a\tb", "{\"a\":1}", "<script>", "a,b", &too_long] {
        let answer = refusal(&app, "GET", "/nothing", &[("x-request-id", id)], Body::empty()).await;
        let given = answer.header("x-request-id").unwrap().to_owned();
        assert!(given.len() == 32 && given.bytes().all(|b| b.is_ascii_hexdigit()), "{given}");
        assert!(!seen.contains(&given), "every request has an id of its own");
        seen.push(given);
    }
}
