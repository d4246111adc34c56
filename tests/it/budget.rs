//! The cost of operations in AWS calls and in sequential round trips.

use std::time::Duration;

use aws_emulator::Options;
use serde_json::{Value, json};

use crate::harness::{TestApp, fresh_reads, provision_body};

async fn app() -> TestApp {
    TestApp::with(Options { per_call_delay: Duration::from_millis(20), ..fresh_reads() }).await
}

/// The calls of one request, sorted, because concurrent ones have no order; the round trips; whether any call can
/// change something.
#[derive(Debug, PartialEq)]
struct Cost {
    calls: Vec<String>,
    round_trips: usize,
    mutates: bool,
}

fn cost(calls: &[&str], round_trips: usize, mutates: bool) -> Cost {
    let mut calls: Vec<String> = calls.iter().map(|&call| call.to_owned()).collect();
    calls.sort();
    Cost { calls, round_trips, mutates }
}

/// The cost since the last time, and the status of the answer.
fn spent(app: &TestApp) -> Cost {
    let mut calls = app.calls();
    calls.sort();
    let mutates = app.emulator.calls().iter().any(|call| call.mutating);
    let cost = Cost { calls, round_trips: app.emulator.round_trips(), mutates };
    app.emulator.clear_calls();
    cost
}

async fn provisioned(app: &TestApp, body: Value) {
    let answer = app.post("/provision", body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    app.pass_seconds(5).await;
    app.emulator.clear_calls();
}

fn new_user() -> Vec<&'static str> {
    vec![
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:ListTaskDefinitions",
        "efs:CreateAccessPoint",
        "ecs:RegisterTaskDefinition",
        "ecs:CreateService",
    ]
}

#[tokio::test(start_paused = true)]
async fn a_new_user_costs_6_calls_and_3_round_trips() {
    let app = app().await;
    let answer = app.provision("alice").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(spent(&app), cost(&new_user(), 3, true));
}

#[tokio::test(start_paused = true)]
async fn an_image_in_ecr_costs_one_call_and_for_the_next_user_none() {
    let app = app().await;
    app.aws("ecr", "CreateRepository", json!({"repositoryName": "openclaw"}));
    let image = json!({"repositoryName": "openclaw", "imageManifest": "{}", "imageTag": "2026.4.25"});
    app.aws("ecr", "PutImage", image);
    for (user, look_ups) in [("alice", 1), ("bob", 0)] {
        let mut body = provision_body(user);
        body["image"] = json!("123456789012.dkr.ecr.us-east-1.amazonaws.com/openclaw:2026.4.25");
        let answer = app.post("/provision", body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let calls = [new_user(), vec!["ecr:DescribeImages"; look_ups]].concat();
        assert_eq!(spent(&app), cost(&calls, 3 + look_ups, true), "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_user_costs_no_mutating_call() {
    let app = app().await;
    provisioned(&app, provision_body("alice")).await;
    let again = app.provision("alice").await;
    assert_eq!(again.status, 200, "{}", again.body);
    let looked_at = [
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:DescribeTaskDefinition",
        "ecs:ListTaskDefinitions",
        "ecs:ListTasks",
        "ecs:DescribeTasks",
    ];
    assert_eq!(spent(&app), cost(&looked_at, 4, false));
}

/// Incident 34: an update was applied but never marked as such, so it ran again.
#[tokio::test(start_paused = true)]
async fn a_request_that_changes_nothing_makes_no_mutating_call_except_stop_and_start() {
    let app = app().await;
    provisioned(&app, provision_body("alice")).await;
    let size = json!({"cpu": 1024, "memory_mib": 2048});
    assert_eq!(app.post("/containers/alice/resize", size.clone()).await.status, 202);
    app.pass_seconds(10).await;
    app.emulator.clear_calls();
    for (path, body) in [("resize", size), ("redeploy", json!({}))] {
        let answer = app.post(&format!("/containers/alice/{path}"), body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(!spent(&app).mutates, "{path}");
    }
    app.emulator.clear_calls();
    assert_eq!(app.post("/containers/alice/start", json!({})).await.status, 200);
    assert_eq!(app.count("UpdateService"), 1);
    assert_eq!(app.post("/containers/alice/stop", json!({})).await.status, 202);
    app.pass_seconds(10).await;
    app.emulator.clear_calls();
    assert_eq!(app.post("/containers/alice/stop", json!({})).await.status, 200);
    assert_eq!(app.count("UpdateService"), 1);
}

/// Incident 17: reading restarted what an administrator had stopped.
#[tokio::test(start_paused = true)]
async fn looking_never_makes_a_mutating_call() {
    let app = app().await;
    provisioned(&app, provision_body("alice")).await;
    for stopped in [false, true] {
        if stopped {
            let name = app.get("/containers/alice").await.body["service"].clone();
            let input = json!({"cluster": crate::harness::CLUSTER, "service": name, "desiredCount": 0});
            app.aws("ecs", "UpdateService", input);
            app.pass_seconds(10).await;
            app.emulator.clear_calls();
        }
        let looked_at = app.get("/containers/alice").await;
        let state = if stopped { "stopped" } else { "running" };
        assert_eq!((looked_at.status, &looked_at.body["state"]), (200, &json!(state)), "{}", looked_at.body);
        assert!(!spent(&app).mutates, "stopped: {stopped}");
    }
    assert_eq!(app.get("/containers/nobody").await.status, 404);
    assert_eq!(spent(&app), cost(&["ecs:DescribeServices"], 1, false));
}

#[tokio::test(start_paused = true)]
async fn a_resize_costs_one_registration_and_one_update() {
    let app = app().await;
    provisioned(&app, provision_body("alice")).await;
    let answer = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 2048})).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let calls = [
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:DescribeTaskDefinition",
        "ecs:ListTaskDefinitions",
        "ecs:RegisterTaskDefinition",
        "ecs:UpdateService",
        // Running tasks; then, because the old one is stopping, stopped ones, for the reason.
        "ecs:ListTasks",
        "ecs:DescribeTasks",
        "ecs:ListTasks",
        "ecs:DescribeTasks",
    ];
    assert_eq!(spent(&app), cost(&calls, 8, true));
}

#[tokio::test(start_paused = true)]
async fn stopping_costs_one_mutating_call_and_starting_one() {
    let app = app().await;
    provisioned(&app, provision_body("alice")).await;
    for path in ["stop", "start"] {
        let answer = app.post(&format!("/containers/alice/{path}"), json!({})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let calls = app.emulator.calls();
        let mutating: Vec<&str> = calls.iter().filter(|call| call.mutating).map(|call| call.action.as_str()).collect();
        assert_eq!(mutating, ["UpdateService"], "{path}");
        app.pass_seconds(10).await;
        app.emulator.clear_calls();
    }
}
