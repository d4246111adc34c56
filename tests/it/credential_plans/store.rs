//! Releases that import the sign-in into their own store.

use super::*;

async fn imported() -> TestApp {
    let app = with_base("o:2026.9.6").await;
    app.post("/provision", signed_in_at(OLD)).await;
    app.pass_seconds(3).await;
    import(&app, "2026.9.6");
    app.emulator.clear_calls();
    app
}

fn restarts(app: &TestApp) -> usize {
    app.calls().iter().filter(|call| *call == "ecs:UpdateService").count()
}

/// Incident 28, when the rotated token is not visible: the receipt shows which is older.
#[tokio::test(start_paused = true)]
async fn a_sign_in_that_was_imported_is_not_imported_again() {
    let app = imported().await;
    for _ in 0..2 {
        let again = app.post("/provision", signed_in_at(OLD)).await;
        assert_eq!((again.status, &again.body["credentials"]), (200, &json!("kept_fresher")), "{}", again.body);
        assert_eq!(again.body["credentials_reason"], "same_sign_in");
    }
    app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert_eq!(refresh_tokens(&app), [json!(""), json!(null), json!(null)]);
    assert_eq!(file(&app, HAND_OVER)["imported_by"], "2026.9.6");
}

/// The store is read only at the start of a task.
#[tokio::test(start_paused = true)]
async fn a_newer_sign_in_waits_for_its_import_and_the_container_restarts() {
    let app = imported().await;
    let newer = app.post("/provision", signed_in_at(NEW)).await;
    assert_eq!((newer.status, &newer.body["credentials"]), (202, &json!("written")), "{}", newer.body);
    assert_eq!((refresh_tokens(&app)[2].clone(), restarts(&app)), (json!(format!("rt_{NEW}")), 1));
    assert_eq!(app.get(CREDENTIALS).await.body["waits_for_start"], true);
    // While it starts, the same sign-in does not restart it again.
    app.post("/provision", signed_in_at(NEW)).await;
    assert_eq!(restarts(&app), 1);
    import(&app, "2026.9.6");
    let shown = app.get(CREDENTIALS).await.body;
    assert_eq!((&shown["waits_for_start"], &shown["reauth_required"]), (&json!(false), &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_container_is_not_started_for_a_sign_in() {
    let app = imported().await;
    app.post("/containers/alice/stop", json!({})).await;
    app.emulator.clear_calls();
    let put = app.raw("PUT", CREDENTIALS, &[], json!({"auth": signed_in_at(NEW)["auth"]}).to_string()).await;
    assert_eq!((put.status, &put.body["restarted"]), (200, &json!(false)), "{}", put.body);
    assert_eq!(restarts(&app), 0);
    assert_eq!(refresh_tokens(&app)[2], format!("rt_{NEW}"));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_sign_in_is_reported_and_the_next_one_repairs_it() {
    let app = imported().await;
    let down = app.post("/containers/alice/redeploy", json!({"image": "o:2026.5.7"})).await;
    assert_eq!(codes(&down.body), ["sign_in_not_carried_over"]);
    assert_eq!(app.get("/containers/alice").await.body["credentials"], "missing");
    let mended = app.post("/provision", signed_in_at(NEW)).await;
    assert_eq!((codes(&mended.body), &mended.body["credentials"]), (vec![], &json!("written")));
    assert_eq!(refresh_tokens(&app), [json!(""), json!(format!("rt_{NEW}")), json!(null)]);
}

/// With the plugin of its release, `codex/auth.json` is the one rotating file; the store's sign-in stays in use until then.
#[tokio::test(start_paused = true)]
async fn the_plugin_takes_over_with_the_next_sign_in_and_not_before() {
    let app = imported().await;
    app.register_base(|base| {
        base["containerDefinitions"][0]["image"] = json!("o:2026.9.6");
        let environment = base["containerDefinitions"][0]["environment"].as_array_mut().unwrap();
        environment.push(json!({"name": "OPENCLAW_CODEX_PLUGIN", "value": "2026.9.6"}));
    });
    let kept = app.post("/provision", signed_in_at(OLD)).await;
    assert_eq!(kept.body["credentials"], "kept_fresher");
    assert_eq!(app.get(CREDENTIALS).await.body["authority"], "store");
    app.post("/provision", signed_in_at(NEW)).await;
    assert_eq!(refresh_tokens(&app), [json!(format!("rt_{NEW}")), json!(null), json!(null)]);
    assert_eq!(app.get(CREDENTIALS).await.body["authority"], "codex_plugin");
}

#[tokio::test(start_paused = true)]
async fn signing_out_makes_the_container_forget_the_sign_in_in_its_store() {
    let app = imported().await;
    let answer = app.delete(CREDENTIALS).await;
    assert_eq!((answer.status, restarts(&app)), (204, 1));
    assert_eq!((file(&app, HAND_OVER)["sign_out"].clone(), app.path(CODEX).exists()), (json!(true), false));
    assert_eq!(app.get(CREDENTIALS).await.body["reauth_required"], true);
    assert_eq!(app.delete(CREDENTIALS).await.status, 204, "it can be repeated");
}
