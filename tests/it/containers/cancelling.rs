//! `POST /containers/{user_id}/cancel`.

use openclaw_provisioner::emulator::Behaviour;
use serde_json::json;

use super::{running, seen, service, state, tasks, told};
use crate::harness::TestApp;

#[tokio::test(start_paused = true)]
async fn a_first_deployment_that_does_not_come_up_is_scaled_to_zero() {
    let app = TestApp::start().await;
    let name = app.provision("alice").await.body["service"].as_str().unwrap().to_owned();
    app.emulator.set_behaviour(&name, Some(Behaviour::Slow));
    let answer = app.post("/containers/alice/cancel", json!({})).await;
    let cancelled = json!({"operations": 0, "deployment": "scaled_to_zero"});
    assert_eq!((answer.status, &answer.body["cancelled"]), (202, &cancelled), "{}", answer.body);
    app.pass_seconds(60).await;
    assert_eq!((state(&app, "alice").await.as_str(), tasks(&app, "alice").await.len()), ("stopped", 0));
    // Nothing is lost: it starts as if it had been stopped.
    app.emulator.set_behaviour(&name, None);
    assert_eq!(app.provision("alice").await.status, 202);
    app.pass_seconds(5).await;
    assert_eq!(state(&app, "alice").await, "running");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_over_a_steady_one_goes_back_to_it() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let first = service(&app, "alice").await["taskDefinition"].clone();
    let image = json!("ghcr.io/openclaw/openclaw:2026.4.25-sim-slow");
    assert_eq!(app.post("/containers/alice/redeploy", json!({ "image": image })).await.status, 202);
    app.pass_seconds(5).await;
    let answer = app.post("/containers/alice/cancel", json!({})).await;
    assert_eq!(
        (answer.status, &answer.body["cancelled"]["deployment"]),
        (202, &json!("rolled_back")),
        "{}",
        answer.body
    );
    app.pass_seconds(60).await;
    assert_eq!((&service(&app, "alice").await["taskDefinition"], tasks(&app, "alice").await.len()), (&first, 1));
    let body = seen(&app, "alice").await;
    assert_eq!((&body["state"], &body["reason"]["code"]), (&json!("failed"), &json!("rolled_back")), "{body}");
    assert_eq!(app.get("/containers/alice/gateway").await.body["ready"], true);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_drain_is_told_and_waits_no_more() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    app.delete("/containers/alice").await;
    let second = app.provision("alice");
    let cancel = async {
        app.pass_millis(100).await;
        app.post("/containers/alice/cancel", json!({})).await
    };
    let (second, cancelled) = tokio::join!(second, cancel);
    assert_eq!((cancelled.status, &cancelled.body["cancelled"]["operations"]), (202, &json!(2)), "{}", cancelled.body);
    assert_eq!(told(&second), (409, "cancelled"));
    app.pass_seconds(60).await;
    // The access point is still there: the delete did not go on either.
    assert_eq!(app.access_points().len(), 1);
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    assert_eq!(told(&app.delete("/containers/alice").await), (404, "container_not_found"));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_under_way_nothing_is_cancelled() {
    let app = TestApp::start().await;
    assert_eq!(told(&app.post("/containers/alice/cancel", json!({})).await), (404, "container_not_found"));
    running(&app, "alice").await;
    let answer = app.post("/containers/alice/cancel", json!({})).await;
    let nothing = json!({"operations": 0, "deployment": null});
    assert_eq!((answer.status, &answer.body["cancelled"]), (200, &nothing), "{}", answer.body);
    assert_eq!(state(&app, "alice").await, "running");
}
