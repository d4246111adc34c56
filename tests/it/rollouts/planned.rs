//! The answer of a dry run, and a start with its plan.

use serde_json::{Value, json};

use super::{app, release, running, start, until};
use crate::harness::{Answer, BASE, TestApp};

const HUSH: &str = "a value that nobody shows";

async fn dry(app: &TestApp, body: &Value) -> Value {
    let mut body = body.clone();
    body["dry_run"] = json!(true);
    let Answer { status, body, .. } = app.post("/rollouts", body).await;
    assert_eq!(status, 200, "{body}");
    body
}

fn image_of(release: &str) -> String {
    format!("ghcr.io/openclaw/openclaw:{release}")
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_the_changes_of_each_user_and_the_start_makes_them() {
    let app = app().await;
    running(&app, &["alice", "bob", "carol"]).await;
    let mut body = crate::harness::provision_body("dave");
    body["variables"] = json!({"TZ": HUSH});
    body["labels"] = json!({"rollout": "exclude"});
    assert_eq!(app.post("/provision", body).await.status, 201);
    app.pass_seconds(8).await;
    assert_eq!(app.post("/containers/carol/stop", json!({})).await.status, 202);
    app.pass_seconds(8).await;
    let to = release(&app, "2026.4.25");
    let request = json!({"change": {"base_revision": to}, "strategy": {"soak_seconds": 0}});
    let planned = dry(&app, &request).await;
    let plan = &planned["plan"];
    assert_eq!((&plan["registrations"], &plan["updates"]), (&json!(3), &json!(3)), "{planned}");
    assert_eq!((&plan["left_out"], &plan["refused"]), (&json!({"excluded": ["dave"]}), &json!([])), "{planned}");
    assert_eq!(plan["changes"].as_array().unwrap().len(), 1, "{planned}");
    let change = &plan["changes"][0];
    assert_eq!(change["user_ids"], json!(["alice", "bob", "carol"]));
    let replaced: Vec<(&str, &Value)> = change["patch"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|operation| operation["op"] == "replace")
        .map(|operation| (operation["path"].as_str().unwrap(), &operation["value"]))
        .collect();
    let image = replaced.iter().find(|(path, _)| path.ends_with("/image")).unwrap();
    assert_eq!(*image.1, json!(image_of("2026.4.25")), "{change}");
    assert!(replaced.iter().any(|(path, _)| path.ends_with("dockerLabels/openclaw.provisioner.base")), "{change}");
    assert!(!planned.to_string().contains(HUSH) && !planned.to_string().contains("fsap-"), "{planned}");
    app.emulator.clear_calls();
    let mut held = request.clone();
    held["plan"] = plan["digest"].clone();
    let id = start(&app, held).await;
    let done = until(&app, &id, "done").await;
    assert_eq!(done["progress"]["skipped"], json!({"excluded": 1}), "{done}");
    assert_eq!(json!(app.count("RegisterTaskDefinition")), plan["registrations"]);
    let updates = app.emulator.calls().iter().filter(|call| call.action == "UpdateService").count();
    assert_eq!(json!(updates), plan["updates"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_after_a_change_since_the_plan_is_refused_and_begins_nothing() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    release(&app, "2026.4.25");
    let request = json!({"change": {"base_revision": "newest"}});
    let planned = dry(&app, &request).await;
    let again = dry(&app, &request).await;
    assert_eq!(planned["plan"], again["plan"], "the same plan has the same digest");
    let mut held = request.clone();
    held["plan"] = planned["plan"]["digest"].clone();
    let refused = async |what: &str| {
        let answer = app.post("/rollouts", held.clone()).await;
        assert_eq!((answer.status, &answer.body["code"]), (409, &json!("rollout_plan_changed")), "{what}");
    };
    // Another base, another user, and another hidden value.
    release(&app, "2026.4.26");
    refused("base").await;
    let request = json!({"change": {"base_revision": "2"}});
    held = request.clone();
    held["plan"] = dry(&app, &request).await["plan"]["digest"].clone();
    running(&app, &["carol"]).await;
    app.pass_seconds(31).await;
    let answer = app.post("/rollouts", held.clone()).await;
    assert_eq!((answer.status, &answer.body["code"]), (409, &json!("rollout_plan_changed")), "somebody more");
    held["plan"] = dry(&app, &request).await["plan"]["digest"].clone();
    let mut body = crate::harness::provision_body("carol");
    body["variables"] = json!({"TZ": HUSH});
    assert!((200..300).contains(&app.post("/provision", body).await.status));
    app.pass_seconds(40).await;
    let answer = app.post("/rollouts", held.clone()).await;
    assert_eq!((answer.status, &answer.body["code"]), (409, &json!("rollout_plan_changed")), "another variable");
    assert_eq!(app.get("/rollouts").await.body["rollouts"], json!([]));
    held["plan"] = json!("no digest");
    let answer = app.post("/rollouts", held).await;
    assert_eq!((answer.status, &answer.body["field"]), (422, &json!("plan")));
}

#[tokio::test(start_paused = true)]
async fn a_base_that_renders_the_same_needs_no_registration() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    app.register_base(|_| {});
    let request = json!({"change": {"base_revision": "2"}, "strategy": {"soak_seconds": 0}});
    let planned = dry(&app, &request).await;
    let plan = &planned["plan"];
    assert_eq!((&plan["registrations"], &plan["updates"]), (&json!(0), &json!(0)), "{planned}");
    assert_eq!(plan["left_out"], json!({"unchanged": ["alice", "bob"]}), "{planned}");
    app.emulator.clear_calls();
    let id = start(&app, request).await;
    let done = until(&app, &id, "done").await;
    assert_eq!(done["progress"]["skipped"], json!({"unchanged": 2}), "{done}");
    assert_eq!((app.count("RegisterTaskDefinition"), app.count("UpdateService")), (0, 0));
    assert_eq!(super::promoted(&app).await["revision"], format!("{BASE}:2"));
}

#[tokio::test(start_paused = true)]
async fn users_who_would_be_refused_are_named_before_anything_begins() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let mut body = crate::harness::provision_body("carol");
    body["secrets"] = json!({"TZ": "arn:aws:ssm:us-east-1:123456789012:parameter/tz"});
    assert_eq!(app.post("/provision", body).await.status, 201);
    app.pass_seconds(8).await;
    let request = json!({"change": {"variable": {"name": "TZ", "value": HUSH}}});
    let planned = dry(&app, &request).await;
    let refused = &planned["plan"]["refused"];
    assert_eq!((&refused[0]["user_id"], &refused[0]["code"]), (&json!("carol"), &json!("invalid_field")), "{planned}");
    assert_eq!(planned["plan"]["registrations"], 2, "{planned}");
    assert!(!planned.to_string().contains(HUSH), "{planned}");
}
