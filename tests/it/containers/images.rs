//! Images are looked up before a definition names them, where that is possible.

use serde_json::{Value, json};

use super::{requests, state};
use crate::harness::{Answer, TestApp, provision_body};

const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

fn image(repository: &str, tag: &str) -> String {
    format!("{REGISTRY}/{repository}:{tag}")
}

fn push(app: &TestApp, repository: &str, tag: &str) {
    let manifest = json!({"config": tag}).to_string();
    app.aws("ecr", "PutImage", json!({"repositoryName": repository, "imageManifest": manifest, "imageTag": tag}));
}

fn app_repository(app: &TestApp) {
    app.aws("ecr", "CreateRepository", json!({"repositoryName": "openclaw-extended"}));
}

async fn provision_pinned(app: &TestApp, user: &str, image: &str) -> Answer {
    let mut body = provision_body(user);
    body["image"] = json!(image);
    app.post("/provision", body).await
}

/// Incident 6: a placeholder tag and a tag that upstream never published both reached production.
#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_in_ecr_is_422_before_anything_is_registered() {
    let app = TestApp::start().await;
    app_repository(&app);
    for (image, detail) in [
        (
            image("openclaw-extended", "2026.4.25-bootstrap"),
            "ECR repository openclaw-extended of account 123456789012 in us-east-1 has no tag 2026.4.25-bootstrap: \
             push it, or name another image",
        ),
        (
            image("openclaw-extnded", "2026.4.25"),
            "account 123456789012 has no ECR repository openclaw-extnded in us-east-1: create it and push tag \
             2026.4.25, or name another image",
        ),
    ] {
        let answer = provision_pinned(&app, "alice", &image).await;
        let said = ["code", "retryable", "detail"].map(|member| answer.body[member].clone());
        assert_eq!((answer.status, said), (422, [json!("image_not_found"), json!(false), json!(detail)]));
        assert_eq!(requests(&app, "RegisterTaskDefinition"), Vec::<Value>::new());
        assert_eq!(state(&app, "alice").await, "container_not_found");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_of_a_redeploy_leaves_the_container_alone() {
    let app = TestApp::start().await;
    app_repository(&app);
    super::running(&app, "alice").await;
    let before = super::service(&app, "alice").await;
    let answer =
        app.post("/containers/alice/redeploy", json!({"image": image("openclaw-extended", "2026.4.25")})).await;
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("image_not_found")));
    assert_eq!(super::service(&app, "alice").await, before);
    push(&app, "openclaw-extended", "2026.4.25");
    // The miss is not cached.
    let answer =
        app.post("/containers/alice/redeploy", json!({"image": image("openclaw-extended", "2026.4.25")})).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_found_is_looked_up_once_in_a_minute() {
    let app = TestApp::start().await;
    app_repository(&app);
    push(&app, "openclaw-extended", "2026.4.25");
    push(&app, "openclaw-extended", "2026.4.21");
    let pinned = image("openclaw-extended", "2026.4.25");
    for user in ["alice", "bob", "carol"] {
        assert_eq!(provision_pinned(&app, user, &pinned).await.status, 201);
    }
    let lookup = json!({
        "registryId": "123456789012", "repositoryName": "openclaw-extended", "imageIds": [{"imageTag": "2026.4.25"}],
    });
    assert_eq!(requests(&app, "DescribeImages"), std::slice::from_ref(&lookup));
    provision_pinned(&app, "dave", &image("openclaw-extended", "2026.4.21")).await;
    assert_eq!(requests(&app, "DescribeImages").len(), 2, "another image is another question");
    app.pass_seconds(61).await;
    provision_pinned(&app, "erin", &pinned).await;
    assert_eq!(requests(&app, "DescribeImages")[2..], [lookup]);
}

/// Incident 2: clones kept using an image tag that did not exist.
#[tokio::test(start_paused = true)]
async fn the_image_of_the_base_is_looked_up_too() {
    let app = TestApp::start().await;
    app_repository(&app);
    super::running(&app, "alice").await;
    app.register_base(|base| base["containerDefinitions"][0]["image"] = json!(image("openclaw-extended", "2026.4.25")));
    assert_eq!(app.provision("bob").await.status, 422);
    assert_eq!(app.post("/containers/alice/redeploy", json!({})).await.status, 422);
    assert_eq!(state(&app, "alice").await, "running");
    push(&app, "openclaw-extended", "2026.4.25");
    assert_eq!(app.provision("bob").await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_digest_is_looked_up_as_one() {
    let app = TestApp::start().await;
    app_repository(&app);
    let digest = format!("sha256:{}", "a".repeat(64));
    let answer = provision_pinned(&app, "alice", &format!("{REGISTRY}/openclaw-extended:2026.4.25@{digest}")).await;
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("image_not_found")));
    assert_eq!(requests(&app, "DescribeImages")[0]["imageIds"], json!([{"imageDigest": digest}]));
}

#[tokio::test(start_paused = true)]
async fn other_registries_are_not_looked_up() {
    let app = TestApp::start().await;
    for (user, image) in [
        ("alice", "ghcr.io/openclaw/openclaw:2026.4.25"),
        ("bob", "public.ecr.aws/openclaw/openclaw:2026.4.25"),
        ("carol", "openclaw:2026.4.25"),
        ("dave", "123456789012.dkr.ecr.us-east-1.example.com/openclaw:2026.4.25"),
    ] {
        assert_eq!(provision_pinned(&app, user, image).await.status, 201, "{image}");
    }
    assert_eq!(requests(&app, "DescribeImages"), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn without_permission_to_look_an_image_is_not_checked() {
    let app = TestApp::start().await;
    super::refuse_once(&app, "DescribeImages", "AccessDeniedException", "not authorized");
    let answer = provision_pinned(&app, "alice", &image("openclaw-extended", "2026.4.25")).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}
