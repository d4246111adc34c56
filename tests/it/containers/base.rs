//! A base that cannot be cloned: the answer says that it is not the caller's fault, and what the operator has to repair.

use openclaw_provisioner::domain::BaseFamily;
use serde_json::{Value, json};

use super::{mutations, requests, running, seen, state, told};
use crate::harness::{Answer, BASE, TestApp, provision_body};

/// Checks the answer of every call that needs the base, and that only files and the access point were changed.
async fn refused_by_all(app: &TestApp, words: &[&str]) {
    app.emulator.clear_calls();
    let calls: [(&str, Value); 3] = [
        ("/provision", provision_body("bob")),
        ("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})),
        ("/containers/alice/redeploy", json!({"force": true})),
    ];
    for (path, body) in calls {
        let answer = app.post(path, body).await;
        let Answer { body, .. } = &answer;
        assert_eq!(told(&answer), (500, "base_unusable"), "{path} {body}");
        assert_eq!((&body["retryable"], answer.header("retry-after")), (&json!(false), None));
        let detail = body["detail"].as_str().unwrap();
        assert!(words.iter().all(|word| detail.contains(word)), "{words:?} are not all in: {detail}");
    }
    let changed: Vec<_> = mutations(app).into_iter().filter(|call| call != "efs:CreateAccessPoint").collect();
    assert_eq!(changed, Vec::<String>::new());
    assert_eq!(
        (state(app, "alice").await.as_str(), state(app, "bob").await.as_str()),
        ("running", "container_not_found")
    );
}

#[tokio::test(start_paused = true)]
async fn a_base_without_a_usable_mount_is_refused_with_a_fix() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let mount = |base: &mut Value, member: &str, value: Value| {
        base["containerDefinitions"][0]["mountPoints"][0][member] = value;
    };
    app.register_base(|base| base["containerDefinitions"][0]["mountPoints"] = json!([]));
    refused_by_all(&app, &[&format!("{BASE}:2"), "has no mount point on an EFS volume", &app.file_system_id]).await;
    app.register_base(|base| base["volumes"] = json!([{"name": "openclaw"}]));
    refused_by_all(&app, &[&format!("{BASE}:3"), "has no mount point on an EFS volume", &app.file_system_id]).await;
    app.register_base(|base| mount(base, "readOnly", json!(true)));
    refused_by_all(&app, &[&format!("{BASE}:4"), "read-only"]).await;
    app.register_base(|base| mount(base, "containerPath", json!("data")));
    refused_by_all(&app, &[&format!("{BASE}:5"), "relative path \"data\""]).await;
    app.register_base(|base| {
        base["volumes"][0]["efsVolumeConfiguration"]["fileSystemId"] = json!("fs-0000000000000000f")
    });
    refused_by_all(&app, &[&format!("{BASE}:6"), "fs-0000000000000000f", &app.file_system_id]).await;
    app.register_base(|_| {});
    assert_eq!(app.provision("bob").await.status, 201, "a mended base is used at once");
}

/// Incident 1: base and per-user clones shared one family; describe-by-family returned a user's clone.
#[tokio::test(start_paused = true)]
async fn a_base_family_that_holds_a_users_clone_is_refused() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    app.register_base(|base| {
        base["containerDefinitions"][0]["dockerLabels"] = json!({"openclaw.provisioner.user-id": "carol"})
    });
    refused_by_all(&app, &[&format!("{BASE}:2"), "deploy the base into a family of its own"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_base_family_that_is_not_there_is_named_with_its_setting() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": format!("{BASE}:1")}));
    refused_by_all(&app, &[BASE, "has no ACTIVE revision", "PROVISIONER_BASE_FAMILY"]).await;
    app.coordinates.send_modify(|at| at.base_family = BaseFamily::parse("openclaw-prod").unwrap());
    refused_by_all(&app, &["openclaw-prod", "has no ACTIVE revision", "PROVISIONER_BASE_FAMILY"]).await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_need_no_base_work_without_one() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": format!("{BASE}:1")}));
    assert_eq!(app.post("/containers/alice/stop", json!({})).await.status, 202);
    app.pass_seconds(2).await;
    assert_eq!(app.post("/containers/alice/start", json!({})).await.status, 202);
    app.pass_seconds(3).await;
    assert_eq!(state(&app, "alice").await, "running");
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    app.pass_seconds(10).await;
    assert_eq!(app.services(), Vec::<Value>::new());
}

/// Incident 2: the base ARN was read once at start-up. This tests the same for the family that infrastructure publishes.
#[tokio::test(start_paused = true)]
async fn changed_coordinates_take_effect_with_the_next_call() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let other = app.register_base(|base| {
        base["family"] = json!("openclaw-next");
        base["containerDefinitions"][0]["image"] = json!("ghcr.io/openclaw/openclaw:2026.5.4");
    });
    app.coordinates.send_modify(|at| at.base_family = BaseFamily::parse("openclaw-next").unwrap());
    app.emulator.clear_calls();
    assert_eq!(app.post("/containers/alice/redeploy", json!({})).await.status, 202);
    app.pass_seconds(5).await;
    let body = seen(&app, "alice").await;
    assert_eq!((&body["base_task_definition"], &body["openclaw_version"]), (&json!(other), &json!("2026.5.4")));
    assert_eq!(requests(&app, "RegisterTaskDefinition")[0]["family"], "openclaw-next-user");
}

#[tokio::test(start_paused = true)]
async fn while_ssm_fails_the_last_good_coordinates_are_used_and_readiness_warns() {
    let app = TestApp::start().await;
    app.freshness.send_modify(|freshness| freshness.error = Some("SSM did not answer".into()));
    app.pass_seconds(90).await;
    let answer = app.get("/readyz").await;
    let message = "read 90 s ago; since then: SSM did not answer; the last good values are in force";
    let checks = json!([
        {"name": "efs_root", "status": "pass"},
        {"name": "coordinates", "status": "warn", "message": message},
    ]);
    assert_eq!((answer.status, answer.body), (200, json!({"ready": true, "checks": checks})));
    running(&app, "alice").await;
}
