//! Rollouts over the fleet, through the API and over the emulator.

mod choosing;
mod events;
mod gates;
mod jobs;
mod kept;
mod planned;
mod registered_once;
mod replicas;
mod shown;

use aws_emulator::{Behaviour, Options as EmulatorOptions};
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, READ_TOKEN, TestApp, USER_FAMILY};

/// An app with a running runner.
async fn app() -> TestApp {
    let app = TestApp::with(EmulatorOptions::default()).await;
    app.rollouts.run_in_background();
    app
}

/// Provisions these users, and waits until they run.
async fn running(app: &TestApp, users: &[&str]) {
    for user in users {
        let answer = app.provision(user).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    app.pass_seconds(8).await;
}

/// Registers another revision of the base, which runs this release; returns its number.
fn release(app: &TestApp, release: &str) -> String {
    let arn = app.register_base(|base| {
        base["containerDefinitions"][0]["image"] = json!(format!("ghcr.io/openclaw/openclaw:{release}"));
    });
    arn.rsplit(':').next().unwrap().to_owned()
}

async fn start(app: &TestApp, body: Value) -> String {
    let answer = app.post("/rollouts", body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn shown(app: &TestApp, id: &str) -> Value {
    let Answer { status, body, .. } = app.get(&format!("/rollouts/{id}")).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// Lets time pass until the rollout is in this state.
async fn until(app: &TestApp, id: &str, state: &str) -> Value {
    for _ in 0..600 {
        let body = shown(app, id).await;
        if body["state"] == state {
            return body;
        }
        app.pass_seconds(2).await;
    }
    panic!("not {state}: {}", shown(app, id).await);
}

async fn act(app: &TestApp, id: &str, action: &str) -> Answer {
    app.post(&format!("/rollouts/{id}/{action}"), json!({})).await
}

/// The number of the user's base, and their state.
async fn of(app: &TestApp, user: &str) -> (String, String) {
    let body = app.get(&format!("/containers/{user}")).await.body;
    let base = body["base_task_definition"].as_str().unwrap_or_else(|| panic!("{body}"));
    (base.rsplit(':').next().unwrap().to_owned(), body["state"].as_str().unwrap().to_owned())
}

fn at(base: &str, state: &str) -> (String, String) {
    (base.to_owned(), state.to_owned())
}

async fn promoted(app: &TestApp) -> Value {
    app.get("/fleet/base").await.body["promoted"].clone()
}

/// Number of tasks that ECS has started for the user so far.
fn starts(app: &TestApp, user: &str) -> usize {
    let name = openclaw_provisioner::domain::UserId::parse(user).unwrap().service_name();
    app.emulator
        .calls()
        .iter()
        .filter(|call| {
            call.action == "UpdateService"
                && call.request["service"] == name
                && !call.request["taskDefinition"].is_null()
        })
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_good_base_moves_all_users_in_waves_and_is_promoted_at_the_end() {
    let app = app().await;
    let users = ["alice", "bob", "carol", "dave", "erin"];
    running(&app, &users).await;
    assert_eq!(app.post("/containers/erin/stop", json!({})).await.status, 202);
    app.pass_seconds(8).await;
    assert_eq!(app.raw("PUT", "/fleet/base", &[], json!({"revision": "1"}).to_string()).await.status, 200);
    let to = release(&app, "2026.4.25");
    app.emulator.clear_calls();
    let strategy = json!({"canary_users": ["bob"], "waves": ["50%"], "soak_seconds": 5});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    assert_eq!(promoted(&app).await["rollout_id"], json!(id));
    // New users get the former base, and are moved later.
    app.pass_seconds(6).await;
    assert_eq!(app.provision("late").await.status, 201);
    let done = until(&app, &id, "done").await;
    let waves: Vec<(u64, u64)> = done["progress"]["waves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|wave| (wave["users"].as_u64().unwrap(), wave["through"].as_u64().unwrap()))
        .collect();
    assert_eq!(waves, [(1, 1), (2, 2), (2, 2), (1, 1)], "{done}");
    assert_eq!(done["progress"]["users"]["done"], 6, "{done}");
    for user in ["alice", "bob", "carol", "dave", "late"] {
        assert_eq!(of(&app, user).await, at("2", "running"), "{user}");
        assert_eq!(starts(&app, user), 1, "{user}");
    }
    assert_eq!(of(&app, "erin").await, at("2", "stopped"));
    let promoted = promoted(&app).await;
    assert_eq!((&promoted["revision"], &promoted["rollout_id"]), (&json!(format!("{BASE}:2")), &Value::Null));
    // One revision for each before, and one for each after; "late" has both.
    assert_eq!(app.count("RegisterTaskDefinition"), 7);
}

#[tokio::test(start_paused = true)]
async fn a_base_that_does_not_start_harms_only_its_canary() {
    let app = app().await;
    let users = ["alice", "bob", "carol"];
    running(&app, &users).await;
    let to = release(&app, "2026.4.25");
    let canary = app.get("/containers/alice").await.body["service"].as_str().unwrap().to_owned();
    app.emulator.set_behaviour(&canary, Some(Behaviour::Crash));
    app.emulator.clear_calls();
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": {"soak_seconds": 5}})).await;
    let paused = until(&app, &id, "paused").await;
    assert!(paused["reason"].as_str().unwrap().contains("1 failed, where 0 may"), "{paused}");
    assert_eq!(paused["progress"]["failed"][0]["users"], 1, "{paused}");
    app.emulator.set_behaviour(&canary, None);
    app.pass_seconds(60).await;
    let paused = shown(&app, &id).await;
    assert_eq!(paused["progress"]["failed"][0]["back"], 1, "{paused}");
    for user in users {
        assert_eq!(of(&app, user).await.0, "1", "{user}");
    }
    assert_eq!((starts(&app, "bob"), starts(&app, "carol")), (0, 0));
    // No user moves by accident meanwhile, and a sign-in does not try the base again.
    assert_eq!(app.provision("bob").await.status, 200);
    assert_eq!(
        app.provision("alice").await.body["base_task_definition"],
        json!(null)
            .as_str()
            .map_or(app.get("/containers/alice").await.body["base_task_definition"].clone(), Value::from)
    );
    assert_eq!(act(&app, &id, "abort").await.body["state"], "aborted");
    assert_eq!(promoted(&app).await["revision"], format!("{BASE}:1"));
    assert_eq!(promoted(&app).await["rollout_id"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_returns_all_users_to_their_former_revision() {
    let app = app().await;
    let users = ["alice", "bob", "carol"];
    running(&app, &users).await;
    let mut before = Vec::new();
    for user in users {
        before.push(app.get(&format!("/containers/{user}")).await.body["task_definition"].clone());
    }
    let to = release(&app, "2026.4.25");
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": {"soak_seconds": 0}})).await;
    until(&app, &id, "done").await;
    app.emulator.clear_calls();
    assert_eq!(act(&app, &id, "rollback").await.body["direction"], "back");
    let back = until(&app, &id, "rolled_back").await;
    assert_eq!(back["progress"]["users"]["done"], 3, "{back}");
    for (user, before) in users.iter().zip(&before) {
        let seen = app.get(&format!("/containers/{user}")).await.body;
        assert_eq!((&seen["task_definition"], &seen["state"]), (before, &json!("running")), "{seen}");
    }
    assert_eq!(app.count("RegisterTaskDefinition"), 0, "what they had is still there");
    assert_eq!(promoted(&app).await["revision"], format!("{BASE}:1"));
    app.pass_seconds(30).await;
    for user in users {
        assert_eq!(of(&app, user).await, at("1", "running"));
    }
    assert_eq!(app.emulator.calls().iter().filter(|call| call.action == "UpdateService").count(), 3);
    let family = app.user_revisions();
    assert!(family.iter().all(|arn| arn.contains(USER_FAMILY)), "{family:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_the_users_of_each_wave_and_changes_nothing() {
    let app = app().await;
    running(&app, &["alice", "bob", "carol", "dave", "erin"]).await;
    let to = release(&app, "2026.4.25");
    let before = app.files();
    app.emulator.clear_calls();
    let strategy = json!({"canaries": 1, "waves": [1, "25%"]});
    let body = json!({"change": {"base_revision": to}, "strategy": strategy, "dry_run": true});
    let answer = app.post("/rollouts", body).await;
    let waves: Vec<&Value> =
        answer.body["progress"]["waves"].as_array().unwrap().iter().map(|wave| &wave["user_ids"]).collect();
    let expected = [json!(["alice"]), json!(["bob"]), json!(["carol"]), json!(["dave", "erin"])];
    assert_eq!((answer.status, waves), (200, expected.iter().collect()), "{}", answer.body);
    assert!(app.emulator.calls().iter().all(|call| !call.mutating), "{:?}", app.calls());
    assert_eq!(app.files(), before);
    assert_eq!(app.get("/rollouts").await.body, json!({"rollouts": [], "not_understood": []}));
}

#[tokio::test(start_paused = true)]
async fn errors_in_a_rollout_name_the_field() {
    let app = TestApp::start().await;
    // No user has a base yet.
    let answer = app.post("/rollouts", json!({"change": {"base_revision": "newest"}})).await;
    assert_eq!((answer.status, &answer.body["field"]), (422, &json!("select")), "{}", answer.body);
    running(&app, &["alice"]).await;
    let refused = async |body: Value| {
        let answer = app.post("/rollouts", body).await;
        let text = |member: &str| answer.body[member].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", answer.status, text("code"), text("field"))
    };
    let base = json!({"base_revision": "1"});
    for (body, expected) in [
        (json!({}), "422 invalid_field change"),
        (json!({"change": {}}), "422 invalid_field change"),
        (json!({"change": {"base_revision": "1", "restart": true}}), "422 invalid_field change"),
        (json!({"change": {"base_revision": "other:1"}}), "422 invalid_field change.base_revision"),
        (json!({"change": {"base_revision": "9"}}), "422 invalid_field change.base_revision"),
        (json!({"change": {"image": "no tag"}}), "422 invalid_field change.image"),
        (json!({"change": {"size": {"cpu": 1, "memory_mib": 1}}}), "422 invalid_field change.size.cpu"),
        (json!({"change": base, "select": {"users": ["nobody"]}}), "422 invalid_field select.users"),
        (json!({"change": base, "select": {"users": ["a b"]}}), "422 invalid_field select.users[0]"),
        (json!({"change": base, "select": {"percent": 0}}), "422 invalid_field select.percent"),
        (json!({"change": base, "strategy": {"max_parallel": 0}}), "422 invalid_field strategy.max_parallel"),
        (json!({"change": base, "strategy": {"waves": ["101%"]}}), "422 invalid_field strategy.waves[0]"),
        (
            json!({"change": base, "strategy": {"canaries": 1, "canary_users": []}}),
            "422 invalid_field strategy.canaries",
        ),
    ] {
        assert_eq!(refused(body.clone()).await, expected, "{body}");
    }
    assert_eq!(app.get("/rollouts/none").await.body["code"], "rollout_not_found");
    let token = format!("Bearer {READ_TOKEN}");
    let answer = app.raw("POST", "/rollouts", &[("authorization", &token)], json!({"change": base}).to_string()).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_to_a_release_without_a_way_back_names_the_users() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    app.get("/containers?fresh=true").await;
    app.pass_seconds(31).await;
    let to = release(&app, "2026.9.6");
    let body = json!({"change": {"base_revision": to}});
    let refused = app.post("/rollouts", body.clone()).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("accept_no_way_back")), "{}", refused.body);
    assert!(refused.body["detail"].as_str().unwrap().contains("alice, bob"), "{}", refused.body);
    let mut body = body;
    body["accept_no_way_back"] = json!(true);
    start(&app, body).await;
}
