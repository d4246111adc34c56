//! IAM is eventually consistent: ECS does not see a role that was just made, or not what it may do.

use super::*;

/// The circuit breaker has long tripped by the time the role is seen.
#[tokio::test(start_paused = true)]
async fn a_role_that_ecs_sees_late_costs_a_new_user_time_and_nothing_else() {
    for seconds in [5, 20, 40] {
        let app = late_app(Duration::from_secs(seconds)).await;
        let answer = app.provision("alice").await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        app.pass_seconds(120).await;
        assert_eq!(state(&app, "alice").await, "running", "{seconds}");
        assert_eq!((app.services().len(), app.user_revisions().len(), app.roles().len()), (1, 1, 1));
    }
}

/// ECS goes back to the revision with the base's role, which is not what was asked for.
#[tokio::test(start_paused = true)]
async fn a_user_whose_new_role_is_seen_late_ends_on_it_and_not_on_what_ecs_went_back_to() {
    for seconds in [5, 20, 40] {
        let app = late_app(Duration::from_secs(seconds)).await;
        app.give_roles(false);
        provisioned(&app, "alice").await;
        app.give_roles(true);
        let answer = app.post("/containers/alice/redeploy", json!({})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        app.pass_seconds(150).await;
        assert_eq!(state(&app, "alice").await, "running", "{seconds}");
        let shown = app.get("/containers/alice").await;
        assert!(!warnings(&app, "alice").await.contains(&"shares_task_role".to_owned()), "{}", shown.body);
        let services = app.services();
        let found = app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [services[0]]}));
        let running =
            app.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": found["services"][0]["taskDefinition"]}));
        assert_eq!(running["taskDefinition"]["taskRoleArn"], arn(&name(&app, "alice")));
    }
}

/// What fails for another reason is not tried for ever.
#[tokio::test(start_paused = true)]
async fn a_container_that_crashes_is_not_taken_for_a_late_role_for_ever() {
    let app = app().await;
    let mut body = crate::harness::provision_body("alice");
    body["image"] = json!("example.com/openclaw:sim-crash");
    let answer = app.post("/provision", body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    app.pass_seconds(180).await;
    assert_eq!(state(&app, "alice").await, "failed");
    app.emulator.clear_calls();
    app.pass_seconds(120).await;
    assert_eq!(app.count("UpdateService"), 0);
}

#[tokio::test(start_paused = true)]
async fn ecs_that_cannot_assume_the_role_yet_is_asked_again() {
    let words = [
        ("RegisterTaskDefinition", "Role is not valid"),
        ("CreateService", "ECS was unable to assume the role 'x' that was provided for this task."),
    ];
    for (action, message) in words {
        let app = app().await;
        let kind = FaultKind::Error { status: 400, code: "ClientException".into(), message: message.into() };
        app.emulator.inject(Fault { service: Some("ecs".into()), action: action.into(), skip: 0, times: 3, kind });
        provisioned(&app, "alice").await;
        assert_eq!(app.count(action), 4, "{action}");
        assert_eq!((app.services().len(), app.user_revisions().len()), (1, 1));
    }
}

/// A role that was made long ago is not late: whatever ECS says of it is told.
#[tokio::test(start_paused = true)]
async fn ecs_that_cannot_assume_an_old_role_is_believed() {
    let app = app().await;
    provisioned(&app, "alice").await;
    let message = "ECS was unable to assume the role 'x' that was provided for this task.";
    let kind = FaultKind::Error { status: 400, code: "ClientException".into(), message: message.into() };
    app.emulator.inject(Fault { service: None, action: "UpdateService".into(), skip: 0, times: 99, kind });
    // By the clock of the record, which no test can pass on.
    let record = app.path(".provisioner/locks/alice.lock");
    assert!(!std::fs::read_to_string(record).unwrap().contains("role_changed_at"), "it is forgotten once it is seen");
    let answer = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert_eq!((answer.status, &answer.body["code"]), (502, &json!("aws_refused")), "{}", answer.body);
}
