//! The promoted base: which users get it, which keep theirs, and the error if it cannot be used.

use openclaw_provisioner::domain::{Promotion, UnderWay};
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, READ_TOKEN, TestApp};

/// Registers another revision of the base, which runs this release.
fn release(app: &TestApp, release: &str) -> String {
    let arn = app.register_base(|base| {
        base["containerDefinitions"][0]["image"] = json!(format!("ghcr.io/openclaw/openclaw:{release}"));
    });
    arn.rsplit('/').next().unwrap().to_owned()
}

async fn promote(app: &TestApp, revision: &str) -> Answer {
    app.raw("PUT", "/fleet/base", &[], json!({"revision": revision}).to_string()).await
}

/// Number of the base that the user's current revision was rendered from.
async fn base_of(app: &TestApp, user: &str) -> String {
    let body = app.get(&format!("/containers/{user}")).await.body;
    let base = body["base_task_definition"].as_str().unwrap_or_else(|| panic!("{body}"));
    base.rsplit(':').next().unwrap().to_owned()
}

async fn provisioned(app: &TestApp, user: &str) -> Answer {
    let answer = app.provision(user).await;
    app.pass_seconds(6).await;
    answer
}

#[tokio::test(start_paused = true)]
async fn without_a_promotion_all_users_follow_the_newest_base() {
    let app = TestApp::start().await;
    provisioned(&app, "alice").await;
    let newest = release(&app, "2026.5.4");
    let base = app.get("/fleet/base").await.body;
    assert_eq!((&base["promoted"], &base["newest"]["revision"]), (&Value::Null, &json!(newest)));
    assert_eq!(provisioned(&app, "alice").await.status, 202);
    assert_eq!(base_of(&app, "alice").await, "2");
}

#[tokio::test(start_paused = true)]
async fn new_users_get_a_promoted_base_and_others_only_by_a_redeploy() {
    let app = TestApp::start().await;
    provisioned(&app, "alice").await;
    assert_eq!(promote(&app, "1").await.status, 200);
    release(&app, "2026.5.4");
    provisioned(&app, "bob").await;
    assert_eq!(base_of(&app, "bob").await, "1");
    assert_eq!(promote(&app, &format!("{BASE}:2")).await.status, 200);
    provisioned(&app, "carol").await;
    assert_eq!(base_of(&app, "carol").await, "2");
    app.emulator.clear_calls();
    assert_eq!(provisioned(&app, "alice").await.status, 200, "nothing has changed for her");
    assert_eq!(app.count("RegisterTaskDefinition"), 0);
    let resized = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert_eq!(resized.status, 202, "{}", resized.body);
    app.pass_seconds(6).await;
    assert_eq!(base_of(&app, "alice").await, "1");
    assert_eq!(app.post("/containers/alice/redeploy", json!({})).await.status, 202);
    app.pass_seconds(6).await;
    assert_eq!(base_of(&app, "alice").await, "2");
    // Until then the snapshot of the first answer counts as fresh.
    app.pass_seconds(31).await;
    let users = app.get("/containers?fresh=true").await.body;
    app.pass_seconds(6).await;
    let bases = app.get("/fleet/base").await.body["users"]["bases"].clone();
    assert_eq!(
        bases,
        json!([{"revision": format!("{BASE}:1"), "users": 1}, {"revision": format!("{BASE}:2"), "users": 2}]),
        "{users}"
    );
}

/// A replica that cached the promotion would move users by accident.
#[tokio::test(start_paused = true)]
async fn a_promotion_takes_effect_on_every_replica_with_the_next_call() {
    let app = TestApp::start().await;
    let other = app.replica().await;
    release(&app, "2026.5.4");
    for (number, user) in [("1", "alice"), ("2", "bob"), ("1", "carol")] {
        assert_eq!(promote(&app, number).await.status, 200);
        assert_eq!(other.provision(user).await.status, 201);
        app.pass_seconds(6).await;
        assert_eq!(base_of(&other, user).await, number);
    }
}

#[tokio::test(start_paused = true)]
async fn during_a_rollout_moved_users_stay_on_the_new_base_and_others_on_the_old_one() {
    let app = TestApp::start().await;
    assert_eq!(promote(&app, "1").await.status, 200);
    for user in ["alice", "bob"] {
        provisioned(&app, user).await;
    }
    let to = release(&app, "2026.5.4");
    assert_eq!(promote(&app, "2").await.status, 200);
    assert_eq!(app.post("/containers/alice/redeploy", json!({})).await.status, 202);
    app.pass_seconds(6).await;
    let rollout = Some(UnderWay { id: "r-1".into(), to });
    let promoted_at = jiff::Timestamp::now();
    let revision = format!("{BASE}:1");
    let promotion = Promotion { revision, promoted_at, by: "ops".into(), rollout, at_end_of: None };
    let mut file = serde_json::to_value(&promotion).unwrap();
    file["version"] = json!(1);
    std::fs::write(app.path(".provisioner/promoted-base.json"), file.to_string()).unwrap();
    app.emulator.clear_calls();
    for user in ["alice", "bob"] {
        assert_eq!(provisioned(&app, user).await.status, 200);
        assert_eq!(app.post(&format!("/containers/{user}/redeploy"), json!({})).await.status, 200);
    }
    assert_eq!(app.count("RegisterTaskDefinition"), 0);
    assert_eq!((base_of(&app, "alice").await, base_of(&app, "bob").await), ("2".into(), "1".into()));
    provisioned(&app, "carol").await;
    assert_eq!(base_of(&app, "carol").await, "1");
    let refused = promote(&app, "2").await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("rollout_under_way")), "{}", refused.body);
    assert_eq!(app.delete("/fleet/base").await.status, 409);
}

#[tokio::test(start_paused = true)]
async fn an_unusable_promoted_base_is_an_error_and_not_replaced_by_the_newest() {
    let app = TestApp::start().await;
    provisioned(&app, "alice").await;
    release(&app, "2026.5.4");
    assert_eq!(promote(&app, "2").await.status, 200);
    release(&app, "2026.5.5");
    app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": format!("{BASE}:2")}));
    let refused = app.provision("bob").await;
    let text = |member: &str| refused.body[member].as_str().unwrap_or_default().to_owned();
    assert_eq!((refused.status, text("code")), (500, "promoted_base_unusable".to_owned()), "{}", refused.body);
    assert!(text("detail").contains(&format!("{BASE}:2")) && text("detail").contains("INACTIVE"), "{}", refused.body);
    assert!(text("fix").contains("promote --follow"), "{}", refused.body);
    assert_eq!(app.services().len(), 1);
    // A user with a base needs no other.
    assert_eq!(app.provision("alice").await.status, 200);
    for wrong in ["9", "2"] {
        let refused = promote(&app, wrong).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!("revision")), "{wrong}: {}", refused.body);
    }
    assert_eq!(promote(&app, "newest").await.body["promoted"]["revision"], format!("{BASE}:3"));
    assert_eq!(app.provision("bob").await.status, 201);
    std::fs::write(app.path(".provisioner/promoted-base.json"), "{\"version\": 2}").unwrap();
    let refused = app.provision("carol").await;
    assert_eq!((refused.status, &refused.body["code"]), (500, &json!("promoted_base_unusable")), "{}", refused.body);
    assert_eq!(app.delete("/fleet/base").await.body["promoted"], Value::Null);
    assert_eq!(app.provision("carol").await.status, 201);
}

/// Infrastructure replaces the base by deregistering the former one: this must not move users.
#[tokio::test(start_paused = true)]
async fn a_user_keeps_a_base_that_was_deregistered() {
    let app = TestApp::start().await;
    provisioned(&app, "alice").await;
    release(&app, "2026.5.4");
    assert_eq!(promote(&app, "newest").await.status, 200);
    app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": format!("{BASE}:1")}));
    let resized = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert_eq!(resized.status, 202, "{}", resized.body);
    app.pass_seconds(6).await;
    assert_eq!(base_of(&app, "alice").await, "1");
}

#[tokio::test(start_paused = true)]
async fn promoting_needs_the_scope_admin_and_a_revision_of_the_base_family() {
    let app = TestApp::start().await;
    let token = format!("Bearer {READ_TOKEN}");
    let body = json!({"revision": "1"}).to_string();
    let refused = app.raw("PUT", "/fleet/base", &[("authorization", &token)], body).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")));
    assert!(refused.body["detail"].as_str().unwrap().contains("admin"), "{}", refused.body);
    for wrong in ["other:1", "", "0", "latest"] {
        let refused = promote(&app, wrong).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!("revision")), "{wrong}: {}", refused.body);
    }
    assert_eq!(app.get("/fleet/base").await.body["promoted"], Value::Null);
}
