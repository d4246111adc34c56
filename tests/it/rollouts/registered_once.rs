//! Revisions registered by a process that is killed. A replica is a tokio runtime here: dropping it ends every task and closes
//! every file, as the kernel does with a killed process.

use std::time::Duration;

use aws_emulator::{Fault, FaultKind, Options};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::{of, release, running, start, until};
use crate::harness::TestApp;

fn process() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Kills the process of a rollout after its first registration took effect, before its answer.
fn killed_after_registration() -> (TestApp, String, Duration) {
    let process = process();
    let left = process.block_on(async {
        let born = Instant::now();
        // Long enough to kill it before it can check its registration.
        let app = TestApp::with(Options { per_call_delay: Duration::from_millis(200), ..Options::default() }).await;
        app.rollouts.run_in_background();
        running(&app, &["alice", "bob"]).await;
        let to = release(&app, "2026.4.25");
        let (service, action) = (Some("ecs".into()), "RegisterTaskDefinition".into());
        app.emulator.inject(Fault { service, action, skip: 0, times: 1, kind: FaultKind::DropAfter });
        let id = start(&app, json!({"change": {"base_revision": to}, "strategy": {"soak_seconds": 0}})).await;
        while app.user_revisions().len() < 3 {
            app.pass_millis(50).await;
        }
        (app, id, born.elapsed())
    });
    drop(process);
    left.0.emulator.clear_faults();
    left.0.emulator.clear_calls();
    left
}

#[test]
fn revisions_of_a_killed_process_are_used_and_none_is_registered_twice() {
    let (dead, id, lived) = killed_after_registration();
    process().block_on(async {
        // The emulator's clock continues at the time of the first process.
        tokio::time::advance(lived).await;
        let other = dead.replica().await;
        other.rollouts.run_in_background();
        until(&other, &id, "done").await;
        assert_eq!((of(&other, "alice").await.0, of(&other, "bob").await.0), ("2".to_owned(), "2".to_owned()));
        // The revisions of two users, before and after the change.
        let revisions = other.user_revisions();
        assert_eq!((revisions.len(), other.count("RegisterTaskDefinition")), (4, 1), "{revisions:?}");
    });
}

#[test]
fn a_purge_deletes_revisions_of_a_killed_process() {
    let (dead, _, lived) = killed_after_registration();
    process().block_on(async {
        tokio::time::advance(lived).await;
        let other = dead.replica().await;
        for user in ["alice", "bob"] {
            while other.delete(&format!("/containers/{user}?data=purge")).await.status != 404 {
                other.pass_seconds(2).await;
            }
        }
        assert_eq!(other.user_revisions(), Vec::<String>::new());
    });
}
