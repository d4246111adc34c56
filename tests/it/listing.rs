//! `GET /containers`: the list of all containers.

mod costs;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_emulator::{Behaviour, Fault, FaultKind, Options as EmulatorOptions};
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, CLUSTER, TestApp, fresh_reads, provision_body};

/// The list, which must be a success.
async fn list(app: &TestApp, query: &str) -> Value {
    let Answer { status, body, .. } = app.get(&format!("/containers?{query}")).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// The user ids in a list.
fn users(list: &Value) -> Vec<&str> {
    list["containers"].as_array().unwrap().iter().map(|entry| entry["user_id"].as_str().unwrap()).collect()
}

/// Six users in six states, two of them of another release and base revision.
async fn six_states(app: &TestApp) {
    for user in ["running", "stopped", "stopping", "deleting"] {
        assert_eq!(app.provision(user).await.status, 201);
    }
    app.register_base(|base| base["containerDefinitions"][0]["image"] = json!("ghcr.io/openclaw/openclaw:2026.5.7"));
    for (user, behaviour) in [("failed", Behaviour::PullError), ("provisioning", Behaviour::Slow)] {
        let mut body = provision_body(user);
        body["size"] = json!({"cpu": 1024, "memory_mib": 4096});
        let answer = app.post("/provision", body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        app.emulator.set_behaviour(answer.body["service"].as_str().unwrap(), Some(behaviour));
    }
    app.pass_seconds(60).await;
    app.post("/containers/stopped/stop", json!({})).await;
    app.pass_seconds(10).await;
    // Both take a little longer than the list.
    app.post("/containers/stopping/stop", json!({})).await;
    app.delete("/containers/deleting").await;
    // Not ours, in spite of their names.
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    for name in ["openclaw-provisioner", "openclaw-alice-2bd806c97f0e", "another"] {
        let service = json!({"cluster": CLUSTER, "serviceName": name, "taskDefinition": BASE, "desiredCount": 0,
            "launchType": "FARGATE", "networkConfiguration": network});
        app.aws("ecs", "CreateService", service);
    }
}

#[tokio::test(start_paused = true)]
async fn every_container_is_listed_by_user_id_with_facts_of_service_and_revision() {
    let app = TestApp::with(EmulatorOptions { per_call_delay: Duration::from_millis(10), ..fresh_reads() }).await;
    six_states(&app).await;
    let first = list(&app, "").await;
    assert_eq!(first["snapshot"]["unread_definitions"], 6, "services are there before their definitions are");
    app.pass_millis(500).await;
    let list = list(&app, "").await;
    let lines: Vec<String> = list["containers"].as_array().unwrap().iter().map(Value::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"architecture":"x86_64","base_revision":"openclaw-dev:1","openclaw_version":"2026.4.21","reason_code":null,"size":{"cpu":512,"memory_mib":2048},"state":"deleting","user_id":"deleting"}
    {"architecture":"x86_64","base_revision":"openclaw-dev:2","openclaw_version":"2026.5.7","reason_code":"image_pull","size":{"cpu":1024,"memory_mib":4096},"state":"failed","user_id":"failed"}
    {"architecture":"x86_64","base_revision":"openclaw-dev:2","openclaw_version":"2026.5.7","reason_code":null,"size":{"cpu":1024,"memory_mib":4096},"state":"provisioning","user_id":"provisioning"}
    {"architecture":"x86_64","base_revision":"openclaw-dev:1","openclaw_version":"2026.4.21","reason_code":null,"size":{"cpu":512,"memory_mib":2048},"state":"running","user_id":"running"}
    {"architecture":"x86_64","base_revision":"openclaw-dev:1","openclaw_version":"2026.4.21","reason_code":null,"size":{"cpu":512,"memory_mib":2048},"state":"stopped","user_id":"stopped"}
    {"architecture":"x86_64","base_revision":"openclaw-dev:1","openclaw_version":"2026.4.21","reason_code":null,"size":{"cpu":512,"memory_mib":2048},"state":"stopped","user_id":"stopping"}
    "#);
    assert_eq!(list["next_cursor"], Value::Null);
    assert_eq!(list["snapshot"]["unread_definitions"], 0);
    // A look at each of them gives the same state, except for a task that no longer counts but is still stopping.
    for entry in list["containers"].as_array().unwrap() {
        let user = entry["user_id"].as_str().unwrap();
        let look = app.get(&format!("/containers/{user}")).await.body;
        match user {
            "stopping" => assert_eq!((&look["state"], &entry["state"]), (&json!("stopping"), &json!("stopped"))),
            // Its definition no longer matters.
            "deleting" => assert_eq!(look["state"], entry["state"]),
            _ => {
                let of = |body: &Value| ["state", "openclaw_version", "size"].map(|member| body[member].clone());
                assert_eq!(of(&look), of(entry), "{user}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn filters_leave_the_others_out() {
    let app = TestApp::start().await;
    six_states(&app).await;
    list(&app, "").await;
    app.pass_millis(100).await;
    let older = ["deleting", "running", "stopped", "stopping"];
    for (query, expected) in [
        ("state=running", vec!["running"]),
        ("state=failed", vec!["failed"]),
        ("openclaw_version=2026.5.7", vec!["failed", "provisioning"]),
        ("openclaw_version=2026.4.21", older.to_vec()),
        ("openclaw_version=2026.4.22", vec![]),
        ("base_revision=2", vec!["failed", "provisioning"]),
        ("base_revision=openclaw-dev:1", older.to_vec()),
        ("base_revision=other:1", vec![]),
        ("base_revision=2&state=failed&openclaw_version=v2026.5.7", vec!["failed"]),
        ("state=stopped", vec!["stopped", "stopping"]),
    ] {
        let found = list(&app, query).await;
        assert_eq!((query, users(&found)), (query, expected));
        assert_eq!(found["next_cursor"], Value::Null, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_between_pages_move_no_user_to_another_page() {
    let app = TestApp::start().await;
    let made = app.make_services(120);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut query = "limit=25".to_owned();
    let mut pages = 0;
    loop {
        let page = list(&app, &query).await;
        assert!(users(&page).len() <= 25);
        for user in users(&page) {
            *seen.entry(user.to_owned()).or_default() += 1;
        }
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=25&fresh=true&cursor={cursor}");
        // Deletes listed users, among them the last one of the page, and one that was not listed yet.
        for gone in [users(&page)[0], users(&page).last().unwrap(), &format!("user-{:04}", 119 - pages)] {
            let name = openclaw_provisioner::domain::UserId::parse(gone).unwrap().service_name();
            let input = json!({"cluster": CLUSTER, "service": name, "force": true});
            app.aws("ecs", "DeleteService", input);
        }
        app.pass_seconds(60).await;
    }
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    let missed: Vec<_> =
        made.iter().filter(|user| !seen.contains_key(user.as_str())).map(|user| user.as_str()).collect();
    let gone: Vec<String> = (1..pages).map(|n| format!("user-{:04}", 119 - n)).rev().collect();
    assert_eq!((pages, missed), (5, gone.iter().map(String::as_str).collect()));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_ends_with_the_list_has_no_page_after_it() {
    let app = TestApp::start().await;
    app.make_services(60);
    for (query, count, more) in
        [("", 50, true), ("limit=60", 60, false), ("limit=59", 59, true), ("limit=1000", 60, false)]
    {
        let page = list(&app, query).await;
        assert_eq!((users(&page).len(), page["next_cursor"].is_string()), (count, more), "{query}");
    }
    let cursor = list(&app, "limit=59").await["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(users(&list(&app, &format!("cursor={cursor}")).await), ["user-0059"]);
}

#[tokio::test(start_paused = true)]
async fn bad_parameters_are_named_before_any_aws_call() {
    let app = TestApp::start().await;
    let mut said = Vec::new();
    for query in [
        "state=healthy",
        "openclaw_version=latest",
        "base_revision=openclaw-dev",
        "limit=0",
        "limit=1001",
        "limit=many",
        "cursor=alice",
        "cursor=YWZ0ZXI6Li4",
        "fresh=yes",
        "states=running",
        "limit=1&limit=2",
    ] {
        let answer = app.get(&format!("/containers?{query}")).await;
        let text = |member: &str| answer.body[member].as_str().unwrap_or("nothing").to_owned();
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        said.push(format!("{} {} {}: {}", answer.status, text("code"), text("field"), text("fix")));
    }
    assert_eq!(app.calls(), Vec::<String>::new());
    insta::assert_snapshot!(said.join("\n"), @r#"
    422 invalid_field state: one of provisioning, running, stopping, stopped, failed, deleting
    422 invalid_field openclaw_version: a release, such as 2026.4.25
    422 invalid_field base_revision: a base revision, such as openclaw-dev:42, or its number alone
    422 invalid_field limit: a whole number from 1 to 1000
    422 invalid_field limit: a whole number from 1 to 1000
    422 invalid_field limit: a whole number from 1 to 1000
    422 invalid_field cursor: the next_cursor of an answer, unchanged
    422 invalid_field cursor: the next_cursor of an answer, unchanged
    422 invalid_field fresh: true or false
    422 invalid_field states: expected one of state, openclaw_version, base_revision, limit, cursor, fresh
    422 invalid_field limit: give it once
    "#);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_fleet_is_an_error_only_without_a_snapshot_or_for_a_fresh_list() {
    let app = TestApp::start().await;
    app.make_services(3);
    let refuse = || {
        let kind = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
        app.emulator.inject(Fault { service: None, action: "ListServices".into(), skip: 0, times: 1, kind });
    };
    let told = |answer: Answer| (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned());
    refuse();
    let denied = (500, "aws_access_denied".to_owned());
    assert_eq!(told(app.get("/containers").await), denied);
    // The next caller gets the same error without a call to AWS, which would only fail again.
    assert_eq!(told(app.get("/containers").await), denied);
    assert_eq!(app.count("ListServices"), 1);
    app.pass_seconds(6).await;
    assert_eq!(users(&list(&app, "").await).len(), 3);
    app.pass_seconds(100).await;
    refuse();
    assert_eq!(told(app.get("/containers?fresh=true").await), denied);
    let old = list(&app, "").await;
    assert_eq!((users(&old).len(), &old["snapshot"]["age_seconds"]), (3, &json!(100)));
}

#[tokio::test(start_paused = true)]
async fn every_snapshot_updates_the_metrics_and_shows_stuck_containers() {
    let app = TestApp::start().await;
    let gauges = async || {
        let text = app.get("/metrics").await.text;
        let wanted = ["openclaw_provisioner_containers{", "openclaw_provisioner_oldest_transition"];
        let lines = text.lines().filter(|line| wanted.iter().any(|start| line.starts_with(start)));
        lines.map(|line| line.replace("openclaw_provisioner_", "")).collect::<Vec<_>>()
    };
    assert_eq!(gauges().await, Vec::<String>::new());
    six_states(&app).await;
    app.pass_seconds(30).await;
    app.fleet.roster.refresh_in_background();
    app.pass_seconds(301).await;
    let mut seen = gauges().await;
    let age = seen.iter().position(|line| line.starts_with("oldest")).unwrap();
    let oldest: u64 = seen.remove(age).rsplit_once(' ').unwrap().1.parse().unwrap();
    // It was seen five minutes before the second snapshot, and its deployment may be older than that.
    assert!(oldest >= 300, "{oldest}");
    seen.sort();
    // The stopping one is stopped now, and the deleted one is gone.
    insta::assert_snapshot!(seen.join("\n"), @r#"
    containers{state="deleting"} 0
    containers{state="failed"} 1
    containers{state="provisioning"} 1
    containers{state="running"} 1
    containers{state="stopped"} 2
    containers{state="stopping"} 0
    "#);
}
