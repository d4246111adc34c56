//! How a web app reaches a user's gateway, and changes its token.

use openclaw_provisioner::probe::{GatewayProbe, ProbeKind};
use openclaw_provisioner::reconcile::Options;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Answer, READ_TOKEN, TestApp, fresh_reads};

const GATEWAY: &str = "/containers/alice/gateway";
const ROTATE: &str = "/containers/alice/gateway/rotate";
const OPENCLAW_JSON: &str = "users/alice/openclaw.json";
const TOKEN: &str = "a-token-of-alice";

/// A running user whose `openclaw.json` holds a token.
async fn running() -> TestApp {
    let app = TestApp::start().await;
    assert_eq!(app.provision("alice").await.status, 201);
    write(&app, &format!("{{gateway: {{auth: {{token: '{TOKEN}'}}}}, mine: 1}} // mine"));
    app.pass_seconds(3).await;
    app
}

fn write(app: &TestApp, text: &str) {
    std::fs::write(app.path(OPENCLAW_JSON), text).unwrap();
}

/// A running user whose token the base sets.
async fn running_with_token_of_environment() -> TestApp {
    let app = TestApp::start().await;
    app.register_base(|base| {
        let secret =
            json!({"name": "OPENCLAW_GATEWAY_TOKEN", "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/t"});
        base["containerDefinitions"][0]["secrets"] = json!([secret]);
    });
    app.provision("alice").await;
    app.pass_seconds(3).await;
    app
}

fn problem(answer: &Answer) -> (u16, &str, &str) {
    (answer.status, answer.body["code"].as_str().unwrap(), answer.body["detail"].as_str().unwrap())
}

/// The addresses of the running tasks in AWS.
fn addresses(app: &TestApp) -> Vec<Value> {
    let tasks = app.aws("ecs", "ListTasks", json!({"cluster": crate::harness::CLUSTER}))["taskArns"].clone();
    if tasks == json!([]) {
        return vec![];
    }
    let described = app.aws("ecs", "DescribeTasks", json!({"cluster": crate::harness::CLUSTER, "tasks": tasks}));
    let details = described["tasks"].as_array().unwrap().iter().flat_map(|task| {
        let details = task["attachments"][0]["details"].as_array().unwrap();
        details.iter().filter(|detail| detail["name"] == "privateIPv4Address")
    });
    details.map(|detail| detail["value"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_gateway_has_its_tasks_address_and_only_the_scope_provision_sees_its_token() {
    let app = running().await;
    let answer = app.get(GATEWAY).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let expected = json!({
        "user_id": "alice", "host": addresses(&app)[0], "port": 18789,
        "token": TOKEN, "token_source": "openclaw_json", "ready": true,
    });
    assert_eq!(answer.body, expected);
    let read = [("authorization", format!("Bearer {READ_TOKEN}"))];
    let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for (method, path) in [("GET", GATEWAY), ("HEAD", GATEWAY), ("POST", ROTATE)] {
        assert_eq!(app.raw(method, path, &read, "").await.status, 403, "{method} {path}");
        assert_eq!(app.raw(method, path, &[("authorization", "")], "").await.status, 401, "{method} {path}");
    }
    assert_eq!(problem(&app.get("/containers/bob/gateway").await).1, "container_not_found");
    assert_eq!(problem(&app.post("/containers/bob/gateway/rotate", json!({})).await).1, "container_not_found");
}

#[tokio::test(start_paused = true)]
async fn the_gateway_has_no_host_while_no_container_runs() {
    let app = TestApp::with(fresh_reads()).await;
    app.provision("alice").await;
    let gateway = |body: Value| json!([body["host"], body["ready"], body["token"], body["token_source"]]);
    std::fs::remove_file(app.path(OPENCLAW_JSON)).ok();
    assert_eq!(gateway(app.get(GATEWAY).await.body), json!([null, false, null, null]));
    app.pass_seconds(3).await;
    write(&app, "{gateway: {auth: {token: '${MY_TOKEN}'}}}");
    assert_eq!(gateway(app.get(GATEWAY).await.body), json!([addresses(&app)[0], true, null, "reference"]));
    app.post("/containers/alice/stop", json!({})).await;
    write(&app, "{gateway: {auth: {token: 't'}}}");
    assert_eq!(gateway(app.get(GATEWAY).await.body), json!([null, false, "t", "openclaw_json"]));
}

#[tokio::test(start_paused = true)]
async fn a_new_token_restarts_the_container_and_leaves_the_rest_of_the_file() {
    let app = running().await;
    let before = addresses(&app);
    let answer = app.post(ROTATE, json!({})).await;
    assert_eq!((answer.status, answer.header("location")), (202, Some("/containers/alice")), "{}", answer.body);
    assert!(!answer.body.to_string().contains("token\":"), "{}", answer.body);
    app.pass_seconds(6).await;
    let shown = app.get(GATEWAY).await.body;
    let token = shown["token"].as_str().unwrap();
    assert!(token != TOKEN && token.len() == 64, "{token}");
    assert!(addresses(&app) != before && shown["host"] == addresses(&app)[0], "{shown}");
    let file = app.file(OPENCLAW_JSON);
    assert!(file.contains("mine: 1") && file.contains("// mine") && !file.contains(TOKEN), "{file}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_container_gets_its_new_token_when_it_starts() {
    let app = running().await;
    app.post("/containers/alice/stop", json!({})).await;
    app.pass_seconds(5).await;
    let answer = app.post(ROTATE, json!({})).await;
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("stopped")), "{}", answer.body);
    assert!(addresses(&app).is_empty() && app.get(GATEWAY).await.body["token"] != TOKEN);
}

#[tokio::test(start_paused = true)]
async fn a_token_in_the_environment_is_neither_shown_nor_changed() {
    let app = running_with_token_of_environment().await;
    let shown = app.get(GATEWAY).await.body;
    assert_eq!(json!([shown["token"], shown["token_source"], shown["ready"]]), json!([null, "environment", true]));
    app.emulator.clear_calls();
    let answer = app.post(ROTATE, json!({})).await;
    let (status, code, detail) = problem(&answer);
    assert_eq!((status, code), (409, "gateway_token_not_ours"));
    assert!(detail.contains("OPENCLAW_GATEWAY_TOKEN") && detail.contains("redeploy"), "{detail}");
    assert!(app.calls().iter().all(|call| !call.contains("Update")), "{:?}", app.calls());
}

#[tokio::test(start_paused = true)]
async fn an_error_names_a_file_that_cannot_be_edited() {
    let app = running().await;
    for (text, why) in [("{{{", "not JSON5"), ("{gateway: {auth: {token: '${T}'}}}", "kept elsewhere")] {
        write(&app, text);
        app.emulator.clear_calls();
        let answer = app.post(ROTATE, json!({})).await;
        let (status, code, detail) = problem(&answer);
        assert_eq!((status, code, answer.body["retryable"].as_bool()), (409, "files_unreadable", Some(false)));
        assert!(detail.contains(why) && detail.contains(OPENCLAW_JSON), "{detail}");
        assert_eq!(app.file(OPENCLAW_JSON), text);
        assert!(app.calls().iter().all(|call| !call.contains("Update")), "{:?}", app.calls());
    }
    write(&app, "{{{");
    assert_eq!(problem(&app.get(GATEWAY).await).1, "files_unreadable");
}

/// Incident 22: ECS reports a healthy container, and its gateway does not answer.
#[tokio::test(start_paused = true)]
async fn a_container_whose_gateway_does_not_answer_is_not_ready() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let emulator =
        aws_emulator::Options { task_address: Some([127, 0, 0, 1].into()), ..aws_emulator::Options::default() };
    let gateway_probe = GatewayProbe { kind: ProbeKind::Http, port, ..GatewayProbe::default() };
    let app = TestApp::with_both(emulator, Options { gateway_probe, ..Options::default() }).await;
    app.provision("alice").await;
    app.pass_seconds(5).await;
    let body = app.get("/containers/alice").await.body;
    assert_eq!([&body["state"], &body["phase"]], ["provisioning", "task_running"]);
    assert_eq!((&body["ready"], &body["reason"]["code"]), (&json!(false), &json!("gateway_unanswered")), "{body}");
    assert_eq!(app.get(GATEWAY).await.body["ready"], false);
}
