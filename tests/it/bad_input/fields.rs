//! Fields of the request bodies, except `auth`.

use serde_json::{Value, json};

use super::{SENTINEL, refusals, request};
use crate::harness::TestApp;

#[tokio::test(start_paused = true)]
async fn an_unknown_field_is_named_with_the_known_ones() {
    let app = TestApp::start().await;
    let bodies = [
        request(|body| body["usr_id"] = json!("alice")),
        request(|body| body["size"] = json!({"cpu": 512, "memory_mib": 2048, "memory": 2048})),
    ];
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field usr_id: expected one of `user_id`, `auth`, `provider`, `size`, `image`, `openclaw_version`, `variables`, `secrets`, `labels`, `rollout_order`
    422 invalid_field size.memory: expected `cpu` or `memory_mib`
    "#);
    let resize = [json!({"cpu": 512, "memory_mib": 2048, "disk": 1}).to_string()];
    insta::assert_snapshot!(refusals(&app, "POST", "/containers/alice/resize", resize).await, @"422 invalid_field disk: expected one of `cpu`, `memory_mib`, `rollout_order`");
    let redeploy = [json!({"img": null}).to_string()];
    insta::assert_snapshot!(refusals(&app, "POST", "/containers/alice/redeploy", redeploy).await, @"422 invalid_field img: expected one of `image`, `openclaw_version`, `force`, `rollout_order`");
    for (action, expected) in [("start", "`rollout_order`"), ("stop", "no field here")] {
        let body = [json!({"force": true}).to_string()];
        let line = refusals(&app, "POST", &format!("/containers/alice/{action}"), body).await;
        assert_eq!(line, format!("422 invalid_field force: expected {expected}"), "{action}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_missing_is_named() {
    let app = TestApp::start().await;
    let without = |name: &str| request(|body| drop(body.as_object_mut().unwrap().remove(name)));
    let bodies = [
        without("user_id"),
        request(|body| body["size"] = json!({"cpu": 512})),
        request(|body| body["size"] = json!({"memory_mib": 2048})),
        request(|body| body["size"] = json!({})),
        "{}".to_owned(),
    ];
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field user_id: add it
    422 invalid_field size.memory_mib: add it
    422 invalid_field size.cpu: add it
    422 invalid_field size.cpu: add it
    422 invalid_field user_id: add it
    "#);
    let resize = [json!({"cpu": 512}), json!({"memory_mib": 2048}), json!({})].map(|body| body.to_string());
    insta::assert_snapshot!(refusals(&app, "POST", "/containers/alice/resize", resize).await, @r#"
    422 invalid_field memory_mib: add it
    422 invalid_field cpu: add it
    422 invalid_field cpu: add it
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_field_of_the_wrong_type_is_named_and_never_quoted() {
    let app = TestApp::start().await;
    let with = |name: &str, value: Value| request(|body| body[name] = value);
    let bodies = [
        with("user_id", json!(7)),
        with("user_id", json!({ SENTINEL: SENTINEL })),
        with("user_id", Value::Null),
        with("size", json!(SENTINEL)),
        with("size", json!([512, 2048])),
        with("size", json!({"cpu": "512", "memory_mib": 2048})),
        with("size", json!({"cpu": -1, "memory_mib": 2048})),
        with("size", json!({"cpu": 512.5, "memory_mib": 2048})),
        with("size", json!({"cpu": 512, "memory_mib": 4_294_967_296_u64})),
        with("image", json!(["openclaw:2026.4.21"])),
        with("secrets", json!([SENTINEL])),
        with("secrets", json!({"OPENAI_API_KEY": {"key": SENTINEL}})),
        with("variables", json!({"RETRIES": 3})),
        with("labels", json!(SENTINEL)),
    ];
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field user_id: expected a string
    422 invalid_field user_id: expected a string
    422 invalid_field user_id: expected a string
    422 invalid_field size: expected an object
    422 invalid_field size: expected an object
    422 invalid_field size.cpu: expected a whole number from 0 to 4294967295
    422 invalid_field size.cpu: expected a whole number from 0 to 4294967295
    422 invalid_field size.cpu: expected a whole number from 0 to 4294967295
    422 invalid_field size.memory_mib: expected a whole number from 0 to 4294967295
    422 invalid_field image: expected a string
    422 invalid_field secrets: expected an object
    422 invalid_field secrets.OPENAI_API_KEY: expected a string
    422 invalid_field variables.RETRIES: expected a string
    422 invalid_field labels: expected an object
    "#);
    let redeploy = [json!({"force": "yes"}), json!({"image": 1}), json!({"force": null})].map(|body| body.to_string());
    insta::assert_snapshot!(refusals(&app, "POST", "/containers/alice/redeploy", redeploy).await, @r#"
    422 invalid_field force: expected a boolean
    422 invalid_field image: expected a string
    422 invalid_field force: expected a boolean
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_no_object_is_refused() {
    let app = TestApp::start().await;
    let auth: Value = serde_json::from_str::<Value>(&request(|_| {})).unwrap()["auth"].clone();
    let bodies = [
        json!(["alice", auth, null, null, null, null, null]),
        json!(SENTINEL),
        json!(1),
        json!(true),
        Value::Null,
        json!([]),
    ];
    let bodies = bodies.map(|body| body.to_string());
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field body: expected an object
    422 invalid_field body: expected an object
    422 invalid_field body: expected an object
    422 invalid_field body: expected an object
    422 invalid_field body: expected an object
    422 invalid_field body: expected an object
    "#);
    let resize = [json!([512, 2048]).to_string()];
    insta::assert_snapshot!(refusals(&app, "POST", "/containers/alice/resize", resize).await, @"422 invalid_field body: expected an object");
    let nothing = [json!([]).to_string(), "null".to_owned()];
    insta::assert_snapshot!(refusals(&app, "POST", "/containers/alice/stop", nothing).await, @r#"
    422 invalid_field body: expected an object
    422 invalid_field body: expected an object
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_user_id_in_the_body_with_other_characters_is_refused() {
    let app = TestApp::start().await;
    let long = "x".repeat(65);
    for id in ["", &long, "..", "a/b", "a\\b", "a\0b", ".hidden", "Zoë", "a b", "a\nb", "a.b", "%2e%2e", "ＡＢ"] {
        let body = request(|body| body["user_id"] = json!(id));
        let line = refusals(&app, "POST", "/provision", [body]).await;
        let expected = "422 invalid_field user_id: use 1 to 64 characters of A-Z, a-z, 0-9, _ and -";
        assert_eq!(line, expected, "{id:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_size_is_refused_with_the_list_of_valid_ones() {
    let app = TestApp::start().await;
    let sizes = [(512, 512), (256, 4096), (1024, 2500), (32768, 65536), (300, 512), (0, 0)];
    let size = |(cpu, memory_mib): (u32, u32)| json!({"cpu": cpu, "memory_mib": memory_mib});
    let bodies = sizes.map(|pair| request(|body| body["size"] = size(pair)));
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field size.memory_mib: valid memory_mib for cpu 512: 1024, 2048, 3072, 4096
    422 invalid_field size.memory_mib: valid memory_mib for cpu 256: 512, 1024, 2048
    422 invalid_field size.memory_mib: valid memory_mib for cpu 1024: 2048, 3072, 4096, 5120, 6144, 7168, 8192
    422 invalid_field size.memory_mib: valid memory_mib for cpu 32768: 61440, 122880, 249856
    422 invalid_field size.cpu: use one of 256, 512, 1024, 2048, 4096, 8192, 16384, 32768
    422 invalid_field size.cpu: use one of 256, 512, 1024, 2048, 4096, 8192, 16384, 32768
    "#);
    let bodies = sizes.map(|pair| size(pair).to_string());
    insta::assert_snapshot!(refusals(&app, "POST", "/containers/alice/resize", bodies).await, @r#"
    422 invalid_field memory_mib: valid memory_mib for cpu 512: 1024, 2048, 3072, 4096
    422 invalid_field memory_mib: valid memory_mib for cpu 256: 512, 1024, 2048
    422 invalid_field memory_mib: valid memory_mib for cpu 1024: 2048, 3072, 4096, 5120, 6144, 7168, 8192
    422 invalid_field memory_mib: valid memory_mib for cpu 32768: 61440, 122880, 249856
    422 invalid_field cpu: use one of 256, 512, 1024, 2048, 4096, 8192, 16384, 32768
    422 invalid_field cpu: use one of 256, 512, 1024, 2048, 4096, 8192, 16384, 32768
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_secret_in_place_of_its_arn_is_refused_and_not_repeated() {
    let app = TestApp::start().await;
    let values = [
        format!("sk-{SENTINEL}"),
        format!("arn:aws:s3:::{SENTINEL}"),
        format!("arn:aws:secretsmanager:us-east-1:1234:secret:{SENTINEL}"),
        format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{SENTINEL}\n"),
        "arn:aws:ssm:us-east-1:123456789012:parameter/".to_owned(),
        String::new(),
    ];
    for value in values {
        let body = request(|body| body["secrets"] = json!({ "OPENAI_API_KEY": value }));
        let line = refusals(&app, "POST", "/provision", [body]).await;
        let expected = "422 invalid_field secrets.OPENAI_API_KEY: store the value in Secrets Manager or as an SSM \
            parameter, and send arn:aws:secretsmanager:<region>:<account>:secret:<name> or \
            arn:aws:ssm:<region>:<account>:parameter/<name>";
        assert_eq!(line, expected, "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_and_reserved_names_of_variables_are_refused() {
    let app = TestApp::start().await;
    let arn = "arn:aws:ssm:us-east-1:123456789012:parameter/p";
    let bodies = [
        request(|body| body["variables"] = json!({"CODEX_HOME": SENTINEL})),
        request(|body| body["secrets"] = json!({"CODEX_HOME": arn})),
        request(|body| body["variables"] = json!({"1ST": SENTINEL})),
        request(|body| body["variables"] = json!({"": SENTINEL})),
        request(|body| body["variables"] = json!({"A=B": SENTINEL})),
        request(|body| body["secrets"] = json!({"A\nB": arn})),
        request(|body| body["variables"] = json!({"A": format!("{SENTINEL}\0")})),
        request(|body| body["labels"] = json!({"openclaw.provisioner.spec": SENTINEL})),
        request(|body| body["labels"] = json!({"": SENTINEL})),
        request(|body| body["labels"] = json!({"team": format!("{SENTINEL}\n")})),
        request(|body| {
            body["variables"] = json!({"KEY": SENTINEL});
            body["secrets"] = json!({ "KEY": arn });
        }),
    ];
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field variables.CODEX_HOME: leave it out
    422 invalid_field secrets.CODEX_HOME: leave it out
    422 invalid_field variables.1ST: use letters, digits and underscores, starting with a letter or an underscore
    422 invalid_field variables.: use letters, digits and underscores, starting with a letter or an underscore
    422 invalid_field variables.A=B: use letters, digits and underscores, starting with a letter or an underscore
    422 invalid_field secrets.A\nB: use letters, digits and underscores, starting with a letter or an underscore
    422 invalid_field variables.A: remove it
    422 invalid_field labels.openclaw.provisioner.spec: choose another name
    422 invalid_field labels.: names: 1 to 128 printable ASCII characters; values: up to 1024 bytes without control characters
    422 invalid_field labels.team: names: 1 to 128 printable ASCII characters; values: up to 1024 bytes without control characters
    422 invalid_field secrets.KEY: give it once, as a secret or as a variable
    "#);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_names_no_image_or_too_old_a_release_is_refused() {
    let app = TestApp::start().await;
    let long = format!("{}:1", "x".repeat(254));
    let images = [
        "",
        "openclaw",
        "ghcr.io/openclaw/openclaw",
        "ghcr.io//openclaw:1",
        "open claw:1",
        "openclaw:-1",
        "openclaw@sha256:12",
        ":1",
        &long,
        "ghcr.io/openclaw/openclaw:2026.4.6",
        "ghcr.io/openclaw/openclaw:2026.4.6-slim",
        "ghcr.io/openclaw/openclaw:v2025.12.31",
    ];
    let bodies = images.map(|image| request(|body| body["image"] = json!(image)));
    insta::assert_snapshot!(refusals(&app, "POST", "/provision", bodies).await, @r#"
    422 invalid_field image: write it as registry/repository:tag or registry/repository@sha256:<64 hex>
    422 invalid_field image: write it as registry/repository:tag or registry/repository@sha256:<64 hex>
    422 invalid_field image: write it as registry/repository:tag or registry/repository@sha256:<64 hex>
    422 invalid_field image: write it as registry/repository:tag or registry/repository@sha256:<64 hex>
    422 invalid_field image: write it as registry/repository:tag or registry/repository@sha256:<64 hex>
    422 invalid_field image: write it as registry/repository:tag or registry/repository@sha256:<64 hex>
    422 invalid_field image: write it as registry/repository:tag or registry/repository@sha256:<64 hex>
    422 invalid_field image: write it as registry/repository:tag or registry/repository@sha256:<64 hex>
    422 invalid_field image: write it as registry/repository:tag or registry/repository@sha256:<64 hex>
    422 invalid_field image: use 2026.4.7 or later
    422 invalid_field image: use 2026.4.7 or later
    422 invalid_field image: use 2026.4.7 or later
    "#);
    for image in images {
        let provision = refusals(&app, "POST", "/provision", [request(|body| body["image"] = json!(image))]).await;
        let redeploy = [json!({ "image": image }).to_string()];
        assert_eq!(refusals(&app, "POST", "/containers/alice/redeploy", redeploy).await, provision, "{image}");
    }
}
