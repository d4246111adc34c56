//! Users' own configuration, in addition to the staged sign-in.

use super::*;

const OPENCLAW_JSON: &str = "users/alice/openclaw.json";

async fn with_configuration(image: &str, configuration: Value) -> (TestApp, Value) {
    let app = with_base(image).await;
    provision(&app, auth("rt_1", "home", ISSUED)).await;
    write(&app, OPENCLAW_JSON, &configuration);
    let answer = provision(&app, auth("rt_1", "home", ISSUED)).await;
    assert_eq!(outcome(&answer)[0], "kept_fresher");
    (app, answer.body)
}

fn messages(body: &Value) -> Vec<&str> {
    body["warnings"].as_array().unwrap().iter().map(|warning| warning["message"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_would_not_start_is_changed_and_each_value_is_named_once() {
    let gateway = json!({
        "mode": "local", "bind": "loopback", "tailscale": {"mode": "serve"},
        "auth": {"mode": "token", "token": "chosen-by-the-user"},
    });
    let (app, body) = with_configuration("o:2026.9.6", json!({"gateway": gateway})).await;
    assert_eq!(codes(&body), ["openclaw_json_overridden"; 2], "{body}");
    for (message, path) in messages(&body).into_iter().zip(["gateway.bind", "gateway.tailscale.mode"]) {
        assert!(message.starts_with(path), "{message}");
    }
    let after = file(&app, OPENCLAW_JSON)["gateway"].clone();
    assert_eq!((&after["bind"], &after["tailscale"]["mode"]), (&json!("lan"), &json!("off")));
    assert_eq!(after["auth"], json!({"mode": "token", "token": "chosen-by-the-user"}));
    assert_eq!(codes(&provision(&app, auth("rt_1", "home", ISSUED)).await.body), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn the_users_password_is_kept_and_the_answer_has_no_token() {
    let gateway = json!({"auth": {"mode": "password", "password": "theirs"}});
    let (app, body) = with_configuration("o:2026.9.6", json!({"gateway": gateway})).await;
    assert_eq!(codes(&body), ["openclaw_json_kept"]);
    assert_eq!(file(&app, OPENCLAW_JSON)["gateway"]["auth"], gateway["auth"]);
    let shown = app.get("/containers/alice/gateway").await;
    assert_eq!((shown.status, &shown.body["token"]), (200, &Value::Null), "{}", shown.body);
    let rotated = app.post("/containers/alice/gateway/rotate", json!({})).await;
    assert_eq!(rotated.status, 409, "{}", rotated.body);
    assert_eq!(file(&app, OPENCLAW_JSON)["gateway"]["auth"], gateway["auth"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_of_profiles_without_the_staged_one_gets_it_first() {
    let order = json!({"auth": {"order": {"openai-codex": ["openai-codex:other"]}}});
    let (app, body) = with_configuration("o:2026.5.7", order).await;
    assert_eq!(codes(&body), ["auth_order_changed"]);
    let after = file(&app, OPENCLAW_JSON)["auth"]["order"]["openai-codex"].clone();
    assert_eq!(after, json!(["openai-codex:default", "openai-codex:other"]));
}

/// Seen on 2026.5.7: an agent without a sign-in of its own uses that of `main`.
#[tokio::test(start_paused = true)]
async fn an_agent_with_its_own_sign_in_gives_a_warning_in_the_answer() {
    let agents = json!({"agents": {"list": [{"id": "main"}, {"id": "work", "default": true}]}});
    let (app, body) = with_configuration("o:2026.5.7", agents.clone()).await;
    assert_eq!(codes(&body), Vec::<&str>::new());
    let own = json!({"version": 1, "profiles": {"openai-codex:default": profile("rt_own", "home", ISSUED)}});
    write(&app, "users/alice/agents/work/agent/auth-profiles.json", &own);
    for body in [
        provision(&app, auth("rt_1", "home", ISSUED)).await.body,
        put(&app, auth("rt_1", "home", ISSUED)).await.body,
        app.get(CREDENTIALS).await.body,
    ] {
        assert_eq!(codes(&body), ["agent_reads_elsewhere"], "{body}");
        assert!(messages(&body)[0].contains("agents/work/agent/auth-profiles.json"));
    }
}
