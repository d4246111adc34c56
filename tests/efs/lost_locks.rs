//! A replica that was stopped for longer than its lease, while another one did the user's next request.

use std::thread;
use std::time::{Duration, Instant};

use aws_emulator::{Call, Options as EmulatorOptions};
use rustix::process::Signal;
use serde_json::json;

use crate::fuse::Mount;
use crate::harness::{CLUSTER, provision_body};
use crate::mount;
use crate::world::{LONG, Replica, World};

/// Duration of an AWS call: long enough to stop a replica between two calls.
const CALL: Duration = Duration::from_millis(50);
/// Time until readings show all accepted changes.
const SETTLES: Duration = Duration::from_secs(5);
/// Users that are resized at the same time.
const AT_A_TIME: usize = 20;

/// A number for runs by hand: `PROVISIONER_TESTS_ROUNDS=200 PROVISIONER_TESTS_AWAY_SECONDS=30`.
fn by_hand(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |number| number.parse().unwrap())
}

fn rounds() -> usize {
    by_hand("PROVISIONER_TESTS_ROUNDS", AT_A_TIME)
}

/// How long it is stopped. A check of the lock is valid for 5 s, and the lease of a real mount lasts far longer.
fn away() -> Duration {
    Duration::from_secs(by_hand("PROVISIONER_TESTS_AWAY_SECONDS", 6) as u64)
}

fn two_mounts(backing: &std::path::Path) -> Option<(Mount, Mount)> {
    Some((mount(backing)?, mount(backing)?))
}

/// The size that the user's service runs with.
fn size(world: &World, user: &str) -> String {
    let service = openclaw_provisioner::domain::UserId::parse(user).unwrap().service_name();
    let described = world.aws.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [service]}));
    let definition = &described["services"][0]["taskDefinition"];
    let described = world.aws.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": definition}));
    described["taskDefinition"]["cpu"].as_str().unwrap().to_owned()
}

#[test]
fn an_update_is_never_lost_to_a_replica_that_was_stopped_for_longer_than_its_lease() {
    let backing = tempfile::tempdir().unwrap();
    let Some((one, other)) = two_mounts(backing.path()) else { return };
    let world = World::new(EmulatorOptions { per_call_delay: CALL, ..EmulatorOptions::default() });
    let (stopped, running) = (world.replica(one.path()), world.replica(other.path()));
    let (mut answers, mut overtaken) = (Vec::new(), 0);
    for round in 0..rounds().div_ceil(AT_A_TIME) {
        let users: Vec<String> = (0..AT_A_TIME).map(|n| format!("user-{round}-{n}")).collect();
        in_parallel(&users, |user| assert_eq!(running.call("POST", "/provision", &provision_body(user)).status, 201));
        world.emulator.clear_calls();
        thread::scope(|scope| {
            let first: Vec<_> = users.iter().map(|user| scope.spawn(|| resize(&stopped, user, 1024))).collect();
            // After DescribeServices a replica holds the user's lock. From there on, stop at a different point each time.
            let has_looked = |call: &&Call| call.action == "DescribeServices";
            while world.emulator.calls().iter().filter(has_looked).count() < AT_A_TIME {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(CALL * (round as u32 % 8) / 2);
            stopped.signal(Signal::STOP);
            overtaken += one.lose_locks();
            in_parallel(&users, |user| assert_eq!(resize(&running, user, 2048), 202));
            thread::sleep(away());
            stopped.signal(Signal::CONT);
            answers.extend(users.iter().zip(first).map(|(user, first)| (user.clone(), first.join().unwrap())));
        });
    }
    assert!(overtaken > 0, "no lock was lost, so nothing was shown");
    // Changes under way when it was stopped were sent afterwards, and are checked once readings show them.
    thread::sleep(SETTLES);
    let is_lost = |user: &str| {
        let start = Instant::now();
        while size(&world, user) != "2048" && start.elapsed() < LONG {
            thread::sleep(Duration::from_millis(100));
        }
        size(&world, user) != "2048"
    };
    let lost = answers.iter().filter(|(user, _)| is_lost(user));
    let lost: Vec<_> = lost.map(|(user, status)| format!("{user}: {status}, {}", size(&world, user))).collect();
    let put_back = stopped.said("a change reached ECS after its lock was lost; put back what another replica had set");
    eprintln!("{} users, {overtaken} lost locks, {} put back, {} lost", answers.len(), put_back.len(), lost.len());
    assert!(lost.is_empty(), "{} of {}: {}\n{}", lost.len(), rounds(), lost.join("; "), stopped.log());
    stopped.stop(LONG);
    running.stop(LONG);
}

fn resize(replica: &Replica, user: &str, cpu: u32) -> u16 {
    let body = json!({"cpu": cpu, "memory_mib": cpu * 2});
    replica.call("POST", &format!("/containers/{user}/resize"), &body).status
}

fn in_parallel(users: &[String], work: impl Fn(&str) + Sync) {
    thread::scope(|scope| users.iter().for_each(|user| drop(scope.spawn(|| work(user)))));
}
