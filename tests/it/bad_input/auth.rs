//! The `auth` member: everything in it is a secret until proven otherwise.

use serde_json::{Value, json};

use super::{SENTINEL, refusals, request};
use crate::harness::TestApp;

fn with_auth(value: Value) -> String {
    request(|body| body["auth"] = value)
}

fn with_token(name: &str, value: Value) -> String {
    request(|body| body["auth"]["tokens"][name] = value)
}

fn without_token(name: &str) -> String {
    request(|body| drop(body["auth"]["tokens"].as_object_mut().unwrap().remove(name)))
}

#[tokio::test(start_paused = true)]
async fn an_auth_that_is_not_a_sign_in_is_refused() {
    let app = TestApp::start().await;
    let bodies = [
        with_auth(json!(SENTINEL)),
        with_auth(json!([SENTINEL])),
        with_auth(json!({})),
        with_auth(json!({"auth_mode": "chatgpt"})),
        with_auth(json!({"auth_mode": "chatgpt", "tokens": SENTINEL})),
        with_auth(json!({"auth_mode": "chatgpt", "tokens": [SENTINEL]})),
        with_auth(json!({"auth_mode": "chatgpt", "tokens": {}})),
        with_auth(json!({"auth_mode": "apikey", "OPENAI_API_KEY": SENTINEL})),
        request(|body| body["auth"]["auth_mode"] = json!(SENTINEL)),
        request(|body| body["auth"]["auth_mode"] = json!("ChatGPT")),
        request(|body| body["auth"]["auth_mode"] = json!(["chatgpt"])),
        request(|body| body["auth"]["OPENAI_API_KEY"] = json!(SENTINEL)),
        // As old Codex CLIs wrote it without `auth_mode`, with a key that the CLI would use.
        request(|body| {
            let auth = body["auth"].as_object_mut().unwrap();
            auth.remove("auth_mode");
            auth.insert("OPENAI_API_KEY".into(), json!(SENTINEL));
        }),
    ];
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field auth: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.tokens: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.tokens: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.tokens: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.tokens: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.tokens.access_token: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.auth_mode: send "chatgpt" or leave it out; other sign-ins are not staged as auth.json
    422 invalid_field auth.auth_mode: send "chatgpt" or leave it out; other sign-ins are not staged as auth.json
    422 invalid_field auth.auth_mode: send "chatgpt" or leave it out; other sign-ins are not staged as auth.json
    422 invalid_field auth.auth_mode: send "chatgpt" or leave it out; other sign-ins are not staged as auth.json
    422 invalid_field auth.OPENAI_API_KEY: take it out of the file, or send null, to stage the ChatGPT sign-in; an API key goes into `secrets`, with the provider openai_key
    422 invalid_field auth.OPENAI_API_KEY: take it out of the file, or send null, to stage the ChatGPT sign-in; an API key goes into `secrets`, with the provider openai_key
    "#);
}

/// Codex and its tools add members, so unknown ones are accepted; but a misspelled token counts as missing.
#[tokio::test(start_paused = true)]
async fn a_token_under_another_name_is_missing() {
    let app = TestApp::start().await;
    let body = request(|body| {
        let tokens = body["auth"]["tokens"].as_object_mut().unwrap();
        let token = tokens.remove("refresh_token").unwrap();
        tokens.insert("refesh_token".into(), token);
    });
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", [body]).await, @"422 invalid_field auth.tokens.refresh_token: copy it unchanged from the sign-in's auth.json");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_missing_is_named() {
    let app = TestApp::start().await;
    let bodies = [
        without_token("access_token"),
        without_token("refresh_token"),
        with_token("access_token", Value::Null),
        with_token("refresh_token", Value::Null),
        // Neither token is a JWT, so account and issue time are unknown.
        request(|body| {
            body["auth"]["tokens"] = json!({"access_token": SENTINEL, "refresh_token": SENTINEL});
        }),
    ];
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field auth.tokens.access_token: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.tokens.refresh_token: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.tokens.access_token: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.tokens.refresh_token: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.tokens.id_token: send it: the access token is not a JWT either
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_would_fail_in_the_container_is_refused_here() {
    let app = TestApp::start().await;
    for name in ["access_token", "refresh_token", "id_token", "account_id"] {
        let values = [
            json!(""),
            json!(format!("{SENTINEL}\n")),
            json!(format!(" {SENTINEL}")),
            json!(format!("{SENTINEL}\u{0}")),
            json!(format!("{SENTINEL}é")),
            json!(format!("{SENTINEL}{}", "x".repeat(16 * 1024))),
            json!([SENTINEL]),
            json!({ SENTINEL: SENTINEL }),
            json!(1),
            json!(true),
        ];
        for value in values {
            let line = refusals(&app, "POST", "/provision", [with_token(name, value.clone())]).await;
            let field = format!("auth.tokens.{name}");
            let expected = format!("422 invalid_field {field}: copy it unchanged from the sign-in's auth.json");
            assert_eq!(line, expected, "{value}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_token_that_is_not_a_jwt_and_an_invalid_time_are_refused() {
    let app = TestApp::start().await;
    let times = [json!(SENTINEL), json!("2026-04-25"), json!("2026-04-25T10:00:00"), json!(1_770_000_000), json!([])];
    let times = times.map(|time| request(|body| body["auth"]["last_refresh"] = time));
    let bodies = [with_token("id_token", json!(SENTINEL))].into_iter().chain(times);
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field auth.tokens.id_token: copy it unchanged from the sign-in's auth.json
    422 invalid_field auth.last_refresh: use a form such as 2026-04-25T10:00:00Z, or leave it out
    422 invalid_field auth.last_refresh: use a form such as 2026-04-25T10:00:00Z, or leave it out
    422 invalid_field auth.last_refresh: use a form such as 2026-04-25T10:00:00Z, or leave it out
    422 invalid_field auth.last_refresh: use a form such as 2026-04-25T10:00:00Z, or leave it out
    422 invalid_field auth.last_refresh: use a form such as 2026-04-25T10:00:00Z, or leave it out
    "#);
}
