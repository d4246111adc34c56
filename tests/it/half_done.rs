//! Work that began without a success answer: it continues by itself, and nothing is treated as gone that is only not visible yet.
//! The search in `src/reconcile/model` found each case, with the sequence described at its test.

use std::time::Duration;

use aws_emulator::{Conduct, Fault, FaultKind, Options, StaleReads};
use serde_json::json;

use crate::harness::{CLUSTER, TestApp};

const SEEDS: [u64; 3] = [1, 2, 3];

async fn stale(seed: u64) -> TestApp {
    let stale_reads = Some(StaleReads { seed, up_to: Duration::from_secs(2) });
    TestApp::with(Options { conduct: Conduct { stale_reads, ..Conduct::default() }, ..Options::default() }).await
}

/// Loses every answer to this action, but not its effect, until faults are cleared.
fn lose_answers(app: &TestApp, action: &str) {
    let (action, kind) = (action.into(), FaultKind::DropAfter);
    app.emulator.inject(Fault { service: None, action, skip: 0, times: 1000, kind });
}

/// A user is provisioned, and the answer of CreateService is lost; a delete reads that there is no service yet, deregisters the
/// revision that is being deployed, purges the files under its task, and says that it is done.
#[tokio::test(start_paused = true)]
async fn a_delete_sees_a_service_that_was_created_a_moment_ago() {
    for seed in SEEDS {
        let app = stale(seed).await;
        lose_answers(&app, "CreateService");
        let answer = app.provision("alice").await;
        assert_eq!((answer.status, &answer.body["retryable"]), (503, &json!(true)), "{}", answer.body);
        app.emulator.clear_faults();
        let answer = app.replica().await.delete("/containers/alice?data=purge").await;
        assert_eq!(answer.status, 202, "seed {seed}: {}", answer.body);
        app.pass_seconds(60).await;
        assert_eq!((app.services().len(), app.path("users/alice").exists()), (0, false), "seed {seed}");
        assert_eq!((app.access_points().len(), app.user_revisions().len()), (0, 0), "seed {seed}");
    }
}

/// A user is provisioned, and the answer of CreateService is lost; they are provisioned again, which finds the service and
/// changes nothing; a stop reads that there is none yet.
#[tokio::test(start_paused = true)]
async fn the_next_request_sees_the_service_that_one_request_found() {
    for seed in SEEDS {
        let app = stale(seed).await;
        lose_answers(&app, "CreateService");
        assert_eq!(app.provision("alice").await.status, 503);
        app.emulator.clear_faults();
        let again = app.provision("alice").await;
        assert!([200, 201, 202].contains(&again.status), "{}", again.body);
        let stopped = app.replica().await.post("/containers/alice/stop", json!({})).await;
        assert!([200, 202].contains(&stopped.status), "seed {seed}: {}", stopped.body);
        app.pass_seconds(20).await;
        let arn = app.services()[0].clone();
        let now =
            app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [arn]}))["services"][0].clone();
        assert_eq!(now["desiredCount"], 0, "seed {seed}");
    }
}

/// A delete sets the desired count to 0, and fails; the container stays stopped, and nobody goes on.
#[tokio::test(start_paused = true)]
async fn a_delete_that_fails_half_way_continues_by_itself() {
    for action in ["UpdateService", "DeleteService"] {
        let app = TestApp::start().await;
        assert_eq!(app.provision("alice").await.status, 201);
        app.pass_seconds(10).await;
        lose_answers(&app, action);
        let answer = app.delete("/containers/alice?data=purge").await;
        assert!([202, 503].contains(&answer.status), "{action}: {}", answer.body);
        app.pass_seconds(20).await;
        app.emulator.clear_faults();
        app.pass_seconds(120).await;
        assert_eq!((app.services().len(), app.path("users/alice").exists()), (0, false), "{action}");
        assert_eq!((app.access_points().len(), app.user_revisions().len()), (0, 0), "{action}");
    }
}

/// A user is deleted in one replica; a resize in another one reads the old service, registers a revision, is refused by
/// ECS, and forgets the user together with the revision.
#[tokio::test(start_paused = true)]
async fn a_change_after_a_delete_leaves_no_revision() {
    for seed in SEEDS {
        let app = stale(seed).await;
        assert_eq!(app.provision("alice").await.status, 201);
        app.pass_seconds(10).await;
        let other = app.replica().await;
        app.delete("/containers/alice?data=purge").await;
        while app.path(".provisioner/locks").read_dir().unwrap().count() > 0 {
            app.pass_millis(20).await;
        }
        let answer = other.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
        assert_eq!(answer.status, 404, "seed {seed}: {}", answer.body);
        app.pass_seconds(10).await;
        assert_eq!((app.services().len(), app.user_revisions()), (0, vec![]), "seed {seed}");
    }
}
