//! `POST /containers/{user_id}/cancel`.

use aws_emulator::Behaviour;
use serde_json::{Value, json};

use super::{running, seen, service, state, tasks, told};
use crate::harness::{TestApp, provision_body};
use crate::interruptions::{CALL, slow};

#[tokio::test(start_paused = true)]
async fn a_first_deployment_that_does_not_come_up_is_scaled_to_zero() {
    let app = TestApp::start().await;
    let name = app.provision("alice").await.body["service"].as_str().unwrap().to_owned();
    app.emulator.set_behaviour(&name, Some(Behaviour::Slow));
    let answer = app.post("/containers/alice/cancel", json!({})).await;
    let cancelled = json!({"operations": 0, "at_work_elsewhere": false, "deployment": "scaled_to_zero"});
    assert_eq!((answer.status, &answer.body["cancelled"]), (202, &cancelled), "{}", answer.body);
    app.pass_seconds(60).await;
    assert_eq!((state(&app, "alice").await.as_str(), tasks(&app, "alice").await.len()), ("stopped", 0));
    // Nothing is lost: it starts like a stopped container.
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
    // A second cancel, after a lost answer or a double click, does not stop the rollback.
    for round in 0..2 {
        let is_over = |service: &Value| service["deployments"][0]["rolloutState"] == "COMPLETED";
        let was_over = is_over(&service(&app, "alice").await);
        let answer = app.post("/containers/alice/cancel", json!({})).await;
        let deployment = &answer.body["cancelled"]["deployment"];
        match is_over(&service(&app, "alice").await) {
            // The rollback was done when the first one was answered.
            true if was_over && round == 1 => assert_eq!((answer.status, deployment), (200, &Value::Null)),
            true if round == 1 => {}
            _ => assert_eq!((answer.status, deployment), (202, &json!("rolled_back")), "{}", answer.body),
        }
        app.pass_millis(100).await;
    }
    app.pass_seconds(60).await;
    assert_eq!((&service(&app, "alice").await["taskDefinition"], tasks(&app, "alice").await.len()), (&first, 1));
    let body = seen(&app, "alice").await;
    assert_eq!((&body["state"], &body["reason"]["code"]), (&json!("failed"), &json!("rolled_back")), "{body}");
    assert_eq!(app.get("/containers/alice/gateway").await.body["ready"], true);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_drain_is_cancelled_at_once() {
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
async fn without_work_under_way_nothing_is_cancelled() {
    let app = TestApp::start().await;
    assert_eq!(told(&app.post("/containers/alice/cancel", json!({})).await), (404, "container_not_found"));
    running(&app, "alice").await;
    let answer = app.post("/containers/alice/cancel", json!({})).await;
    let nothing = json!({"operations": 0, "at_work_elsewhere": false, "deployment": null});
    assert_eq!((answer.status, &answer.body["cancelled"]), (200, &nothing), "{}", answer.body);
    assert_eq!(state(&app, "alice").await, "running");
}

/// A cancel that answers before the next step would say "no container" for one that is about to be created.
#[tokio::test(start_paused = true)]
async fn cancelled_work_does_nothing_after_the_answer() {
    let undisturbed = TestApp::start().await;
    undisturbed.provision("alice").await;
    for nth in 1..=undisturbed.calls().len() {
        let app = TestApp::with(slow()).await;
        app.emulator.clear_calls();
        let cancel = async {
            while app.emulator.calls().len() < nth {
                app.pass_millis(1).await;
            }
            let answer = app.post("/containers/alice/cancel", json!({})).await;
            (answer, app.services().len(), app.user_revisions().len())
        };
        let (provision, (cancel, services, revisions)) = tokio::join!(app.provision("alice"), cancel);
        app.pass_seconds(60).await;
        assert_eq!(app.services().len(), services, "call {nth}: {}", cancel.body);
        match cancel.status {
            404 => assert_eq!((told(&provision), services, revisions), ((409, "cancelled"), 0, 0), "call {nth}"),
            // It arrived during the last step.
            202 => assert_eq!((provision.status, state(&app, "alice").await.as_str()), (201, "stopped"), "call {nth}"),
            _ => panic!("call {nth}: {}", cancel.body),
        }
        app.provision("alice").await;
        app.pass_seconds(5).await;
        assert_eq!(state(&app, "alice").await, "running", "call {nth}");
        assert_eq!((app.access_points().len(), app.user_revisions().len()), (1, 1), "call {nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resize_that_is_cancelled_before_it_is_deployed_leaves_the_container_as_it_was() {
    let app = TestApp::with(slow()).await;
    running(&app, "alice").await;
    let before = seen(&app, "alice").await;
    app.emulator.clear_calls();
    let cancel = async {
        while app.count("RegisterTaskDefinition") == 0 {
            app.pass_millis(1).await;
        }
        app.post("/containers/alice/cancel", json!({})).await
    };
    let resize = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096}));
    let (resize, cancel) = tokio::join!(resize, cancel);
    let cancelled = json!({"operations": 1, "at_work_elsewhere": false, "deployment": null});
    assert_eq!((cancel.status, &cancel.body["cancelled"]), (202, &cancelled), "{}", cancel.body);
    assert_eq!(told(&resize), (409, "cancelled"));
    app.pass_seconds(60).await;
    assert_eq!((seen(&app, "alice").await, app.user_revisions().len()), (before, 1));
}

#[tokio::test(start_paused = true)]
async fn work_in_another_replica_is_stopped_before_its_next_step() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    let other = app.replica().await;
    let answer = other.post("/containers/alice/cancel", json!({})).await;
    let cancelled = json!({"operations": 1, "at_work_elsewhere": true, "deployment": null});
    assert_eq!((answer.status, &answer.body["cancelled"]), (202, &cancelled), "{}", answer.body);
    let left = app.access_points();
    app.pass_seconds(60).await;
    assert_eq!(app.access_points(), left, "nothing of it came after the answer");
}

/// The work is stopped, or undone if it was done before it could be stopped.
#[tokio::test(start_paused = true)]
async fn another_replica_creates_nothing_after_the_answer() {
    let app = TestApp::with(slow()).await;
    let other = app.replica().await;
    let cancel = async {
        app.pass_millis(u64::try_from(CALL.as_millis()).unwrap() / 2).await;
        other.post("/containers/alice/cancel", json!({})).await
    };
    let (provision, cancel) = tokio::join!(app.post("/provision", provision_body("alice")), cancel);
    assert_eq!((cancel.status, cancel.body["cancelled"]["at_work_elsewhere"].as_bool()), (202, Some(true)));
    assert_eq!((provision.status, &cancel.body["cancelled"]["deployment"]), (201, &json!("scaled_to_zero")));
    app.pass_seconds(60).await;
    assert_eq!((state(&app, "alice").await.as_str(), tasks(&app, "alice").await.len()), ("stopped", 0));
}
