//! Users are signed in where the release that they run looks for it, through every change of release.

use serde_json::{Value, json};

use crate::harness::{TOKEN, TestApp, auth, jwt, provision_body, variable};

const OLD: i64 = 1_770_000_000;
const NEW: i64 = 1_771_000_000;
const PROFILES: &str = "users/alice/agents/main/agent/auth-profiles.json";
const CREDENTIALS: &str = "/containers/alice/credentials";

async fn with_base(image: &str) -> TestApp {
    let app = TestApp::start().await;
    app.register_base(|base| base["containerDefinitions"][0]["image"] = json!(image));
    app.emulator.clear_calls();
    app
}

fn pinned(image: &str, issued_at: i64) -> Value {
    json!({"user_id": "alice", "auth": auth("acc_1", &format!("rt_{issued_at}"), issued_at), "image": image})
}

fn file(app: &TestApp, path: &str) -> Value {
    serde_json::from_str(&app.file(path)).unwrap()
}

/// The live refresh tokens: in `codex/auth.json`, and in the profiles.
fn refresh_tokens(app: &TestApp) -> (String, String) {
    let codex = file(app, "users/alice/codex/auth.json")["tokens"]["refresh_token"].as_str().unwrap().to_owned();
    let profiles = match app.path(PROFILES).exists() {
        true => file(app, PROFILES)["profiles"].as_object().unwrap().clone(),
        false => serde_json::Map::new(),
    };
    let tokens = profiles.iter().map(|(id, profile)| format!("{id} {}", profile["refresh"].as_str().unwrap()));
    (codex, tokens.collect())
}

fn codes(body: &Value) -> Vec<&str> {
    body["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

/// What the container does with the profile: in place.
fn rotate_profile(app: &TestApp, issued_at: i64) {
    let mut profiles = file(app, PROFILES);
    for profile in profiles["profiles"].as_object_mut().unwrap().values_mut() {
        profile["access"] = json!(jwt("acc_1", issued_at));
        profile["refresh"] = json!("rt_rotated");
    }
    std::fs::write(app.path(PROFILES), profiles.to_string()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_user_is_staged_as_the_release_of_the_base_needs_it_within_the_budget() {
    for (image, tokens, model) in [
        ("o:2026.4.21-slim", ("rt_1", ""), "openai-codex/gpt-5.4"),
        ("o:2026.5.7", ("", "openai-codex:default rt_1"), "openai-codex/gpt-5.5"),
        ("o:2026.9.6", ("", "openai:default rt_1"), "openai/gpt-5.5"),
    ] {
        let app = with_base(image).await;
        let answer = app.provision("alice").await;
        assert_eq!((answer.status, &answer.body["credentials"]), (201, &json!("written")), "{}", answer.body);
        assert_eq!(refresh_tokens(&app), (tokens.0.to_owned(), tokens.1.to_owned()));
        let configuration = file(&app, "users/alice/openclaw.json");
        assert_eq!(configuration["gateway"]["bind"], "lan");
        assert_eq!(configuration["agents"]["defaults"]["model"]["primary"], model);
        assert_eq!(app.calls().len(), 5, "{:?}", app.calls());
        assert_eq!(variable(&app.newest_definition(), "CODEX_HOME"), ["/home/node/.openclaw/codex"]);

        let again = app.provision("alice").await;
        assert_eq!(again.body["credentials"], "kept_fresher");
        assert_eq!(file(&app, "users/alice/openclaw.json"), configuration);
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_says_what_may_keep_a_user_from_being_signed_in() {
    let app = with_base("o:latest").await;
    let unknown = app.provision("alice").await;
    assert_eq!(codes(&unknown.body), ["release_unknown", "import_not_seen"]);
    assert_eq!(refresh_tokens(&app).1, "openai:default rt_1");

    app.register_base(|base| {
        base["containerDefinitions"][0]["image"] = json!("o:latest");
        let environment = base["containerDefinitions"][0]["environment"].as_array_mut().unwrap();
        environment.push(json!({"name": "OPENCLAW_VERSION", "value": "2026.5.7"}));
    });
    let known = app.provision("bob").await;
    assert_eq!(codes(&known.body), Vec::<&str>::new());
    assert!(app.path("users/bob/agents/main/agent/auth-profiles.json").exists());
    let mut body = provision_body("carol");
    body["image"] = json!("o:2026.4.21");
    let pinned = app.post("/provision", body).await;
    assert_eq!(codes(&pinned.body), Vec::<&str>::new());
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

/// Incident 28, through every kind of change that sends no sign-in.
#[tokio::test(start_paused = true)]
async fn a_user_who_is_redeployed_resized_and_provisioned_again_stays_signed_in() {
    let app = with_base("o:2026.4.21").await;
    app.post("/provision", pinned("o:2026.5.7", OLD)).await;
    app.pass_seconds(3).await;
    rotate_profile(&app, NEW);

    let resized = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert_eq!((resized.status, &resized.body["credentials"]), (202, &json!(null)), "{}", resized.body);
    assert_eq!(refresh_tokens(&app), (String::new(), "openai-codex:default rt_rotated".to_owned()));

    let redeployed = app.post("/containers/alice/redeploy", json!({"image": null})).await;
    assert_eq!(codes(&redeployed.body), Vec::<&str>::new());
    assert_eq!(refresh_tokens(&app), ("rt_rotated".to_owned(), String::new()));

    let provisioned = app.post("/provision", pinned("o:2026.8.2", OLD)).await;
    assert_eq!(provisioned.body["credentials"], "kept_fresher");
    assert_eq!(refresh_tokens(&app), (String::new(), "openai:default rt_rotated".to_owned()));
}

/// The container of the old release goes on running, so its sign-in must stay where it is.
#[tokio::test(start_paused = true)]
async fn a_redeploy_to_an_image_that_does_not_exist_moves_no_sign_in() {
    let app = with_base("o:2026.4.21").await;
    app.provision("alice").await;
    let image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/openclaw:2026.5.7";
    let answer = app.post("/containers/alice/redeploy", json!({"image": image})).await;
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("image_not_found")), "{}", answer.body);
    assert_eq!(refresh_tokens(&app), ("rt_1".to_owned(), String::new()));
}

#[tokio::test(start_paused = true)]
async fn what_only_a_database_holds_is_not_carried_back_and_the_answer_says_so() {
    let app = with_base("o:2026.8.2").await;
    app.provision("alice").await;
    std::fs::remove_file(app.path(PROFILES)).unwrap();
    std::fs::create_dir(app.path("users/alice/state")).unwrap();
    std::fs::write(app.path("users/alice/state/openclaw.sqlite"), "SQLite").unwrap();
    let again = app.provision("alice").await;
    assert_eq!(again.body["credentials_reason"], "same_sign_in");
    assert!(!app.path(PROFILES).exists());
    assert_eq!(app.get("/containers/alice").await.body["credentials"], "present");

    let back = app.post("/containers/alice/redeploy", json!({"image": "o:2026.5.7"})).await;
    assert_eq!(codes(&back.body), ["sign_in_not_carried_over"]);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_is_put_shown_and_removed_without_any_token_in_an_answer() {
    let app = with_base("o:2026.5.7").await;
    let put = |issued_at: i64, force: bool| {
        let body = json!({"auth": auth("acc_1", &format!("rt_{issued_at}"), issued_at), "force": force});
        app.raw("PUT", CREDENTIALS, &[], body.to_string())
    };
    for nobody in [put(OLD, false).await, app.get(CREDENTIALS).await] {
        assert_eq!((nobody.status, &nobody.body["code"]), (404, &json!("container_not_found")));
    }
    app.post("/provision", pinned("o:2026.5.7", OLD)).await;
    let said = |answer: &crate::harness::Answer| (answer.status, answer.body["credentials"].clone());
    assert_eq!(said(&put(NEW, false).await), (200, json!("written")));
    assert_eq!(said(&put(OLD, false).await), (200, json!("kept_fresher")));
    assert_eq!(refresh_tokens(&app).1, format!("openai-codex:default rt_{NEW}"));
    assert_eq!(said(&put(OLD, true).await), (200, json!("written")));

    std::fs::write(app.path("users/alice/codex/auth.json"), auth("acc_2", "rt_other", NEW).to_string()).unwrap();
    let shown = app.get(CREDENTIALS).await;
    let text = shown.body.to_string();
    assert!(!text.contains("rt_") && !text.contains("eyJ") && !text.contains("acc_"), "{text}");
    assert_eq!(
        (&shown.body["authority"], &shown.body["openclaw_version"]),
        (&json!("auth_profiles"), &json!("2026.5.7"))
    );
    let locations: Vec<Value> = shown.body["locations"].as_array().unwrap().clone();
    let words = |location: &Value| {
        let is = |member: &str| if location[member] == json!(true) { member.to_owned() } else { "-".to_owned() };
        format!("{} {} {} {}", location["path"].as_str().unwrap(), is("present"), is("authoritative"), is("shadowing"))
    };
    assert_eq!(
        locations.iter().map(words).collect::<Vec<_>>(),
        [
            "codex/auth.json present - shadowing",
            "agents/main/agent/auth-profiles.json#openai-codex:default present authoritative -",
            "agents/main/agent/openclaw-agent.sqlite - - -",
            "state/openclaw.sqlite - - -",
        ]
    );
    assert_eq!((&locations[1]["mode"], &locations[1]["issued_at"]), (&json!("0600"), &json!("2026-02-02T02:40:00Z")));

    for _ in 0..2 {
        assert_eq!(app.delete(CREDENTIALS).await.status, 204);
    }
    assert!(!app.path(PROFILES).exists() && !app.path("users/alice/codex/auth.json").exists());
    assert_eq!(app.get("/containers/alice").await.body["credentials"], "missing");
}

#[tokio::test(start_paused = true)]
async fn credentials_need_a_sound_body_and_a_token_that_may_write() {
    let app = with_base("o:2026.5.7").await;
    app.provision("alice").await;
    let read_only = format!("Bearer {}", crate::harness::READ_TOKEN);
    let forbidden = app.raw("PUT", CREDENTIALS, &[("authorization", &read_only)], "{}").await;
    assert_eq!(forbidden.status, 403);
    assert_eq!(app.raw("GET", CREDENTIALS, &[("authorization", &read_only)], "").await.status, 200);
    for (body, field) in [
        (json!({"auth": {"auth_mode": "api"}}), "auth.auth_mode"),
        (json!({"auth": auth("a", "r", OLD), "token": TOKEN}), "token"),
        (json!({}), "auth"),
    ] {
        let refused = app.raw("PUT", CREDENTIALS, &[], body.to_string()).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{}", refused.body);
    }
    let unchanged = app.get("/containers/alice").await;
    assert_eq!(unchanged.body["credentials"], "present");
}
