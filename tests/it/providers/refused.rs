//! Requests that fit no provider.

use super::*;

/// The refusal of a request; checks that nothing was created or changed, and that no key is repeated.
async fn refused(app: &TestApp, body: Value) -> String {
    let before = (app.files(), app.access_points(), app.user_revisions(), app.services());
    let Answer { status, body, .. } = app.post("/provision", body).await;
    assert!((app.files(), app.access_points(), app.user_revisions(), app.services()) == before, "{body}");
    assert!(!body.to_string().contains("sk-live"), "{body}");
    format!("{status} {}: {}", body["field"].as_str().unwrap(), body["fix"].as_str().unwrap())
}

async fn all_refused(app: &TestApp, bodies: impl IntoIterator<Item = Value>) -> String {
    let mut lines = Vec::new();
    for body in bodies {
        lines.push(refused(app, body).await);
    }
    lines.join("\n")
}

fn with(provider: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = request(provider);
    change(&mut body);
    body
}

#[tokio::test(start_paused = true)]
async fn a_new_user_without_the_providers_needs_is_refused_and_nothing_is_created() {
    let app = with_base("o:2026.4.21").await;
    let bodies = [
        json!({"user_id": "alice"}),
        json!({"user_id": "alice", "auth": null}),
        json!({"user_id": "alice", "secrets": {"OPENAI_API_KEY": OPENAI}}),
        json!({"user_id": "alice", "provider": "chatgpt"}),
        json!({"user_id": "alice", "provider": "openai_key"}),
        json!({"user_id": "alice", "provider": "openai_key", "secrets": {"ANTHROPIC_API_KEY": ANTHROPIC}}),
        json!({"user_id": "alice", "provider": "anthropic_key", "secrets": {}}),
        with("bedrock", |body| body["auth"] = auth("acc_1", "rt_1", ISSUED)),
        with("openai_key", |body| body["auth"] = auth("acc_1", "rt_1", ISSUED)),
        with("openai_key", |body| body["provider"] = json!("sk-live-1")),
        with("openai_key", |body| body["secrets"]["OPENAI_API_KEY"] = json!("sk-live-1")),
        with("openai_key", |body| body["variables"] = json!({"OPENAI_API_KEY": "sk-live-1"})),
        with("bedrock", |body| body["variables"] = json!({"ANTHROPIC_API_KEY": "sk-live-1"})),
    ];
    insta::assert_snapshot!(all_refused(&app, bodies).await, @r#"
    422 auth: send the auth.json of the user's sign-in, or another `provider`
    422 auth: send the auth.json of the user's sign-in, or another `provider`
    422 auth: send the auth.json of the user's sign-in, or another `provider`
    422 auth: send the auth.json of the user's sign-in, or another `provider`
    422 secrets.OPENAI_API_KEY: store the key in Secrets Manager or SSM, and send its ARN
    422 secrets.OPENAI_API_KEY: store the key in Secrets Manager or SSM, and send its ARN
    422 secrets.ANTHROPIC_API_KEY: store the key in Secrets Manager or SSM, and send its ARN
    422 auth: leave it out, or POST /provision with it and `provider` chatgpt
    422 auth: leave it out, or POST /provision with it and `provider` chatgpt
    422 provider: expected one of `chatgpt`, `openai_key`, `anthropic_key`, `bedrock`
    422 secrets.OPENAI_API_KEY: store the value in Secrets Manager or as an SSM parameter, and send arn:aws:secretsmanager:<region>:<account>:secret:<name> or arn:aws:ssm:<region>:<account>:parameter/<name>
    422 variables.OPENAI_API_KEY: store the key in Secrets Manager or SSM, and send its ARN as secrets.OPENAI_API_KEY
    422 variables.ANTHROPIC_API_KEY: store the key in Secrets Manager or SSM, and send its ARN as secrets.ANTHROPIC_API_KEY
    "#);
}

/// A web app sends the sign-in with every provision: that must not remove a key that an operator set.
#[tokio::test(start_paused = true)]
async fn a_provider_is_changed_only_by_name() {
    let app = with_base("o:2026.4.21").await;
    provisioned(&app, "openai_key").await;
    let sign_in = auth("acc_1", "rt_1", ISSUED);
    let bodies = [
        json!({"user_id": "alice", "auth": sign_in}),
        json!({"user_id": "alice", "provider": "chatgpt"}),
        json!({"user_id": "alice", "provider": "anthropic_key"}),
        json!({"user_id": "alice", "secrets": {}}),
    ];
    insta::assert_snapshot!(all_refused(&app, bodies).await, @r#"
    422 auth: leave it out, or POST /provision with it and `provider` chatgpt
    422 auth: send the auth.json of the user's sign-in, or another `provider`
    422 secrets.ANTHROPIC_API_KEY: store the key in Secrets Manager or SSM, and send its ARN
    422 secrets.OPENAI_API_KEY: store the key in Secrets Manager or SSM, and send its ARN
    "#);
    assert_eq!(secrets(&app), request("openai_key")["secrets"]);
}

/// A deleted user counts as new, whatever is left in their directory.
#[tokio::test(start_paused = true)]
async fn a_user_who_returns_needs_the_provider_again() {
    let app = with_base("o:2026.4.21").await;
    provisioned(&app, "bedrock").await;
    assert_eq!(app.delete("/containers/alice?data=keep").await.status, 202);
    app.pass_seconds(60).await;
    while app.delete("/containers/alice?data=keep").await.status != 404 {}
    assert_eq!(
        refused(&app, json!({"user_id": "alice"})).await,
        "422 auth: send the auth.json of the user's sign-in, or another `provider`"
    );
    provisioned(&app, "anthropic_key").await;
    assert_eq!(model(&app), json!(["anthropic/claude-opus-4-7", [], null]));
}
