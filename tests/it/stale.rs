//! Reads that are older than the last accepted change: decisions and answers follow the true state. Each test runs with three
//! seeds, which choose how old the reads are.

use std::time::Duration;

use aws_emulator::{Conduct, Fault, FaultKind, Options, StaleReads};
use serde_json::{Value, json};

use crate::harness::{CLUSTER, TestApp};

const SEEDS: [u64; 3] = [1, 2, 3];

fn stale(seed: u64) -> Options {
    let stale_reads = Some(StaleReads { seed, up_to: Duration::from_secs(2) });
    Options { conduct: Conduct { stale_reads, ..Conduct::default() }, ..Options::default() }
}

/// The true service, which the app's reads may not show yet.
fn truth(app: &TestApp) -> Value {
    let arns = app.services();
    assert_eq!(arns.len(), 1, "{arns:?}");
    app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [arns[0]]}))["services"][0].clone()
}

async fn running(app: &TestApp, user: &str) {
    let answer = app.provision(user).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    app.pass_seconds(8).await;
    assert_eq!(app.get(&format!("/containers/{user}")).await.body["state"], "running");
}

async fn resize(app: &TestApp, memory_mib: u32) {
    let answer = app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": memory_mib})).await;
    assert!([200, 202].contains(&answer.status), "{}", answer.body);
}

fn deployed(app: &TestApp) -> Value {
    let arn = truth(app)["taskDefinition"].clone();
    app.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn}))["taskDefinition"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_new_container_is_visible_to_every_request() {
    for seed in SEEDS {
        let app = TestApp::with(stale(seed)).await;
        for user in ["a", "b", "c", "d", "e", "f"] {
            assert_eq!(app.provision(user).await.status, 201);
            let answer = app.get(&format!("/containers/{user}")).await;
            assert_eq!(answer.status, 200, "seed {seed}: {}", answer.body);
        }
    }
}

/// The revision in deployment is newer than the one in an old reading, and was treated as a leftover.
#[tokio::test(start_paused = true)]
async fn a_provision_right_after_a_resize_does_not_replace_the_revision_in_deployment() {
    for seed in SEEDS {
        let app = TestApp::with(stale(seed)).await;
        running(&app, "alice").await;
        for memory_mib in [4096, 2048, 4096, 2048] {
            resize(&app, memory_mib).await;
            assert!([200, 202].contains(&app.provision("alice").await.status));
            let (definition, revisions) = (deployed(&app), app.user_revisions());
            assert_eq!(
                (&definition["status"], &definition["memory"]),
                (&json!("ACTIVE"), &json!(memory_mib.to_string()))
            );
            assert!(revisions.contains(&definition["taskDefinitionArn"].as_str().unwrap().to_owned()), "{seed}");
            app.pass_seconds(10).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_redeploy_right_after_a_resize_keeps_its_size() {
    for seed in SEEDS {
        let app = TestApp::with(stale(seed)).await;
        running(&app, "alice").await;
        for memory_mib in [4096, 2048, 4096, 2048] {
            resize(&app, memory_mib).await;
            let base = format!("ghcr.io/openclaw/openclaw:2026.4.{}", 20 + memory_mib / 1024);
            let answer = app.post("/containers/alice/redeploy", json!({"image": base})).await;
            assert!([200, 202].contains(&answer.status), "{}", answer.body);
            assert_eq!(deployed(&app)["memory"], json!(memory_mib.to_string()), "seed {seed}");
            app.pass_seconds(10).await;
        }
    }
}

/// The old reading said desired 1, from before the stop, and nothing was sent.
#[tokio::test(start_paused = true)]
async fn a_start_or_a_provision_right_after_a_stop_starts_the_container() {
    for seed in SEEDS {
        let app = TestApp::with(stale(seed)).await;
        running(&app, "alice").await;
        for round in 0..6 {
            assert!([200, 202].contains(&app.post("/containers/alice/stop", json!({})).await.status));
            match round % 2 {
                0 => app.post("/containers/alice/start", json!({})).await,
                _ => app.provision("alice").await,
            };
            assert_eq!(truth(&app)["desiredCount"], 1, "seed {seed}, round {round}");
            assert_ne!(app.get("/containers/alice").await.body["state"], "stopped");
        }
    }
}

/// A task that was just started is not visible yet.
#[tokio::test(start_paused = true)]
async fn a_delete_right_after_a_start_removes_nothing_that_the_task_uses() {
    for seed in SEEDS {
        let app = TestApp::with(stale(seed)).await;
        running(&app, "alice").await;
        app.post("/containers/alice/stop", json!({})).await;
        app.pass_seconds(10).await;
        app.post("/containers/alice/start", json!({})).await;
        app.pass_millis(800).await;
        let service = truth(&app)["serviceArn"].clone();
        assert_eq!(app.delete("/containers/alice?data=purge").await.status, 202);
        let alive = || {
            let all = ["RUNNING", "STOPPED"].into_iter().flat_map(|desired| {
                let listed = json!({"cluster": CLUSTER, "serviceName": service, "desiredStatus": desired});
                app.aws("ecs", "ListTasks", listed)["taskArns"].as_array().unwrap().clone()
            });
            let tasks = json!({"cluster": CLUSTER, "tasks": all.collect::<Vec<_>>()});
            let found = app.aws("ecs", "DescribeTasks", tasks)["tasks"].clone();
            found.as_array().unwrap().iter().any(|task| task["lastStatus"] != "STOPPED")
        };
        while alive() {
            assert_eq!((app.services().len(), app.path("users/alice").exists()), (1, true), "seed {seed}");
            app.pass_millis(50).await;
        }
        app.pass_seconds(15).await;
        assert_eq!((app.services().len(), app.path("users/alice").exists()), (0, false), "seed {seed}");
        assert_eq!((app.access_points().len(), app.user_revisions().len()), (0, 0));
    }
}

/// The deleted service still shows as ACTIVE, and no file says otherwise: the delete has removed the user's file.
#[tokio::test(start_paused = true)]
async fn a_user_who_returns_right_after_a_delete_gets_a_new_container() {
    for seed in SEEDS {
        let app = TestApp::with(stale(seed)).await;
        running(&app, "alice").await;
        let replica = app.replica().await;
        for round in 0..3 {
            let before = truth(&app)["serviceArn"].clone();
            app.delete("/containers/alice").await;
            let other = if round % 2 == 0 { &app } else { &replica };
            // It is written down until it is done.
            while app.path(".provisioner/pending/alice.pending").exists() {
                app.pass_millis(20).await;
            }
            let answer = other.provision("alice").await;
            assert!([201, 202].contains(&answer.status), "seed {seed}: {} {}", answer.status, answer.body);
            app.pass_seconds(10).await;
            let now = truth(&app);
            assert_eq!(
                (&now["status"], &now["runningCount"]),
                (&json!("ACTIVE"), &json!(1)),
                "seed {seed}, not {before}"
            );
        }
    }
}

/// A change from outside is seen, once enough time has passed since our own last change.
#[tokio::test(start_paused = true)]
async fn a_change_by_an_operator_in_aws_is_accepted() {
    for seed in SEEDS {
        let app = TestApp::with(stale(seed)).await;
        running(&app, "alice").await;
        let service = truth(&app)["serviceArn"].clone();
        app.aws("ecs", "UpdateService", json!({"cluster": CLUSTER, "service": service, "desiredCount": 0}));
        app.pass_seconds(5).await;
        assert_eq!(app.get("/containers/alice").await.body["state"], "stopped");
        resize(&app, 4096).await;
        assert_eq!(truth(&app)["desiredCount"], 0);
    }
}

/// Creating an access point used to be the only way to find the existing one.
#[tokio::test(start_paused = true)]
async fn a_delete_needs_no_access_point_to_be_created() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let service = truth(&app)["serviceArn"].clone();
    app.aws("ecs", "DeleteService", json!({"cluster": CLUSTER, "service": service, "force": true}));
    // As after an hour: ECS has forgotten the service and the revisions that named the access point.
    for revision in app.user_revisions() {
        app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": revision}));
        app.aws("ecs", "DeleteTaskDefinitions", json!({"taskDefinitions": [revision]}));
    }
    app.pass_seconds(10).await;
    let kind = FaultKind::Error { status: 403, code: "AccessPointLimitExceeded".into(), message: "10000".into() };
    app.emulator.inject(Fault { service: None, action: "CreateAccessPoint".into(), skip: 0, times: 99, kind });
    let answer = app.delete("/containers/alice?data=purge").await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    app.pass_seconds(10).await;
    assert_eq!((app.access_points().len(), app.count("CreateAccessPoint")), (0, 1));
}
