//! `POST /provision`.

use aws_emulator::{Behaviour, Options, Pace};
use serde_json::{Value, json};
use std::time::Duration;

use super::{mutations, refuse_once, running, seen, state, tasks, told};
use crate::harness::{BASE, CLUSTER, TestApp, provision_body, variable};

const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai";

#[tokio::test(start_paused = true)]
async fn provisioning_again_changes_nothing_and_shows_the_progress() {
    let app = TestApp::start().await;
    let first = app.provision("alice").await.body;
    app.emulator.clear_calls();
    let early = app.provision("alice").await;
    assert_eq!((early.status, &early.body["state"]), (202, &json!("provisioning")));
    app.pass_seconds(3).await;
    let done = app.provision("alice").await;
    assert_eq!((done.status, &done.body["state"], &done.body["ready"]), (200, &json!("running"), &json!(true)));
    assert_eq!(mutations(&app), Vec::<String>::new());
    for member in ["service", "task_definition", "base_task_definition"] {
        assert_eq!(done.body[member], first[member], "{member}");
    }
}

/// Incidents 4 and 5, with provision: a caller that provisions at every sign-in, and sends only the sign-in,
/// removes nothing that was set before.
#[tokio::test(start_paused = true)]
async fn fields_that_a_later_provision_leaves_out_stay() {
    let app = TestApp::start().await;
    let mut body = provision_body("alice");
    body["size"] = json!({"cpu": 1024, "memory_mib": 4096});
    body["image"] = json!("ghcr.io/openclaw/openclaw:2026.4.25");
    body["secrets"] = json!({"OPENAI_API_KEY": SECRET});
    body["variables"] = json!({"LANG": "de"});
    app.post("/provision", body).await;
    app.pass_seconds(3).await;
    let before = app.newest_definition();
    let mut again = provision_body("alice");
    again["image"] = Value::Null;
    let answer = app.post("/provision", again).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(app.newest_definition(), before);
    let mut emptied = provision_body("alice");
    emptied["secrets"] = json!({});
    assert_eq!(app.post("/provision", emptied).await.status, 202);
    let container = &app.newest_definition()["containerDefinitions"][0];
    let base_secret = json!({"name": "BASE_SECRET", "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/base"});
    assert_eq!(container["secrets"], json!([base_secret]));
    assert_eq!(container["image"], "ghcr.io/openclaw/openclaw:2026.4.25");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_user_who_is_provisioned_is_started() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    app.post("/containers/alice/stop", json!({})).await;
    app.pass_seconds(2).await;
    assert_eq!(state(&app, "alice").await, "stopped");
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("provisioning")));
    app.pass_seconds(3).await;
    assert_eq!(state(&app, "alice").await, "running");
}

#[tokio::test(start_paused = true)]
async fn codex_home_follows_the_mount_of_the_base() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    assert_eq!(variable(&app.newest_definition(), "CODEX_HOME"), ["/home/node/.openclaw/codex"]);
    app.register_base(|base| {
        base["containerDefinitions"][0]["mountPoints"][0]["containerPath"] = json!("/data/");
    });
    running(&app, "bob").await;
    assert_eq!(variable(&app.newest_definition(), "CODEX_HOME"), ["/data/codex"]);
    assert_eq!(app.post("/containers/alice/redeploy", json!({})).await.status, 202);
    assert_eq!(variable(&app.newest_definition(), "CODEX_HOME"), ["/data/codex"]);
    assert!(app.path("users/alice/codex/auth.json").is_file());
}

/// Incident 10: CreateService collided with an existing service.
#[tokio::test(start_paused = true)]
async fn a_service_that_appeared_meanwhile_is_used() {
    let app = TestApp::start().await;
    let message = "Creation of service was not idempotent.";
    refuse_once(&app, "CreateService", "InvalidParameterException", message);
    let answer = app.provision("alice").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    app.pass_seconds(3).await;
    assert_eq!(state(&app, "alice").await, "running");
    assert_eq!((app.services().len(), app.user_revisions().len(), app.access_points().len()), (1, 1, 1));
}

/// Incident 10: the service of that name was not made by this product.
#[tokio::test(start_paused = true)]
async fn a_service_of_another_product_is_not_changed() {
    let app = TestApp::start().await;
    let name = app.provision("alice").await.body["service"].clone();
    app.delete("/containers/alice").await;
    app.pass_seconds(10).await;
    let subnets = json!({"awsvpcConfiguration": {"subnets": ["subnet-0123456789abcdef0"]}});
    let foreign = json!({
        "cluster": CLUSTER, "serviceName": name, "taskDefinition": BASE, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": subnets,
    });
    app.aws("ecs", "CreateService", foreign);
    app.emulator.settle();
    let (services, access_points) = (app.services(), app.access_points());
    let answer = app.provision("alice").await;
    assert_eq!(told(&answer), (409, "foreign_service"), "{}", answer.body);
    assert_eq!(answer.body["retryable"], false);
    assert_eq!((app.services(), app.access_points()), (services, access_points));
    assert_eq!(told(&app.post("/containers/alice/redeploy", json!({"force": true})).await), (409, "foreign_service"));
}

/// Incident 13: a poller gave up after 120 s on a 6-minute start; the record said "provisioning" for days.
#[tokio::test(start_paused = true)]
async fn a_start_of_six_minutes_is_provisioning_until_it_runs() {
    let pace = Pace { pending: Duration::from_secs(360), ..Pace::default() };
    let app = TestApp::with(Options { pace, ..Options::default() }).await;
    app.provision("alice").await;
    app.pass_seconds(300).await;
    let body = seen(&app, "alice").await;
    assert_eq!((&body["state"], &body["phase"]), (&json!("provisioning"), &json!("task_pending")));
    app.pass_seconds(120).await;
    assert_eq!(state(&app, "alice").await, "running");
}

/// Incident 20: a retry after failure created a second access point and leaked the first.
#[tokio::test(start_paused = true)]
async fn a_retry_finds_the_access_point_of_the_failed_attempt() {
    let app = TestApp::start().await;
    for action in ["RegisterTaskDefinition", "CreateService"] {
        refuse_once(&app, action, "AccessDeniedException", "not authorized");
        let failed = app.provision("alice").await;
        assert_eq!(told(&failed), (500, "aws_access_denied"), "{}", failed.body);
        assert_eq!(failed.body["retryable"], false);
        assert_eq!(state(&app, "alice").await, "container_not_found");
    }
    let first = app.access_points();
    let answer = app.provision("alice").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!((app.access_points(), app.services().len()), (first, 1));
}

/// Incident 35: one user's failed start tore down a client shared by all the others.
#[tokio::test(start_paused = true)]
async fn one_users_failure_does_not_affect_others() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let task = tasks(&app, "alice").await;
    let name = app.provision("bob").await.body["service"].as_str().unwrap().to_owned();
    app.emulator.set_behaviour(&name, Some(Behaviour::PullError));
    app.pass_seconds(60).await;
    assert_eq!(state(&app, "bob").await, "failed");
    refuse_once(&app, "CreateService", "AccessDeniedException", "not authorized");
    assert_eq!(app.provision("carol").await.status, 500);
    assert_eq!((state(&app, "alice").await, tasks(&app, "alice").await), ("running".into(), task));
    running(&app, "dave").await;
}

/// A replica that shuts down accepts no new work, and refers to another one.
#[tokio::test(start_paused = true)]
async fn a_replica_that_shuts_down_says_so_and_another_one_takes_over() {
    let app = TestApp::start().await;
    app.reconciler.shut_down().await;
    let answer = app.provision("alice").await;
    assert_eq!(told(&answer), (503, "shutting_down"));
    assert_eq!((&answer.body["retryable"], answer.header("retry-after")), (&json!(true), Some("2")));
    assert_eq!(app.calls(), Vec::<String>::new());
    let other = app.replica().await;
    running(&other, "alice").await;
}
