//! Stored rollouts: those of another version, and what a rollback of an old one may change.

use serde_json::{Value, json};

use super::{act, app, promoted, release, running, start, until};
use crate::harness::{BASE, TestApp};

async fn promote(app: &TestApp, revision: &str) {
    let answer = app.raw("PUT", "/fleet/base", &[], json!({"revision": revision}).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

async fn done(app: &TestApp, to: &str) -> String {
    let id = start(app, json!({"change": {"base_revision": to}, "strategy": {"soak_seconds": 0}})).await;
    until(app, &id, "done").await;
    id
}

#[tokio::test(start_paused = true)]
async fn a_rollback_of_an_old_rollout_keeps_a_later_promotion() {
    let app = app().await;
    running(&app, &["alice"]).await;
    let to = release(&app, "2026.4.25");
    let third = release(&app, "2026.4.26");
    let id = done(&app, &to).await;
    assert_eq!(promoted(&app).await["revision"], format!("{BASE}:{to}"));
    // The same base again, after another one: now it is an operator's own decision.
    promote(&app, &third).await;
    promote(&app, &to).await;
    act(&app, &id, "rollback").await;
    until(&app, &id, "rolled_back").await;
    let promoted = promoted(&app).await;
    let (revision, rollout) = (&promoted["revision"], &promoted["rollout_id"]);
    assert_eq!((revision, rollout), (&json!(format!("{BASE}:{to}")), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_restores_the_promotion_only_if_its_rollout_has_changed_it() {
    let app = app().await;
    running(&app, &["alice"]).await;
    let to = release(&app, "2026.4.25");
    let id = done(&app, &to).await;
    act(&app, &id, "rollback").await;
    until(&app, &id, "rolled_back").await;
    assert_eq!(promoted(&app).await["revision"], format!("{BASE}:1"));
    // Promoted by hand, although it was already promoted.
    let id = done(&app, &to).await;
    promote(&app, &to).await;
    act(&app, &id, "rollback").await;
    until(&app, &id, "rolled_back").await;
    assert_eq!(promoted(&app).await["revision"], format!("{BASE}:{to}"));
    // Now no base is promoted.
    let id = done(&app, &to).await;
    assert_eq!(app.delete("/fleet/base").await.status, 200);
    act(&app, &id, "rollback").await;
    until(&app, &id, "rolled_back").await;
    assert_eq!(promoted(&app).await, Value::Null);
}

/// At its end a rollout has promoted its base and still moves new users: another promotion then would be overridden.
#[tokio::test(start_paused = true)]
async fn nothing_else_is_promoted_until_a_rollout_is_over() {
    let app = app().await;
    running(&app, &["alice"]).await;
    let to = release(&app, "2026.4.25");
    let third = release(&app, "2026.4.26");
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": {"soak_seconds": 0}})).await;
    while promoted(&app).await["revision"] != format!("{BASE}:{to}") {
        app.pass_seconds(1).await;
    }
    assert_eq!(app.get(&format!("/rollouts/{id}")).await.body["state"], "running");
    let answer = app.raw("PUT", "/fleet/base", &[], json!({"revision": third}).to_string()).await;
    assert_eq!((answer.status, &answer.body["code"]), (409, &json!("rollout_under_way")), "{}", answer.body);
    until(&app, &id, "done").await;
    promote(&app, &third).await;
    app.pass_seconds(60).await;
    let (promoted, third) = (promoted(&app).await, format!("{BASE}:{third}"));
    assert_eq!((&promoted["revision"], &promoted["rollout_id"]), (&json!(third), &Value::Null));
}

/// The process is killed after it has released the promotion, and before it has written that the rollout is over.
#[tokio::test(start_paused = true)]
async fn a_promotion_made_at_the_very_end_stays_when_the_runner_is_killed_there() {
    let app = app().await;
    running(&app, &["alice"]).await;
    let (to, third) = (release(&app, "2026.4.25"), release(&app, "2026.4.26"));
    let id = done(&app, &to).await;
    promote(&app, &third).await;
    let file = app.path(&format!(".provisioner/rollouts/rollout-{id}.json"));
    let mut written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    written["rollout"]["state"] = json!("running");
    std::fs::write(&file, written.to_string()).unwrap();
    until(&app, &id, "done").await;
    let promoted = promoted(&app).await;
    assert_eq!((&promoted["revision"], &promoted["rollout_id"]), (&json!(format!("{BASE}:{third}")), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_rollout_of_a_later_version_is_listed_and_not_changed() {
    let app = app().await;
    running(&app, &["alice"]).await;
    let to = release(&app, "2026.4.25");
    let id = done(&app, &to).await;
    let file = app.path(&format!(".provisioner/rollouts/rollout-{id}.json"));
    let mut written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    written["rollout"]["strategy"]["from_later"] = json!(true);
    std::fs::write(&file, written.to_string()).unwrap();
    let listed = app.get("/rollouts").await.body;
    assert_eq!((&listed["rollouts"], &listed["not_understood"]), (&json!([]), &json!([id])), "{listed}");
    let answer = app.get(&format!("/rollouts/{id}")).await;
    assert_eq!((answer.status, &answer.body["code"]), (500, &json!("rollout_not_understood")));
    let answer = act(&app, &id, "rollback").await;
    assert_eq!((answer.status, &answer.body["code"]), (500, &json!("rollout_not_understood")));
    // It is over. A rollout that may continue would block another one.
    let body = json!({"change": {"restart": true}, "dry_run": false});
    let other = start(&app, body.clone()).await;
    until(&app, &other, "done").await;
    for damage in [json!({"version": 2, "rollout": {}}).to_string(), "{".to_owned()] {
        std::fs::write(&file, damage).unwrap();
        let answer = app.post("/rollouts", body.clone()).await;
        assert_eq!((answer.status, &answer.body["code"]), (500, &json!("rollout_not_understood")), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(&id), "{}", answer.body);
        let listed = app.get("/rollouts").await.body;
        assert_eq!(
            (&listed["rollouts"][0]["id"], &listed["not_understood"]),
            (&json!(other), &json!([id])),
            "{listed}"
        );
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{");
}
