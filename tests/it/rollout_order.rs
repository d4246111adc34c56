//! Replacing a task: by default two may be alive for a moment, and in strict order never.

use std::time::Duration;

use aws_emulator::{Fault, FaultKind, Options as EmulatorOptions, Pace};
use openclaw_provisioner::domain::RolloutOrder;
use openclaw_provisioner::fleet;
use openclaw_provisioner::reconcile::Options;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{CLUSTER, TestApp, provision_body};

/// Tasks take half a minute to stop, as a gateway with a conversation under way does.
async fn app(rollout_order: RolloutOrder) -> TestApp {
    let pace = Pace { stopping: Duration::from_secs(30), ..Pace::default() };
    let emulator = EmulatorOptions { pace, ..EmulatorOptions::default() };
    let options = Options { rollout_order, ..Options::default() };
    let root = TempDir::new().unwrap();
    let app = TestApp::in_directory(root, emulator, options, fleet::Options::default()).await;
    assert_eq!(app.provision("alice").await.status, 201);
    app.pass_seconds(10).await;
    app
}

/// Tasks of the cluster that have not ended.
fn alive(app: &TestApp) -> usize {
    let arns: Vec<Value> = ["RUNNING", "STOPPED"]
        .into_iter()
        .flat_map(|desired| {
            let listed = app.aws("ecs", "ListTasks", json!({"cluster": CLUSTER, "desiredStatus": desired}));
            listed["taskArns"].as_array().unwrap().clone()
        })
        .collect();
    let tasks = app.aws("ecs", "DescribeTasks", json!({"cluster": CLUSTER, "tasks": arns}))["tasks"].clone();
    tasks.as_array().unwrap().iter().filter(|task| task["lastStatus"] != "STOPPED").count()
}

/// The largest number of tasks alive at the same time, from the request to well after it.
async fn most_alive(app: &TestApp, path: &str, body: Value) -> usize {
    let watch = async {
        let mut most = 0;
        for _ in 0..800 {
            most = most.max(alive(app));
            app.pass_millis(100).await;
        }
        most
    };
    let (answer, most) = tokio::join!(app.post(path, body), watch);
    assert!([200, 202].contains(&answer.status), "{path}: {}", answer.body);
    assert_eq!(app.get("/containers/alice").await.body["state"], "running", "{path}");
    most
}

fn changes() -> [(&'static str, Value); 4] {
    let provision = |size: Value| {
        let mut body = provision_body("alice");
        body["size"] = size;
        body
    };
    [
        ("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})),
        ("/containers/alice/redeploy", json!({"force": true})),
        ("/containers/alice/redeploy", json!({"image": "ghcr.io/openclaw/openclaw:2026.5.7"})),
        ("/provision", provision(json!({"cpu": 512, "memory_mib": 2048}))),
    ]
}

#[tokio::test(start_paused = true)]
async fn by_default_the_old_task_may_still_be_stopping_when_the_new_one_starts() {
    let app = app(RolloutOrder::StopFirst).await;
    for (path, body) in changes() {
        assert_eq!(most_alive(&app, path, body).await, 2, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_strict_order_there_is_never_more_than_one_task() {
    let (by_setting, by_request) = (app(RolloutOrder::Strict).await, app(RolloutOrder::StopFirst).await);
    for (path, body) in changes() {
        assert_eq!(most_alive(&by_setting, path, body.clone()).await, 1, "{path}");
        let mut body = body;
        body["rollout_order"] = json!("strict");
        assert_eq!(most_alive(&by_request, path, body).await, 1, "{path}");
    }
    by_setting.post("/containers/alice/stop", json!({})).await;
    assert_eq!(most_alive(&by_setting, "/containers/alice/start", json!({})).await, 1, "start");
    for (order, most) in [(json!({"rollout_order": "strict"}), 1), (json!({}), 2)] {
        by_request.post("/containers/alice/stop", json!({})).await;
        assert_eq!(most_alive(&by_request, "/containers/alice/start", order.clone()).await, most, "{order}");
    }
    // And the request can override a strict setting.
    let body = json!({"cpu": 1024, "memory_mib": 4096, "rollout_order": "stop_first"});
    assert_eq!(most_alive(&by_setting, "/containers/alice/resize", body).await, 2);
}

/// During the replacement the container is stopped, although no caller asked for that.
#[tokio::test(start_paused = true)]
async fn the_next_request_after_an_interrupted_replacement_starts_the_container() {
    let next = [("redeploy", json!({})), ("resize", json!({"cpu": 512, "memory_mib": 4096})), ("start", json!({}))];
    for (path, body) in next {
        let app = app(RolloutOrder::Strict).await;
        let kind = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
        app.emulator.inject(Fault { service: None, action: "UpdateService".into(), skip: 1, times: 99, kind });
        app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 4096})).await;
        app.pass_seconds(60).await;
        assert_eq!((alive(&app), &app.get("/containers/alice").await.body["desired"]), (0, &Value::Null));
        app.emulator.clear_faults();
        let replica = app.replica().await;
        assert!([200, 202].contains(&replica.post(&format!("/containers/alice/{path}"), body).await.status));
        app.pass_seconds(60).await;
        assert_eq!((path, &app.get("/containers/alice").await.body["state"]), (path, &json!("running")));
    }
}

/// A stopped container stays stopped.
#[tokio::test(start_paused = true)]
async fn a_stopped_container_stays_stopped_through_a_replacement_in_strict_order() {
    let app = app(RolloutOrder::Strict).await;
    app.post("/containers/alice/stop", json!({})).await;
    app.pass_seconds(60).await;
    app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    app.pass_seconds(60).await;
    assert_eq!((alive(&app), &app.get("/containers/alice").await.body["state"]), (0, &json!("stopped")));
}
