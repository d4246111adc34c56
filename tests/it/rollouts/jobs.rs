//! Changes of several users as one job.

use serde_json::json;

use super::{app, release, running, start, until};

#[tokio::test(start_paused = true)]
async fn a_redeploy_of_several_users_does_not_change_users_who_have_it_already() {
    let app = app().await;
    running(&app, &["alice", "bob", "carol"]).await;
    release(&app, "2026.4.25");
    assert_eq!(app.post("/containers/bob/redeploy", json!({})).await.status, 202);
    app.pass_seconds(10).await;
    app.emulator.clear_calls();
    let strategy = json!({"canaries": 0, "soak_seconds": 0, "max_failures": "100%"});
    let select = json!({"users": ["alice", "bob"]});
    let body = json!({"select": select, "change": {"redeploy": {}}, "strategy": strategy});
    let id = start(&app, body.clone()).await;
    let done = until(&app, &id, "done").await;
    assert_eq!(done["progress"]["skipped"], json!({"unchanged": 1}), "{done}");
    assert_eq!((&done["progress"]["users"]["done"], app.count("RegisterTaskDefinition")), (&json!(1), 1));
    // Safe to run again.
    let id = start(&app, body).await;
    let done = until(&app, &id, "done").await;
    assert_eq!(done["progress"]["skipped"], json!({"unchanged": 2}), "{done}");
    assert_eq!(app.count("RegisterTaskDefinition"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resize_of_several_users_tries_all_and_names_those_who_failed() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let strategy = json!({"canaries": 0, "soak_seconds": 0, "max_failures": "100%"});
    let select = json!({"users": ["alice", "bob"]});
    let change = json!({"size": {"cpu": 1024, "memory_mib": 4096}});
    let id = start(&app, json!({"select": select, "change": change, "strategy": strategy})).await;
    let done = until(&app, &id, "done").await;
    assert_eq!(done["progress"]["users"]["done"], 2, "{done}");
    for user in ["alice", "bob"] {
        assert_eq!(app.get(&format!("/containers/{user}")).await.body["size"]["cpu"], 1024);
    }
}
