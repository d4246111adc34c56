//! Unkind behaviour of AWS: slow, late and vague. Each test is about one such behaviour and its effect on a user.

use std::time::Duration;

use aws_emulator::{Behaviour, Conduct, Fault, FaultKind, Options, Pace};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use openclaw_provisioner::aws::{self, Aws, ErrorKind, RateLimits};
use openclaw_provisioner::metrics::Metrics;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Answer, CLUSTER, TestApp, USER_FAMILY};

async fn running(app: &TestApp, user: &str) {
    assert_eq!(app.provision(user).await.status, 201);
    app.pass_seconds(3).await;
    assert_eq!(app.get(&format!("/containers/{user}")).await.body["state"], "running");
}

/// Whether a task of the cluster has not stopped.
fn has_live_tasks(app: &TestApp) -> bool {
    let arns: Vec<Value> = ["RUNNING", "STOPPED"]
        .into_iter()
        .flat_map(|desired| {
            let listed = app.aws("ecs", "ListTasks", json!({"cluster": CLUSTER, "desiredStatus": desired}));
            listed["taskArns"].as_array().unwrap().clone()
        })
        .collect();
    if arns.is_empty() {
        return false;
    }
    let tasks = app.aws("ecs", "DescribeTasks", json!({"cluster": CLUSTER, "tasks": arns}))["tasks"].clone();
    tasks.as_array().unwrap().iter().any(|task| task["lastStatus"] != "STOPPED")
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

fn slow_to_stop() -> Options {
    Options { pace: Pace { stopping: Duration::from_secs(30), ..Pace::default() }, ..Options::default() }
}

/// A stopping task lives on for its `stopTimeout`, and writes into the directory until it ends.
#[tokio::test(start_paused = true)]
async fn a_delete_removes_nothing_that_a_stopping_task_still_uses() {
    let app = TestApp::with(slow_to_stop()).await;
    running(&app, "alice").await;
    let answer = app.delete("/containers/alice?data=purge").await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("deleting")), "{}", answer.body);
    app.emulator.clear_calls();
    while has_live_tasks(&app) {
        let left = (app.path("users/alice").exists(), app.access_points().len(), app.count("DeleteService"));
        assert_eq!(left, (true, 1, 0));
        assert_eq!(app.get("/containers/alice").await.body["state"], "deleting");
        app.pass_millis(500).await;
    }
    app.pass_seconds(10).await;
    assert_eq!((app.path("users/alice").exists(), app.access_points().len()), (false, 0));
    assert_eq!(code(&app.get("/containers/alice").await), (404, "container_not_found"));
}

/// The service was deleted outside this service: its name is free while its last task is still stopping.
#[tokio::test(start_paused = true)]
async fn a_provision_after_a_delete_starts_nothing_beside_the_last_task() {
    let app = TestApp::with(slow_to_stop()).await;
    running(&app, "alice").await;
    let service = app.services()[0].clone();
    app.aws("ecs", "DeleteService", json!({"cluster": CLUSTER, "service": service, "force": true}));
    app.emulator.settle();
    let provision = app.provision("alice");
    let watch = async {
        while has_live_tasks(&app) {
            assert_eq!(app.services(), Vec::<Value>::new());
            app.pass_millis(500).await;
        }
    };
    let (answer, ()) = tokio::join!(provision, watch);
    assert_eq!(answer.status, 202, "{}", answer.body);
    app.pass_seconds(10).await;
    assert_eq!(app.get("/containers/alice").await.body["state"], "running");
}

/// The token finds the access point that is being deleted; a task that mounts it never starts.
#[tokio::test(start_paused = true)]
async fn a_provision_waits_for_an_access_point_that_is_being_deleted() {
    let pace = Pace { deleting: Duration::from_secs(5), ..Pace::default() };
    let app = TestApp::with(Options { pace, ..Options::default() }).await;
    running(&app, "alice").await;
    let first = app.access_points()[0]["AccessPointId"].clone();
    app.delete("/containers/alice").await;
    while !app.access_points().is_empty() {
        app.pass_millis(100).await;
    }
    let answer = app.provision("alice").await;
    assert!([201, 202].contains(&answer.status), "{}", answer.body);
    app.pass_seconds(5).await;
    assert_ne!(app.access_points()[0]["AccessPointId"], first);
    assert_eq!(app.get("/containers/alice").await.body["state"], "running");
}

#[tokio::test(start_paused = true)]
async fn the_first_service_of_a_new_account_is_retried() {
    let conduct = Conduct { fresh_account: true, ..Conduct::default() };
    let app = TestApp::with(Options { conduct, ..Options::default() }).await;
    running(&app, "alice").await;
    assert_eq!(app.count("CreateService"), 2);
    assert_eq!((app.services().len(), app.user_revisions().len()), (1, 1));
}

/// Infrastructure replaces the base: it deregisters one revision, then registers the next.
#[tokio::test(start_paused = true)]
async fn a_provision_waits_out_a_moment_without_a_base() {
    let app = TestApp::start().await;
    let base =
        app.aws("ecs", "ListTaskDefinitions", json!({"familyPrefix": "openclaw-dev"}))["taskDefinitionArns"][0].clone();
    app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": base}));
    let replace = async {
        app.pass_millis(1_500).await;
        app.register_base(|_| {});
    };
    let (answer, ()) = tokio::join!(app.provision("alice"), replace);
    assert_eq!(answer.status, 201, "{}", answer.body);
    // A base that stays away is an error as before.
    for arn in app.aws("ecs", "ListTaskDefinitions", json!({"familyPrefix": "openclaw-dev"}))["taskDefinitionArns"]
        .as_array()
        .unwrap()
    {
        app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": arn}));
    }
    assert_eq!(code(&app.provision("bob").await).1, "base_unusable");
}

/// StopServiceDeployment answers before anything has moved.
#[tokio::test(start_paused = true)]
async fn a_cancel_answers_when_the_service_names_the_former_revision() {
    let pace = Pace { rollback: Duration::from_secs(8), ..Pace::default() };
    let app = TestApp::with(Options { pace, ..Options::default() }).await;
    running(&app, "alice").await;
    let before = app.get("/containers/alice").await.body["task_definition"].clone();
    let image = json!("ghcr.io/openclaw/openclaw:2026.9.6-sim-slow");
    assert_eq!(app.post("/containers/alice/redeploy", json!({ "image": image })).await.status, 202);
    app.pass_seconds(5).await;
    let answer = app.post("/containers/alice/cancel", json!({})).await;
    assert_eq!(
        (answer.status, &answer.body["cancelled"]["deployment"]),
        (202, &json!("rolled_back")),
        "{}",
        answer.body
    );
    assert_eq!(answer.body["task_definition"], before);
    // The sign-in is where the former release looks for it.
    assert_eq!(app.get("/containers/alice/credentials").await.body["reauth_required"], false);
    app.pass_seconds(20).await;
    assert_eq!(app.get("/containers/alice/gateway").await.body["ready"], true);
}

/// A retry would give the same error; and without the list it is unknown whether the service is already going back.
#[tokio::test(start_paused = true)]
async fn a_cancel_reports_an_endpoint_that_cannot_list_deployments() {
    let unimplemented = [
        (501, "NotImplementedException", "the emulator does not implement ecs:ListServiceDeployments"),
        (400, "UnknownOperationException", ""),
        (500, "InternalError", "The list_service_deployments action has not been implemented"),
    ];
    for (status, code_of_aws, message) in unimplemented {
        let app = TestApp::start().await;
        running(&app, "alice").await;
        let image = json!("ghcr.io/openclaw/openclaw:2026.4.25-sim-slow");
        app.post("/containers/alice/redeploy", json!({ "image": image })).await;
        app.pass_seconds(5).await;
        let kind = FaultKind::Error { status, code: code_of_aws.into(), message: message.into() };
        app.emulator.inject(Fault { service: None, action: "ListServiceDeployments".into(), skip: 0, times: 9, kind });
        let answer = app.post("/containers/alice/cancel", json!({})).await;
        assert_eq!(code(&answer), (502, "aws_refused"), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains("does not implement it"), "{}", answer.body);
        assert_eq!(answer.body["retryable"], false);
    }
}

/// No task ever exists, so only the service's events have the reason.
#[tokio::test(start_paused = true)]
async fn the_reason_of_a_placement_failure_is_shown_in_every_answer() {
    for (behaviour, expected) in [(Behaviour::NoCapacity, "no_capacity"), (Behaviour::VcpuLimit, "vcpu_quota")] {
        let app = TestApp::start().await;
        app.emulator.set_behaviour(USER_FAMILY, Some(behaviour));
        assert_eq!(app.provision("alice").await.status, 201);
        app.pass_seconds(9).await;
        let body = app.get("/containers/alice").await.body;
        let said = (&body["state"], &body["phase"], &body["reason"]["code"]);
        assert_eq!(said, (&json!("provisioning"), &json!("service"), &json!(expected)), "{body}");
        let listed = app.get("/containers?fresh=true").await.body["containers"][0].clone();
        assert_eq!((&listed["state"], &listed["reason_code"]), (&json!("provisioning"), &json!(expected)), "{listed}");
        let waited = app.get("/containers/alice/wait?timeout_seconds=0").await.body;
        assert_eq!(waited["reason"]["code"], expected, "{waited}");
        assert!(waited["message"].as_str().unwrap().contains("cannot get a task up"), "{waited}");
        // Two tries are enough for the circuit breaker.
        app.pass_seconds(30).await;
        let body = app.get("/containers/alice").await.body;
        assert_eq!((&body["state"], &body["reason"]["code"]), (&json!("failed"), &json!(expected)), "{body}");
        let listed = app.get("/containers?state=failed&fresh=true").await.body["containers"].clone();
        assert_eq!(listed[0]["reason_code"], expected, "{listed}");
        // With capacity again, the same call repairs it.
        app.emulator.set_behaviour(USER_FAMILY, None);
        assert_eq!(app.provision("alice").await.status, 202);
        app.pass_seconds(5).await;
        assert_eq!(app.get("/containers/alice").await.body["state"], "running");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_stopped_by_an_operator_is_not_a_crash() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let task = app.aws("ecs", "ListTasks", json!({"cluster": CLUSTER}))["taskArns"][0].clone();
    app.aws("ecs", "StopTask", json!({"cluster": CLUSTER, "task": task}));
    app.emulator.settle();
    app.pass_seconds(1).await;
    let body = app.get("/containers/alice").await.body;
    let said = (&body["state"], &body["reason"]["code"]);
    assert_eq!(said, (&json!("provisioning"), &json!("stopped_by_user")), "{body}");
    app.pass_seconds(5).await;
    let body = app.get("/containers/alice").await.body;
    assert_eq!((&body["state"], &body["reason"]), (&json!("running"), &Value::Null), "{body}");
}

/// An endpoint that sends this answer to everybody and closes; `None` closes without an answer.
async fn endpoint(answer: Option<&'static str>) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _asked = stream.read(&mut [0; 4096]).await;
            if let Some(answer) = answer {
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    url
}

/// An answer may contain "It may have taken effect" only if that is true.
#[tokio::test]
async fn errors_on_the_way_to_aws_are_distinguished() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let html = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
    let nonsense = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
    let cases = [
        (closed, ErrorKind::Unreachable, "no connection to AWS could be opened"),
        (endpoint(None).await, ErrorKind::Unanswered, "no answer came, so it may have taken effect"),
        (endpoint(Some(html)).await, ErrorKind::Unavailable, "the answer was HTTP 502, with no error of AWS in it"),
        (endpoint(Some(nonsense)).await, ErrorKind::Unavailable, "the answer (HTTP 200) could not be understood"),
    ];
    for (url, kind, words) in cases {
        let aws = Aws::new(&aws::for_endpoint(&url).await, &RateLimits::default(), &Metrics::default());
        let error = aws.ecs.describe_service("c", "s").await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, true), "{error}");
        assert_eq!(error.to_string(), format!("ecs:DescribeServices failed: {words}"));
    }
}

/// fakecloud, without a container runtime, lists a task that has ended as one that should run, for ever.
#[tokio::test]
async fn a_task_that_has_ended_is_not_waited_for_however_it_is_listed() {
    async fn ecs(headers: HeaderMap, request: String) -> Json<Value> {
        let request: Value = serde_json::from_str(&request).unwrap();
        let statuses = |arn: &str| if arn.contains("new") { None } else { arn.rsplit('/').next().map(str::to_owned) };
        let listed = request["serviceName"].as_str().unwrap_or_default();
        Json(match (headers["x-amz-target"].to_str().unwrap().rsplit('.').next(), request["desiredStatus"].as_str()) {
            (Some("ListTasks"), Some("RUNNING")) => json!({"taskArns": [format!("arn:task/{listed}")]}),
            (Some("ListTasks"), _) => json!({"taskArns": []}),
            _ => {
                let arns = request["tasks"].as_array().unwrap().iter().filter_map(Value::as_str);
                let tasks = arns.filter_map(|arn| Some(json!({"taskArn": arn, "lastStatus": statuses(arn)?})));
                json!({"tasks": tasks.collect::<Vec<_>>(), "failures": []})
            }
        })
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().route("/", post(ecs))).into_future());
    let aws = Aws::new(&aws::for_endpoint(&url).await, &RateLimits::default(), &Metrics::default());
    // One that DescribeTasks does not know yet has just started.
    for (service, lives) in [("STOPPED", false), ("STOPPING", true), ("RUNNING", true), ("new", true)] {
        assert_eq!(aws.ecs.has_live_tasks("c", service).await.unwrap(), lives, "{service}");
    }
}
