//! Roles turned on for users who are there, and off again.

use super::*;

#[tokio::test(start_paused = true)]
async fn whoever_is_there_gets_a_role_with_the_next_change_and_goes_back_when_it_is_off() {
    let app = TestApp::with(fresh_reads()).await;
    app.register_base(|base| base["containerDefinitions"][0]["dockerLabels"] = json!({}));
    provisioned(&app, "alice").await;
    let shared = app.newest_definition()["taskRoleArn"].clone();
    assert_eq!(warnings(&app, "alice").await, ["shares_task_role"]);
    app.give_roles(true);
    app.pass_seconds(60).await;
    assert_eq!((app.roles().len(), app.user_revisions().len()), (0, 1), "nobody is replaced unasked");
    assert_eq!(app.post("/containers/alice/redeploy", json!({})).await.status, 202);
    app.pass_seconds(90).await;
    assert_eq!(state(&app, "alice").await, "running");
    assert_eq!(warnings(&app, "alice").await, Vec::<String>::new());
    assert_eq!(app.newest_definition()["taskRoleArn"], arn(&name(&app, "alice")));

    app.give_roles(false);
    assert_eq!(app.post("/containers/alice/redeploy", json!({})).await.status, 202);
    app.pass_seconds(90).await;
    assert_eq!(app.newest_definition()["taskRoleArn"], shared);
    assert_eq!(state(&app, "alice").await, "running");
    assert_eq!(app.roles().len(), 1, "it goes with its user");
    app.delete("/containers/alice?data=keep").await;
    app.pass_seconds(60).await;
    assert_eq!(app.roles(), Vec::<Value>::new());
}

/// The base is the one that everybody has: a redeploy is what brings a role.
#[tokio::test(start_paused = true)]
async fn a_rollout_shows_that_users_are_about_to_get_roles_and_gives_them() {
    let app = TestApp::with(Options::default()).await;
    app.rollouts.run_in_background();
    for user in ["alice", "bob"] {
        provisioned(&app, user).await;
    }
    app.give_roles(true);
    app.emulator.clear_calls();
    let mut request =
        json!({"change": {"redeploy": {}}, "strategy": {"canaries": 0, "soak_seconds": 0}, "dry_run": true});
    let planned = app.post("/rollouts", request.clone()).await;
    assert_eq!((planned.status, &planned.body["plan"]["registrations"]), (200, &json!(2)), "{}", planned.body);
    assert!(planned.text.contains("/taskRoleArn"), "{}", planned.body);
    assert_eq!(iam_calls(&app), Vec::<String>::new());
    request["dry_run"] = json!(false);
    let begun = app.post("/rollouts", request).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    app.pass_seconds(300).await;
    let done = app.get(&format!("/rollouts/{}", begun.body["id"].as_str().unwrap())).await.body;
    assert_eq!((&done["state"], &done["progress"]["users"]["done"]), (&json!("done"), &json!(2)), "{done}");
    assert_eq!((app.roles().len(), app.user_revisions().len()), (2, 4));
    for user in ["alice", "bob"] {
        assert_eq!(state(&app, user).await, "running");
    }
}

/// Bedrock is called with the role that a base keeps for OpenClaw, and not with one that allows nothing but mounts.
#[tokio::test(start_paused = true)]
async fn models_are_called_with_a_role_where_the_base_keeps_it_for_that() {
    for (label, allows) in [(None, false), (Some("without-role"), false), (Some("with-role"), true)] {
        let app = app().await;
        app.register_base(|base| {
            if let Some(label) = label {
                base["containerDefinitions"][0]["dockerLabels"] = json!({"openclaw.provisioner.isolation": label});
            }
        });
        let body = json!({"user_id": "alice", "provider": "bedrock"});
        let answer = app.post("/provision", body).await;
        assert!(answer.status < 300, "{}", answer.body);
        app.pass_seconds(90).await;
        let policy = document(&app.roles()[0]["Policy"]).to_string();
        assert_eq!(policy.contains("bedrock:InvokeModel"), allows, "{policy}");
        let warned = warnings(&app, "alice").await;
        assert_eq!(warned.contains(&"bedrock_without_role".to_owned()), !allows, "{label:?}: {warned:?}");
        assert!(!warned.contains(&"shares_task_role".to_owned()), "{label:?}: {warned:?}");
    }
}
