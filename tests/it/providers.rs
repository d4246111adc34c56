//! Users of providers other than ChatGPT: what each needs, and what a change of provider removes.

mod changing;
mod openclaw_version;
mod refused;

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, auth, jwt, variable};

const OPENAI: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai";
const ANTHROPIC: &str = "arn:aws:ssm:us-east-1:123456789012:parameter/anthropic";
const ISSUED: i64 = 1_770_000_000;
const CODEX: &str = "users/alice/codex/auth.json";
const PROFILES: &str = "users/alice/agents/main/agent/auth-profiles.json";
const HAND_OVER: &str = "users/alice/.provisioner/sign-in.json";
const OPENCLAW_JSON: &str = "users/alice/openclaw.json";
const CREDENTIALS: &str = "/containers/alice/credentials";

async fn with_base(image: &str) -> TestApp {
    let app = TestApp::start().await;
    base(&app, image);
    app.emulator.settle();
    app.emulator.clear_calls();
    app
}

fn base(app: &TestApp, image: &str) {
    app.register_base(|base| base["containerDefinitions"][0]["image"] = json!(image));
}

/// The provision request of each provider, with its sign-in or key.
fn request(provider: &str) -> Value {
    let mut body = json!({"user_id": "alice", "provider": provider});
    match provider {
        "chatgpt" => body["auth"] = auth("acc_1", "rt_1", ISSUED),
        "openai_key" => body["secrets"] = json!({"OPENAI_API_KEY": OPENAI, "OTHER": OPENAI}),
        "anthropic_key" => body["secrets"] = json!({"ANTHROPIC_API_KEY": ANTHROPIC, "OTHER": OPENAI}),
        "bedrock" => {}
        other => panic!("{other}"),
    }
    body
}

async fn provisioned(app: &TestApp, provider: &str) -> Answer {
    let answer = app.post("/provision", request(provider)).await;
    assert!((200..300).contains(&answer.status), "{provider}: {}", answer.body);
    assert_eq!(answer.body["provider"], provider);
    app.pass_seconds(5).await;
    answer
}

fn file(app: &TestApp, path: &str) -> Value {
    match app.path(path).exists() {
        true => serde_json::from_str(&app.file(path)).unwrap(),
        false => Value::Null,
    }
}

/// Files that contain the sign-in.
fn with_tokens(app: &TestApp) -> Vec<String> {
    let files = app.files().into_iter();
    let found = files.filter(|(_, bytes)| String::from_utf8_lossy(bytes).contains(&jwt("acc_1", ISSUED)));
    found.map(|(path, _)| path.strip_prefix(app.path("users/alice")).unwrap().display().to_string()).collect()
}

/// The model, its runtime and whether models on Bedrock are looked for, in `openclaw.json`.
fn model(app: &TestApp) -> Value {
    let file = file(app, OPENCLAW_JSON);
    let defaults = &file["agents"]["defaults"];
    let runtimes: Vec<String> = defaults["models"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(model, entry)| format!("{model} on {}", entry["agentRuntime"]["id"].as_str().unwrap()))
        .collect();
    let discovery = &file["plugins"]["entries"]["amazon-bedrock"]["config"]["discovery"]["enabled"];
    json!([defaults["model"]["primary"], runtimes, discovery])
}

/// Names and ARNs of the secrets that the service's container gets, without the base's own.
fn secrets(app: &TestApp) -> Value {
    let definition = app.newest_definition();
    let secrets = definition["containerDefinitions"][0]["secrets"].as_array().unwrap();
    let own = secrets.iter().filter(|secret| secret["name"] != "BASE_SECRET");
    own.map(|secret| (secret["name"].as_str().unwrap().to_owned(), secret["valueFrom"].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn codes(body: &Value) -> Vec<&str> {
    body["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_new_user_of_each_provider_gets_what_it_needs_and_no_sign_in_within_the_budget() {
    for (image, provider, expected) in [
        ("o:2026.4.7", "openai_key", json!(["openai/gpt-5.4", [], null])),
        ("o:2026.4.7", "anthropic_key", json!(["anthropic/claude-sonnet-4-6", [], null])),
        ("o:2026.4.7", "bedrock", json!(["amazon-bedrock/global.anthropic.claude-opus-4-6-v1", [], true])),
        ("o:2026.5.12", "openai_key", json!(["openai/gpt-5.5", ["openai/gpt-5.5 on pi"], null])),
        ("o:2026.9.6", "openai_key", json!(["openai/gpt-5.5", ["openai/gpt-5.5 on openclaw"], null])),
        ("o:2026.9.6", "anthropic_key", json!(["anthropic/claude-opus-5", [], null])),
        ("o:2026.9.6", "bedrock", json!(["amazon-bedrock/global.anthropic.claude-opus-4-6-v1", [], true])),
    ] {
        let app = with_base(image).await;
        let answer = app.post("/provision", request(provider)).await;
        assert_eq!((answer.status, app.calls().len()), (201, 6), "{}", answer.body);
        assert_eq!((&answer.body["provider"], &answer.body["credentials"]), (&json!(provider), &json!(null)));
        let is_plugin = (image, provider) == ("o:2026.9.6", "bedrock");
        // The fixture's base keeps the task role from the agent.
        let without_role = (provider == "bedrock").then_some("bedrock_without_role");
        let warnings: Vec<_> = is_plugin.then_some("bedrock_plugin_needed").into_iter().chain(without_role).collect();
        assert_eq!(
            (&answer.body["reauth_required"], codes(&answer.body)),
            (&json!(false), warnings),
            "{image} {provider}"
        );
        assert_eq!(model(&app), expected, "{image}");
        assert_eq!(secrets(&app), request(provider).get("secrets").cloned().unwrap_or_else(|| json!({})));
        assert_eq!(with_tokens(&app), Vec::<String>::new());
        // Codex needs the directory.
        assert!(app.path("users/alice/codex").is_dir());
        let definition = app.newest_definition();
        assert_eq!(variable(&definition, "CODEX_HOME"), ["/home/node/.openclaw/codex"]);
        let entry = definition["containerDefinitions"][0].to_string().contains("/.provisioner/entry.sh");
        assert_eq!(entry, app.path("users/alice/.provisioner/entry.sh").exists(), "{image}");

        app.pass_seconds(5).await;
        app.emulator.clear_calls();
        let again = app.post("/provision", json!({"user_id": "alice"})).await;
        assert_eq!((again.status, &again.body["provider"]), (200, &json!(provider)), "{}", again.body);
        assert!(!app.emulator.calls().iter().any(|call| call.mutating), "{:?}", app.calls());
        let seen = app.get("/containers/alice").await.body;
        assert_eq!((&seen["provider"], &seen["credentials"]), (&json!(provider), &json!("not_needed")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_provider_and_its_key_stay_through_resize_redeploy_stop_and_start() {
    for provider in ["openai_key", "anthropic_key", "bedrock"] {
        let app = with_base("o:2026.4.21").await;
        provisioned(&app, provider).await;
        let kept = secrets(&app);
        base(&app, "o:2026.5.7");
        for (action, body) in [
            ("redeploy", json!({})),
            ("resize", json!({"cpu": 1024, "memory_mib": 4096})),
            ("redeploy", json!({"image": "o:2026.9.6", "force": true})),
            ("stop", json!({})),
            ("start", json!({})),
        ] {
            // The container, or its tenant, has signed in meanwhile.
            std::fs::write(app.path(CODEX), auth("acc_1", "rt_own", ISSUED).to_string()).unwrap();
            let answer = app.post(&format!("/containers/alice/{action}"), body).await;
            assert_eq!((answer.status, &answer.body["provider"]), (202, &json!(provider)), "{action}: {}", answer.body);
            assert_eq!(
                (secrets(&app), app.path(CODEX).exists()),
                (kept.clone(), action == "stop"),
                "{provider} {action}"
            );
            app.pass_seconds(5).await;
        }
        let last = model(&app);
        let expected = with_base("o:2026.9.6").await;
        provisioned(&expected, provider).await;
        assert_eq!(last, model(&expected), "the model follows the release");
    }
}

/// Files that the tenant broke must not block an operator's change.
#[tokio::test(start_paused = true)]
async fn profiles_that_cannot_be_read_are_moved_aside() {
    let app = with_base("o:2026.5.7").await;
    provisioned(&app, "openai_key").await;
    std::fs::create_dir_all(app.path(PROFILES).parent().unwrap()).unwrap();
    std::fs::write(app.path(PROFILES), "{\"profiles\"").unwrap();
    let resized = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert_eq!((resized.status, codes(&resized.body)), (202, vec!["auth_profiles_unreadable"]), "{}", resized.body);
    let kept = app.files().into_iter().filter(|(_, bytes)| bytes == b"{\"profiles\"").count();
    assert_eq!((app.path(PROFILES).exists(), kept), (false, 1));
}
