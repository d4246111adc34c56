//! `openclaw_version`: the release of an image whose tag does not name it.

use super::*;

async fn redeployed(app: &TestApp, body: Value) -> Answer {
    let answer = app.post("/containers/alice/redeploy", body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    app.pass_seconds(5).await;
    answer
}

#[tokio::test(start_paused = true)]
async fn a_named_release_is_used_and_kept_until_the_image_changes() {
    let app = with_base("o:2026.4.21").await;
    let mut body = request("chatgpt");
    body["image"] = json!("o:mine");
    body["openclaw_version"] = json!("2026.5.7");
    let made = app.post("/provision", body).await;
    assert_eq!((made.status, &made.body["openclaw_version"], codes(&made.body)), (201, &json!("2026.5.7"), vec![]));
    assert_eq!(file(&app, PROFILES)["profiles"]["openai-codex:default"]["refresh"], "rt_1");
    app.pass_seconds(5).await;

    let resized = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert_eq!((resized.status, &resized.body["openclaw_version"]), (202, &json!("2026.5.7")));
    app.pass_seconds(5).await;
    let named = redeployed(&app, json!({"openclaw_version": "2026.4.21"})).await;
    assert_eq!(
        (&named.body["openclaw_version"], with_tokens(&app)),
        (&json!("2026.4.21"), vec!["codex/auth.json".to_owned()])
    );
    let other = redeployed(&app, json!({"image": "o:other"})).await;
    assert_eq!((&other.body["openclaw_version"], codes(&other.body)), (&json!(null), vec!["release_unknown"]));
    let both = redeployed(&app, json!({"image": "o:mine", "openclaw_version": "2026.5.7"})).await;
    assert_eq!((&both.body["openclaw_version"], codes(&both.body)), (&json!("2026.5.7"), vec![]));
    // A tag with a release has priority.
    let by_tag = redeployed(&app, json!({"image": "o:2026.9.6", "openclaw_version": "2026.5.7"})).await;
    assert_eq!(by_tag.body["openclaw_version"], "2026.9.6");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_or_too_old_release_is_refused_by_name() {
    let app = with_base("o:latest").await;
    for version in ["2026.4.6", "latest", "", "2026", "2026.4.x"] {
        let mut body = request("chatgpt");
        body["openclaw_version"] = json!(version);
        for (path, body) in [("/provision", body), ("/containers/alice/redeploy", json!({"openclaw_version": version}))]
        {
            let answer = app.post(path, body).await;
            assert_eq!(
                (answer.status, &answer.body["field"]),
                (422, &json!("openclaw_version")),
                "{version}: {}",
                answer.body
            );
            assert_eq!(answer.body["fix"], "send 2026.4.7 or later, as in 2026.4.25");
        }
    }
    assert_eq!(app.calls(), Vec::<String>::new());
}
