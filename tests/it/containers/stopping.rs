//! Stop and start.

use aws_emulator::Behaviour;
use serde_json::{Value, json};

use super::{mutations, requests, running, seen, state, tasks};
use crate::harness::{TestApp, fresh_reads};

#[tokio::test(start_paused = true)]
async fn a_stop_is_202_then_stopped_then_200() {
    let app = TestApp::with(fresh_reads()).await;
    running(&app, "alice").await;
    let answer = app.post("/containers/alice/stop", json!({})).await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("stopping")), "{}", answer.body);
    assert_eq!(state(&app, "alice").await, "stopping");
    app.pass_seconds(2).await;
    let body = seen(&app, "alice").await;
    assert_eq!([&body["state"], &body["ready"], &body["reason"]], [&json!("stopped"), &json!(false), &Value::Null]);
    app.emulator.clear_calls();
    let again = app.raw("POST", "/containers/alice/stop", &[("content-type", "")], "").await;
    assert_eq!((again.status, &again.body["state"]), (200, &json!("stopped")));
    // Sent anyway: the count that was read may be old.
    assert_eq!(mutations(&app), ["ecs:UpdateService"]);
    assert_eq!(requests(&app, "UpdateService")[0]["desiredCount"], 0);
    assert_eq!(tasks(&app, "alice").await, Vec::<String>::new());
}

/// Incident 11: forceNewDeployment on start killed a task that was already running: 30 s outage at login.
#[tokio::test(start_paused = true)]
async fn a_start_never_forces_a_deployment_and_leaves_a_running_task_alone() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let task = tasks(&app, "alice").await;
    app.emulator.clear_calls();
    let answer = app.post("/containers/alice/start", json!({})).await;
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("running")), "{}", answer.body);
    assert_eq!((mutations(&app), tasks(&app, "alice").await), (vec!["ecs:UpdateService".to_owned()], task));
    let update = &requests(&app, "UpdateService")[0];
    assert_eq!((&update["desiredCount"], &update["forceNewDeployment"]), (&json!(1), &Value::Null));
    app.post("/containers/alice/stop", json!({})).await;
    app.pass_seconds(2).await;
    app.emulator.clear_calls();
    let answer = app.post("/containers/alice/start", json!({})).await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("provisioning")), "{}", answer.body);
    assert_eq!(mutations(&app), ["ecs:UpdateService"]);
    let update = &requests(&app, "UpdateService")[0];
    let members = ["desiredCount", "forceNewDeployment", "taskDefinition"].map(|name| update[name].clone());
    assert_eq!(members, [json!(1), Value::Null, Value::Null]);
    let early = app.post("/containers/alice/start", json!({})).await;
    assert_eq!((early.status, &early.body["state"]), (202, &json!("provisioning")), "on its way, not there");
    app.pass_seconds(3).await;
    assert_eq!(state(&app, "alice").await, "running");
    assert_eq!(mutations(&app), ["ecs:UpdateService"; 2]);
}

/// Incident 12: a stopped service was resized, flagged "provisioning", and waited for ever for a task that nobody
/// starts.
#[tokio::test(start_paused = true)]
async fn a_stopped_container_stays_stopped_through_every_change() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    app.post("/containers/alice/stop", json!({})).await;
    app.pass_seconds(2).await;
    let size = json!({"cpu": 1024, "memory_mib": 2048});
    for (path, body, status) in [
        ("resize", size.clone(), 202),
        ("redeploy", json!({"image": "ghcr.io/openclaw/openclaw:2026.4.25"}), 202),
        ("redeploy", json!({"force": true}), 200),
    ] {
        let answer = app.post(&format!("/containers/alice/{path}"), body).await;
        assert_eq!((answer.status, &answer.body["state"]), (status, &json!("stopped")), "{path} {}", answer.body);
        app.pass_seconds(600).await;
        assert_eq!(state(&app, "alice").await, "stopped", "{path}");
    }
    app.post("/containers/alice/start", json!({})).await;
    app.pass_seconds(3).await;
    let body = seen(&app, "alice").await;
    assert_eq!(
        (&body["state"], &body["size"], &body["openclaw_version"]),
        (&json!("running"), &size, &json!("2026.4.25"))
    );
}

/// Incident 16: after the circuit breaker tripped (desired 1, running 0), retry only waited.
#[tokio::test(start_paused = true)]
async fn a_start_and_a_provision_restart_a_container_that_ecs_gave_up() {
    let app = TestApp::start().await;
    for (user, retry, body) in [
        ("alice", "/containers/alice/start".to_owned(), json!({})),
        ("bob", "/provision".to_owned(), crate::harness::provision_body("bob")),
        ("carol", "/containers/carol/redeploy".to_owned(), json!({})),
    ] {
        let name = app.provision(user).await.body["service"].as_str().unwrap().to_owned();
        app.emulator.set_behaviour(&name, Some(Behaviour::Crash));
        app.pass_seconds(60).await;
        assert_eq!(state(&app, user).await, "failed", "{user}");
        app.emulator.set_behaviour(&name, None);
        app.pass_seconds(600).await;
        assert_eq!(state(&app, user).await, "failed", "nothing comes back by itself: {user}");
        app.emulator.clear_calls();
        let answer = app.post(&retry, body).await;
        assert_eq!((answer.status, &answer.body["state"]), (202, &json!("provisioning")), "{retry} {}", answer.body);
        assert_eq!(mutations(&app), ["ecs:UpdateService"], "{retry}");
        app.pass_seconds(5).await;
        assert_eq!(state(&app, user).await, "running", "{user}");
    }
}
