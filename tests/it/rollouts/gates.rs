//! What a rollout waits for, and which users it leaves out.

use aws_emulator::Behaviour;
use serde_json::{Value, json};

use super::{act, app, at, of, release, running, shown, start, starts, until};
use crate::harness::TestApp;

async fn figures(app: &TestApp, id: &str) -> Value {
    shown(app, id).await["progress"]["users"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_pause_begins_no_more_users_and_a_resume_continues() {
    let app = app().await;
    let users = ["alice", "bob", "carol"];
    running(&app, &users).await;
    let to = release(&app, "2026.4.25");
    let strategy = json!({"soak_seconds": 20});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    app.pass_seconds(6).await;
    let paused = act(&app, &id, "pause").await;
    assert_eq!((paused.status, &paused.body["reason"]), (200, &json!("paused by backend")));
    app.pass_seconds(120).await;
    let seen = shown(&app, &id).await;
    assert_eq!(
        (&seen["progress"]["users"]["done"], &seen["progress"]["waits_for"]),
        (&json!(1), &json!("resume")),
        "{seen}"
    );
    assert_eq!(starts(&app, "bob") + starts(&app, "carol"), 0);
    assert_eq!(act(&app, &id, "resume").await.status, 200);
    until(&app, &id, "done").await;
    let over = act(&app, &id, "pause").await;
    assert_eq!((over.status, &over.body["code"]), (409, &json!("rollout_over")));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_does_not_stay_ready_for_the_soak_time_is_not_done() {
    let app = app().await;
    running(&app, &["alice"]).await;
    let service = app.get("/containers/alice").await.body["service"].as_str().unwrap().to_owned();
    let to = release(&app, "2026.4.25");
    let strategy = json!({"soak_seconds": 600, "deadline_seconds": 120});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    app.pass_seconds(60).await;
    assert_eq!(figures(&app, &id).await["soaking"], 1);
    app.emulator.set_behaviour(&service, Some(Behaviour::Unhealthy));
    let stopped = app.aws("ecs", "ListTasks", json!({"cluster": crate::harness::CLUSTER, "serviceName": service}));
    let task = stopped["taskArns"][0].clone();
    app.aws("ecs", "StopTask", json!({"cluster": crate::harness::CLUSTER, "task": task}));
    let paused = until(&app, &id, "paused").await;
    assert_eq!(paused["progress"]["users"]["failed"], 1, "{paused}");
}

#[tokio::test(start_paused = true)]
async fn excluded_stopped_and_deleted_users_are_left_out_with_a_reason() {
    let app = app().await;
    running(&app, &["alice", "bob", "carol"]).await;
    let mut body = crate::harness::provision_body("alice");
    body["labels"] = json!({"rollout": "exclude"});
    assert_eq!(app.post("/provision", body).await.status, 202);
    assert_eq!(app.post("/containers/bob/stop", json!({})).await.status, 202);
    app.pass_seconds(40).await;
    let strategy = json!({"canaries": 0, "soak_seconds": 0});
    let id = start(&app, json!({"change": {"restart": true}, "strategy": strategy})).await;
    let done = until(&app, &id, "done").await;
    assert_eq!(done["progress"]["skipped"], json!({"excluded": 1, "stopped": 1}), "{done}");
    assert_eq!(done["progress"]["users"]["done"], 1, "{done}");
}

#[tokio::test(start_paused = true)]
async fn an_image_is_pinned_for_a_list_of_users_and_rolled_back() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let image = "ghcr.io/openclaw/openclaw:2026.4.25";
    let body = json!({"select": {"users": ["alice"]}, "change": {"image": image}, "strategy": {"soak_seconds": 0}});
    let id = start(&app, body).await;
    until(&app, &id, "done").await;
    assert_eq!(app.get("/containers/alice").await.body["image"], image);
    assert_ne!(app.get("/containers/bob").await.body["image"], image);
    assert_eq!(act(&app, &id, "rollback").await.status, 200);
    let back = until(&app, &id, "rolled_back").await;
    let alice = app.get("/containers/alice").await.body;
    let journal = app.file(&format!(".provisioner/rollouts/rollout-{id}.journal"));
    assert_ne!(alice["image"], image, "{alice} {back} {journal}");
    assert_eq!(of(&app, "alice").await, at("1", "running"));
}

/// A rollback must not undo later changes.
#[tokio::test(start_paused = true)]
async fn a_rollback_does_not_change_users_who_were_changed_since() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let (image, other) = ("ghcr.io/openclaw/openclaw:2026.4.25", "ghcr.io/openclaw/openclaw:2026.4.26");
    let id = start(&app, json!({"change": {"image": image}, "strategy": {"soak_seconds": 0}})).await;
    until(&app, &id, "done").await;
    assert_eq!(app.post("/containers/bob/redeploy", json!({"image": other})).await.status, 202);
    app.pass_seconds(10).await;
    assert_eq!(act(&app, &id, "rollback").await.status, 200);
    let back = until(&app, &id, "rolled_back").await;
    assert_eq!(back["progress"]["skipped"], json!({"changed": 1}), "{back}");
    assert_ne!(app.get("/containers/alice").await.body["image"], image);
    assert_eq!(app.get("/containers/bob").await.body["image"], other);
}

#[tokio::test(start_paused = true)]
async fn only_one_rollout_runs_at_a_time() {
    let app = app().await;
    running(&app, &["alice"]).await;
    let body = json!({"change": {"restart": true}, "strategy": {"soak_seconds": 60}});
    let id = start(&app, body.clone()).await;
    let second = app.post("/rollouts", body).await;
    assert_eq!((second.status, &second.body["code"]), (409, &json!("rollout_under_way")));
    assert!(second.body["detail"].as_str().unwrap().contains(&id), "{}", second.body);
    until(&app, &id, "done").await;
    assert_eq!(starts(&app, "alice"), 0);
}
