//! Changes from one provider to another.

use aws_emulator::{Fault, FaultKind};

use super::*;

const GPT_5_5: &str = "openai/gpt-5.5 on openclaw";
const ON_BEDROCK: &str = "amazon-bedrock/global.anthropic.claude-opus-4-6-v1";

/// Acts as the entry script: imports the staged sign-in.
fn import(app: &TestApp) {
    let mut file = file(app, HAND_OVER);
    file.as_object_mut().unwrap().remove("profile").unwrap();
    file["imported_by"] = json!("2026.9.6");
    std::fs::write(app.path(HAND_OVER), file.to_string()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_of_provider_removes_everything_of_the_former_one() {
    for (image, places, chatgpt, openai) in [
        (
            "o:2026.4.21",
            vec!["codex/auth.json"],
            json!(["openai-codex/gpt-5.4", [], null]),
            json!(["openai/gpt-5.4", [], null]),
        ),
        (
            "o:2026.5.7",
            vec!["agents/main/agent/auth-profiles.json", "codex/auth.json"],
            json!(["openai-codex/gpt-5.5", [], null]),
            json!(["openai/gpt-5.5", [], null]),
        ),
        (
            "o:2026.9.6",
            vec![".provisioner/sign-in.json", "codex/auth.json"],
            json!(["openai/gpt-5.5", [GPT_5_5], null]),
            json!(["openai/gpt-5.5", [GPT_5_5], null]),
        ),
    ] {
        let app = with_base(image).await;
        provisioned(&app, "chatgpt").await;
        assert_eq!(
            (with_tokens(&app), model(&app), secrets(&app)),
            (places.iter().map(|&path| path.to_owned()).collect(), chatgpt.clone(), json!({}))
        );

        provisioned(&app, "openai_key").await;
        assert_eq!((with_tokens(&app), model(&app)), (vec![], openai), "{image}");
        assert_eq!(secrets(&app), request("openai_key")["secrets"]);

        provisioned(&app, "bedrock").await;
        // The other secret is the user's own.
        assert_eq!((with_tokens(&app), secrets(&app)), (vec![], json!({"OTHER": OPENAI})));
        assert_eq!(model(&app), json!([ON_BEDROCK, [], true]));

        let back = provisioned(&app, "chatgpt").await;
        assert_eq!((&back.body["credentials"], &back.body["reauth_required"]), (&json!("written"), &json!(false)));
        assert_eq!((with_tokens(&app), model(&app)), (places.iter().map(|&path| path.to_owned()).collect(), chatgpt));
        assert_eq!(secrets(&app), json!({"OTHER": OPENAI}));
    }
}

#[tokio::test(start_paused = true)]
async fn the_users_entries_in_openclaw_json_stay_through_all_providers() {
    let app = with_base("o:2026.9.6").await;
    provisioned(&app, "chatgpt").await;
    let commented = app.file(OPENCLAW_JSON).replacen('{', "{\n  // mine\n  \"channels\": {},", 1);
    std::fs::write(app.path(OPENCLAW_JSON), &commented).unwrap();
    for provider in ["bedrock", "anthropic_key", "openai_key", "chatgpt"] {
        provisioned(&app, provider).await;
        assert!(app.file(OPENCLAW_JSON).contains("  // mine\n  \"channels\": {},"), "{provider}");
    }
    assert!(!app.file(OPENCLAW_JSON).contains("amazon-bedrock"));
    // No provider changes a model that the user chose.
    std::fs::write(app.path(OPENCLAW_JSON), commented.replace("\"openai/gpt-5.5\"", "\"openai/gpt-9\"")).unwrap();
    provisioned(&app, "anthropic_key").await;
    let kept = app.file(OPENCLAW_JSON);
    assert!(kept.contains("\"openai/gpt-9\"") && !kept.contains("anthropic"), "{kept}");
}

/// Only the container can remove a sign-in from its store; the order waits for the container, and the next sign-in replaces the order.
#[tokio::test(start_paused = true)]
async fn a_store_gets_orders_to_forget_the_sign_in_and_to_import_the_next() {
    let app = with_base("o:2026.9.6").await;
    provisioned(&app, "chatgpt").await;
    import(&app);
    provisioned(&app, "anthropic_key").await;
    assert_eq!((with_tokens(&app), &file(&app, HAND_OVER)["sign_out"]), (vec![], &json!(true)));
    app.emulator.clear_calls();
    app.post("/provision", json!({"user_id": "alice"})).await;
    assert_eq!(app.calls().iter().filter(|call| *call == "ecs:UpdateService").count(), 0, "told once");
    // The same sign-in as before.
    provisioned(&app, "chatgpt").await;
    assert_eq!(file(&app, HAND_OVER)["profile"]["refresh"], "rt_1");
}

#[tokio::test(start_paused = true)]
async fn credentials_of_another_provider_can_be_shown_and_removed_but_not_put() {
    let app = with_base("o:2026.5.7").await;
    provisioned(&app, "chatgpt").await;
    let shown = app.get(CREDENTIALS).await.body;
    assert_eq!((&shown["provider"], &shown["authority"]), (&json!("chatgpt"), &json!("auth_profiles")));
    provisioned(&app, "openai_key").await;
    std::fs::write(app.path(CODEX), auth("acc_1", "rt_own", ISSUED).to_string()).unwrap();
    let shown = app.get(CREDENTIALS).await.body;
    assert_eq!((&shown["provider"], &shown["authority"]), (&json!("openai_key"), &json!(null)));
    assert_eq!(shown["reauth_required"], false);
    let stray = shown["locations"].as_array().unwrap().iter().find(|location| location["path"] == "codex/auth.json");
    assert_eq!((&stray.unwrap()["authoritative"], &stray.unwrap()["shadowing"]), (&json!(false), &json!(true)));

    let before = app.files();
    app.emulator.clear_calls();
    let put = app.raw("PUT", CREDENTIALS, &[], json!({"auth": auth("acc_1", "rt_1", ISSUED)}).to_string()).await;
    assert_eq!((put.status, &put.body["field"]), (422, &json!("auth")), "{}", put.body);
    assert!(put.body["detail"].as_str().unwrap().contains("openai_key"), "{}", put.body);
    assert_eq!(put.body["fix"], "leave it out, or POST /provision with it and `provider` chatgpt");
    assert!(app.files() == before && !app.emulator.calls().iter().any(|call| call.mutating));

    assert_eq!(app.delete(CREDENTIALS).await.status, 204);
    assert_eq!(with_tokens(&app), Vec::<String>::new());
}

/// If AWS refuses the change, the next provision makes it; until then the service runs as before.
#[tokio::test(start_paused = true)]
async fn a_change_that_fails_at_any_step_is_finished_by_the_next_provision() {
    for (action, moved) in [("RegisterTaskDefinition", false), ("UpdateService", true)] {
        let app = with_base("o:2026.4.21").await;
        provisioned(&app, "chatgpt").await;
        let kind = FaultKind::Error { status: 400, code: "ClientException".into(), message: "no".into() };
        app.emulator.inject(Fault { service: None, action: action.into(), skip: 0, times: 1, kind });
        let refused = app.post("/provision", request("openai_key")).await;
        assert_eq!(refused.status, 502, "{}", refused.body);
        assert_eq!(
            (app.path(CODEX).exists(), app.get("/containers/alice").await.body["provider"].clone()),
            (!moved, json!("chatgpt"))
        );
        provisioned(&app, "openai_key").await;
        assert_eq!((with_tokens(&app), secrets(&app)), (vec![], request("openai_key")["secrets"].clone()));
        assert_eq!(model(&app)[0], "openai/gpt-5.4");
    }
}
