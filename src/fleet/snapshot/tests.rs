//! Tests of how a snapshot uses the one before it.

use super::*;
use crate::domain::service::ServiceStatus;

const HOUR: i64 = 3_600;

fn user() -> UserId {
    UserId::parse("alice").unwrap()
}

/// A service with one task or none, whose deployment began and ended so many seconds ago.
fn service(desired: u32, running: u32, rollout: Rollout, [began, ended]: [i64; 2]) -> Service {
    let ago = |seconds| Some(Timestamp::now().as_second() - seconds);
    let deployment = Deployment {
        id: "ecs-svc/1".into(),
        primary: true,
        task_definition: "arn:1".into(),
        rollout,
        reason: None,
        created_at_seconds: ago(began),
        updated_at_seconds: ago(ended),
    };
    Service {
        name: user().service_name(),
        status: ServiceStatus::Active,
        desired,
        running,
        pending: 0,
        task_definition: "arn:1".into(),
        execute_command: false,
        deployments: vec![deployment],
        troubles: vec![],
        created_at_seconds: None,
    }
}

/// The entries of one service in successive snapshots, five minutes apart; `None` where the service did not exist.
fn entries(services: impl IntoIterator<Item = Option<Service>>) -> Vec<Option<Entry>> {
    let (mut before, mut all) = (None::<Snapshot>, Vec::new());
    for service in services {
        let of_now = service.and_then(|service| entry(service, Some("alice"), before.as_ref(), &|_| false));
        let taken_at = Timestamp::now() - Duration::from_secs(300);
        let (cluster, taken) = (String::new(), Instant::now());
        let entries = before.replace(Snapshot { cluster, taken_at, taken, entries: of_now.into_iter().collect() });
        all.extend(entries.map(|mut snapshot| snapshot.entries.pop()));
    }
    all.extend(before.map(|mut snapshot| snapshot.entries.pop()));
    all
}

fn came_up_after(services: impl IntoIterator<Item = Option<Service>>) -> Vec<Option<u64>> {
    let took = |entry: Option<Entry>| entry?.came_up_after.map(|took| took.as_secs());
    entries(services).into_iter().map(took).collect()
}

#[test]
fn the_duration_of_a_rollout_is_counted_once() {
    use Rollout::{Completed, InProgress};
    let up = || Some(service(1, 1, Completed, [60, 20]));
    let on_its_way = || Some(service(1, 0, InProgress, [HOUR, HOUR]));
    let old = || Some(service(1, 1, Completed, [HOUR, 3_000]));
    assert_eq!(came_up_after([old(), old()]), [None, None], "it came up under another process");
    assert_eq!(came_up_after([None, up(), None]), [None, Some(40), None], "a new user");
    assert_eq!(came_up_after([on_its_way(), old(), old()]), [None, Some(600), None], "seen on its way");
    assert_eq!(came_up_after([old(), up()]), [None, Some(40)], "redeployed in between");
}

#[test]
fn a_container_that_is_stopped_and_started_again_was_not_provisioned() {
    use Rollout::Completed;
    // ECS updates the deployment, which stays the same, when the desired count changes.
    let stopped = || Some(service(0, 0, Completed, [50 * HOUR, 2 * HOUR]));
    let starting = || Some(service(1, 0, Completed, [50 * HOUR, 5]));
    let up = || Some(service(1, 1, Completed, [50 * HOUR, 5]));
    assert_eq!(came_up_after([stopped(), up()]), [None, None]);
    assert_eq!(came_up_after([stopped(), starting(), up()]), [None, None, None]);
}

#[test]
fn a_start_is_no_older_than_the_snapshot_in_which_the_container_was_stopped() {
    let ages = |services: Vec<Service>| {
        let entries = entries(services.into_iter().map(Some));
        entries.into_iter().map(|entry| entry.unwrap().since.elapsed().as_secs()).collect::<Vec<_>>()
    };
    let stopped = service(0, 0, Rollout::Completed, [50, 40]);
    let starting = || service(1, 0, Rollout::InProgress, [50, 0]);
    assert_eq!(ages(vec![stopped, starting()]), [0, 0]);
    assert_eq!(ages(vec![starting(), starting()]), [50, 50]);
}
