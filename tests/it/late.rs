//! A change that was sent to ECS before its lock was lost, and arrives after the change of the next holder.

use std::time::Duration;

use aws_emulator::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::harness::TestApp;

/// Far longer than a check of the lock is valid.
const LATE: Duration = Duration::from_secs(20);

/// Sends a request to one replica, which loses its lock while its change is on the way to ECS; another replica does `next`.
async fn overtaken(first: (&str, Value), next: (&str, Value)) -> TestApp {
    let app = TestApp::start().await;
    assert_eq!(app.provision("alice").await.status, 201);
    app.pass_seconds(60).await;
    let other = app.replica().await;
    app.emulator.inject(Fault {
        service: None,
        action: "UpdateService".into(),
        skip: 0,
        times: 1,
        kind: FaultKind::Late(LATE),
    });
    let overtaking = async {
        while app.count("UpdateService") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // As after a lost lease of its mount: the name leads to another file from now on.
        std::fs::remove_file(app.path(".provisioner/locks/alice.lock")).unwrap();
        let answer = other.post(&format!("/containers/alice/{}", next.0), next.1).await;
        assert!(matches!(answer.status, 200 | 202), "{}", answer.body);
    };
    let path = format!("/containers/alice/{}", first.0);
    let (answer, ()) = tokio::join!(app.post(&path, first.1), overtaking);
    assert_eq!((answer.status, answer.body["code"].as_str()), (503, Some("lock_lost")), "{}", answer.body);
    app.pass_seconds(120).await;
    assert_eq!(app.count("UpdateService"), 3, "the late one, the next holder's, and what puts that back");
    app
}

fn size(cpu: u32) -> Value {
    json!({"cpu": cpu, "memory_mib": cpu * 2})
}

#[tokio::test(start_paused = true)]
async fn a_late_resize_does_not_undo_a_later_accepted_one() {
    let app = overtaken(("resize", size(1024)), ("resize", size(2048))).await;
    let shown = app.get("/containers/alice").await.body;
    assert_eq!((&shown["size"]["cpu"], &shown["state"]), (&json!(2048), &json!("running")), "{shown}");
    // The next change begins with the restored value.
    assert_eq!(app.post("/containers/alice/redeploy", json!({})).await.status, 200);
    app.pass_seconds(60).await;
    assert_eq!(app.get("/containers/alice").await.body["size"]["cpu"], json!(2048));
}

#[tokio::test(start_paused = true)]
async fn a_late_stop_does_not_stop_a_container_that_was_started_after_it() {
    let app = overtaken(("stop", json!({})), ("start", json!({}))).await;
    let shown = app.get("/containers/alice").await.body;
    assert_eq!(shown["state"], json!("running"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_another_replica_deleted_meanwhile_stays_deleted() {
    let app = TestApp::start().await;
    assert_eq!(app.provision("alice").await.status, 201);
    app.pass_seconds(60).await;
    let other = app.replica().await;
    let kind = FaultKind::Late(LATE);
    app.emulator.inject(Fault { service: None, action: "UpdateService".into(), skip: 0, times: 1, kind });
    let deleting = async {
        while app.count("UpdateService") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::remove_file(app.path(".provisioner/locks/alice.lock")).unwrap();
        assert!(matches!(other.delete("/containers/alice").await.status, 202 | 204));
    };
    let (answer, ()) = tokio::join!(app.post("/containers/alice/resize", size(1024)), deleting);
    assert_eq!(answer.status, 503, "{}", answer.body);
    app.pass_seconds(120).await;
    assert_eq!(app.get("/containers/alice").await.status, 404);
}
