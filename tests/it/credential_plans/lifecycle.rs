//! The calls for a user's sign-in: put, show, repair, remove.

use super::*;
use crate::harness::READ_TOKEN;

async fn put(app: &TestApp, body: Value) -> crate::harness::Answer {
    app.raw("PUT", CREDENTIALS, &[], body.to_string()).await
}

async fn running(image: &str) -> TestApp {
    let app = with_base(image).await;
    app.post("/provision", signed_in_at(OLD)).await;
    app.pass_seconds(3).await;
    app
}

fn location<'a>(body: &'a Value, path: &str) -> &'a Value {
    let found = body["locations"].as_array().unwrap().iter().find(|location| location["path"] == path);
    found.unwrap_or_else(|| panic!("no {path} in {body}"))
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_is_put_kept_and_forced() {
    let app = running("o:2026.5.7").await;
    let newer = put(&app, json!({"auth": signed_in_at(NEW)["auth"]})).await;
    assert_eq!((newer.status, &newer.body["credentials"]), (200, &json!("written")), "{}", newer.body);
    let older = put(&app, json!({"auth": signed_in_at(OLD)["auth"]})).await;
    assert_eq!((older.status, &older.body["credentials_reason"]), (200, &json!("stored_issued_later")));
    let forced = put(&app, json!({"auth": signed_in_at(OLD)["auth"], "force": true})).await;
    assert_eq!(
        (&forced.body["credentials"], &forced.body["credentials_reason"]),
        (&json!("written"), &json!("forced"))
    );
    assert_eq!(refresh_tokens(&app)[1], format!("rt_{OLD}"));
    let wrong = put(&app, json!({"auth": {"auth_mode": "chatgpt"}})).await;
    assert_eq!((wrong.status, &wrong.body["field"]), (422, &json!("auth.tokens")));
    let nobody =
        app.raw("PUT", "/containers/nobody/credentials", &[], json!({"auth": signed_in_at(OLD)["auth"]}).to_string());
    assert_eq!(nobody.await.status, 404);
    assert!(!app.path("users/nobody").exists());
}

/// The gateway's token is created once, and our entries follow the release; the user's text stays, comments included.
#[tokio::test(start_paused = true)]
async fn openclaw_json_is_merged_and_follows_the_release() {
    let app = running("o:2026.4.21").await;
    let (path, configuration) = ("users/alice/openclaw.json", file(&app, "users/alice/openclaw.json"));
    let token = configuration["gateway"]["auth"]["token"].clone();
    assert_eq!((token.as_str().unwrap().len(), &configuration["gateway"]["bind"]), (64, &json!("lan")));
    assert_eq!(configuration["agents"]["defaults"]["model"]["primary"], "openai-codex/gpt-5.4");
    let commented = app.file(path).replacen('{', "{\n  // mine\n  \"channels\": {},", 1);
    std::fs::write(app.path(path), commented).unwrap();
    app.post("/containers/alice/redeploy", json!({"image": "o:2026.9.6"})).await;
    let merged = app.file(path);
    assert!(merged.contains("// mine") && merged.contains("\"channels\": {}"), "{merged}");
    assert!(merged.contains("openai/gpt-5.5") && merged.contains(token.as_str().unwrap()), "{merged}");

    std::fs::write(app.path(path), "not mergeable").unwrap();
    let again = app.post("/provision", signed_in_at(OLD)).await;
    assert_eq!((again.status, codes(&again.body)), (202, vec!["openclaw_json_left_alone"]));
    assert_eq!(app.file(path), "not mergeable");
}

/// No token, whatever is on disk.
#[tokio::test(start_paused = true)]
async fn the_answer_shows_everything_except_tokens() {
    let app = running("o:2026.5.7").await;
    std::fs::write(app.path("users/alice/agents/main/agent/auth-profiles.json.1.bak"), app.file(PROFILES)).unwrap();
    std::fs::create_dir_all(app.path("users/alice/agents/main/agent/codex-home")).unwrap();
    let stale = auth("acc_1", "rt_stale", OLD - 1);
    std::fs::write(app.path("users/alice/agents/main/agent/codex-home/auth.json"), stale.to_string()).unwrap();
    let shown = app.raw("GET", CREDENTIALS, &[("authorization", &format!("Bearer {READ_TOKEN}"))], "").await;
    assert_eq!(shown.status, 200, "{}", shown.body);
    let text = shown.body.to_string();
    for token in ["rt_", "acc_1", &jwt("acc_1", OLD), &jwt("acc_1", OLD - 1)] {
        assert!(!text.contains(token), "{token} in {text}");
    }
    let live = location(&shown.body, "agents/main/agent/auth-profiles.json#openai-codex:default");
    assert_eq!(
        (&live["authoritative"], &live["shadowing"], &live["stale"]),
        (&json!(true), &json!(false), &json!(false))
    );
    assert_eq!(live["mode"], "0600");
    assert_eq!(live["refresh_token_fingerprint"].as_str().unwrap().len(), 12);
    let codex = location(&shown.body, "codex/auth.json");
    assert_eq!((&codex["readable"], &codex["refresh_token_fingerprint"]), (&json!(true), &json!(null)));
    let copy = location(&shown.body, "agents/main/agent/auth-profiles.json.1.bak#openai-codex:default");
    assert_eq!((&copy["shadowing"], &copy["stale"]), (&json!(true), &json!(false)));
    let nested = location(&shown.body, "agents/main/agent/codex-home/auth.json");
    assert_eq!((&nested["shadowing"], &nested["stale"]), (&json!(true), &json!(true)));
    assert_eq!((&shown.body["authority"], &shown.body["reauth_required"]), (&json!("auth_profiles"), &json!(false)));
}

/// Incident 30: a stale credential elsewhere in the user's directory outranked the freshly staged one.
#[tokio::test(start_paused = true)]
async fn repairing_moves_shadowing_files_aside_and_deletes_nothing() {
    let app = running("o:2026.5.7").await;
    let live = app.file(PROFILES);
    let nested = "users/alice/agents/main/agent/codex-home/auth.json";
    std::fs::create_dir_all(app.path(nested).parent().unwrap()).unwrap();
    std::fs::write(app.path(nested), auth("acc_1", "rt_stale", OLD - 1).to_string()).unwrap();
    std::fs::write(app.path(CODEX), auth("acc_2", "rt_other", OLD).to_string()).unwrap();
    let repaired = app.post("/containers/alice/credentials/repair", json!({})).await;
    assert_eq!(repaired.status, 200, "{}", repaired.body);
    let moved = repaired.body["moved"].as_array().unwrap();
    let from: Vec<&Value> = moved.iter().map(|moved| &moved["from"]).collect();
    assert_eq!(from, [&json!("codex/auth.json"), &json!("agents/main/agent/codex-home/auth.json")]);
    for moved in moved {
        let to = app.file(&format!("users/alice/{}", moved["to"].as_str().unwrap()));
        assert!(to.contains("rt_stale") || to.contains("rt_other"));
    }
    assert_eq!(app.file(PROFILES), live);
    let again = app.post("/containers/alice/credentials/repair", json!({})).await;
    assert_eq!(again.body["moved"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_sign_out_is_refused_if_profiles_cannot_be_read() {
    let app = running("o:2026.5.7").await;
    std::fs::write(app.path(PROFILES), "{\"profiles\": {\"anthropic:default\"").unwrap();
    let refused = app.delete(CREDENTIALS).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("files_unreadable")), "{}", refused.body);
    let repaired = app.post("/containers/alice/credentials/repair", json!({})).await;
    assert_eq!(repaired.body["moved"][0]["from"], "agents/main/agent/auth-profiles.json");
    assert_eq!(app.delete(CREDENTIALS).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn removing_deletes_the_sign_in_and_keeps_other_providers() {
    let app = running("o:2026.5.7").await;
    let mut profiles = file(&app, PROFILES);
    profiles["profiles"]["anthropic:default"] = json!({"type": "api_key", "provider": "anthropic", "key": "k"});
    std::fs::write(app.path(PROFILES), profiles.to_string()).unwrap();
    let removed = app.delete(CREDENTIALS).await;
    assert_eq!(removed.status, 204);
    assert_eq!(refresh_tokens(&app), [json!(null), json!(null), json!(null)]);
    assert_eq!(file(&app, PROFILES)["profiles"]["anthropic:default"]["key"], "k");
    let shown = app.get(CREDENTIALS).await.body;
    assert_eq!((&shown["present"], &shown["reauth_required"]), (&json!(false), &json!(true)));
    let forbidden = app.raw("DELETE", CREDENTIALS, &[("authorization", &format!("Bearer {READ_TOKEN}"))], "").await;
    assert_eq!(forbidden.status, 403);
}
