//! The script that rollouts replaced, step by step: it moves one user after the other to the newest base and waits for each,
//! until one does not come up.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::fleet::Fleet;
use crate::{Bad, OF_SCRIPT, SIGN_INS};

/// The seconds that it takes for [`OF_SCRIPT`] users.
pub(crate) async fn good() -> f64 {
    let fleet = Fleet::running(OF_SCRIPT).await;
    fleet.release("ghcr.io/openclaw/openclaw:2026.4.24");
    sleep(Duration::from_secs(120)).await;
    let began = Instant::now();
    assert_eq!(run(&fleet).await, OF_SCRIPT);
    began.elapsed().as_secs_f64()
}

pub(crate) async fn bad() -> Bad {
    let fleet = Fleet::running(OF_SCRIPT).await;
    fleet.release("ghcr.io/sim-crash/openclaw:2026.4.23");
    sleep(Duration::from_secs(120)).await;
    let began = Instant::now();
    let moved = run(&fleet).await + 1;
    let stopped_after = began.elapsed().as_secs_f64();
    Bad { stopped_after, moved, taken_by_sign_in: fleet.sign_in(SIGN_INS, "2026.4.23").await }
}

/// Returns how many come up before one does not.
async fn run(fleet: &Fleet) -> usize {
    for (done, user) in fleet.users.iter().enumerate() {
        let redeployed = fleet.app.post(&format!("/containers/{user}/redeploy"), json!({})).await;
        assert!((200..300).contains(&redeployed.status), "{}", redeployed.body);
        let mut state = Value::Null;
        for _ in 0..10 {
            state =
                fleet.app.get(&format!("/containers/{user}/wait?state=running&timeout_seconds=60")).await.body["state"]
                    .take();
            if ["running", "failed", "stopped"].iter().any(|last| state == *last) {
                break;
            }
        }
        if state != "running" {
            return done;
        }
    }
    fleet.users.len()
}
