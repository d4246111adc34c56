//! Faulty bases.

use serde_json::{Value, json};

use super::{PASS, doctor_with, examined, fail, of, refusal, said, strike, warn};
use crate::harness::{BASE, TestApp};

type Change = fn(&mut Value);

#[tokio::test(start_paused = true)]
async fn every_fault_of_a_base_is_found() {
    let app = TestApp::start().await;
    let first: fn(&mut Value) -> &mut Value = |base| &mut base["containerDefinitions"][0];
    let failures: [(Change, &'static str); 7] = [
        (|base| base["containerDefinitions"][0]["mountPoints"] = json!([]), "no_efs_mount"),
        (|base| base["volumes"][0]["efsVolumeConfiguration"]["fileSystemId"] = json!("fs-0f"), "other_file_system"),
        (|base| base["containerDefinitions"][0]["mountPoints"][0]["readOnly"] = json!(true), "unusable_mount"),
        (
            |base| {
                base["containerDefinitions"][0]["dockerLabels"] = json!({"openclaw.provisioner.user-id": "carol"});
            },
            "not_bare",
        ),
        (|base| base["executionRoleArn"] = Value::Null, "no_execution_role"),
        (|base| base["taskRoleArn"] = Value::Null, "no_task_role"),
        (|base| base["containerDefinitions"][0]["image"] = json!("openclaw:2026.4.6"), "release_too_old"),
    ];
    for (change, code) in failures {
        app.register_base(change);
        assert_eq!(of(&examined(&app).await, "base_family"), [fail(code)]);
    }
    let warnings: [(Change, &'static str); 7] = [
        (|base| base["containerDefinitions"][0]["healthCheck"] = Value::Null, "no_health_check"),
        (|base| base["containerDefinitions"][0]["user"] = json!("1001:1000"), "other_user"),
        (|base| base["containerDefinitions"][0]["dockerLabels"] = json!({}), "not_isolated"),
        (|base| base["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"] = json!({}), "no_iam_on_volume"),
        (|base| base["containerDefinitions"][0]["image"] = json!("openclaw:2026.6.35"), "runs_default_command"),
        (
            |base| base["containerDefinitions"][0]["image"] = json!("openclaw:2026.5.12"),
            "auth_profile_secret_key_missing",
        ),
        (
            |base| {
                let first = &mut base["containerDefinitions"][0];
                (first["image"], first["command"]) = (json!("openclaw:latest"), json!(["gateway"]));
            },
            "release_unknown",
        ),
    ];
    for (change, code) in warnings {
        app.register_base(change);
        assert_eq!(of(&examined(&app).await, "base_family"), [PASS, warn(code)]);
    }
    app.register_base(|base| first(base)["command"] = json!(["node"]));
    assert_eq!(of(&examined(&app).await, "base_family"), [PASS]);
}

/// The emulator, as ECS, refuses a Fargate definition in another network mode or of another size; one that is not for
/// Fargate may have either.
#[tokio::test(start_paused = true)]
async fn several_faults_are_found_at_once_failures_first() {
    let app = TestApp::start().await;
    app.register_base(|base| {
        base["requiresCompatibilities"] = json!(["EC2"]);
        base["networkMode"] = json!("bridge");
        base["cpu"] = json!("300");
        base["containerDefinitions"][0]["dockerLabels"] = Value::Null;
        base["containerDefinitions"][0]["user"] = Value::Null;
        base["containerDefinitions"][0]["healthCheck"] = Value::Null;
    });
    let told = examined(&app).await;
    let expected = ["not_fargate", "not_awsvpc", "no_fargate_size"].map(fail).into_iter();
    let expected: Vec<_> = expected.chain(["no_health_check", "other_user", "not_isolated"].map(warn)).collect();
    assert_eq!(of(&told, "base_family"), expected);
    insta::assert_snapshot!(said(&told, "base_family"), @r#"
    openclaw-dev:2: not for Fargate; set requiresCompatibilities to ["FARGATE"]
    openclaw-dev:2: the network mode is bridge, but Fargate has only awsvpc; set networkMode to awsvpc
    openclaw-dev:2: not a Fargate size: cpu 300, memory 2048; set cpu and memory of the task, such as 512 and 2048
    openclaw-dev:2: the container of OpenClaw has no health check, so a container counts as ready as soon as it runs; ECS ignores the image's own; add a healthCheck that asks http://127.0.0.1:18789/healthz
    openclaw-dev:2: the container of OpenClaw sets no user, and users' files belong to 1000:1000; set user to "1000:1000" there, or make PROVISIONER_OWNER agree
    openclaw-dev:2: users' processes can fetch the credentials of the task role, which all users share: a user who learns the id of another user's access point can mount that user's files; set the docker label openclaw.provisioner.isolation=without-role on that container, then redeploy
        
    "#);
}

#[tokio::test(start_paused = true)]
async fn settings_for_the_whole_fleet_apply_to_the_base() {
    let app = TestApp::start().await;
    app.register_base(|base| base["containerDefinitions"][0]["image"] = json!("openclaw:main"));
    let doctor = doctor_with(&app, |doctor| {
        doctor.coordinates.openclaw_version = Some("2026.5.12".into());
        doctor.coordinates.auth_profile_secret_arn =
            Some("arn:aws:secretsmanager:us-east-1:123456789012:secret:openclaw-key".into());
        doctor.owner.owner.uid = 1001;
    });
    let told = doctor.examine().await;
    assert_eq!(of(&told, "base_family"), [PASS, warn("other_user")]);
    assert!(said(&told, "base_family").contains("it runs OpenClaw 2026.5.12"));
    assert!(said(&told, "base_family").contains("runs as 1000:1000, and users' files belong to 1001:1000"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_base_and_a_missing_permission_are_reported_as_such() {
    let app = TestApp::start().await;
    strike(&app, "DescribeTaskDefinition", refusal("AccessDeniedException"));
    assert_eq!(of(&examined(&app).await, "base_family"), [fail("aws_denied")]);
    app.emulator.clear_faults();
    app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": format!("{BASE}:1")}));
    let told = examined(&app).await;
    assert_eq!(of(&told, "base_family"), [fail("no_active_revision")]);
    assert!(said(&told, "base_family").contains("PROVISIONER_BASE_FAMILY"));
}
