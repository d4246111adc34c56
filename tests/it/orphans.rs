//! Revisions that nothing runs: each is deregistered, because a delete could never find it.

use aws_emulator::{Fault, FaultKind};
use serde_json::json;

use crate::harness::{Answer, CLUSTER, TestApp};

fn strike(app: &TestApp, action: &str, kind: FaultKind) {
    app.emulator.inject(Fault { service: Some("ecs".into()), action: action.into(), skip: 0, times: 1_000, kind });
}

fn refusal() -> FaultKind {
    FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "not authorized".into() }
}

fn service(app: &TestApp, answer: &Answer) -> serde_json::Value {
    let name = &answer.body["service"];
    app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [name]}))["services"][0].clone()
}

#[tokio::test(start_paused = true)]
async fn a_revision_is_deregistered_if_its_service_was_refused() {
    let app = TestApp::start().await;
    strike(&app, "CreateService", refusal());
    for _ in 0..3 {
        let answer = app.provision("alice").await;
        assert_eq!((answer.status, &answer.body["code"]), (500, &json!("aws_access_denied")));
        assert_eq!(app.user_revisions(), Vec::<String>::new());
    }
    app.emulator.clear_faults();
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, app.user_revisions().len()), (201, 1));
}

/// After a lost answer it is not known whether a service runs the revision: it stays, and the next call finds the service.
#[tokio::test(start_paused = true)]
async fn a_revision_that_a_service_may_be_running_is_left_alone() {
    let app = TestApp::start().await;
    strike(&app, "CreateService", FaultKind::DropAfter);
    let lost = app.provision("alice").await;
    assert_eq!((lost.status, &lost.body["code"]), (503, &json!("aws_unavailable")));
    app.emulator.clear_faults();
    let found = app.provision("alice").await;
    // 201 if the service was not visible yet: the same CreateService finds it.
    assert!([200, 201, 202].contains(&found.status), "{}", found.body);
    assert_eq!((app.user_revisions().len(), app.services().len()), (1, 1));
    assert_eq!(service(&app, &found)["taskDefinition"], json!(app.user_revisions()[0]));
}

/// However often a change with unknown effect is repeated, there is one revision for it; revisions of other changes are
/// remembered, and removed with the first change that succeeds.
#[tokio::test(start_paused = true)]
async fn repeated_changes_that_get_no_answer_leave_one_revision_in_flight() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    app.pass_seconds(5).await;
    strike(&app, "UpdateService", FaultKind::DropBefore);
    for (memory_mib, registered) in [(3072, 2), (3072, 2), (3072, 2), (4096, 3), (1024, 4)] {
        let answer = app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": memory_mib})).await;
        assert_eq!((answer.status, &answer.body["code"]), (503, &json!("aws_unavailable")));
        assert_eq!(app.user_revisions().len(), registered, "{memory_mib}");
    }
    app.emulator.clear_faults();
    // Another replica knows the same, from the file system.
    let other = app.replica().await;
    let answer = other.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 4096})).await;
    assert_eq!((answer.status, app.user_revisions().len()), (202, 2), "{}", answer.body);
    assert_eq!(service(&app, &answer)["taskDefinition"], json!(app.user_revisions()[1]));
}

/// A delete that is cut short and followed by a new start, not by another delete, hides the old chain of revisions.
#[tokio::test(start_paused = true)]
async fn a_delete_finds_revisions_from_before_the_last_start() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    app.pass_seconds(5).await;
    app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 4096})).await;
    app.pass_seconds(10).await;
    // As after a kill: only the service is gone.
    let name = app.get("/containers/alice").await.body["service"].clone();
    app.aws("ecs", "DeleteService", json!({"cluster": CLUSTER, "service": name, "force": true}));
    app.pass_seconds(10).await;
    assert_eq!((app.provision("alice").await.status, app.user_revisions().len()), (201, 3));
    app.pass_seconds(5).await;
    while app.delete("/containers/alice?data=purge").await.status != 404 {
        app.pass_seconds(5).await;
    }
    assert_eq!((app.user_revisions(), app.access_points()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn after_many_changes_only_revisions_for_a_rollback_stay_registered() {
    let app = TestApp::start().await;
    let made = app.provision("alice").await;
    app.pass_seconds(5).await;
    for memory_mib in [3072, 4096, 2048, 1024] {
        let answer = app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": memory_mib})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        app.pass_seconds(10).await;
    }
    let kept = app.user_revisions();
    assert_eq!((kept.len(), json!(kept[1])), (2, service(&app, &made)["taskDefinition"].clone()));
}

/// A revision that never started is useless once the next one is deployed.
#[tokio::test(start_paused = true)]
async fn a_revision_that_was_rolled_back_is_deregistered_with_the_next_change() {
    let app = TestApp::start().await;
    let made = app.provision("alice").await;
    app.pass_seconds(10).await;
    let good = service(&app, &made)["taskDefinition"].clone();
    app.post("/containers/alice/redeploy", json!({"image": "example.com/openclaw:sim-crash"})).await;
    let bad = service(&app, &made)["taskDefinition"].clone();
    // Only until the circuit breaker has gone back: ECS forgets the failed deployment when the old one is steady.
    for _ in 0..600 {
        app.pass_millis(100).await;
        if service(&app, &made)["taskDefinition"] == good {
            break;
        }
    }
    assert_eq!(service(&app, &made)["taskDefinition"], good);
    let listed = service(&app, &made)["deployments"].to_string();
    assert!(listed.contains("FAILED") && listed.contains(bad.as_str().unwrap()), "{listed}");
    app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 4096})).await;
    let now = service(&app, &made)["taskDefinition"].clone();
    let kept: Vec<_> = app.user_revisions().into_iter().map(|arn| json!(arn)).collect();
    assert_eq!(kept, [good, now]);
}
