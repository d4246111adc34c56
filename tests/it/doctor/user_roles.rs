//! Roles of users' own: whether they can be looked at, and what of a base no longer matters.

use openclaw_provisioner::config::UserRolesArgs;

use super::*;
use crate::harness::{ROLES_BOUNDARY, ROLES_PATH, fresh_reads};

async fn with_roles(app: &TestApp, is_given: bool) -> Vec<Check> {
    let user_roles = UserRolesArgs {
        user_roles: is_given,
        user_roles_path: Some(ROLES_PATH.into()),
        user_roles_boundary: Some(ROLES_BOUNDARY.into()),
    };
    doctor_with(app, |doctor| doctor.coordinates.user_roles = user_roles).examine().await
}

#[tokio::test(start_paused = true)]
async fn roles_are_counted_where_users_have_them() {
    let app = TestApp::with(fresh_reads()).await;
    assert!(examined(&app).await.iter().all(|check| check.name != "user_roles"));
    app.give_roles(true);
    assert_eq!(app.provision("alice").await.status, 202);
    app.pass_seconds(60).await;
    let checks = with_roles(&app, true).await;
    assert_eq!(of(&checks, "user_roles"), [(Verdict::Pass, None)]);
    assert!(
        said(&checks, "user_roles").starts_with("1 under /openclaw/dev/users/, and each user gets one"),
        "{checks:?}"
    );
    assert!(said(&checks, "quotas").contains("1 of 1000 roles of the account"), "{}", said(&checks, "quotas"));
    assert!(said(&with_roles(&app, false).await, "user_roles").ends_with("nobody gets one"));
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_missing_is_named() {
    let app = TestApp::start().await;
    for action in ["ListRoles", "GetAccountSummary"] {
        let kind = FaultKind::Error { status: 403, code: "AccessDenied".into(), message: "not allowed".into() };
        app.emulator.inject(Fault { service: Some("iam".into()), action: action.into(), skip: 0, times: 99, kind });
    }
    let checks = with_roles(&app, true).await;
    assert_eq!(of(&checks, "user_roles"), [(Verdict::Fail, Some("aws_denied"))]);
    assert!(said(&checks, "user_roles").contains("iam:ListRoles"), "{checks:?}");
    assert!(said(&checks, "quotas").contains("iam:GetAccountSummary"), "{checks:?}");
}

/// Nobody has the base's role then.
#[tokio::test(start_paused = true)]
async fn findings_about_the_shared_role_are_left_out_if_nobody_runs_with_it() {
    let app = TestApp::start().await;
    app.register_base(|base| {
        base["containerDefinitions"][0]["dockerLabels"] = json!({});
        base["taskRoleArn"] = json!("");
    });
    let found =
        |checks: &[Check]| of(checks, "base_family").iter().filter_map(|(_, finding)| *finding).collect::<Vec<_>>();
    let shared = found(&examined(&app).await);
    assert!(shared.contains(&"no_task_role") && shared.contains(&"not_isolated"), "{shared:?}");
    let own = found(&with_roles(&app, true).await);
    assert!(!own.iter().any(|code| ["no_task_role", "not_isolated", "keeps_task_role"].contains(code)), "{own:?}");
}

#[tokio::test(start_paused = true)]
async fn settings_of_roles_that_are_wrong_are_named() {
    let app = TestApp::start().await;
    let user_roles = UserRolesArgs { user_roles: true, ..UserRolesArgs::default() };
    let checks = doctor_with(&app, |doctor| doctor.coordinates.user_roles = user_roles).examine().await;
    assert!(said(&checks, "settings").contains("PROVISIONER_USER_ROLES_PATH"), "{}", said(&checks, "settings"));
}
