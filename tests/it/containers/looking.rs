//! `GET /containers/{user_id}`: reading changes nothing.

use aws_emulator::Behaviour;
use axum::body::Body;
use serde_json::json;

use super::{mutations, requests, running, state, tasks, told};
use crate::harness::{TestApp, fresh_reads};

/// Incident 17: status polling restarted a container that an administrator had stopped. Reading must change nothing.
#[tokio::test(start_paused = true)]
async fn a_look_changes_nothing_in_any_state() {
    let app = TestApp::with(fresh_reads()).await;
    let mut states = Vec::new();
    let name = app.provision("alice").await.body["service"].as_str().unwrap().to_owned();
    for step in ["new", "up", "stop", "down", "crash", "given up", "delete", "gone"] {
        match step {
            "new" => {}
            "stop" => drop(app.post("/containers/alice/stop", json!({})).await),
            "crash" => {
                app.emulator.set_behaviour(&name, Some(Behaviour::Crash));
                app.post("/containers/alice/start", json!({})).await;
            }
            "given up" => {
                app.pass_seconds(60).await;
            }
            "delete" => drop(app.delete("/containers/alice").await),
            "gone" => app.pass_seconds(15).await,
            _ => app.pass_seconds(5).await,
        }
        let files = app.files();
        let running = app.emulator.calls().len();
        let seen: Vec<String> = vec![state(&app, "alice").await, state(&app, "alice").await];
        let head = app.raw("HEAD", "/containers/alice", &[], Body::empty()).await;
        assert_eq!(head.status, if step == "gone" { 404 } else { 200 });
        let calls = app.emulator.calls();
        assert!(calls.len() > running, "AWS is asked anew every time");
        let changing: Vec<_> = calls[running..].iter().filter(|call| call.mutating).map(|call| &call.action).collect();
        assert_eq!(changing, Vec::<&String>::new(), "{step}");
        assert_eq!(app.files(), files, "{step}");
        states.extend(seen);
    }
    states.dedup();
    insta::assert_snapshot!(states.join(", "), @r#"
    provisioning, running, stopping, stopped, provisioning, deleting, container_not_found
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_container_that_is_polled_all_day_stays_stopped() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    app.post("/containers/alice/stop", json!({})).await;
    app.pass_seconds(2).await;
    app.emulator.clear_calls();
    for _ in 0..100 {
        assert_eq!(state(&app, "alice").await, "stopped");
        app.pass_seconds(864).await;
    }
    assert_eq!((mutations(&app), tasks(&app, "alice").await), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_is_404_and_leaves_no_trace() {
    let app = TestApp::start().await;
    let before = app.files();
    let answer = app.get("/containers/alice").await;
    assert_eq!(told(&answer), (404, "container_not_found"));
    assert_eq!((mutations(&app), app.files()), (vec![], before));
}

#[tokio::test(start_paused = true)]
async fn a_status_says_whether_the_sign_in_is_there() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let credentials = |body: &serde_json::Value| body["credentials"].clone();
    assert_eq!(credentials(&super::seen(&app, "alice").await), "present");
    for content in [Some(""), Some("{}"), None] {
        match content {
            Some(content) => std::fs::write(app.path("users/alice/codex/auth.json"), content).unwrap(),
            None => std::fs::remove_file(app.path("users/alice/codex/auth.json")).unwrap(),
        }
        assert_eq!(credentials(&super::seen(&app, "alice").await), "missing", "{content:?}");
    }
}

/// Incident 18: ListTasks was called with `startedBy` and `serviceName` together: rejected.
#[tokio::test(start_paused = true)]
async fn tasks_are_listed_by_service_alone() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    app.post("/containers/alice/stop", json!({})).await;
    state(&app, "alice").await;
    let listed = requests(&app, "ListTasks");
    assert!(!listed.is_empty());
    for request in listed {
        assert!(request["serviceName"].is_string() && request.get("startedBy").is_none(), "{request}");
    }
}

/// Nothing is cached that AWS can answer: a replica that was just started knows every user.
#[tokio::test(start_paused = true)]
async fn every_replica_gives_the_same_answer() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let other = app.replica().await;
    assert_eq!(super::seen(&other, "alice").await, super::seen(&app, "alice").await);
    other.post("/containers/alice/stop", json!({})).await;
    // A look that waits until the stop is visible may find it done.
    let now = state(&app, "alice").await;
    assert!(["stopping", "stopped"].contains(&now.as_str()), "{now}");
}
