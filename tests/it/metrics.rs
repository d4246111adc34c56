//! The metrics at `/metrics`, and that dashboard and alerts use only these.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_emulator::{Fault, FaultKind};
use axum::body::Body;
use jiff::Timestamp;
use openclaw_provisioner::domain::service::Rollout;
use openclaw_provisioner::domain::{DirectorySizes, LimitSource, Quota, QuotaUse, State};
use openclaw_provisioner::metrics::Metrics;
use serde_json::{Value, json};

use crate::harness::{READ_TOKEN, TOKEN, TestApp, auth, fresh_reads};

const PREFIX: &str = "openclaw_provisioner_";

/// The value of a series, `None` if it does not exist.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(PREFIX)?.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

async fn scrape(app: &TestApp) -> String {
    let authorization = format!("Bearer {READ_TOKEN}");
    let answer = app.raw("GET", "/metrics", &[("authorization", &authorization)], Body::empty()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    answer.text
}

#[tokio::test(start_paused = true)]
async fn a_provision_is_counted_from_the_operation_to_each_aws_call() {
    let app = TestApp::start().await;
    assert_eq!(app.provision("alice").await.status, 201);
    let text = scrape(&app).await;
    for series in [
        r#"operations_total{kind="provision",outcome="created",reason="none"}"#,
        r#"credentials_total{outcome="written"}"#,
        r#"step_seconds_count{step="create_service"}"#,
        r#"aws_calls_total{action="ecs:CreateService",code="OK"}"#,
        r#"aws_calls_total{action="elasticfilesystem:CreateAccessPoint",code="OK"}"#,
        r#"limiter_wait_seconds_count{bucket="service-write"}"#,
    ] {
        assert_eq!(value(&text, series), Some(1.0), "{series}\n{text}");
    }
    assert_eq!(value(&text, r#"limiter_queue_depth{bucket="service-write"}"#), Some(0.0), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_counted_each_time_and_its_operation_by_the_reason() {
    let app = TestApp::start().await;
    let kind = FaultKind::Error { status: 400, code: "ThrottlingException".into(), message: "Rate exceeded".into() };
    let service = Some("ecs".to_owned());
    app.emulator.inject(Fault { service, action: "CreateService".into(), skip: 0, times: 1_000, kind });
    assert_eq!(app.provision("alice").await.body["code"], "aws_throttled");
    let text = scrape(&app).await;
    let tries = app.calls().iter().filter(|call| *call == "ecs:CreateService").count();
    assert!(tries > 1, "the SDK tries a throttled call again");
    for series in [
        r#"aws_throttles_total{action="ecs:CreateService"}"#,
        r#"aws_calls_total{action="ecs:CreateService",code="ThrottlingException"}"#,
    ] {
        assert_eq!(value(&text, series), Some(tries as f64), "{series}\n{text}");
    }
    let series = r#"operations_total{kind="provision",outcome="failed",reason="aws_throttled"}"#;
    assert_eq!(value(&text, series), Some(1.0), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_is_counted_with_the_code_no_answer() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    let (service, kind) = (Some("ecs".to_owned()), FaultKind::DropBefore);
    app.emulator.inject(Fault { service, action: "UpdateService".into(), skip: 0, times: 1, kind });
    assert_eq!(app.post("/containers/alice/stop", json!({})).await.status, 202);
    let text = scrape(&app).await;
    for code in ["no_answer", "OK"] {
        let series = format!(r#"aws_calls_total{{action="ecs:UpdateService",code="{code}"}}"#);
        assert_eq!(value(&text, &series), Some(1.0), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_operation_has_its_name_and_its_outcome() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    app.pass_seconds(5).await;
    app.provision("alice").await;
    app.post("/containers/alice/gateway/rotate", json!({})).await;
    app.post("/containers/alice/credentials/repair", json!({})).await;
    app.delete("/containers/alice/credentials").await;
    app.post("/containers/bob/stop", json!({})).await;
    let text = scrape(&app).await;
    let counted: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("openclaw_provisioner_operations_total")).collect();
    let counted = BTreeSet::from_iter(counted);
    let expected = [
        r#"{kind="provision",outcome="created",reason="none"} 1"#,
        r#"{kind="provision",outcome="unchanged",reason="none"} 1"#,
        r#"{kind="remove_credentials",outcome="unchanged",reason="none"} 1"#,
        r#"{kind="repair_credentials",outcome="unchanged",reason="none"} 1"#,
        r#"{kind="rotate_gateway_token",outcome="changed",reason="none"} 1"#,
        r#"{kind="stop",outcome="failed",reason="container_not_found"} 1"#,
    ];
    assert_eq!(counted, BTreeSet::from(expected));
    for outcome in ["written", "kept_fresher", "repaired", "removed"] {
        assert_eq!(value(&text, &format!(r#"credentials_total{{outcome="{outcome}"}}"#)), Some(1.0), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_metric_names_a_user_an_account_or_a_token() {
    let app = TestApp::start().await;
    let body = json!({"user_id": "zebra-17", "auth": auth("acc_zebra", "rt_zebra", 1_770_000_000),
        "image": "registry.example/zebra:2026.4.21", "variables": {"ZEBRA": "zebra"}, "labels": {"zebra": "zebra"}});
    assert_eq!(app.post("/provision", body).await.status, 201);
    app.post("/containers/zebra-17/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    app.delete("/containers/zebra-17?data=purge").await;
    app.pass_seconds(10).await;
    let text = scrape(&app).await;
    assert!(text.contains("ecs:DeleteService"), "{text}");
    for word in ["zebra", "eyJ", TOKEN, READ_TOKEN] {
        assert!(!text.to_lowercase().contains(&word.to_lowercase()), "{word}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_need_a_token() {
    let app = TestApp::start().await;
    let answer = app.raw("GET", "/metrics", &[("authorization", "")], Body::empty()).await;
    assert_eq!((answer.status, &answer.body["code"]), (401, &json!("unauthorized")));
}

#[test]
fn a_snapshot_of_the_fleet_replaces_the_one_before() {
    let metrics = Metrics::default();
    assert!(!metrics.encode().contains("fleet_snapshot"), "an age of nothing would raise an alert");
    let taken = Timestamp::from_second(1_770_000_000).unwrap();
    let (steady, given_up) = (Some(Rollout::Completed), Some(Rollout::Failed));
    let containers =
        [(State::Running, steady), (State::Running, steady), (State::Failed, given_up), (State::Deleting, None)];
    metrics.fleet(containers, Some(Duration::from_secs(90)), taken);
    let text = metrics.encode();
    let containers = |text: &str, state: &str| value(text, &format!(r#"containers{{state="{state}"}}"#));
    assert_eq!([containers(&text, "running"), containers(&text, "failed")], [Some(2.0), Some(1.0)], "{text}");
    let rollouts =
        |text: &str| Rollout::ALL.map(|rollout| value(text, &format!(r#"rollouts{{state="{}"}}"#, rollout.name())));
    assert_eq!(rollouts(&text), [Some(0.0), Some(2.0), Some(1.0)], "in progress, completed, failed");
    assert_eq!(value(&text, "oldest_transition_age_seconds{}"), Some(90.0));
    metrics.fleet([(State::Stopped, Some(Rollout::InProgress))], None, taken + Duration::from_secs(60));
    let text = metrics.encode();
    let counts = State::ALL.map(|state| containers(&text, state.name()).unwrap());
    assert_eq!(counts, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(rollouts(&text), [Some(1.0), Some(0.0), Some(0.0)]);
    assert_eq!(value(&text, "oldest_transition_age_seconds{}"), Some(0.0));
    assert_eq!(value(&text, "fleet_snapshot_timestamp_seconds{}"), Some(1_770_000_060.0));
}

fn of_vcpu(used: Option<f64>, limit_from: LimitSource) -> QuotaUse {
    QuotaUse { quota: Quota::FargateVcpu, used, limit: 6.0, limit_from, problems: vec![] }
}

#[test]
fn a_quota_with_an_unknown_rest_has_no_series() {
    let metrics = Metrics::default();
    let shown = |of: QuotaUse| {
        metrics.quotas(&[of]);
        let text = metrics.encode();
        ["used", "limit"].map(|name| value(&text, &format!(r#"quota_{name}{{quota="fargate_vcpu"}}"#)))
    };
    let known = [Some(1.5), Some(6.0)];
    assert_eq!(shown(of_vcpu(Some(1.5), LimitSource::InForce)), known);
    assert_eq!(shown(of_vcpu(None, LimitSource::InForce)), [None, None]);
    assert_eq!(shown(of_vcpu(Some(1.5), LimitSource::DocumentedDefault)), known);
    assert_eq!(shown(of_vcpu(Some(7.0), LimitSource::DocumentedDefault)), [None, None], "more is in force");
}

/// Quotas are read for metrics after a minute, and then every five minutes.
#[tokio::test(start_paused = true)]
async fn quotas_are_looked_at_in_the_background() {
    let app = TestApp::with(fresh_reads()).await;
    app.provision("alice").await;
    let background = app.capacity.refresh_in_background();
    app.pass_seconds(59).await;
    assert_eq!(value(&scrape(&app).await, r#"quota_used{quota="services"}"#), None);
    app.pass_seconds(2).await;
    assert_eq!(value(&scrape(&app).await, r#"quota_used{quota="services"}"#), Some(1.0));
    assert_eq!(value(&scrape(&app).await, r#"quota_limit{quota="services"}"#), Some(5_000.0));
    app.provision("bob").await;
    app.pass_seconds(301).await;
    assert_eq!(value(&scrape(&app).await, r#"quota_used{quota="services"}"#), Some(2.0));
    background.abort();
}

/// Metrics in which every series has one event.
fn all() -> Metrics {
    let metrics = Metrics::default();
    metrics.operation("provision", "created", "none");
    metrics.step("create_service", Duration::from_millis(80));
    metrics.provisioned_and_running(Duration::from_secs(40));
    metrics.credentials("written");
    metrics.aws_call("ecs:CreateService", "ThrottlingException", true);
    drop(metrics.queued("service-write"));
    metrics.files_unavailable("stuck");
    metrics.lock_lost();
    metrics.waited("service-write", Duration::ZERO);
    metrics.fleet([(State::Running, Some(Rollout::Completed))], None, Timestamp::UNIX_EPOCH);
    metrics.quotas(&[of_vcpu(Some(1.5), LimitSource::InForce)]);
    metrics.fleet_rollout(&[("done", 1)], false, Some((60, 1)));
    metrics.directories(DirectorySizes { bytes: 1, users: 1, incomplete: 0 }, 0, &[1]);
    metrics
}

/// The names of all series, and the HELP texts by the name of the metric.
fn registry() -> (BTreeSet<String>, Vec<(String, String)>) {
    let text = all().encode();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let series = series.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    (series, help.map(|(name, words)| (name.to_owned(), words.to_owned())).collect())
}

/// Every name in a text with our prefix.
fn names_in(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c));
    words.filter(|word| word.starts_with(PREFIX)).map(str::to_owned).collect()
}

fn observability(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/observability").join(name)).unwrap()
}

#[test]
fn every_series_has_a_metric_with_words_that_help() {
    let (series, help) = registry();
    assert!(series.len() > help.len() && help.len() > 10, "{series:?} {help:?}");
    for name in &series {
        let described = help.iter().find(|(metric, _)| {
            let suffix = name.strip_prefix(metric.as_str());
            suffix.is_some_and(|suffix| ["", "_total", "_bucket", "_sum", "_count"].contains(&suffix))
        });
        assert!(described.is_some_and(|(_, words)| words.len() > 20), "{name} has no HELP");
    }
}

#[test]
fn dashboard_alerts_and_document_name_exactly_the_existing_metrics() {
    let (series, help) = registry();
    let (dashboard, document) = (observability("dashboard.json"), observability("../../docs/observability.md"));
    for (file, text) in [
        ("dashboard.json", dashboard.clone()),
        ("alerts.yaml", observability("alerts.yaml")),
        ("alerts_test.yaml", observability("alerts_test.yaml")),
    ] {
        let asked = names_in(&text);
        assert!(!asked.is_empty(), "nothing was read of {file}");
        let unknown: Vec<_> = asked.iter().filter(|name| !series.contains(*name)).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}, which is not measured");
    }
    // Documents name a histogram without its suffixes.
    let unknown = |name: &&String| !series.contains(*name) && help.iter().all(|(metric, _)| metric != *name);
    assert_eq!(
        names_in(&document).iter().find(unknown),
        None,
        "docs/observability.md tells of it, and it is not measured"
    );
    let (shown, told) = (names_in(&dashboard), names_in(&document));
    for (metric, _) in help {
        assert!(shown.iter().any(|name| name.starts_with(&metric)), "{metric} is on no panel");
        assert!(told.iter().any(|name| name.starts_with(&metric)), "docs/observability.md does not tell of {metric}");
    }
}

#[test]
fn every_panel_has_a_title_a_description_an_expression_and_its_own_place() {
    let dashboard: Value = serde_json::from_str(&observability("dashboard.json")).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for member in ["title", "description"] {
            assert!(panel[member].as_str().is_some_and(|text| text.len() > 4), "{panel}");
        }
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} lies over another one", panel["title"]);
            }
        }
    }
}
