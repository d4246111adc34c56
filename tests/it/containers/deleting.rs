//! `DELETE /containers/{user_id}`.

use aws_emulator::{Fault, FaultKind};
use serde_json::{Value, json};

use super::{mutations, refuse_once, requests, running, state, told};
use crate::harness::{CLUSTER, TestApp};

/// What is left of users in AWS: services, access points and active revisions.
fn left(app: &TestApp) -> (usize, usize, usize) {
    (app.services().len(), app.access_points().len(), app.user_revisions().len())
}

#[tokio::test(start_paused = true)]
async fn a_delete_removes_everything_except_the_files_and_is_then_404() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    for memory_mib in [3072, 4096] {
        app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": memory_mib})).await;
    }
    let auth = app.file("users/alice/codex/auth.json");
    let answer = app.delete("/containers/alice").await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("deleting")), "{}", answer.body);
    assert_eq!(state(&app, "alice").await, "deleting");
    let mut answers = Vec::new();
    for _ in 0..3 {
        let answer = app.delete("/containers/alice?data=keep").await;
        answers.push((answer.status, answer.body["state"].clone()));
        app.pass_seconds(5).await;
    }
    assert_eq!(answers.last(), Some(&(404, Value::Null)), "{answers:?}");
    assert_eq!((left(&app), state(&app, "alice").await.as_str()), ((0, 0, 0), "container_not_found"));
    assert_eq!(app.file("users/alice/codex/auth.json"), auth);
    // Until the purge, the lock file remembers what to delete.
    let remembered = || std::fs::read_dir(app.path(".provisioner/locks")).unwrap().count();
    assert_eq!(remembered(), 1);
    assert!(app.delete("/containers/alice?data=purge").await.status < 300);
    app.pass_seconds(60).await;
    assert_eq!((remembered(), app.path("users/alice").exists()), (0, false));
}

#[tokio::test(start_paused = true)]
async fn a_delete_finishes_after_its_answer() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    assert_eq!(app.delete("/containers/alice?data=purge").await.status, 202);
    app.pass_seconds(10).await;
    assert_eq!((left(&app), app.path("users/alice").exists()), ((0, 0, 0), false));
    assert!(app.path("users").is_dir());
}

#[tokio::test(start_paused = true)]
async fn files_that_were_kept_can_be_purged_later() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    running(&app, "bob").await;
    app.delete("/containers/alice").await;
    app.pass_seconds(10).await;
    assert!(app.path("users/alice/codex/auth.json").is_file());
    let answer = app.delete("/containers/alice?data=purge").await;
    assert_eq!((answer.status, app.path("users/alice").exists()), (202, false), "{}", answer.body);
    assert_eq!(told(&app.delete("/containers/alice?data=purge").await), (404, "container_not_found"));
    assert_eq!(left(&app), (1, 1, 1));
    assert!(app.path("users/bob/codex/auth.json").is_file());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_is_404_and_nothing_is_created_or_deleted() {
    let app = TestApp::start().await;
    for path in ["/containers/alice", "/containers/alice?data=purge"] {
        assert_eq!(told(&app.delete(path).await), (404, "container_not_found"), "{path}");
    }
    assert_eq!((mutations(&app), app.path("users/alice").exists()), (vec![], false));
    assert_eq!(std::fs::read_dir(app.path(".provisioner/locks")).unwrap().count(), 0);
}

/// Incident 19: a service already gone ended the clean-up early and left the access point.
#[tokio::test(start_paused = true)]
async fn the_rest_is_deleted_even_if_the_service_is_already_gone() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 4096})).await;
    let service = app.services()[0].clone();
    app.aws("ecs", "DeleteService", json!({"cluster": CLUSTER, "service": service, "force": true}));
    app.pass_seconds(10).await;
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    app.pass_seconds(10).await;
    assert_eq!(left(&app), (0, 0, 0));
    assert_eq!(told(&app.delete("/containers/alice").await), (404, "container_not_found"));
}

/// Incident 19: a failed teardown lost the record.
#[tokio::test(start_paused = true)]
async fn a_delete_that_failed_half_way_continues_where_it_stopped() {
    for action in ["DeleteService", "DeregisterTaskDefinition", "DeleteAccessPoint"] {
        let app = TestApp::start().await;
        running(&app, "alice").await;
        app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 4096})).await;
        refuse_once(&app, action, "AccessDeniedException", "not authorized");
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(app.delete("/containers/alice").await.status);
            app.pass_seconds(10).await;
        }
        assert_eq!((statuses.last(), left(&app)), (Some(&404), (0, 0, 0)), "{action}: {statuses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_returns_is_new_and_keeps_the_files() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let first = app.access_points();
    std::fs::write(app.path("users/alice/notes.txt"), "mine").unwrap();
    app.delete("/containers/alice").await;
    app.pass_seconds(10).await;
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, &answer.body["state"]), (201, &json!("provisioning")), "{}", answer.body);
    assert_eq!(
        (&answer.body["credentials"], &answer.body["credentials_reason"]),
        (&json!("kept_fresher"), &json!("same_sign_in"))
    );
    app.pass_seconds(3).await;
    assert_eq!(state(&app, "alice").await, "running");
    assert_eq!(app.file("users/alice/notes.txt"), "mine");
    assert_ne!(app.access_points(), first);
    assert_eq!(left(&app), (1, 1, 1));
}

/// Incident 10: re-provisioning while the old one was DRAINING failed.
#[tokio::test(start_paused = true)]
async fn a_user_who_returns_while_the_old_service_drains_gets_202_and_a_container() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let service = app.services()[0].clone();
    // Directly in AWS, so that no other call of this service works on the user.
    app.aws("ecs", "DeleteService", json!({"cluster": CLUSTER, "service": service, "force": true}));
    app.emulator.settle();
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, answer.header("location")), (202, Some("/containers/alice")), "{}", answer.body);
    assert_eq!((&answer.body["state"], &answer.body["ready"]), (&json!("deleting"), &json!(false)));
    app.pass_seconds(10).await;
    assert_eq!(state(&app, "alice").await, "running");
    assert_eq!(left(&app).0, 1);
}

/// Incident 10, while the delete is still under way.
#[tokio::test(start_paused = true)]
async fn a_user_who_returns_during_a_delete_is_provisioned_after_it() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, &answer.body["state"]), (201, &json!("provisioning")), "{}", answer.body);
    app.pass_seconds(10).await;
    assert_eq!((state(&app, "alice").await.as_str(), left(&app)), ("running", (1, 1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_delete_changes_no_other_user() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    running(&app, "bob").await;
    let before = super::seen(&app, "bob").await;
    app.emulator.clear_calls();
    app.delete("/containers/alice?data=purge").await;
    app.pass_seconds(10).await;
    assert_eq!(super::seen(&app, "bob").await, before);
    assert_eq!(left(&app), (1, 1, 1));
    assert_eq!(requests(&app, "DeleteAccessPoint").len(), 1);
}

fn fault(app: &TestApp, service: &str, action: &str) {
    let kind = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    app.emulator.inject(Fault { service: Some(service.into()), action: action.into(), skip: 0, times: 1_000, kind });
}

/// A forced delete also works for a service that drains for ever.
#[tokio::test(start_paused = true)]
async fn a_forced_delete_does_not_wait_for_a_draining_service() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    assert_eq!(left(&app), (1, 1, 1), "it waits for the tasks");
    let name = app.services()[0].clone();
    let status = || {
        let described = app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [name]}));
        described["services"][0]["status"].clone()
    };
    let answer = app.delete("/containers/alice?data=purge&force=true").await;
    assert_eq!((answer.status, &answer.body["not_removed"]), (202, &Value::Null), "{}", answer.body);
    // It is INACTIVE, and no longer the user's, once its task is stopping.
    let now = state(&app, "alice").await;
    assert!(now == "deleting" || now == "container_not_found" && status() == "INACTIVE", "{now}, {}", status());
    assert_eq!((left(&app), app.path("users/alice").exists()), ((0, 0, 0), false));
    app.pass_seconds(10).await;
    assert_eq!((left(&app), state(&app, "alice").await.as_str()), ((0, 0, 0), "container_not_found"));
}

#[tokio::test(start_paused = true)]
async fn a_forced_delete_skips_and_lists_what_it_cannot_remove() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    fault(&app, "ecs", "DeregisterTaskDefinition");
    fault(&app, "efs", "DeleteAccessPoint");
    let id = app.access_points()[0]["AccessPointId"].clone();
    let answer = app.delete("/containers/alice?data=purge&force=true").await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let not_removed = answer.body["not_removed"].as_array().unwrap();
    let whats: Vec<_> = not_removed.iter().map(|left| left["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["task_definition", "access_point"], "{not_removed:?}");
    assert_eq!(not_removed[1]["id"], Value::Null);
    assert!(!answer.body.to_string().contains(id.as_str().unwrap()), "{not_removed:?}");
    assert!(not_removed[1]["error"].as_str().is_some_and(|error| error.contains("AccessDenied")), "{not_removed:?}");
    assert_eq!((left(&app), app.path("users/alice").exists()), ((0, 1, 1), false));
    // It is remembered, and the next call removes it once that is possible.
    app.emulator.clear_faults();
    app.pass_seconds(10).await;
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    assert_eq!((left(&app), told(&app.delete("/containers/alice").await)), ((0, 0, 0), (404, "container_not_found")));
}

/// While the file system does not answer, a container can still be stopped and removed; the answer names the rest, which is done later.
#[tokio::test(start_paused = true)]
async fn a_container_is_stopped_and_removed_although_no_file_can_be_locked() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let (locks, away) = (app.path(".provisioner/locks"), app.path(".provisioner/away"));
    std::fs::rename(&locks, &away).unwrap();
    assert_eq!(app.post("/containers/alice/start", json!({})).await.status, 503);
    let stopped = app.post("/containers/alice/stop", json!({})).await;
    assert_eq!(
        (stopped.status, &stopped.body["warnings"][0]["code"]),
        (202, &json!("without_lock")),
        "{}",
        stopped.body
    );
    assert_eq!(stopped.body["state"], "stopping");
    assert_eq!(app.delete("/containers/alice").await.status, 503);
    let removed = app.delete("/containers/alice?data=purge&force=true").await;
    let left_behind = removed.body["not_removed"].as_array().unwrap();
    let whats: Vec<&str> = left_behind.iter().map(|left| left["what"].as_str().unwrap()).collect();
    assert_eq!((removed.status, whats), (202, vec!["lock", "files"]), "{}", removed.body);
    app.pass_seconds(60).await;
    assert_eq!((left(&app), app.path("users/alice").exists()), ((0, 0, 0), true));

    std::fs::rename(&away, &locks).unwrap();
    assert_eq!(app.delete("/containers/alice?data=purge").await.status, 202);
    app.pass_seconds(10).await;
    assert!(!app.path("users/alice").exists());
    assert_eq!(std::fs::read_dir(locks).unwrap().count(), 0);
}
