//! Tasks that do not start: the API's answers, and how they start again.

use aws_emulator::{Behaviour, Fault, FaultKind};
use serde_json::{Value, json};

use super::{mutations, seen, service, state, tasks};
use crate::harness::TestApp;

/// Provisions a user whose tasks behave like this, waits until ECS gives up, and returns the API's answer.
async fn given_up(app: &TestApp, user: &str, behaviour: Behaviour) -> Value {
    let name = app.provision(user).await.body["service"].as_str().unwrap().to_owned();
    app.emulator.set_behaviour(&name, Some(behaviour));
    app.pass_seconds(60).await;
    seen(app, user).await
}

#[tokio::test(start_paused = true)]
async fn a_container_that_does_not_start_says_why_and_what_to_do() {
    let app = TestApp::start().await;
    let mut lines = Vec::new();
    for behaviour in
        [Behaviour::PullError, Behaviour::MountError, Behaviour::Oom, Behaviour::Crash, Behaviour::Unhealthy]
    {
        let body = given_up(&app, behaviour.name(), behaviour).await;
        assert_eq!([&body["state"], &body["ready"]], [&json!("failed"), &json!(false)], "{body}");
        let reason = &body["reason"];
        assert!(reason["message"].as_str().is_some_and(|message| !message.is_empty()), "{reason}");
        assert!(reason["stopped_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{reason}");
        lines.push(format!("{}: {} {} {}", behaviour.name(), reason["code"], reason["exit_code"], reason["message"]));
        lines.push(format!("  {}", reason["hint"]));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    pull-error: "image_pull" null "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref ghcr.io/openclaw/openclaw:2026.4.21: ghcr.io/openclaw/openclaw:2026.4.21: not found"
      "check that the image and its tag exist and that the execution role may pull it, then redeploy"
    mount-error: "resource_initialization" null "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: b'mount.nfs4: access denied by server while mounting 127.0.0.1:/' : unsuccessful EFS utils command execution; code: 32"
      "check the EFS mount targets, the task role's ClientMount and ClientWrite, and the ARNs in `secrets`, then redeploy"
    oom: "out_of_memory" 137 "Essential container in task exited: OutOfMemoryError: Container killed due to memory usage"
      "resize to more memory_mib"
    crash: "container_exited" 1 "Essential container in task exited"
      "read the container's log; fix the cause, then redeploy"
    unhealthy: "unhealthy" 143 "Task failed container health checks"
      "read the container's log, and check the health check of the base task definition"
    "#);
}

#[tokio::test(start_paused = true)]
async fn while_ecs_retries_the_state_is_provisioning_with_the_last_reason() {
    let app = TestApp::start().await;
    let name = app.provision("alice").await.body["service"].as_str().unwrap().to_owned();
    app.emulator.set_behaviour(&name, Some(Behaviour::PullError));
    app.pass_seconds(2).await;
    let body = seen(&app, "alice").await;
    assert_eq!((&body["state"], &body["reason"]["code"]), (&json!("provisioning"), &json!("image_pull")), "{body}");
}

/// Incident 15, with a circuit breaker that goes back: the health of the old revision does not count.
#[tokio::test(start_paused = true)]
async fn a_revision_that_does_not_start_is_failed_and_the_one_before_comes_back() {
    let app = TestApp::start().await;
    super::running(&app, "alice").await;
    let first = service(&app, "alice").await["taskDefinition"].clone();
    let image = json!("ghcr.io/openclaw/openclaw:2026.4.25-sim-crash");
    assert_eq!(app.post("/containers/alice/redeploy", json!({ "image": image })).await.status, 202);
    let mut body = seen(&app, "alice").await;
    while body["state"] == "provisioning" {
        app.pass_seconds(1).await;
        body = seen(&app, "alice").await;
    }
    assert_eq!((&body["state"], &body["ready"]), (&json!("failed"), &json!(false)), "{body}");
    assert_eq!(body["reason"]["code"], "rolled_back");
    let message = "ECS deployment circuit breaker: tasks failed to start: Essential container in task exited";
    assert_eq!([&body["reason"]["message"], &body["reason"]["exit_code"]], [&json!(message), &json!(1)]);
    app.pass_seconds(10).await;
    assert_eq!((&service(&app, "alice").await["taskDefinition"], tasks(&app, "alice").await.len()), (&first, 1));
    // The service is steady, but not as requested; the container still serves its user.
    let body = seen(&app, "alice").await;
    assert_eq!((&body["state"], &body["ready"]), (&json!("failed"), &json!(false)), "{body}");
    assert_eq!([&body["reason"]["code"], &body["reason"]["message"]], [&json!("rolled_back"), &json!(message)]);
    assert_eq!(app.get("/containers/alice/gateway").await.body["ready"], true);
}

/// A request for the running state makes the failed revision obsolete.
#[tokio::test(start_paused = true)]
async fn a_rolled_back_container_is_running_once_its_current_state_is_requested() {
    let app = TestApp::start().await;
    super::running(&app, "alice").await;
    let image = json!("ghcr.io/openclaw/openclaw:2026.4.25-sim-crash");
    assert_eq!(app.post("/containers/alice/redeploy", json!({ "image": image })).await.status, 202);
    app.pass_seconds(60).await;
    assert_eq!(state(&app, "alice").await, "failed");
    let answer = app.post("/containers/alice/redeploy", json!({"image": null})).await;
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("running")), "{}", answer.body);
    assert_eq!((state(&app, "alice").await, app.user_revisions().len()), ("running".to_owned(), 1));
}

/// A kill between registering and deploying also leaves a newer revision, but that is no rollback.
#[tokio::test(start_paused = true)]
async fn a_newer_revision_that_was_never_deployed_is_not_a_rollback() {
    let app = TestApp::start().await;
    super::running(&app, "alice").await;
    let (service, action) = (Some("ecs".into()), "UpdateService".into());
    app.emulator.inject(Fault { service, action, skip: 0, times: 100, kind: FaultKind::DropBefore });
    let answer = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert!(answer.status >= 500, "{}", answer.body);
    assert_eq!((state(&app, "alice").await, app.user_revisions().len()), ("running".to_owned(), 2));
}

/// Incident 16: after the circuit breaker tripped, retry only waited.
#[tokio::test(start_paused = true)]
async fn a_redeploy_after_the_fix_starts_the_container() {
    let app = TestApp::start().await;
    let image = json!("ghcr.io/openclaw/openclaw:2026.4.25-sim-pull-error");
    let mut body = crate::harness::provision_body("alice");
    body["image"] = image;
    app.post("/provision", body).await;
    app.pass_seconds(60).await;
    assert_eq!(state(&app, "alice").await, "failed");
    let answer = app.post("/containers/alice/redeploy", json!({"image": null})).await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("provisioning")), "{}", answer.body);
    app.pass_seconds(5).await;
    assert_eq!(state(&app, "alice").await, "running");
}

#[tokio::test(start_paused = true)]
async fn a_container_without_enough_memory_starts_after_a_resize() {
    let app = TestApp::start().await;
    let body = given_up(&app, "alice", Behaviour::Oom).await;
    assert_eq!(body["reason"]["code"], "out_of_memory");
    app.emulator.set_behaviour(body["service"].as_str().unwrap(), None);
    let answer = app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 4096})).await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("provisioning")), "{}", answer.body);
    app.pass_seconds(5).await;
    assert_eq!(state(&app, "alice").await, "running");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_crashes_later_is_replaced_and_the_state_follows() {
    let app = TestApp::start().await;
    super::running(&app, "alice").await;
    let (body, task) = (seen(&app, "alice").await, tasks(&app, "alice").await);
    let name = body["service"].as_str().unwrap();
    app.emulator.clear_calls();
    app.emulator.set_behaviour(name, Some(Behaviour::Crash));
    app.emulator.set_behaviour(name, None);
    app.pass_seconds(1).await;
    assert_eq!(state(&app, "alice").await, "provisioning");
    app.pass_seconds(5).await;
    assert_eq!(state(&app, "alice").await, "running");
    assert_ne!(tasks(&app, "alice").await, task);
    assert_eq!(mutations(&app), Vec::<String>::new(), "ECS replaces it, not a read");
}

/// Incident 21: the task stopped hours ago, and its reason was gone (kept about an hour).
#[tokio::test(start_paused = true)]
async fn hours_later_a_failed_container_is_still_failed_with_a_reason() {
    let app = TestApp::start().await;
    given_up(&app, "alice", Behaviour::Crash).await;
    app.pass_seconds(3 * 3600).await;
    let body = seen(&app, "alice").await;
    assert_eq!((&body["state"], &body["reason"]["code"]), (&json!("failed"), &json!("circuit_breaker")), "{body}");
    assert_eq!(body["reason"]["message"], "ECS deployment circuit breaker: tasks failed to start.");
}

/// Incident 21 again: a reason noted by a converge or a sweep is shown after ECS has forgotten it.
#[tokio::test(start_paused = true)]
async fn a_noted_reason_explains_a_failure_after_ecs_has_forgotten_the_task() {
    let app = TestApp::start().await;
    given_up(&app, "alice", Behaviour::Oom).await;
    // The sweep notes it.
    assert_eq!(app.get("/containers?fresh=true").await.status, 200);
    app.pass_millis(100).await;
    let before = seen(&app, "alice").await["reason"].clone();
    app.pass_seconds(3 * 3600).await;
    assert_eq!(tasks(&app, "alice").await, Vec::<Value>::new());
    let reason = seen(&app, "alice").await["reason"].clone();
    assert_eq!((&reason["code"], &reason["exit_code"]), (&json!("out_of_memory"), &json!(137)));
    assert_eq!(reason, before);
    // Another revision has its own reasons.
    assert_eq!(app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 4096})).await.status, 202);
    app.pass_seconds(4 * 3600).await;
    assert_eq!(seen(&app, "alice").await["reason"]["code"], "circuit_breaker");
    // And it is removed with the user.
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    app.pass_seconds(60).await;
    let left = app.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "stop"));
    assert_eq!(left.count(), 0);
}

/// Emulators and endpoints that are older than `thresholdConfiguration` may refuse a request that has it.
#[tokio::test(start_paused = true)]
async fn an_endpoint_without_thresholds_gets_a_service_without_one() {
    let app = TestApp::start().await;
    let refusal = |action: &str| Fault {
        service: None,
        action: action.into(),
        skip: 0,
        times: 1,
        kind: FaultKind::Error {
            status: 400,
            code: "ValidationException".into(),
            message: "Unknown parameter in deploymentCircuitBreaker: \"thresholdConfiguration\"".into(),
        },
    };
    let sent = |action: &str| {
        let calls = app.emulator.calls().into_iter().filter(|call| call.action == action);
        calls.map(|call| call.request["deploymentConfiguration"].to_string().contains("threshold")).collect::<Vec<_>>()
    };
    app.emulator.inject(refusal("CreateService"));
    assert_eq!(app.provision("alice").await.status, 201);
    assert_eq!(sent("CreateService"), [true, false]);
    app.emulator.inject(refusal("UpdateService"));
    assert_eq!(app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 4096})).await.status, 202);
    assert_eq!(sent("UpdateService"), [true, false]);
    // A call that starts no deployment has none to configure.
    app.post("/containers/alice/stop", json!({})).await;
    assert_eq!(sent("UpdateService")[2..], [false]);
}
