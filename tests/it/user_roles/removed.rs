//! Roles that go: with their users, and by clean-up.

use jiff::{SignedDuration, Timestamp};
use openclaw_provisioner::reconcile::Gc;

use super::*;

/// What clean-up finds of roles, that many hours from now.
pub(super) async fn gc(app: &TestApp, hours: i64) -> Vec<String> {
    app.pass_seconds(10).await;
    let now = Timestamp::now() + SignedDuration::from_hours(hours);
    let found = app.reconciler.gc(Gc { applies: true, grace: Duration::from_secs(24 * 3600), now }).await.unwrap();
    let roles = found.iter().filter(|left| left.kind == "role");
    roles.map(|left| format!("{} {}", left.user.as_ref().map_or("-", UserId::as_str), left.fate.name())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_role_goes_with_its_user_before_the_access_point() {
    for data in ["keep", "purge"] {
        let app = app().await;
        provisioned(&app, "alice").await;
        provisioned(&app, "bob").await;
        app.emulator.clear_calls();
        assert!(app.delete(&format!("/containers/alice?data={data}")).await.status < 300);
        app.pass_seconds(60).await;
        let calls = app.calls();
        let at = |action: &str| calls.iter().position(|call| call == action).unwrap();
        assert!(at("ecs:DeleteService") < at("iam:DeleteRole") && at("iam:DeleteRole") < at("efs:DeleteAccessPoint"));
        assert_eq!(iam_calls(&app), ["iam:GetRole", "iam:DeleteRolePolicy", "iam:DeleteRole"]);
        let left: Vec<Value> = app.roles().iter().map(|role| role["RoleName"].clone()).collect();
        assert_eq!(left, [json!(name(&app, "bob"))]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_cannot_be_deleted_keeps_a_delete_from_ending_unless_it_is_forced() {
    let app = app().await;
    provisioned(&app, "alice").await;
    fail(&app, "DeleteRole", "AccessDenied", usize::MAX);
    app.delete("/containers/alice").await;
    app.pass_seconds(60).await;
    assert_eq!((app.roles().len(), app.access_points().len()), (1, 1));
    let forced = app.delete("/containers/alice?force=true").await;
    assert_eq!(forced.body["not_removed"][0]["what"], "role", "{}", forced.body);
    app.emulator.clear_faults();
    app.pass_seconds(90).await;
    app.delete("/containers/alice").await;
    app.pass_seconds(60).await;
    assert_eq!((app.roles(), app.access_points()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn roles_of_users_who_have_nothing_else_go_after_the_grace_and_others_never() {
    let app = app().await;
    provisioned(&app, "bob").await;
    // Made by a process that was killed before it made the service.
    let kind = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    app.emulator.inject(Fault { service: None, action: "CreateService".into(), skip: 0, times: 1_000, kind });
    assert_eq!(app.provision("alice").await.status, 500);
    app.emulator.clear_faults();
    app.pass_seconds(700).await;
    let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
    app.aws("iam", "CreateRole", json!({"RoleName": "mine", "Path": ROLES_PATH, "AssumeRolePolicyDocument": trust}));
    app.aws("iam", "CreateRole", json!({"RoleName": "elsewhere", "AssumeRolePolicyDocument": trust}));
    assert_eq!(app.roles().len(), 3);
    assert_eq!(gc(&app, 0).await, ["- not_ours", "alice waits"]);
    assert_eq!(gc(&app, 23).await, ["- not_ours", "alice waits"]);
    assert_eq!(gc(&app, 25).await, ["- not_ours", "alice removed"]);
    assert_eq!(gc(&app, 26).await, ["- not_ours"]);
    let left: Vec<Value> = app.roles().iter().map(|role| role["RoleName"].clone()).collect();
    assert_eq!(left, [json!("mine"), json!(name(&app, "bob"))]);
    assert_eq!(state(&app, "bob").await, "running");
}

/// Another Region, or another environment, has its roles under the same path.
#[tokio::test(start_paused = true)]
async fn roles_for_another_file_system_are_left_alone() {
    let app = app().await;
    provisioned(&app, "alice").await;
    let before = app.roles();
    let elsewhere = app.replica().await;
    let another = app.aws("efs", "CreateFileSystem", json!({"CreationToken": "another"}))["FileSystemId"].clone();
    elsewhere.coordinates.send_modify(|at| at.file_system_id = another.as_str().unwrap().into());
    assert_eq!(gc(&elsewhere, 100).await, ["- not_ours"]);
    assert_eq!(app.roles(), before);
}
