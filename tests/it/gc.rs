//! Clean-up: finds what belongs to no user, and removes it after the grace period; removes nothing else.

use std::time::Duration;

use aws_emulator::{Fault, FaultKind, Options as EmulatorOptions, StaleReads};
use jiff::{SignedDuration, Timestamp};
use openclaw_provisioner::domain::{TAG_BASE_FAMILY, TAG_USER, UserId};
use openclaw_provisioner::reconcile::{Gc, Sweep};
use serde_json::{Value, json};

use crate::harness::{BASE, CLUSTER, TestApp, USER_FAMILY};

const HOUR: u64 = 3600;

async fn gc_at(app: &TestApp, applies: bool, hours: i64) -> Vec<String> {
    // Recent changes are visible then.
    app.pass_seconds(10).await;
    let now = Timestamp::now() + SignedDuration::from_hours(hours);
    let found = app.reconciler.gc(Gc { applies, grace: Duration::from_secs(24 * HOUR), now }).await.unwrap();
    let name = |id: &str| id.rsplit('/').next().unwrap().to_owned();
    found.iter().map(|left| format!("{} {} {}", left.kind, name(&left.id), left.fate.name())).collect()
}

/// The number of users' resources in the account and of users' files.
fn there(app: &TestApp) -> (usize, usize, usize, usize) {
    let revisions = |status: &str| {
        let wanted = json!({"familyPrefix": USER_FAMILY, "status": status, "maxResults": 100});
        app.aws("ecs", "ListTaskDefinitions", wanted)["taskDefinitionArns"].as_array().unwrap().len()
    };
    (revisions("ACTIVE"), revisions("INACTIVE"), app.access_points().len(), app.services().len())
}

async fn resized(app: &TestApp, user: &str) {
    assert_eq!(app.provision(user).await.status, 201);
    app.pass_seconds(10).await;
    let size = json!({"cpu": 512, "memory_mib": 4096});
    assert_eq!(app.post(&format!("/containers/{user}/resize"), size).await.status, 202);
    app.pass_seconds(10).await;
    let size = json!({"cpu": 512, "memory_mib": 2048});
    assert_eq!(app.post(&format!("/containers/{user}/resize"), size).await.status, 202);
    app.pass_seconds(10).await;
}

#[tokio::test(start_paused = true)]
async fn existing_users_lose_only_deregistered_revisions_after_the_grace_period() {
    let app = TestApp::start().await;
    resized(&app, "alice").await;
    resized(&app, "bob").await;
    let before = there(&app);
    assert!(before.1 > 0, "{before:?}");
    let files = app.files();
    let found = gc_at(&app, true, 0).await;
    assert!(!found.is_empty() && found.iter().all(|left| left.ends_with(" waits")), "{found:?}");
    let found = gc_at(&app, false, 25).await;
    assert!(found.iter().all(|left| left.starts_with("task_definition") && left.ends_with(" due")), "{found:?}");
    assert_eq!(there(&app), before, "nothing is removed unasked");
    let found = gc_at(&app, true, 25).await;
    assert!(found.len() == before.1 && found.iter().all(|left| left.ends_with(" removed")), "{found:?}");
    assert_eq!(there(&app), (before.0, 0, before.2, before.3));
    assert_eq!(gc_at(&app, true, 25).await, Vec::<String>::new());
    assert_eq!(app.files().len(), files.len(), "files stay");
    for user in ["alice", "bob"] {
        assert_eq!(app.get(&format!("/containers/{user}")).await.body["state"], "running");
        assert!(app.delete(&format!("/containers/{user}?data=purge")).await.status < 300);
        app.pass_seconds(60).await;
    }
    assert_eq!(there(&app), (0, 0, 0, 0), "what was deleted is not missed");
}

#[tokio::test(start_paused = true)]
async fn the_background_deletes_what_has_been_deregistered_for_a_day() {
    let app = TestApp::start().await;
    resized(&app, "alice").await;
    let before = there(&app);
    let mut sweep = Sweep::default();
    let at = |hours: i64| Timestamp::now() + SignedDuration::from_hours(hours);
    assert_eq!(app.reconciler.sweep(&mut sweep, at(20)).await.unwrap(), 0);
    assert_eq!(app.reconciler.sweep(&mut sweep, at(25)).await.unwrap(), before.1);
    assert_eq!(there(&app), (before.0, 0, before.2, before.3));
}

#[tokio::test(start_paused = true)]
async fn left_over_resources_are_removed_after_the_grace_period_and_files_never() {
    let app = TestApp::start().await;
    // Created by a process that was killed before it created the service.
    let fault = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    app.emulator.inject(Fault {
        service: Some("ecs".into()),
        action: "CreateService".into(),
        skip: 0,
        times: 1_000,
        kind: fault,
    });
    assert_eq!(app.provision("alice").await.status, 500);
    app.emulator.clear_faults();
    app.pass_seconds(700).await;
    assert!(app.path("users/alice").exists());
    let first = gc_at(&app, true, 0).await;
    assert!(first.contains(&"access_point alice waits".to_owned()), "{first:?}");
    assert!(first.iter().all(|left| left.ends_with(" waits")), "{first:?}");
    // The grace period counts from the first time that it was seen.
    let second = gc_at(&app, true, 23).await;
    assert!(second.iter().all(|left| left.ends_with(" waits")), "{second:?}");
    let third = gc_at(&app, true, 25).await;
    assert!(third.iter().all(|left| left.ends_with(" removed") || left.ends_with(" waits")), "{third:?}");
    assert!(third.contains(&"access_point alice removed".to_owned()), "{third:?}");
    gc_at(&app, true, 60).await;
    assert_eq!(gc_at(&app, true, 120).await, Vec::<String>::new());
    assert_eq!(there(&app), (0, 0, 0, 0));
    assert!(!app.path(".provisioner/locks/alice.lock").exists());
    assert!(app.path("users/alice").exists(), "a user's directory is nobody's to remove");
    assert_eq!(app.provision("alice").await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_has_just_returned_keeps_everything_before_the_service_is_visible() {
    let mut options = EmulatorOptions::default();
    options.conduct.stale_reads = Some(StaleReads { seed: 1, up_to: Duration::from_secs(2) });
    let app = TestApp::with(options).await;
    resized(&app, "alice").await;
    assert!(app.delete("/containers/alice?data=keep").await.status < 300);
    app.pass_seconds(60).await;
    for round in 0..10 {
        assert!(app.provision("alice").await.status < 300);
        let now = Timestamp::now() + SignedDuration::from_hours(20);
        app.reconciler.gc(Gc { applies: true, grace: Duration::from_secs(24 * HOUR), now }).await.unwrap();
        app.pass_seconds(20).await;
        assert_eq!(app.get("/containers/alice").await.body["state"], "running", "round {round}");
        assert_eq!(app.access_points().len(), 1, "round {round}");
        assert!(app.delete("/containers/alice?data=keep").await.status < 300);
        app.pass_seconds(60).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_other_resources_is_listed_and_removed_after_the_grace() {
    let app = TestApp::start().await;
    resized(&app, "alice").await;
    resized(&app, "bob").await;
    let name = UserId::parse("bob").unwrap().service_name();
    std::fs::remove_dir_all(app.path("users/bob")).unwrap();
    std::fs::remove_file(app.path(".provisioner/locks/bob.lock")).unwrap();
    assert!(gc_at(&app, false, 0).await.contains(&format!("service {name} waits")));
    assert!(gc_at(&app, false, 25).await.contains(&format!("service {name} due")));
    assert_eq!(app.services().len(), 2);
    let found = gc_at(&app, true, 25).await;
    assert!(found.contains(&format!("service {name} removed")), "{found:?}");
    app.pass_seconds(60).await;
    assert_eq!(app.services().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn resources_without_our_labels_are_never_changed() {
    let app = TestApp::start().await;
    resized(&app, "alice").await;
    let service = json!({
        "cluster": CLUSTER, "serviceName": "openclaw-router", "taskDefinition": BASE, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    });
    app.aws("ecs", "CreateService", service);
    let point = |token: &str, path: &str, tags: Value| {
        let point = json!({
            "ClientToken": token, "FileSystemId": app.file_system_id, "RootDirectory": {"Path": path}, "Tags": tags,
        });
        app.aws("efs", "CreateAccessPoint", point);
    };
    point("one", "/shared", json!([]));
    // One of another environment on the same file system, and one that only looks like a user's.
    let tags = |family: &str| json!([{"Key": TAG_USER, "Value": "zoe"}, {"Key": TAG_BASE_FAMILY, "Value": family}]);
    point("two", "/users/zoe", tags("openclaw-prod"));
    point("three", "/users/other", tags(BASE));
    let mut foreign: Value = serde_json::from_str(include_str!("../fixtures/base.json")).unwrap();
    foreign["family"] = json!(USER_FAMILY);
    let foreign = serde_json::from_str(&foreign.to_string().replace("FILE_SYSTEM_ID", &app.file_system_id)).unwrap();
    app.aws("ecs", "RegisterTaskDefinition", foreign);
    let before = there(&app);
    let found = gc_at(&app, true, 1_000).await;
    let not_ours: Vec<&String> = found.iter().filter(|left| left.ends_with(" not_ours")).collect();
    assert_eq!(not_ours.len(), 5, "{found:?}");
    gc_at(&app, true, 2_000).await;
    let after = there(&app);
    assert_eq!((after.0, after.2, after.3), (before.0, before.2, before.3), "{found:?}");
    assert_eq!(app.get("/containers/alice").await.body["state"], "running");
}

/// Another environment has its own file system, and may share the cluster and the name of the family: its users' files are there.
#[tokio::test(start_paused = true)]
async fn services_and_revisions_of_another_environment_are_left_alone() {
    let app = TestApp::start().await;
    resized(&app, "alice").await;
    let elsewhere = app.newest_definition().to_string().replace(&app.file_system_id, "fs-0fedcba9876543210");
    let mut elsewhere: Value = serde_json::from_str(&elsewhere.replace("alice", "zoe")).unwrap();
    let outputs = [
        "taskDefinitionArn",
        "revision",
        "status",
        "requiresAttributes",
        "compatibilities",
        "registeredAt",
        "registeredBy",
    ];
    elsewhere.as_object_mut().unwrap().retain(|member, _| !outputs.contains(&member.as_str()));
    let registered = app.aws("ecs", "RegisterTaskDefinition", elsewhere.clone());
    let arn = &registered["taskDefinition"]["taskDefinitionArn"];
    let make = |user: &str, family: &str| {
        let tags = json!([{"key": TAG_USER, "value": user}, {"key": TAG_BASE_FAMILY, "value": family}]);
        let service = json!({
            "cluster": CLUSTER, "serviceName": UserId::parse(user).unwrap().service_name(), "taskDefinition": arn,
            "desiredCount": 1, "launchType": "FARGATE", "tags": tags,
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        });
        app.aws("ecs", "CreateService", service);
    };
    make("zoe", BASE);
    make("yan", "openclaw-prod");
    // And one that no service names at this moment.
    app.aws("ecs", "RegisterTaskDefinition", elsewhere);
    app.emulator.settle();
    let before = there(&app);
    let mut sweep = Sweep::default();
    for hours in [1, 25, 50] {
        let now = Timestamp::now() + SignedDuration::from_hours(hours);
        app.reconciler.sweep(&mut sweep, now).await.unwrap();
        let found = gc_at(&app, true, hours).await;
        assert_eq!(found.iter().filter(|left| left.ends_with(" not_ours")).count(), 3, "{found:?}");
    }
    let after = there(&app);
    assert_eq!((after.0, after.3), (before.0, before.3));
}

/// If one thing cannot be removed, the others are, and the output shows it.
#[tokio::test(start_paused = true)]
async fn resources_that_cannot_be_removed_are_reported_and_the_rest_is_removed() {
    let app = TestApp::start().await;
    for user in ["alice", "bob", "carol"] {
        resized(&app, user).await;
    }
    let inactive = there(&app).1;
    let kind = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    let action = "DeleteTaskDefinitions".to_owned();
    app.emulator.inject(Fault { service: None, action, skip: 1, times: 1, kind });
    let found = gc_at(&app, true, 25).await;
    let failed = found.iter().filter(|left| left.ends_with(" failed")).count();
    let removed = found.iter().filter(|left| left.ends_with(" removed")).count();
    assert!(failed > 0 && removed > 0 && failed + removed == inactive, "{found:?}");
    assert_eq!(there(&app).1, failed);
}
