//! Users' containers through the API, from the first provision to the last delete.

mod base;
mod cancelling;
mod changing;
mod deleting;
mod failing;
mod images;
mod looking;
mod made;
mod provisioning;
mod stopping;

use aws_emulator::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::harness::{Answer, CLUSTER, TestApp};

/// Provisions a user and waits until the container runs.
async fn running(app: &TestApp, user: &str) {
    let answer = app.provision(user).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    app.pass_seconds(3).await;
    assert_eq!(state(app, user).await, "running");
}

/// The API's answer for an existing user.
async fn seen(app: &TestApp, user: &str) -> Value {
    let Answer { status, body, .. } = app.get(&format!("/containers/{user}")).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// The state in the API's answer, or the code of the problem.
async fn state(app: &TestApp, user: &str) -> String {
    let Answer { body, .. } = app.get(&format!("/containers/{user}")).await;
    body["state"].as_str().or(body["code"].as_str()).unwrap_or_default().to_owned()
}

/// The user's service in AWS.
async fn service(app: &TestApp, user: &str) -> Value {
    let name = seen(app, user).await["service"].clone();
    app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [name]}))["services"][0].clone()
}

/// ARNs of the tasks of a user that run or are starting.
async fn tasks(app: &TestApp, user: &str) -> Vec<String> {
    let name = seen(app, user).await["service"].clone();
    let listed = app.aws("ecs", "ListTasks", json!({"cluster": CLUSTER, "serviceName": name}));
    listed["taskArns"].as_array().unwrap().iter().map(|arn| arn.as_str().unwrap().to_owned()).collect()
}

/// The calls since the log was cleared that can change something, in order.
fn mutations(app: &TestApp) -> Vec<String> {
    let calls = app.emulator.calls();
    calls.iter().filter(|call| call.mutating).map(|call| format!("{}:{}", call.service, call.action)).collect()
}

/// The requests of one action since the log was cleared.
fn requests(app: &TestApp, action: &str) -> Vec<Value> {
    app.emulator.calls().into_iter().filter(|call| call.action == action).map(|call| call.request).collect()
}

/// Makes the next call of an action fail once, without effect, with an error that is not retried.
fn refuse_once(app: &TestApp, action: &str, code: &str, message: &str) {
    let (code, message) = (code.to_owned(), message.to_owned());
    let kind = FaultKind::Error { status: 400, code, message };
    app.emulator.inject(Fault { service: None, action: action.to_owned(), skip: 0, times: 1, kind });
}

/// Status and code of an answer.
fn told(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}
