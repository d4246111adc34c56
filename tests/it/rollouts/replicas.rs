//! A rollout while replicas start and stop.

use serde_json::json;

use super::{app, at, of, release, running, shown, start, starts, until};

#[tokio::test(start_paused = true)]
async fn another_replica_continues_a_rollout_and_restarts_no_user_twice() {
    let app = app().await;
    let users = ["alice", "bob", "carol", "dave", "erin", "frank"];
    running(&app, &users).await;
    let to = release(&app, "2026.4.25");
    app.emulator.clear_calls();
    let strategy = json!({"canaries": 1, "max_parallel": 2, "soak_seconds": 3});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    let mut runner = None;
    for _ in 0..8 {
        app.pass_seconds(4).await;
        // The former replica is dropped in the middle of its work.
        app.rollouts.shut_down();
        let next = app.replica().await;
        next.rollouts.run_in_background();
        if let Some(former) = runner.replace(next) {
            former.rollouts.shut_down();
        }
    }
    let done = until(&app, &id, "done").await;
    assert_eq!(done["progress"]["users"]["done"], 6, "{done}");
    for user in users {
        assert_eq!(of(&app, user).await, at("2", "running"), "{user}");
        assert_eq!(starts(&app, user), 1, "{user}");
    }
    assert_eq!(app.count("RegisterTaskDefinition"), 6);
}

#[tokio::test(start_paused = true)]
async fn every_replica_shows_the_same_rollout_and_ignores_a_torn_line() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let to = release(&app, "2026.4.25");
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": {"soak_seconds": 30}})).await;
    app.pass_seconds(10).await;
    app.rollouts.shut_down();
    app.pass_seconds(5).await;
    let journal = app.path(&format!(".provisioner/rollouts/rollout-{id}.journal"));
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.extend_from_slice(br#"{"u":"alice","e":"do"#);
    std::fs::write(&journal, bytes).unwrap();
    let other = app.replica().await;
    let (one, two) = (shown(&app, &id).await, shown(&other, &id).await);
    assert_eq!(one["progress"]["users"], two["progress"]["users"]);
    other.rollouts.run_in_background();
    let done = until(&other, &id, "done").await;
    assert_eq!(done["progress"]["users"]["done"], 2, "{done}");
}
