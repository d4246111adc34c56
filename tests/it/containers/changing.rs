//! Resize and redeploy.

use serde_json::{Value, json};

use super::{mutations, requests, running, seen, service, state, tasks, told};
use crate::harness::{BASE, CLUSTER, TestApp, USER_FAMILY, provision_body, variable};

const PIN: &str = "ghcr.io/openclaw/openclaw:2026.4.25";
const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai";

/// A running user with every setting that a resize ever lost.
async fn running_with_everything(app: &TestApp) {
    let mut body = provision_body("alice");
    body["image"] = json!(PIN);
    body["variables"] = json!({"LANG": "de"});
    body["secrets"] = json!({"OPENAI_API_KEY": SECRET});
    body["labels"] = json!({"plan": "pro"});
    assert_eq!(app.post("/provision", body).await.status, 201);
    app.pass_seconds(3).await;
}

/// The user's own settings in a definition.
fn own(definition: &Value) -> Value {
    let container = &definition["containerDefinitions"][0];
    json!({
        "image": container["image"],
        "codex_home": variable(definition, "CODEX_HOME"),
        "variable": variable(definition, "LANG"),
        "secrets": container["secrets"],
        "label": container["dockerLabels"]["plan"],
        "access_point": definition["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"]["accessPointId"],
    })
}

#[tokio::test(start_paused = true)]
async fn a_resize_is_202_then_running_at_the_new_size_then_200() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let size = json!({"cpu": 1024, "memory_mib": 8192});
    let answer = app.post("/containers/alice/resize", size.clone()).await;
    assert_eq!((answer.status, answer.header("location")), (202, Some("/containers/alice")), "{}", answer.body);
    assert_eq!((&answer.body["size"], &answer.body["state"]), (&size, &json!("provisioning")));
    app.pass_seconds(5).await;
    let body = seen(&app, "alice").await;
    assert_eq!((&body["size"], &body["state"], &body["ready"]), (&size, &json!("running"), &json!(true)));
    app.emulator.clear_calls();
    let again = app.post("/containers/alice/resize", size.clone()).await;
    assert_eq!((again.status, &again.body["size"]), (200, &size));
    assert_eq!(mutations(&app), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_user_without_a_container_are_404() {
    let app = TestApp::start().await;
    for (path, body) in [
        ("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 8192})),
        ("/containers/alice/redeploy", json!({"force": true})),
        ("/containers/alice/start", json!({})),
        ("/containers/alice/stop", json!({})),
    ] {
        let answer = app.post(path, body).await;
        assert_eq!(told(&answer), (404, "container_not_found"), "{path}");
        assert_eq!(answer.body["retryable"], false);
    }
    assert_eq!(mutations(&app), Vec::<String>::new());
    let locks: Vec<_> = std::fs::read_dir(app.path(".provisioner/locks")).unwrap().collect();
    assert_eq!(locks.len(), 0, "nobody's lock file stays: {locks:?}");
}

/// Incident 4: resize re-registered without CODEX_HOME, and the user lost their sign-in; the same path dropped their
/// provider secrets. Incident 5: an image pin was silently reset to the base image by a resize.
#[tokio::test(start_paused = true)]
async fn the_users_own_settings_survive_every_change() {
    let app = TestApp::start().await;
    running_with_everything(&app).await;
    let first = own(&app.newest_definition());
    assert_eq!(first["codex_home"], json!(["/home/node/.openclaw/codex"]));
    assert_eq!((&first["image"], &first["label"]), (&json!(PIN), &json!("pro")));
    app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 2048})).await;
    assert_eq!(own(&app.newest_definition()), first, "resize");
    app.register_base(|base| {
        base["containerDefinitions"][0]["image"] = json!("ghcr.io/openclaw/openclaw:2026.5.4");
        base["containerDefinitions"][0]["environment"] = json!([{"name": "NEW", "value": "1"}]);
    });
    let answer = app.post("/containers/alice/redeploy", json!({})).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(own(&app.newest_definition()), first, "redeploy from another base");
    assert_eq!(variable(&app.newest_definition(), "NEW"), ["1"]);
    assert_eq!(app.newest_definition()["cpu"], "1024");
    app.post("/containers/alice/redeploy", json!({"force": true})).await;
    app.post("/containers/alice/stop", json!({})).await;
    app.post("/containers/alice/start", json!({})).await;
    assert_eq!(own(&app.newest_definition()), first);
    app.pass_seconds(5).await;
    let body = seen(&app, "alice").await;
    assert_eq!(
        (&body["state"], &body["image"], &body["credentials"]),
        (&json!("running"), &json!(PIN), &json!("present"))
    );
}

/// Incident 3: resize cloned the user's *previous* revision and perpetuated its drift.
#[tokio::test(start_paused = true)]
async fn drift_of_a_revision_ends_with_the_next_change() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let mut drifted = app.newest_definition();
    for member in [
        "taskDefinitionArn",
        "revision",
        "status",
        "registeredAt",
        "registeredBy",
        "requiresAttributes",
        "compatibilities",
    ] {
        drifted.as_object_mut().unwrap().remove(member);
    }
    let right = drifted["containerDefinitions"][0]["environment"].clone();
    drifted["containerDefinitions"][0]["environment"] = json!([{"name": "DRIFT", "value": "1"}]);
    drifted["containerDefinitions"][0]["image"] = json!("ghcr.io/openclaw/openclaw:2026.4.20");
    let arn = app.aws("ecs", "RegisterTaskDefinition", drifted)["taskDefinition"]["taskDefinitionArn"].clone();
    let service = seen(&app, "alice").await["service"].clone();
    app.aws("ecs", "UpdateService", json!({"cluster": CLUSTER, "service": service, "taskDefinition": arn}));
    let answer = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 2048})).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let container = &app.newest_definition()["containerDefinitions"][0];
    assert_eq!(container["environment"], right);
    assert_eq!(container["image"], "ghcr.io/openclaw/openclaw:2026.4.21");
}

/// Incident 2: the base ARN was read once at start-up; clones kept using an image tag that did not exist.
#[tokio::test(start_paused = true)]
async fn a_redeploy_takes_the_newest_base_without_a_restart_of_this_service() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    for (image, version) in
        [("ghcr.io/openclaw/openclaw:2026.4.25", "2026.4.25"), ("ghcr.io/openclaw/openclaw:2026.5.4", "2026.5.4")]
    {
        let base = app.register_base(|base| base["containerDefinitions"][0]["image"] = json!(image));
        let answer = app.post("/containers/alice/redeploy", json!({})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        app.pass_seconds(5).await;
        let body = seen(&app, "alice").await;
        assert_eq!((&body["image"], &body["openclaw_version"]), (&json!(image), &json!(version)));
        assert_eq!((&body["base_task_definition"], &body["state"]), (&json!(base), &json!("running")));
    }
    running(&app, "bob").await;
    assert_eq!(seen(&app, "bob").await["openclaw_version"], "2026.5.4");
}

#[tokio::test(start_paused = true)]
async fn a_redeploy_with_nothing_new_is_200_and_restarts_nothing() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let task = tasks(&app, "alice").await;
    app.emulator.clear_calls();
    // Registered again with the same content: no restart.
    app.register_base(|_| {});
    for body in ["", "{}", "{\"force\": false}"] {
        let answer = app.raw("POST", "/containers/alice/redeploy", &[], body).await;
        assert_eq!((answer.status, &answer.body["state"]), (200, &json!("running")), "{body}");
    }
    let unannounced = app.raw("POST", "/containers/alice/redeploy", &[("content-type", "")], "").await;
    assert_eq!(unannounced.status, 200);
    assert_eq!(mutations(&app), Vec::<String>::new());
    assert_eq!(tasks(&app, "alice").await, task);
}

#[tokio::test(start_paused = true)]
async fn a_forced_redeploy_replaces_the_task_and_registers_nothing() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let (task, revisions) = (tasks(&app, "alice").await, app.user_revisions());
    app.emulator.clear_calls();
    let answer = app.post("/containers/alice/redeploy", json!({"force": true})).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(mutations(&app), ["ecs:UpdateService"]);
    let update = &requests(&app, "UpdateService")[0];
    assert_eq!((&update["forceNewDeployment"], &update["taskDefinition"]), (&json!(true), &Value::Null));
    app.pass_seconds(5).await;
    assert_eq!((state(&app, "alice").await.as_str(), app.user_revisions()), ("running", revisions));
    let replaced = tasks(&app, "alice").await;
    assert_eq!(replaced.len(), 1);
    assert_ne!(replaced, task);
}

#[tokio::test(start_paused = true)]
async fn an_image_is_pinned_by_a_value_unpinned_by_null_and_kept_when_left_out() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let base = "ghcr.io/openclaw/openclaw:2026.4.21";
    for (body, status, image) in [
        (json!({"image": PIN}), 202, PIN),
        (json!({"image": PIN}), 200, PIN),
        (json!({}), 200, PIN),
        (json!({"force": true}), 202, PIN),
        (json!({"image": null}), 202, base),
        (json!({"image": null}), 200, base),
        (json!({}), 200, base),
    ] {
        let answer = app.post("/containers/alice/redeploy", body.clone()).await;
        assert_eq!((answer.status, &answer.body["image"]), (status, &json!(image)), "{body}");
        assert_eq!(app.newest_definition()["containerDefinitions"][0]["image"], image, "{body}");
        app.pass_seconds(5).await;
    }
}

/// Incident 1: base and per-user clones shared one family; describe-by-family returned a user's clone.
#[tokio::test(start_paused = true)]
async fn the_base_family_is_never_written() {
    let app = TestApp::start().await;
    running_with_everything(&app).await;
    running(&app, "bob").await;
    app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 2048})).await;
    app.post("/containers/alice/redeploy", json!({"image": null})).await;
    app.delete("/containers/bob").await;
    app.pass_seconds(5).await;
    for request in requests(&app, "RegisterTaskDefinition") {
        assert_eq!(request["family"], USER_FAMILY);
    }
    let listed = app.aws("ecs", "ListTaskDefinitions", json!({"familyPrefix": BASE}))["taskDefinitionArns"].clone();
    let base = app.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": BASE}))["taskDefinition"].clone();
    assert_eq!((listed, &base["revision"]), (json!([base["taskDefinitionArn"]]), &json!(1)));
}

/// Incidents 14 and 15: restart, resize and redeploy started no watcher, and status stayed stale; the old task's
/// health was taken for the new deployment's.
#[tokio::test(start_paused = true)]
async fn after_a_change_the_old_tasks_health_does_not_count() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    for (path, body) in [("resize", json!({"cpu": 1024, "memory_mib": 2048})), ("redeploy", json!({"image": PIN}))] {
        let answer = app.post(&format!("/containers/alice/{path}"), body).await;
        let said = [&answer.body["state"], &answer.body["ready"]];
        assert_eq!(said, [&json!("provisioning"), &json!(false)], "{path}");
        let body = seen(&app, "alice").await;
        // A look that waits until the change is visible may already find the new task running.
        if service(&app, "alice").await["deployments"][0]["runningCount"] == 0 {
            assert_eq!([&body["state"], &body["ready"]], [&json!("provisioning"), &json!(false)], "{path}");
        }
        app.pass_seconds(5).await;
        assert_eq!(state(&app, "alice").await, "running", "{path}");
    }
}

/// Incident 15 with an unchanged revision: only the deployment distinguishes the old task from the new one. Stop and
/// start keep the deployment, so their task counts.
#[tokio::test(start_paused = true)]
async fn after_a_forced_redeploy_the_old_tasks_health_does_not_count() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    for _ in 0..2 {
        let old = tasks(&app, "alice").await;
        let answer = app.post("/containers/alice/redeploy", json!({"force": true})).await;
        for body in [&answer.body, &seen(&app, "alice").await] {
            assert_eq!([&body["state"], &body["ready"]], [&json!("provisioning"), &json!(false)], "{body}");
        }
        app.pass_seconds(5).await;
        let body = seen(&app, "alice").await;
        assert_eq!([&body["state"], &body["ready"]], [&json!("running"), &json!(true)], "{body}");
        assert_ne!(tasks(&app, "alice").await, old);

        app.post("/containers/alice/stop", json!({})).await;
        app.pass_seconds(5).await;
        assert_eq!(state(&app, "alice").await, "stopped");
        app.post("/containers/alice/start", json!({})).await;
        app.pass_seconds(5).await;
        assert_eq!(state(&app, "alice").await, "running");
    }
}

/// Only the revision before is kept, because the circuit breaker goes back to it.
#[tokio::test(start_paused = true)]
async fn many_changes_leave_two_revisions() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    for memory_mib in [1024, 2048, 3072, 4096] {
        let answer = app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": memory_mib})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        app.pass_seconds(5).await;
    }
    assert_eq!(app.user_revisions().len(), 2);
    assert_eq!(state(&app, "alice").await, "running");
}
