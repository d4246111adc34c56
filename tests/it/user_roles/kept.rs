//! A role follows its user.

use aws_emulator::Behaviour;

use super::*;
use crate::harness::USER_FAMILY;

/// The access point is another one then, and so is what the role mounts.
#[tokio::test(start_paused = true)]
async fn whoever_comes_back_has_a_role_that_mounts_their_new_access_point() {
    let app = app().await;
    provisioned(&app, "alice").await;
    let first = app.access_points()[0]["AccessPointId"].clone();
    app.delete("/containers/alice?data=keep").await;
    app.pass_seconds(60).await;
    assert_eq!(app.roles(), Vec::<Value>::new());
    provisioned(&app, "alice").await;
    let second = app.access_points()[0]["AccessPointId"].clone();
    assert_ne!(first, second);
    let policy = document(&app.roles()[0]["Policy"]).to_string();
    assert!(policy.contains(second.as_str().unwrap()) && !policy.contains(first.as_str().unwrap()), "{policy}");
}

/// Somebody's hand in IAM: the next change mends it.
#[tokio::test(start_paused = true)]
async fn a_role_and_a_policy_that_are_gone_come_back_with_the_next_change() {
    let app = app().await;
    provisioned(&app, "alice").await;
    let before = app.roles();
    let role = json!({"RoleName": name(&app, "alice"), "PolicyName": "openclaw-user"});
    app.aws("iam", "DeleteRolePolicy", role.clone());
    assert_eq!(app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await.status, 202);
    app.pass_seconds(90).await;
    assert_eq!(app.roles()[0]["Policy"], before[0]["Policy"]);
    app.aws("iam", "DeleteRolePolicy", role.clone());
    app.aws("iam", "DeleteRole", role);
    assert_eq!(app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 2048})).await.status, 202);
    app.pass_seconds(90).await;
    assert_eq!((app.roles().len(), state(&app, "alice").await.as_str()), (1, "running"));
    assert_eq!(app.roles()[0]["Policy"], before[0]["Policy"]);
}

/// Nothing has to be registered for that.
#[tokio::test(start_paused = true)]
async fn a_deleted_role_comes_back_with_a_forced_redeploy_and_for_a_failed_container() {
    for is_given_up in [false, true] {
        let app = app().await;
        if is_given_up {
            app.emulator.set_behaviour(USER_FAMILY, Some(Behaviour::Crash));
        }
        assert_eq!(app.provision("alice").await.status, 202);
        app.pass_seconds(180).await;
        assert_eq!(state(&app, "alice").await, if is_given_up { "failed" } else { "running" });
        let role = json!({"RoleName": name(&app, "alice"), "PolicyName": "openclaw-user"});
        app.aws("iam", "DeleteRolePolicy", role.clone());
        app.aws("iam", "DeleteRole", role);
        app.emulator.set_behaviour(USER_FAMILY, None);
        let answer = match is_given_up {
            true => app.provision("alice").await,
            false => app.post("/containers/alice/redeploy", json!({"force": true})).await,
        };
        assert!(answer.status < 300, "{}", answer.body);
        app.pass_seconds(120).await;
        assert_eq!((app.roles().len(), state(&app, "alice").await.as_str()), (1, "running"), "{is_given_up}");
        assert_eq!(app.user_revisions().len(), 1);
    }
}

/// A change costs three calls of IAM, and what changes nothing costs none.
#[tokio::test(start_paused = true)]
async fn a_change_costs_three_calls_of_iam_and_what_changes_nothing_none() {
    let app = app().await;
    provisioned(&app, "alice").await;
    app.emulator.clear_calls();
    assert_eq!(app.provision("alice").await.status, 200);
    for path in ["stop", "start"] {
        assert_eq!(app.post(&format!("/containers/alice/{path}"), json!({})).await.status, 202);
        app.pass_seconds(10).await;
    }
    assert_eq!(iam_calls(&app), Vec::<String>::new());
    assert_eq!(app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await.status, 202);
    app.pass_seconds(10).await;
    assert_eq!(iam_calls(&app), ["iam:CreateRole", "iam:GetRole", "iam:PutRolePolicy"]);
}
