//! `GET /readyz?verbose`: checks of the resources in the settings, for operators.

use aws_emulator::{Fault, FaultKind, Options};
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, CLUSTER, READ_TOKEN, TestApp};

async fn verbose(app: &TestApp) -> Answer {
    app.raw("GET", "/readyz?verbose", &[("authorization", &format!("Bearer {READ_TOKEN}"))], "").await
}

fn statuses(answer: &Answer) -> Vec<(&str, &str)> {
    let checks = answer.body["checks"].as_array().unwrap().iter();
    checks.map(|check| (check["name"].as_str().unwrap(), check["status"].as_str().unwrap())).collect()
}

fn lookups(app: &TestApp) -> usize {
    app.emulator.calls().iter().filter(|call| call.action == "DescribeClusters").count()
}

#[tokio::test(start_paused = true)]
async fn without_a_token_only_the_plain_form_answers() {
    let app = TestApp::start().await;
    for path in ["/readyz?verbose", "/readyz?verbose=true", "/readyz?a=b&verbose"] {
        for authorization in ["", "Bearer nobody-s-token-at-all"] {
            let answer = app.raw("GET", path, &[("authorization", authorization)], "").await;
            assert_eq!((answer.status, &answer.body["code"]), (401, &json!("unauthorized")), "{path}");
        }
    }
    assert_eq!(app.calls(), Vec::<String>::new());
    let plain = app.raw("GET", "/readyz", &[("authorization", "")], "").await;
    let checks = json!([{"name": "efs_root", "status": "pass"}, {"name": "coordinates", "status": "pass"}]);
    assert_eq!((plain.status, plain.body), (200, json!({"ready": true, "checks": checks})));
    assert_eq!(app.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn verbose_adds_checks_of_the_resources_and_the_age_of_the_settings() {
    let app = TestApp::start().await;
    app.pass_seconds(12).await;
    let answer = verbose(&app).await;
    assert_eq!(answer.status, 200);
    let image = "ghcr.io/openclaw/openclaw:2026.4.21 is in no private ECR registry, and others are not asked";
    let network = "subnets subnet-0123456789abcdef0; security groups sg-0123456789abcdef0";
    let base = format!(
        "{BASE}:1 can be cloned; it runs OpenClaw 2026.4.21 in container openclaw, because there is no other container, and \
         its gateway listens on 18789; OPENCLAW_STATE_DIR will be /home/node/.openclaw, and CODEX_HOME will be \
         /home/node/.openclaw/codex"
    );
    let checks = json!([
        {"name": "efs_root", "status": "pass"},
        {"name": "coordinates", "status": "pass", "message": "read 12 s ago"},
        {"name": "cluster", "status": "pass", "message": "openclaw-dev is ACTIVE"},
        {"name": "base_family", "status": "pass", "message": base},
        {"name": "image", "status": "skip", "message": image},
        {"name": "network", "status": "pass", "message": network},
    ]);
    assert_eq!(answer.body, json!({"ready": true, "checks": checks}));
}

#[tokio::test(start_paused = true)]
async fn its_findings_do_not_change_readiness() {
    let app = TestApp::start().await;
    app.aws("ecs", "DeleteCluster", json!({"cluster": CLUSTER}));
    app.register_base(|base| base["containerDefinitions"][0]["healthCheck"] = Value::Null);
    app.emulator.settle();
    let fault = |action: &str| Fault {
        service: None,
        action: action.into(),
        skip: 0,
        times: usize::MAX,
        kind: FaultKind::Hang,
    };
    let answer = verbose(&app).await;
    assert_eq!((answer.status, &answer.body["ready"]), (200, &json!(true)));
    let found = [("cluster", "fail"), ("base_family", "pass"), ("base_family", "warn"), ("image", "skip")];
    assert_eq!(statuses(&answer)[2..6], found);
    let warned = &answer.body["checks"][4];
    assert_eq!(warned["finding"], "no_health_check");
    assert!(warned["fix"].as_str().unwrap().contains("healthCheck"), "{warned}");
    app.emulator.inject(fault("*"));
    app.pass_seconds(31).await;
    let silent = verbose(&app).await;
    assert_eq!((silent.status, &statuses(&silent)[2..4]), (200, &[("cluster", "fail"), ("base_family", "fail")][..]));
    std::fs::remove_dir_all(app.path("users")).unwrap();
    let broken = verbose(&app).await;
    assert_eq!((broken.status, &broken.body["ready"]), (503, &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn it_checks_once_in_30_s_and_again_when_the_settings_change() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        verbose(&app).await;
        app.pass_seconds(9).await;
    }
    assert_eq!(lookups(&app), 1);
    app.pass_seconds(4).await;
    verbose(&app).await;
    assert_eq!(lookups(&app), 2);
    app.coordinates.send_modify(|at| at.cluster = "openclaw-prod".into());
    assert_eq!(statuses(&verbose(&app).await)[2], ("cluster", "fail"));
    assert_eq!(lookups(&app), 3);
}

#[tokio::test(start_paused = true)]
async fn many_concurrent_requests_cost_one_check() {
    let app =
        TestApp::with(Options { per_call_delay: std::time::Duration::from_millis(50), ..Options::default() }).await;
    let asked = futures_util::future::join_all((0..20).map(|_| verbose(&app))).await;
    assert!(asked.iter().all(|answer| answer.status == 200 && answer.body == asked[0].body));
    assert_eq!(lookups(&app), 1);
}

/// Probes come without a token, and from anywhere: the answer names no account, role or path.
#[tokio::test(start_paused = true)]
async fn without_a_token_it_says_what_is_wrong_but_not_why() {
    let app = TestApp::start().await;
    let denied = "AccessDenied: arn:aws:iam::123456789012:role/x may not ssm:GetParametersByPath /openclaw/dev";
    app.freshness.send_modify(|fresh| fresh.error = Some(denied.into()));
    std::fs::remove_dir_all(app.path("users")).unwrap();
    let stranger = app.raw("GET", "/readyz", &[("authorization", "")], "").await;
    assert_eq!((stranger.status, statuses(&stranger)), (503, vec![("efs_root", "fail"), ("coordinates", "warn")]));
    for secret in ["123456789012", "role/x", "/openclaw/dev", "users"] {
        assert!(!stranger.text.contains(secret), "{secret} in {}", stranger.text);
    }
    let known = app.get("/readyz").await;
    assert!(known.text.contains(denied) && known.text.contains("users"), "{}", known.text);
}
