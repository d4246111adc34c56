//! Which users a rollout changes, and when it begins with them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{act, app, release, running, shown, start, starts, until};
use crate::harness::{TestApp, variable};

async fn chosen(app: &TestApp, select: Value) -> Vec<String> {
    let body = json!({"select": select, "change": {"restart": true}, "dry_run": true, "strategy": {"canaries": 0}});
    let answer = app.post("/rollouts", body).await;
    let Some(wave) = answer.body["progress"]["waves"].get(0) else { return vec![format!("{}", answer.body)] };
    wave["user_ids"].as_array().unwrap().iter().map(|user| user.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn users_are_chosen_by_state_and_by_label() {
    let app = app().await;
    running(&app, &["alice"]).await;
    for (user, team) in [("bob", "red"), ("carol", "blue")] {
        let mut body = crate::harness::provision_body(user);
        body["labels"] = json!({"team": team, "tier": "1"});
        assert_eq!(app.post("/provision", body).await.status, 201);
    }
    app.pass_seconds(8).await;
    assert_eq!(app.post("/containers/carol/stop", json!({})).await.status, 202);
    app.pass_seconds(40).await;
    assert_eq!(chosen(&app, json!({"labels": {"tier": "1"}})).await, ["bob", "carol"]);
    assert_eq!(chosen(&app, json!({"labels": {"tier": "1", "team": "red"}})).await, ["bob"]);
    assert_eq!(chosen(&app, json!({"states": ["running"]})).await, ["alice", "bob"]);
    assert_eq!(chosen(&app, json!({"states": ["stopped", "failed"]})).await, ["carol"]);
    assert_eq!(chosen(&app, json!({"states": ["stopped"], "labels": {"team": "blue"}})).await, ["carol"]);
    for (select, field) in [
        (json!({"states": []}), "select.states"),
        (json!({"labels": {"": "x"}}), "select.labels."),
        (json!({"labels": {"team": "green"}}), "select"),
    ] {
        let answer = app.post("/rollouts", json!({"select": select, "change": {"restart": true}})).await;
        assert_eq!((answer.status, &answer.body["field"]), (422, &json!(field)), "{select}: {}", answer.body);
    }
}

#[tokio::test(start_paused = true)]
async fn one_variable_is_set_and_rolled_back_and_the_users_others_stay() {
    let app = app().await;
    running(&app, &["alice"]).await;
    let mut body = crate::harness::provision_body("bob");
    body["variables"] = json!({"COLOUR": "red", "MORE": "1"});
    assert_eq!(app.post("/provision", body).await.status, 201);
    app.pass_seconds(8).await;
    let strategy = json!({"soak_seconds": 0});
    let change = json!({"variable": {"name": "COLOUR", "value": "blue"}});
    let id = start(&app, json!({"change": change, "strategy": strategy})).await;
    let done = until(&app, &id, "done").await;
    assert_eq!((&done["change"], &done["progress"]["users"]["done"]), (&json!("variable COLOUR"), &json!(2)), "{done}");
    let of = async |user: &str| {
        let arn = app.get(&format!("/containers/{user}")).await.body["task_definition"].clone();
        let found = app.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn}))["taskDefinition"].clone();
        ["COLOUR", "MORE"].map(|name| variable(&found, name).into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(of("alice").await, [vec!["blue".to_owned()], vec![]]);
    assert_eq!(of("bob").await, [["blue".to_owned()], ["1".to_owned()]]);
    act(&app, &id, "rollback").await;
    until(&app, &id, "rolled_back").await;
    assert_eq!(of("alice").await, [Vec::<String>::new(), vec![]]);
    assert_eq!(of("bob").await, [["red".to_owned()], ["1".to_owned()]]);
    for (variable, field) in [
        (json!({"name": "CODEX_HOME", "value": "x"}), "change.variable"),
        (json!({"name": "OPENAI_API_KEY", "value": "x"}), "change.variable"),
        (json!({"name": "1A"}), "change.variable"),
    ] {
        let answer = app.post("/rollouts", json!({"change": {"variable": variable}})).await;
        assert_eq!((answer.status, &answer.body["field"]), (422, &json!(field)), "{variable}");
    }
}

/// A window that opens in `opens_in` minutes for `minutes`, by the rollouts' clock.
fn window(app: &TestApp, opens_in: i64, minutes: i64) -> Value {
    let at = |minutes: i64| {
        let at = Timestamp::from_millisecond(app.rollouts.now() + minutes * 60_000).unwrap();
        at.strftime("%H:%M").to_string()
    };
    json!({"from": at(opens_in), "to": at(opens_in + minutes)})
}

#[tokio::test(start_paused = true)]
async fn outside_its_window_a_rollout_begins_no_user_and_shows_when_it_continues() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let to = release(&app, "2026.4.25");
    let strategy = json!({"soak_seconds": 0, "window": window(&app, 30, 60)});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    app.pass_seconds(20 * 60).await;
    let waits = shown(&app, &id).await;
    assert_eq!(waits["progress"]["waits_for"], "window", "{waits}");
    let goes_on: Timestamp = waits["progress"]["goes_on_at"].as_str().unwrap().parse().unwrap();
    let in_minutes = (goes_on.as_millisecond() - app.rollouts.now()) / 60_000;
    assert!((8..=10).contains(&in_minutes), "{in_minutes}: {waits}");
    assert_eq!(starts(&app, "alice") + starts(&app, "bob"), 0);
    app.pass_seconds(11 * 60).await;
    assert_eq!(shown(&app, &id).await["progress"]["goes_on_at"], Value::Null);
    until(&app, &id, "done").await;
}

#[tokio::test(start_paused = true)]
async fn users_already_begun_finish_after_the_window_and_a_rollback_waits_for_no_window() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let to = release(&app, "2026.4.25");
    // Open now, and closed before the first user's soak time is over.
    let strategy = json!({"soak_seconds": 300, "window": window(&app, -10, 12)});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    app.pass_seconds(600).await;
    let waits = shown(&app, &id).await;
    let users = &waits["progress"]["users"];
    assert_eq!((&users["done"], &users["waiting"]), (&json!(1), &json!(1)), "{waits}");
    assert_eq!(waits["progress"]["waits_for"], "window", "{waits}");
    act(&app, &id, "rollback").await;
    let back = until(&app, &id, "rolled_back").await;
    assert_eq!(back["progress"]["users"]["done"], 1, "{back}");
}

/// Otherwise all users would be changed at once, after an empty canary wave.
#[tokio::test(start_paused = true)]
async fn a_canary_must_be_one_of_the_selected_users() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    for (select, canary) in [(json!({}), "boob"), (json!({"users": ["bob"]}), "alice")] {
        let strategy = json!({"canary_users": [canary]});
        let answer =
            app.post("/rollouts", json!({"select": select, "change": {"restart": true}, "strategy": strategy})).await;
        assert_eq!((answer.status, &answer.body["field"]), (422, &json!("strategy.canary_users")), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(canary), "{}", answer.body);
    }
}
