//! Real bases: OpenClaw beside other containers, mounted anywhere, on another port.

use aws_emulator::{Behaviour, Options as EmulatorOptions};
use openclaw_provisioner::domain::{LABEL_ROLE, ROLE_OPENCLAW};
use openclaw_provisioner::probe::{GatewayProbe, ProbeKind};
use openclaw_provisioner::reconcile::Options;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, auth, provision_body, variable};

/// Provisions alice and waits until her container runs.
async fn running(app: &TestApp) -> Value {
    let answer = app.provision("alice").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    app.pass_seconds(4).await;
    let seen = app.get("/containers/alice").await.body;
    assert_eq!((&seen["state"], &seen["ready"]), (&json!("running"), &json!(true)), "{seen}");
    seen
}

fn containers(base: &mut Value) -> &mut Vec<Value> {
    base["containerDefinitions"].as_array_mut().unwrap()
}

/// A container of the newest revision of the user family.
fn registered(app: &TestApp, name: &str) -> Value {
    let definition = app.newest_definition();
    let containers = definition["containerDefinitions"].as_array().unwrap();
    containers.iter().find(|container| container["name"] == name).unwrap().clone()
}

/// Status, code, field and detail of a refusal; checks that nothing was registered.
async fn refused(app: &TestApp, path: &str, body: Value) -> (u16, String, String, String) {
    let before = app.user_revisions();
    let Answer { status, body, .. } = app.post(path, body).await;
    assert_eq!(app.user_revisions(), before, "{body}");
    let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("field"), format!("{} {}", text("detail"), text("fix")))
}

fn with_variables(variables: Value) -> Value {
    let mut body = provision_body("bob");
    body["variables"] = variables;
    body
}

const INIT: &str = "init";

/// An init container before OpenClaw, with the same directory, and a log router before both.
fn init_and_router_first(base: &mut Value) {
    containers(base)[0]["dependsOn"] = json!([{"containerName": INIT, "condition": "SUCCESS"}]);
    let init = json!({
        "name": INIT, "image": "example/init:1", "essential": false, "command": ["true"],
        "mountPoints": [{"sourceVolume": "openclaw", "containerPath": "/data", "readOnly": false}],
    });
    let router = json!({"name": "router", "image": "example/router:1", "essential": true});
    containers(base).splice(0..0, [router, init]);
}

#[tokio::test(start_paused = true)]
async fn pin_variables_and_labels_follow_openclaw_past_init_container_and_log_router() {
    let app = TestApp::start().await;
    app.register_base(init_and_router_first);
    running(&app).await;
    let (router, init) = (registered(&app, "router"), registered(&app, INIT));
    let redeployed =
        app.post("/containers/alice/redeploy", json!({"image": "ghcr.io/openclaw/openclaw:2026.9.6"})).await;
    assert_eq!(redeployed.status, 202, "{}", redeployed.body);
    app.pass_seconds(8).await;
    assert_eq!((registered(&app, "router"), registered(&app, INIT)), (router, init));
    let openclaw = registered(&app, "openclaw");
    assert_eq!(openclaw["image"], "ghcr.io/openclaw/openclaw:2026.9.6");
    assert_eq!(openclaw["command"], json!(["/bin/sh", "/home/node/.openclaw/.provisioner/entry.sh"]));
    assert_eq!(openclaw["dockerLabels"]["openclaw.provisioner.user-id"], "alice");
    let seen = app.get("/containers/alice").await.body;
    assert_eq!((&seen["state"], &seen["image"]), (&json!("running"), &openclaw["image"]), "{seen}");
    // Read from the container that has the labels.
    let unchanged = app.provision("alice").await;
    assert_eq!(unchanged.status, 200, "{}", unchanged.body);
    let listed = app.get("/containers").await.body;
    assert_eq!(listed["containers"][0]["openclaw_version"], "2026.9.6", "{listed}");
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_stop_is_that_of_openclaws_container_at_any_position() {
    let app = TestApp::start().await;
    app.register_base(init_and_router_first);
    let service = running(&app).await["service"].as_str().unwrap().to_owned();
    app.emulator.set_behaviour(&service, Some(Behaviour::Oom));
    app.pass_seconds(60).await;
    let seen = app.get("/containers/alice").await.body;
    assert_eq!(
        (&seen["reason"]["code"], &seen["reason"]["exit_code"]),
        (&json!("out_of_memory"), &json!(137)),
        "{seen}"
    );
    let waited = app.get("/containers/alice/wait?timeout_seconds=1").await.body;
    assert_eq!(waited["reason"], seen["reason"], "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_base_is_refused_until_it_says_which_container_is_openclaw() {
    let app = TestApp::start().await;
    let two = |base: &mut Value| {
        containers(base)[0].as_object_mut().unwrap().remove("dockerLabels");
        let mut other = containers(base)[0].clone();
        other["name"] = json!("other");
        containers(base).insert(0, other);
    };
    app.register_base(two);
    let (status, code, _, words) = refused(&app, "/provision", provision_body("alice")).await;
    assert_eq!((status, code.as_str()), (500, "base_unusable"));
    assert!(
        [LABEL_ROLE, "PROVISIONER_CONTAINER", "other, openclaw"].iter().all(|word| words.contains(word)),
        "{words}"
    );
    app.register_base(|base| {
        two(base);
        containers(base)[0]["essential"] = json!(false);
        containers(base)[1]["dockerLabels"] = json!({LABEL_ROLE: ROLE_OPENCLAW});
    });
    running(&app).await;
    assert_eq!(registered(&app, "openclaw")["dockerLabels"]["openclaw.provisioner.user-id"], "alice");
    app.register_base(two);
    app.coordinates.send_modify(|at| at.release.container = Some("other".into()));
    assert_eq!(app.post("/containers/alice/redeploy", json!({})).await.status, 202);
    assert_eq!(registered(&app, "other")["dockerLabels"]["openclaw.provisioner.user-id"], "alice");
    let labels = &registered(&app, "openclaw")["dockerLabels"];
    assert!(labels.is_null(), "{labels}");
}

#[tokio::test(start_paused = true)]
async fn the_mount_decides_where_openclaw_looks() {
    let app = TestApp::start().await;
    app.register_base(|base| {
        containers(base)[0]["mountPoints"][0]["containerPath"] = json!("/data");
        containers(base)[0]["environment"] = json!([{"name": "OPENCLAW_STATE_DIR", "value": "/data/"}]);
    });
    running(&app).await;
    let definition = app.newest_definition();
    assert_eq!(variable(&definition, "OPENCLAW_STATE_DIR"), ["/data"]);
    assert_eq!(variable(&definition, "CODEX_HOME"), ["/data/codex"]);
    let file = app.file("users/alice/openclaw.json");
    assert!(file.contains(r#""workspace": "/data/workspace""#), "{file}");
    for (name, value) in [("OPENCLAW_STATE_DIR", "/tmp/x"), ("HOME", "/tmp/y"), ("OPENCLAW_CONFIG_PATH", "/tmp/z")] {
        let (status, code, field, words) = refused(&app, "/provision", with_variables(json!({name: value}))).await;
        assert_eq!((status, code.as_str(), field), (422, "invalid_field", format!("variables.{name}")), "{words}");
        assert!(words.contains(value) && words.contains("/data"), "{words}");
    }
    app.register_base(|base| {
        containers(base)[0]["environment"] = json!([{"name": "OPENCLAW_STATE_DIR", "value": "/elsewhere"}]);
    });
    let (status, code, _, words) = refused(&app, "/provision", provision_body("bob")).await;
    assert_eq!((status, code.as_str()), (500, "base_unusable"));
    assert!(words.contains("/elsewhere") && words.contains("/home/node/.openclaw"), "{words}");
}

/// As in hosters' templates.
#[tokio::test(start_paused = true)]
async fn a_workspace_in_the_base_is_not_changed() {
    let app = TestApp::start().await;
    app.register_base(|base| {
        containers(base)[0]["mountPoints"][0]["containerPath"] = json!("/data");
        containers(base)[0]["environment"] = json!([{"name": "OPENCLAW_WORKSPACE_DIR", "value": "/data/work"}]);
    });
    running(&app).await;
    assert!(!app.file("users/alice/openclaw.json").contains("workspace"));
}

/// A mount at a home's own `.openclaw` contains the workspace anyway.
#[tokio::test(start_paused = true)]
async fn a_workspace_is_named_only_where_it_would_be_lost() {
    let app = TestApp::start().await;
    running(&app).await;
    assert!(!app.file("users/alice/openclaw.json").contains("workspace"));
}

#[tokio::test(start_paused = true)]
async fn a_resize_gives_openclaw_what_is_added_and_refuses_what_does_not_fit() {
    let app = TestApp::start().await;
    app.register_base(|base| {
        (base["cpu"], base["memory"]) = (json!("1024"), json!("2048"));
        (containers(base)[0]["cpu"], containers(base)[0]["memory"]) = (json!(896), json!(1792));
        containers(base).push(json!({
            "name": "sidecar", "image": "example/sidecar:1", "essential": true, "cpu": 128, "memory": 256,
        }));
    });
    running(&app).await;
    let limits = |name: &str| {
        let container = registered(&app, name);
        (container["cpu"].clone(), container["memory"].clone())
    };
    for (size, openclaw) in [
        (json!({"cpu": 512, "memory_mib": 1024}), (json!(384), json!(768))),
        (json!({"cpu": 2048, "memory_mib": 8192}), (json!(1920), json!(7936))),
    ] {
        let resized = app.post("/containers/alice/resize", size).await;
        assert_eq!(resized.status, 202, "{}", resized.body);
        assert_eq!((limits("openclaw"), limits("sidecar")), (openclaw, (json!(128), json!(256))));
        app.pass_seconds(5).await;
    }
    let fix = "the smallest size that fits is cpu 256 with memory_mib 1024";
    let small = json!({"cpu": 256, "memory_mib": 512});
    let (status, code, field, words) = refused(&app, "/containers/alice/resize", small.clone()).await;
    assert_eq!((status, code.as_str(), field.as_str()), (422, "invalid_field", "memory_mib"), "{words}");
    assert!(words.starts_with("memory_mib: ") && words.ends_with(fix), "{words}");
    let mut body = provision_body("bob");
    body["size"] = small;
    let (status, code, field, words) = refused(&app, "/provision", body).await;
    assert_eq!((status, code.as_str(), field.as_str()), (422, "invalid_field", "size.memory_mib"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn the_answer_has_the_port_on_which_the_gateway_listens() {
    let app = TestApp::start().await;
    let port = async |app: &TestApp| app.get("/containers/alice/gateway").await.body["port"].clone();
    app.register_base(|base| {
        containers(base)[0]["command"] = json!(["node", "openclaw.mjs", "gateway", "run", "--port", "8080"]);
        containers(base)[0]["environment"] = json!([{"name": "OPENCLAW_GATEWAY_PORT", "value": "3000"}]);
    });
    running(&app).await;
    assert_eq!(port(&app).await, 8080);
    assert!(app.file("users/alice/openclaw.json").contains(r#""port": 8080"#));
    let (status, _, field, words) =
        refused(&app, "/provision", with_variables(json!({"OPENCLAW_GATEWAY_PORT": "9"}))).await;
    assert_eq!((status, field.as_str()), (422, "variables.OPENCLAW_GATEWAY_PORT"), "{words}");
    app.register_base(|base| {
        containers(base)[0]["environment"] = json!([{"name": "OPENCLAW_GATEWAY_PORT", "value": "3000"}]);
    });
    app.post("/containers/alice/redeploy", json!({})).await;
    app.pass_seconds(5).await;
    assert_eq!(port(&app).await, 3000);
    app.register_base(|_| {});
    app.post("/containers/alice/redeploy", json!({})).await;
    app.pass_seconds(5).await;
    assert_eq!(port(&app).await, 18789);
    // The user changed it, until the next call merges our value.
    std::fs::write(app.path("users/alice/openclaw.json"), "{gateway: {port: 4000}}").unwrap();
    assert_eq!(port(&app).await, 4000);
}

#[tokio::test(start_paused = true)]
async fn the_probe_asks_the_port_that_the_definition_names() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap().port();
    let emulator = EmulatorOptions { task_address: Some([127, 0, 0, 1].into()), ..EmulatorOptions::default() };
    // Nothing listens on the default port.
    let gateway_probe = GatewayProbe { kind: ProbeKind::Tcp, port: 1, ..GatewayProbe::default() };
    let app = TestApp::with_both(emulator, Options { gateway_probe, ..Options::default() }).await;
    app.provision("alice").await;
    app.pass_seconds(4).await;
    assert_eq!(app.get("/containers/alice").await.body["reason"]["code"], "gateway_unanswered");
    app.register_base(|base| {
        containers(base)[0]["environment"] = json!([{"name": "OPENCLAW_GATEWAY_PORT", "value": open.to_string()}]);
    });
    app.post("/containers/alice/redeploy", json!({})).await;
    app.pass_seconds(6).await;
    assert_eq!(app.get("/containers/alice").await.body["state"], "running");
    let waited = app.get("/containers/alice/wait?timeout_seconds=5").await;
    assert_eq!((waited.status, &waited.body["state"]), (200, &json!("running")), "{}", waited.body);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_shows_every_users_files_is_refused() {
    let app = TestApp::start().await;
    app.register_base(|base| {
        let file_system = base["volumes"][0]["efsVolumeConfiguration"]["fileSystemId"].clone();
        let volume =
            json!({"name": "conf", "efsVolumeConfiguration": {"fileSystemId": file_system, "rootDirectory": "/"}});
        base["volumes"].as_array_mut().unwrap().push(volume);
        containers(base).push(json!({
            "name": "router", "image": "example/router:1", "essential": true, "user": "0",
            "mountPoints": [{"sourceVolume": "conf", "containerPath": "/conf"}],
        }));
    });
    let (status, code, _, words) = refused(&app, "/provision", provision_body("alice")).await;
    assert_eq!((status, code.as_str()), (500, "base_unusable"));
    assert!(["router", "conf", "access point"].iter().all(|word| words.contains(word)), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_pin_to_another_registry_does_not_use_the_bases_credentials() {
    let app = TestApp::start().await;
    app.register_base(|base| {
        containers(base)[0]["image"] = json!("registry.example.com/openclaw:2026.9.6");
        containers(base)[0]["repositoryCredentials"] =
            json!({"credentialsParameter": "arn:aws:secretsmanager:us-east-1:123456789012:secret:registry"});
    });
    running(&app).await;
    assert!(registered(&app, "openclaw")["repositoryCredentials"].is_object());
    app.post("/containers/alice/redeploy", json!({"image": "ghcr.io/openclaw/openclaw:2026.9.6"})).await;
    assert!(registered(&app, "openclaw")["repositoryCredentials"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_revision_names_its_user_and_its_base() {
    let app = TestApp::start().await;
    running(&app).await;
    let input = json!({"taskDefinition": "openclaw-dev-user", "include": ["TAGS"]});
    let tags = app.aws("ecs", "DescribeTaskDefinition", input)["tags"].clone();
    let tags = tags.as_array().unwrap().clone();
    for (key, value) in [("openclaw:user-id", "alice"), ("openclaw:base-family", "openclaw-dev")] {
        assert!(tags.contains(&json!({"key": key, "value": value})), "{tags:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_spec_that_no_label_holds_is_refused_by_its_largest_part() {
    let app = TestApp::start().await;
    let long = "x".repeat(1500);
    let body = json!({
        "user_id": "bob", "auth": auth("acc_1", "rt_1", 1_770_000_000),
        "variables": {"A": long, "B": long, "C": long},
    });
    let (status, code, field, words) = refused(&app, "/provision", body).await;
    assert_eq!((status, code.as_str(), field.as_str()), (422, "invalid_field", "variables"), "{words}");
    assert!(words.contains("docker label") && !words.contains("xxx"), "{words}");
}
