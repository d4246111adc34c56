//! `GET /fleet/capacity`: quotas, and how much of each is used and left.

use std::time::Duration;

use aws_emulator::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::harness::{CLUSTER, READ_TOKEN, TestApp, fresh_reads};

async fn app() -> TestApp {
    // Each look must show the changes before it.
    TestApp::with(fresh_reads()).await
}

async fn capacity(app: &TestApp) -> Value {
    let answer = app.get("/fleet/capacity").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// A quota of an answer.
fn of<'a>(body: &'a Value, name: &str) -> &'a Value {
    body["quotas"].as_array().unwrap().iter().find(|quota| quota["name"] == name).unwrap()
}

fn refuse(app: &TestApp, action: &str, code: &str) {
    let kind = FaultKind::Error { status: 400, code: code.into(), message: "not today".into() };
    app.emulator.inject(Fault { service: None, action: action.into(), skip: 0, times: usize::MAX, kind });
}

#[tokio::test(start_paused = true)]
async fn usage_is_counted_where_aws_counts_it() {
    let app = app().await;
    for user in ["alice", "bob", "carol"] {
        assert_eq!(app.provision(user).await.status, 201);
    }
    let size = json!({"cpu": 1024, "memory_mib": 4096});
    assert_eq!(app.post("/containers/alice/resize", size).await.status, 202);
    app.pass_seconds(60).await;
    app.post("/containers/bob/stop", json!({})).await;
    app.pass_seconds(60).await;
    // A service of others counts, too: 0.5 vCPU.
    app.make_services(1);
    app.pass_seconds(60).await;
    let lines: Vec<String> = capacity(&app).await["quotas"].as_array().unwrap().iter().map(Value::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"adjustable":true,"counted_in":"cluster","left":3998.0,"limit":4000.0,"limit_from":"in_force","name":"fargate_vcpu","problems":[],"used":2.0}
    {"adjustable":true,"counted_in":"cluster","left":19997.0,"limit":20000.0,"limit_from":"in_force","name":"network_interfaces","problems":[],"used":3.0}
    {"adjustable":true,"counted_in":"cluster","left":4996.0,"limit":5000.0,"limit_from":"in_force","name":"services","problems":[],"used":4.0}
    {"adjustable":false,"counted_in":"file_system","left":9997.0,"limit":10000.0,"limit_from":"documented_default","name":"access_points","problems":[],"used":3.0}
    {"adjustable":false,"counted_in":"family","left":999996.0,"limit":1000000.0,"limit_from":"documented_default","name":"task_definition_revisions","problems":[],"used":4.0}
    "#);
}

#[tokio::test(start_paused = true)]
async fn values_that_cannot_be_read_are_reported_and_never_invented() {
    let app = app().await;
    app.provision("alice").await;
    app.pass_seconds(60).await;
    refuse(&app, "GetServiceQuota", "AccessDeniedException");
    let seen = capacity(&app).await;
    let vcpu = of(&seen, "fargate_vcpu");
    assert_eq!((&vcpu["limit"], &vcpu["limit_from"]), (&json!(6.0), &json!("documented_default")));
    assert_eq!((&vcpu["used"], &vcpu["left"]), (&json!(0.5), &json!(5.5)));
    assert!(vcpu["problems"][0].as_str().unwrap().contains("servicequotas:GetServiceQuota"), "{vcpu}");
    assert_eq!(of(&seen, "access_points")["problems"], json!([]), "nobody was asked");

    app.pass_seconds(61).await;
    app.emulator.clear_faults();
    for action in ["ListTasks", "DescribeClusters", "DescribeAccessPoints", "ListTaskDefinitions"] {
        refuse(&app, action, "AccessDeniedException");
    }
    for quota in capacity(&app).await["quotas"].as_array().unwrap() {
        assert_eq!((&quota["used"], &quota["left"]), (&Value::Null, &Value::Null), "{quota}");
        assert_eq!(quota["problems"].as_array().unwrap().len(), 1, "{quota}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_without_a_value_in_aws_has_the_default_and_no_problem() {
    let app = app().await;
    refuse(&app, "GetServiceQuota", "NoSuchResourceException");
    let seen = capacity(&app).await;
    let vcpu = of(&seen, "fargate_vcpu");
    let told = (&vcpu["limit"], &vcpu["limit_from"], &vcpu["problems"]);
    assert_eq!(told, (&json!(6.0), &json!("documented_default"), &json!([])));
}

#[tokio::test(start_paused = true)]
async fn when_aws_never_answers_the_caller_gets_an_answer_before_clients_give_up() {
    let app = app().await;
    let kind = FaultKind::Hang;
    app.emulator.inject(Fault { service: None, action: "*".into(), skip: 0, times: usize::MAX, kind });
    let began = tokio::time::Instant::now();
    let seen = capacity(&app).await;
    assert!(began.elapsed() <= Duration::from_secs(26), "{:?}", began.elapsed());
    assert!(seen["quotas"].as_array().unwrap().iter().all(|quota| quota["used"].is_null()), "{seen}");
}

/// 130 tasks are on two pages, and above the default it is unknown how much is left.
#[tokio::test(start_paused = true)]
async fn many_tasks_are_read_a_hundred_at_a_time_and_once_a_minute() {
    let app = app().await;
    app.make_services(130);
    app.pass_seconds(120).await;
    refuse(&app, "GetServiceQuota", "AccessDeniedException");
    app.emulator.clear_calls();
    let seen = capacity(&app).await;
    let vcpu = of(&seen, "fargate_vcpu");
    assert_eq!((&vcpu["used"], &vcpu["left"]), (&json!(65.0), &Value::Null));
    assert_eq!(of(&seen, "network_interfaces")["used"], json!(130.0));
    // Once for tasks on Fargate, and once for all tasks with an interface.
    assert_eq!((app.count("ListTasks"), app.count("DescribeTasks")), (4, 2));
    app.pass_seconds(59).await;
    assert_eq!((&capacity(&app).await["age_seconds"], app.count("ListTasks")), (&json!(59), 4));
    app.pass_seconds(1).await;
    assert_eq!((&capacity(&app).await["age_seconds"], app.count("ListTasks")), (&json!(0), 8));
    app.coordinates.send_modify(|at| at.cluster = "another".into());
    let seen = capacity(&app).await;
    assert_eq!(of(&seen, "services")["used"], Value::Null, "there is no such cluster: {CLUSTER} is forgotten");
}

#[tokio::test(start_paused = true)]
async fn the_scope_read_is_needed_and_enough() {
    let app = app().await;
    let with = async |token: &str| app.raw("GET", "/fleet/capacity", &[("authorization", token)], "").await.status;
    assert_eq!(with(&format!("Bearer {READ_TOKEN}")).await, 200);
    assert_eq!(with("").await, 401);
}
