//! The main path, end to end.

use serde_json::json;

use crate::harness::TestApp;

#[tokio::test(start_paused = true)]
async fn a_new_user_is_running_and_signed_in_within_three_seconds() {
    let app = TestApp::start().await;
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, &answer.body["state"]), (201, &json!("provisioning")), "{}", answer.body);
    assert_eq!(answer.header("location"), Some("/containers/alice"));
    app.pass_seconds(3).await;
    let now = app.get("/containers/alice").await;
    assert_eq!(
        (now.status, &now.body["state"], &now.body["ready"]),
        (200, &json!("running"), &json!(true)),
        "{}",
        now.body
    );
    assert!(app.file("users/alice/codex/auth.json").contains("refresh_token"));
}
