//! Real sign-ins: several accounts and persons, files of every Codex release, and the user's own settings.

mod accounts;
mod configuration;
mod documented;
mod files;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};

const ISSUED: i64 = 1_790_000_000;
const ROTATED: i64 = 1_790_086_400;
const LATER: i64 = 1_790_200_000;
const CODEX: &str = "users/alice/codex/auth.json";
const PROFILES: &str = "users/alice/agents/main/agent/auth-profiles.json";
const STATE: &str = "users/alice/agents/main/agent/auth-state.json";
const HAND_OVER: &str = "users/alice/.provisioner/sign-in.json";
const CREDENTIALS: &str = "/containers/alice/credentials";

async fn with_base(image: &str) -> TestApp {
    let app = TestApp::start().await;
    app.register_base(|base| base["containerDefinitions"][0]["image"] = json!(image));
    app
}

fn access(account: &str, issued: i64, more: &Value) -> String {
    let mut claims = json!({"chatgpt_account_id": account});
    for (name, value) in more.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    let payload = json!({"iat": issued, "exp": 4_102_444_800_i64, "https://api.openai.com/auth": claims});
    let encode = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", encode(json!({"alg": "none"})), encode(payload))
}

/// An `auth.json` for an account, with more claims.
fn auth_of(refresh: &str, account: &str, issued: i64, more: &Value) -> Value {
    let access = access(account, issued, more);
    json!({"tokens": {"access_token": access, "refresh_token": refresh, "account_id": account}})
}

fn auth(refresh: &str, account: &str, issued: i64) -> Value {
    auth_of(refresh, account, issued, &json!({}))
}

/// A profile as OpenClaw writes it.
fn profile(refresh: &str, account: &str, issued: i64) -> Value {
    json!({
        "type": "oauth", "provider": "openai-codex", "access": access(account, issued, &json!({})), "refresh": refresh,
        "expires": 4_102_444_800_000_i64, "accountId": account,
    })
}

async fn provision(app: &TestApp, auth: Value) -> Answer {
    let answer = app.post("/provision", json!({"user_id": "alice", "auth": auth})).await;
    assert!(answer.status < 300, "{}", answer.body);
    app.pass_seconds(5).await;
    answer
}

async fn put(app: &TestApp, auth: Value) -> Answer {
    app.raw("PUT", CREDENTIALS, &[], json!({"auth": auth}).to_string()).await
}

fn outcome(answer: &Answer) -> [&str; 2] {
    ["credentials", "credentials_reason"].map(|member| answer.body[member].as_str().unwrap_or("nothing"))
}

fn codes(body: &Value) -> Vec<&str> {
    body["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

fn write(app: &TestApp, path: &str, content: &Value) {
    std::fs::create_dir_all(app.path(path).parent().unwrap()).unwrap();
    std::fs::write(app.path(path), content.to_string()).unwrap();
}

fn file(app: &TestApp, path: &str) -> Value {
    match app.path(path).exists() {
        true => serde_json::from_str(&app.file(path)).unwrap(),
        false => Value::Null,
    }
}

fn write_profiles(app: &TestApp, profiles: Value) {
    write(app, PROFILES, &json!({"version": 1, "profiles": profiles}));
}

/// The refresh tokens in `auth-profiles.json`, by profile.
fn in_profiles(app: &TestApp) -> Value {
    let file = file(app, PROFILES);
    let profiles = file["profiles"].as_object().into_iter().flatten();
    profiles.map(|(id, profile)| (id.clone(), profile["refresh"].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// The refresh tokens of sign-ins that were moved aside.
fn aside(app: &TestApp) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(app.path("users/alice/.provisioner/aside")) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .map(|entry| {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let file: Value = serde_json::from_str(&text).unwrap();
            let profile = file["profiles"].as_object().and_then(|profiles| profiles.values().next()).cloned();
            let token = profile.map_or(file["tokens"]["refresh_token"].clone(), |profile| profile["refresh"].clone());
            token.as_str().unwrap().to_owned()
        })
        .collect();
    found.sort();
    found
}
