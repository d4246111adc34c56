//! `GET /containers/{user_id}/wait`.

use std::time::Duration;

use aws_emulator::{Behaviour, Fault, FaultKind, Options as EmulatorOptions};
use openclaw_provisioner::fleet::Options;
use openclaw_provisioner::probe::{GatewayProbe, ProbeKind};
use openclaw_provisioner::reconcile;
use serde_json::json;
use tokio::time::Instant;

use super::wait;
use crate::harness::TestApp;

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_container_runs_and_says_so_in_full() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    let answer = app.get("/containers/alice/wait").await;
    let expected = json!({
        "user_id": "alice", "state": "running", "phase": "healthy", "percent": 100, "message": "the container runs",
        "ready": true, "reason": null,
    });
    assert_eq!((answer.status, answer.body), (200, expected));
    // If the container is already in the state, the answer comes at once.
    let start = Instant::now();
    assert_eq!(wait(&app, "alice", "state=running&timeout_seconds=60").await, (200, "running".into()));
    assert_eq!(start.elapsed().as_secs(), 0);
    app.post("/containers/alice/stop", json!({})).await;
    assert_eq!(wait(&app, "alice", "state=stopped").await, (200, "stopped".into()));
    app.post("/containers/alice/start", json!({})).await;
    assert_eq!(wait(&app, "alice", "").await, (200, "running".into()));
    app.delete("/containers/alice").await;
    assert_eq!(wait(&app, "alice", "state=stopped").await, (404, "container_not_found".into()));
    assert_eq!(app.fleet.watchers.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_times_out_answers_408_with_the_current_status() {
    let app = TestApp::start().await;
    app.emulator.set_behaviour(crate::harness::USER_FAMILY, Some(Behaviour::Slow));
    app.provision("alice").await;
    for (query, seconds) in [("", 30), ("timeout_seconds=60", 55), ("timeout_seconds=1&state=stopped", 1)] {
        let start = Instant::now();
        let answer = app.get(&format!("/containers/alice/wait?{query}")).await;
        let said = (answer.status, &answer.body["state"], &answer.body["phase"], &answer.body["percent"]);
        assert_eq!(said, (408, &json!("provisioning"), &json!("task_pending"), &json!(40)), "{query}");
        assert_eq!(start.elapsed().as_secs(), seconds, "{query}");
    }
    assert_eq!(wait(&app, "alice", "timeout_seconds=0").await, (408, "provisioning".into()));
    assert_eq!(wait(&app, "alice", "timeout_seconds=0&state=provisioning").await, (200, "provisioning".into()));
}

/// Some HTTP clients retry a 408 by themselves.
#[tokio::test(start_paused = true)]
async fn a_wait_that_times_out_is_200_on_request_and_says_whether_it_is_reached() {
    let app = TestApp::start().await;
    app.emulator.set_behaviour(crate::harness::USER_FAMILY, Some(Behaviour::Slow));
    app.provision("alice").await;
    let ask = async |user: &str, query: &str| {
        let answer = app.get(&format!("/containers/{user}/wait?{query}")).await;
        let text = |member: &str| answer.body[member].clone();
        (answer.status, text("state"), text("reached"))
    };
    let is = |state: &str, reached: bool| (200, json!(state), json!(reached));
    assert_eq!(ask("alice", "timeout_seconds=2&on_timeout=200").await, is("provisioning", false));
    assert_eq!(ask("alice", "state=provisioning&on_timeout=200").await, is("provisioning", true));
    assert_eq!(ask("alice", "timeout_seconds=2&on_timeout=408").await, (408, json!("provisioning"), json!(null)));
    app.emulator.set_behaviour(crate::harness::USER_FAMILY, Some(Behaviour::PullError));
    app.provision("bob").await;
    // Final, but not reached: the state shows it.
    assert_eq!(ask("bob", "timeout_seconds=60&on_timeout=200").await, is("failed", false));
    assert_eq!(ask("nobody", "timeout_seconds=2&on_timeout=200").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_failed_container_returns_at_once() {
    let app = TestApp::start().await;
    app.emulator.set_behaviour(crate::harness::USER_FAMILY, Some(Behaviour::PullError));
    app.provision("alice").await;
    let answer = app.get("/containers/alice/wait?timeout_seconds=60").await;
    let said = (answer.status, &answer.body["state"], &answer.body["reason"]["code"], &answer.body["percent"]);
    assert_eq!(said, (200, &json!("failed"), &json!("image_pull"), &json!(null)), "{}", answer.body);
    // Only `running` is impossible: a wait for `stopped` goes on.
    assert_eq!(wait(&app, "alice", "state=stopped&timeout_seconds=10").await, (408, "failed".into()));
}

/// A wait shows everything that a look shows, also what DescribeServices has forgotten.
#[tokio::test(start_paused = true)]
async fn a_rolled_back_container_does_not_count_as_running() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    assert_eq!(wait(&app, "alice", "").await, (200, "running".into()));
    let bad = json!({"image": "ghcr.io/openclaw/sim-crash:2026.4.25"});
    assert_eq!(app.post("/containers/alice/redeploy", bad).await.status, 202);
    let waited = app.get("/containers/alice/wait?timeout_seconds=60").await.body;
    assert_eq!((&waited["state"], &waited["reason"]["code"]), (&json!("failed"), &json!("rolled_back")), "{waited}");
    app.pass_seconds(300).await;
    let (waited, seen) = (app.get("/containers/alice/wait").await.body, app.get("/containers/alice").await.body);
    for member in ["state", "phase", "ready", "reason"] {
        assert_eq!(waited[member], seen[member], "{member}");
    }
    assert_eq!(waited["reason"]["code"], "rolled_back", "{waited}");
}

/// Incident 22: healthy in ECS, but its gateway does not answer.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_answer_is_probed_again_in_every_cycle() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let emulator = EmulatorOptions { task_address: Some([127, 0, 0, 1].into()), ..EmulatorOptions::default() };
    let gateway_probe = GatewayProbe { kind: ProbeKind::Tcp, port, ..GatewayProbe::default() };
    let options = reconcile::Options { gateway_probe, ..reconcile::Options::default() };
    let app = TestApp::with_both(emulator, options).await;
    app.provision("alice").await;
    let answer = app.get("/containers/alice/wait?timeout_seconds=20").await;
    let said = (answer.status, &answer.body["state"], &answer.body["reason"]["code"]);
    assert_eq!(said, (408, &json!("provisioning"), &json!("gateway_unanswered")), "{}", answer.body);
    let opened = async {
        app.pass_seconds(10).await;
        std::net::TcpListener::bind(("127.0.0.1", port)).unwrap()
    };
    let (waited, _listener) = tokio::join!(wait(&app, "alice", "timeout_seconds=60"), opened);
    assert_eq!(waited, (200, "running".into()));
}

/// AWS is eventually consistent: a describe right after a create may not show the service.
#[tokio::test(start_paused = true)]
async fn a_user_without_a_container_is_404_and_only_after_a_second_look() {
    let app = TestApp::start().await;
    assert_eq!(wait(&app, "alice", "timeout_seconds=0").await, (404, "container_not_found".into()));
    assert_eq!(app.count("DescribeServices"), 2);
    let late = async {
        app.pass_millis(500).await;
        app.provision("bob").await
    };
    let (waited, provisioned) = tokio::join!(wait(&app, "bob", ""), late);
    assert_eq!((waited, provisioned.status), ((200, "running".to_owned()), 201));
}

/// The poller may have read the container just before the caller changed it.
#[tokio::test(start_paused = true)]
async fn a_wait_never_ends_with_a_reading_from_before_it_began() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    wait(&app, "alice", "").await;
    let alice = openclaw_provisioner::domain::UserId::parse("alice").unwrap();
    let mut other = app.fleet.watchers.watch(alice).unwrap();
    for (change, before) in [("stop", "running"), ("start", "stopped")] {
        wait(&app, "alice", &format!("state={before}")).await;
        // The other watcher has just got a report, so the next one is two seconds away.
        other.next().await.unwrap();
        app.post(&format!("/containers/alice/{change}"), json!({})).await;
        let (status, state) = wait(&app, "alice", &format!("state={before}&timeout_seconds=0")).await;
        assert_eq!((status, state == before), (408, false), "{change}: {state}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_aws_does_not_answer_new_watchers_get_an_error_and_others_keep_waiting() {
    let app = TestApp::start().await;
    app.emulator.set_behaviour(crate::harness::USER_FAMILY, Some(Behaviour::Slow));
    app.provision("alice").await;
    let refuse = |action: &str, times| {
        let kind = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
        app.emulator.inject(Fault { service: None, action: action.into(), skip: 0, times, kind });
    };
    for action in ["DescribeServices", "ListTasks", "DescribeTasks"] {
        refuse(action, 1);
        assert_eq!(wait(&app, "alice", "").await, (500, "aws_access_denied".into()), "{action}");
    }
    let failing = async {
        app.pass_seconds(5).await;
        refuse("DescribeServices", 3);
        app.pass_seconds(10).await;
        app.emulator.set_behaviour(crate::harness::USER_FAMILY, None);
        app.post("/containers/alice/redeploy", json!({"force": true})).await
    };
    let (waited, redeployed) = tokio::join!(wait(&app, "alice", "timeout_seconds=60"), failing);
    assert_eq!((waited, redeployed.status), ((200, "running".to_owned()), 202));
}

#[tokio::test(start_paused = true)]
async fn bad_parameters_are_named_before_any_aws_call() {
    let app = TestApp::start().await;
    let mut said = Vec::new();
    for path in [
        "wait?state=healthy",
        "wait?state=",
        "wait?timeout_seconds=61",
        "wait?timeout_seconds=-1",
        "wait?timeout_seconds=soon",
        "wait?state=running&state=stopped",
        "wait?stat=running",
        "wait?on_timeout=204",
        "events?state=running",
    ] {
        let answer = app.get(&format!("/containers/alice/{path}")).await;
        let text = |member: &str| answer.body[member].as_str().unwrap_or("nothing").to_owned();
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        said.push(format!("{} {} {}: {}", answer.status, text("code"), text("field"), text("fix")));
    }
    assert_eq!(app.calls(), Vec::<String>::new());
    insta::assert_snapshot!(said.join("\n"), @r#"
    422 invalid_field state: one of provisioning, running, stopping, stopped, failed, deleting
    422 invalid_field state: one of provisioning, running, stopping, stopped, failed, deleting
    422 invalid_field timeout_seconds: a whole number from 0 to 60
    422 invalid_field timeout_seconds: a whole number from 0 to 60
    422 invalid_field timeout_seconds: a whole number from 0 to 60
    422 invalid_field state: give it once
    422 invalid_field stat: expected one of state, timeout_seconds, on_timeout
    422 invalid_field on_timeout: 200 or 408
    422 invalid_field state: leave it out; there are none here
    "#);
}

#[tokio::test(start_paused = true)]
async fn more_watchers_than_slots_get_retry_after() {
    let app = TestApp::with_fleet(Default::default(), Options { max_watchers: 1, ..Options::default() }).await;
    app.emulator.set_behaviour(crate::harness::USER_FAMILY, Some(Behaviour::Slow));
    app.provision("alice").await;
    let second = async {
        app.pass_seconds(1).await;
        app.get("/containers/alice/events").await
    };
    let (first, second) = tokio::join!(wait(&app, "alice", "timeout_seconds=5"), second);
    assert_eq!(first, (408, "provisioning".into()));
    let said = (second.status, &second.body["code"], &second.body["retryable"], second.header("retry-after"));
    assert_eq!(said, (503, &json!("too_many_watchers"), &json!(true), Some("5")));
    assert_eq!(wait(&app, "alice", "timeout_seconds=5").await, (408, "provisioning".into()));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_every_wait() {
    let app = TestApp::start().await;
    app.emulator.set_behaviour(crate::harness::USER_FAMILY, Some(Behaviour::Slow));
    app.provision("alice").await;
    let stop = async {
        app.pass_seconds(5).await;
        app.fleet.shut_down();
    };
    let start = Instant::now();
    let (waited, ()) = tokio::join!(wait(&app, "alice", "timeout_seconds=60"), stop);
    assert_eq!((waited, start.elapsed()), ((503, "shutting_down".to_owned()), Duration::from_secs(5)));
    assert_eq!(wait(&app, "alice", "").await, (503, "shutting_down".into()));
    app.emulator.clear_calls();
    app.pass_seconds(60).await;
    assert_eq!(app.calls(), Vec::<String>::new());
}
