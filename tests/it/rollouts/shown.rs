//! Answers about rollouts, and refused requests.

use std::time::Duration;

use aws_emulator::Options as EmulatorOptions;
use serde_json::{Value, json};

use super::{act, app, release, running, shown, start, until};
use crate::harness::TestApp;

async fn counts(app: &TestApp) -> Vec<(Value, Value)> {
    let listed = app.get("/rollouts").await.body;
    let of = |rollout: &Value| (rollout["state"].clone(), rollout["counts"].clone());
    listed["rollouts"].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn the_list_shows_counts_of_users_by_progress_for_each_rollout() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let to = release(&app, "2026.4.25");
    let strategy = json!({"soak_seconds": 600});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    app.pass_seconds(60).await;
    let figures = |figures: [u32; 7]| {
        let [all, waiting, on_the_way, soaking, done, failed, skipped] = figures;
        json!({"all": all, "waiting": waiting, "on_the_way": on_the_way, "soaking": soaking, "done": done,
               "failed": failed, "skipped": skipped})
    };
    assert_eq!(counts(&app).await, [(json!("running"), figures([2, 1, 0, 1, 0, 0, 0]))]);
    until(&app, &id, "done").await;
    assert_eq!(counts(&app).await, [(json!("done"), figures([2, 0, 0, 0, 2, 0, 0]))]);
    act(&app, &id, "rollback").await;
    app.pass_seconds(60).await;
    assert_eq!(counts(&app).await, [(json!("running"), figures([2, 1, 0, 1, 0, 0, 0]))]);
    act(&app, &id, "abort").await;
    let aborted = [(json!("aborted"), figures([2, 0, 0, 0, 0, 0, 2]))];
    assert_eq!(counts(&app).await, aborted);
    app.pass_seconds(10).await;
    assert_eq!(counts(&app).await, aborted, "also once its runner has seen it");
}

/// Nothing watches these users any more, so they must not soak for ever.
#[tokio::test(start_paused = true)]
async fn after_an_aborted_rollback_no_user_stays_on_the_way() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let to = release(&app, "2026.4.25");
    let strategy = json!({"soak_seconds": 120, "canaries": 0, "max_parallel": 1});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    until(&app, &id, "done").await;
    act(&app, &id, "rollback").await;
    while shown(&app, &id).await["progress"]["users"]["soaking"] == 0 {
        app.pass_seconds(1).await;
    }
    act(&app, &id, "abort").await;
    let body = shown(&app, &id).await;
    let progress = &body["progress"];
    let skipped = progress["skipped"].as_object().unwrap();
    let number: u64 = skipped.values().map(|users| users.as_u64().unwrap()).sum();
    assert!(skipped.contains_key("aborted_on_the_way"), "{body}");
    assert_eq!((number, &progress["percent"], &progress["wave"]), (2, &json!(100), &Value::Null), "{body}");
    let users = app.get(&format!("/rollouts/{id}/users")).await.body;
    assert_eq!(users["users"][0]["outcome"], "skipped", "{users}");
    // A rollback is still possible: the moved users are known.
    act(&app, &id, "rollback").await;
    let back = until(&app, &id, "rolled_back").await;
    assert_eq!(back["progress"]["users"]["done"], 2, "{back}");
}

#[tokio::test(start_paused = true)]
async fn if_no_container_runs_a_rollout_changes_all_users_at_once() {
    let app =
        TestApp::with(EmulatorOptions { per_call_delay: Duration::from_secs(1), ..EmulatorOptions::default() }).await;
    app.rollouts.run_in_background();
    let users = ["alice", "bob", "carol", "dave"];
    running(&app, &users).await;
    for user in users {
        assert_eq!(app.post(&format!("/containers/{user}/stop"), json!({})).await.status, 202);
    }
    app.pass_seconds(30).await;
    let to = release(&app, "2026.4.25");
    let body = json!({"change": {"base_revision": to}, "select": {"states": ["stopped"]}});
    let id = start(&app, body).await;
    let mut most = 0;
    loop {
        let body = shown(&app, &id).await;
        most = most.max(body["progress"]["users"]["on_the_way"].as_u64().unwrap());
        if body["state"] == "done" {
            assert_eq!(body["progress"]["users"]["done"], 4, "{body}");
            break;
        }
        app.pass_seconds(1).await;
    }
    assert!(most >= 3, "{most} at a time");
}

#[tokio::test(start_paused = true)]
async fn empty_values_in_a_strategy_are_refused_with_the_field_and_the_fix() {
    let app = TestApp::start().await;
    running(&app, &["alice"]).await;
    let hours = |from: &str, to: &str| json!({"window": {"from": from, "to": to}});
    for (strategy, field) in [
        (hours("22:00", "22:00"), "strategy.window.to"),
        (hours("24:00", "22:00"), "strategy.window.from"),
        (json!({"waves": [1, 0]}), "strategy.waves[1]"),
        (json!({"waves": ["0%"]}), "strategy.waves[0]"),
        (json!({"waves": ["+5%"]}), "strategy.waves[0]"),
        (json!({"waves": ["05%"]}), "strategy.waves[0]"),
        (json!({"waves": vec!["1%"; 101]}), "strategy.waves"),
        (json!({"max_failures": "+5%"}), "strategy.max_failures"),
        (json!({"canary_users": []}), "strategy.canary_users"),
    ] {
        let answer = app.post("/rollouts", json!({"change": {"restart": true}, "strategy": strategy})).await;
        assert_eq!((answer.status, &answer.body["field"]), (422, &json!(field)), "{strategy} {}", answer.body);
        assert!(answer.body["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{}", answer.body);
    }
    let many: Vec<String> = (0..10_001).map(|n| format!("u{n}")).collect();
    let answer = app.post("/rollouts", json!({"change": {"restart": true}, "select": {"users": many}})).await;
    assert_eq!((answer.status, &answer.body["field"]), (422, &json!("select.users")), "{}", answer.body);
    for strategy in [hours("00:00", "24:00"), json!({"max_failures": "0%", "waves": ["1%", "100%", 1]})] {
        let body = json!({"change": {"restart": true}, "strategy": strategy, "dry_run": true});
        assert_eq!(app.post("/rollouts", body).await.status, 200);
    }
}
