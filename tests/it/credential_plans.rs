//! Sign-ins are staged where the user's release looks for them, through every change of release.

mod lifecycle;
mod store;

use openclaw::OpenClawVersion;
use serde_json::{Value, json};

use aws_emulator::{Fault, FaultKind};

use crate::harness::{TestApp, auth, jwt, provision_body, variable};

const OLD: i64 = 1_770_000_000;
const NEW: i64 = 1_771_000_000;
const CODEX: &str = "users/alice/codex/auth.json";
const PROFILES: &str = "users/alice/agents/main/agent/auth-profiles.json";
const HAND_OVER: &str = "users/alice/.provisioner/sign-in.json";
const CREDENTIALS: &str = "/containers/alice/credentials";

async fn with_base(image: &str) -> TestApp {
    let app = TestApp::start().await;
    app.register_base(|base| base["containerDefinitions"][0]["image"] = json!(image));
    app.emulator.settle();
    app.emulator.clear_calls();
    app
}

fn signed_in_at(issued_at: i64) -> Value {
    json!({"user_id": "alice", "auth": auth("acc_1", &format!("rt_{issued_at}"), issued_at)})
}

fn file(app: &TestApp, path: &str) -> Value {
    match app.path(path).exists() {
        true => serde_json::from_str(&app.file(path)).unwrap(),
        false => Value::Null,
    }
}

/// The refresh tokens: in `codex/auth.json`, in the profiles, and waiting to be imported.
fn refresh_tokens(app: &TestApp) -> [Value; 3] {
    let profiles = file(app, PROFILES);
    [
        file(app, CODEX)["tokens"]["refresh_token"].clone(),
        profiles["profiles"]["openai-codex:default"]["refresh"].clone(),
        file(app, HAND_OVER)["profile"]["refresh"].clone(),
    ]
}

fn codes(body: &Value) -> Vec<&str> {
    body["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

/// Rotates the profile in place, as the container does.
fn rotate_profile(app: &TestApp, issued_at: i64) {
    let mut profiles = file(app, PROFILES);
    for profile in profiles["profiles"].as_object_mut().unwrap().values_mut() {
        profile["access"] = json!(jwt("acc_1", issued_at));
        profile["refresh"] = json!("rt_rotated");
    }
    std::fs::write(app.path(PROFILES), profiles.to_string()).unwrap();
}

/// Acts as the entry script: the sign-in is in the store, and the file becomes a receipt.
fn import(app: &TestApp, release: &str) {
    let mut file = file(app, HAND_OVER);
    file.as_object_mut().unwrap().remove("profile").unwrap();
    file["imported_by"] = json!(release);
    std::fs::write(app.path(HAND_OVER), file.to_string()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_user_is_staged_as_the_release_of_the_base_needs_it_within_the_budget() {
    for (image, tokens) in [
        ("o:2026.4.21-slim", [json!("rt_1"), json!(null), json!(null)]),
        ("o:2026.5.7", [json!(""), json!("rt_1"), json!(null)]),
        ("o:2026.9.6", [json!(""), json!(null), json!("rt_1")]),
    ] {
        let app = with_base(image).await;
        let answer = app.provision("alice").await;
        assert_eq!((answer.status, &answer.body["credentials"]), (201, &json!("written")), "{}", answer.body);
        assert_eq!(refresh_tokens(&app), tokens);
        assert_eq!(app.calls().len(), 6, "{:?}", app.calls());
        assert_eq!(variable(&app.newest_definition(), "CODEX_HOME"), ["/home/node/.openclaw/codex"]);
        let again = app.provision("alice").await;
        assert_eq!(
            (&again.body["credentials"], &again.body["reauth_required"]),
            (&json!("kept_fresher"), &json!(false))
        );
        assert_eq!(refresh_tokens(&app), tokens);
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_shows_the_assumed_release() {
    let app = with_base("o:latest").await;
    let unknown = app.provision("alice").await;
    assert_eq!(codes(&unknown.body), ["release_unknown"]);
    assert_eq!(refresh_tokens(&app)[2], "rt_1", "the newest plan");

    app.coordinates.send_modify(|at| at.release.openclaw_version = Some(OpenClawVersion::new(2026, 8, 2)));
    let by_settings = app.provision("dave").await;
    assert_eq!((codes(&by_settings.body), &by_settings.body["openclaw_version"]), (vec![], &json!("2026.8.2")));
    app.register_base(|base| {
        base["containerDefinitions"][0]["image"] = json!("o:latest");
        let environment = base["containerDefinitions"][0]["environment"].as_array_mut().unwrap();
        environment.push(json!({"name": "OPENCLAW_VERSION", "value": "2026.5.7"}));
    });
    let by_base = app.provision("bob").await;
    assert_eq!((codes(&by_base.body), &by_base.body["openclaw_version"]), (vec![], &json!("2026.5.7")));
    assert!(app.path("users/bob/agents/main/agent/auth-profiles.json").exists());
    let mut body = provision_body("carol");
    body["image"] = json!("o:2026.4.21");
    let by_tag = app.post("/provision", body).await;
    assert_eq!((codes(&by_tag.body), &by_tag.body["openclaw_version"]), (vec![], &json!("2026.4.21")));
    assert!(!app.path("users/carol/agents").exists());
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_too_old_is_refused_before_anything_is_touched() {
    let app = with_base("o:2026.4.6").await;
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, &answer.body["field"]), (422, &json!("image")), "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("o:2026.4.6"));
    assert!(!app.path("users/alice").exists());
    assert_eq!((app.user_revisions().len(), app.services().len()), (0, 0));
}

/// The import does not depend on how the base's command is written.
#[tokio::test(start_paused = true)]
async fn the_entry_script_runs_before_the_bases_command() {
    let script = json!(["/bin/sh", "/home/node/.openclaw/.provisioner/entry.sh"]);
    let base = |entry: Value, command: Value| {
        move |base: &mut Value| {
            let container = &mut base["containerDefinitions"][0];
            container["dockerLabels"] = json!({});
            container["image"] = json!("o:2026.9.6");
            container["entryPoint"] = entry;
            container["command"] = command;
        }
    };
    for (entry, command, expected) in [
        (json!([]), json!([]), json!([])),
        (json!([]), json!(["sh", "-c", "exec openclaw gateway"]), json!(["sh", "-c", "exec openclaw gateway"])),
        (json!([]), json!(["gateway", "run"]), json!(["gateway", "run"])),
        (json!(["tini", "--"]), json!(["openclaw", "gateway"]), json!(["tini", "--", "openclaw", "gateway"])),
    ] {
        // The image's own entry point stays if the base names none, unless it is OpenClaw itself.
        let keeps_entry_point = entry == json!([]) && command != json!(["gateway", "run"]);
        let app = TestApp::start().await;
        app.register_base(base(entry, command));
        app.provision("alice").await;
        let container = app.newest_definition()["containerDefinitions"][0].clone();
        let words = |member: &str| container[member].as_array().cloned().unwrap_or_default();
        let expected = [script.as_array().unwrap().as_slice(), expected.as_array().unwrap()].concat();
        assert_eq!(words("entryPoint").is_empty(), keeps_entry_point, "{container}");
        assert_eq!([words("entryPoint"), words("command")].concat(), expected);
        for name in ["entry.sh", "import.mjs"] {
            assert!(app.file(&format!("users/alice/.provisioner/{name}")).starts_with(['#', '/']));
        }
        // A release that needs no entry script gets the base unchanged.
        app.post("/containers/alice/redeploy", json!({"image": "o:2026.4.21"})).await;
        let text = app.newest_definition()["containerDefinitions"][0].to_string();
        assert!(!text.contains("entry.sh"), "{text}");
    }
}

/// Incident 28, through every kind of change that sends no sign-in.
#[tokio::test(start_paused = true)]
async fn a_user_who_is_redeployed_resized_and_provisioned_again_stays_signed_in() {
    let app = with_base("o:2026.4.21").await;
    let mut body = signed_in_at(OLD);
    body["image"] = json!("o:2026.5.7");
    app.post("/provision", body).await;
    app.pass_seconds(3).await;
    rotate_profile(&app, NEW);
    let rotated = json!("rt_rotated");

    let resized = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert_eq!((resized.status, &resized.body["credentials"]), (202, &json!(null)), "{}", resized.body);
    assert_eq!(refresh_tokens(&app), [json!(""), rotated.clone(), json!(null)]);

    let redeployed = app.post("/containers/alice/redeploy", json!({"image": null})).await;
    assert_eq!(codes(&redeployed.body), Vec::<&str>::new());
    assert_eq!(refresh_tokens(&app), [rotated.clone(), json!(null), json!(null)]);
    let again = app.post("/provision", signed_in_at(OLD)).await;
    assert_eq!(again.body["credentials"], "kept_fresher");

    app.post("/containers/alice/redeploy", json!({"image": "o:2026.9.6"})).await;
    assert_eq!(refresh_tokens(&app), [json!(""), json!(null), rotated.clone()]);
    // Nothing was imported yet, so the user can go back.
    app.post("/containers/alice/redeploy", json!({"image": "o:2026.5.7"})).await;
    assert_eq!(refresh_tokens(&app), [json!(""), rotated, json!(null)]);
}

/// A request that is refused after the release was chosen leaves the sign-in where the running release looks for it.
#[tokio::test(start_paused = true)]
async fn no_sign_in_is_moved_for_a_release_that_is_never_deployed() {
    let app = with_base("o:2026.5.7").await;
    app.post("/provision", signed_in_at(OLD)).await;
    app.pass_seconds(3).await;
    let before = refresh_tokens(&app);
    for action in ["RegisterTaskDefinition", "UpdateService"] {
        let kind = FaultKind::Error { status: 400, code: "ClientException".into(), message: "no".into() };
        app.emulator.inject(Fault { service: None, action: action.into(), skip: 0, times: 1, kind });
        let refused = app.post("/containers/alice/redeploy", json!({"image": "o:2026.4.21"})).await;
        assert!(refused.status >= 400, "{}", refused.body);
        if action == "RegisterTaskDefinition" {
            assert_eq!(refresh_tokens(&app), before);
        }
    }
    // Moved for an update that AWS then refused: the next call of any kind moves it back.
    app.post("/containers/alice/start", json!({})).await;
    assert_eq!(refresh_tokens(&app), before);
}
