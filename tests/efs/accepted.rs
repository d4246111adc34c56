//! Accepted work with real processes: one is killed or stopped after its 202, and the other one finishes the work without a new
//! request. The files are in a plain directory; the kernel releases the locks of a killed process.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aws_emulator::{Options as EmulatorOptions, Pace};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{auth, provision_body};
use crate::world::{LONG, Replica, World};

/// A world in which the tasks of a deleted service take this long to stop.
fn world(stopping_seconds: u64) -> World {
    let pace = Pace { stopping: Duration::from_secs(stopping_seconds), ..Pace::default() };
    World::new(EmulatorOptions { pace, ..EmulatorOptions::default() })
}

fn running(replica: &Replica) {
    let answer = replica.call("POST", "/provision", &provision_body("alice"));
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(replica.get("/containers/alice/wait").body["state"], "running");
}

fn names(root: &Path) -> Vec<String> {
    let names = std::fs::read_dir(root.join(".provisioner/pending")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // A request to the lock's holder is not accepted work.
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".ask")).collect();
    names.sort();
    names
}

/// Polls until the condition is true.
fn eventually(what: &str, replica: &Replica, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "{what}\n{}", replica.log());
        thread::sleep(Duration::from_millis(50));
    }
}

fn ends(replica: Replica, signal: Signal) {
    match signal {
        Signal::TERM => drop(replica.stop(Duration::from_secs(20))),
        signal => replica.signal(signal),
    }
}

#[test]
fn a_delete_is_finished_by_another_replica_when_its_own_is_killed_or_stopped() {
    for signal in [Signal::KILL, Signal::TERM] {
        let (world, root) = (world(6), tempfile::tempdir().unwrap());
        let (first, second) = (world.replica(root.path()), world.replica(root.path()));
        running(&first);
        let answer = first.call("DELETE", "/containers/alice?data=purge", &Value::Null);
        assert_eq!((answer.status, &answer.body["state"]), (202, &json!("deleting")), "{}", answer.body);
        ends(first, signal);
        eventually("it is deleted", &second, || second.get("/containers/alice").status == 404);
        let aws = &world.aws;
        let left = (aws.services().len(), aws.access_points().len(), aws.user_revisions().len());
        assert_eq!((left, names(root.path())), ((0, 0, 0), vec![]), "{signal:?}");
        assert!(!root.path().join("users/alice").exists(), "{signal:?}");
    }
}

#[test]
fn another_replica_finishes_a_provision_that_waits_for_a_delete_with_its_sign_in() {
    let (world, root) = (world(14), tempfile::tempdir().unwrap());
    let (first, second) = (world.replica(root.path()), world.replica(root.path()));
    running(&first);
    assert_eq!(first.call("DELETE", "/containers/alice", &Value::Null).status, 202);
    let body = json!({"user_id": "alice", "auth": auth("acc_1", "rt_of_the_last_request", 1_770_000_100)});
    let answer = first.call("POST", "/provision", &body);
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert!(names(root.path()).iter().any(|name| name.ends_with(".sign-in")), "{:?}", names(root.path()));
    first.signal(Signal::KILL);
    let state = || second.get("/containers/alice").body["state"].clone();
    eventually("it runs", &second, || state() == "running");
    eventually("nothing is left to do", &second, || names(root.path()).is_empty());
    let staged = root.path().join("users/alice/codex/auth.json");
    assert!(std::fs::read_to_string(staged).unwrap().contains("rt_of_the_last_request"));
    assert!(!second.log().contains("rt_of_the_last_request"), "no log has a token");
    assert_eq!((world.aws.services().len(), world.aws.access_points().len()), (1, 1));
}
