//! Logs and traces of the real binary: the content of a line, the export of spans, and what neither ever shows.

mod server;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::harness::auth;
use server::{Dev, Receiver};

/// The lines of a log with this message.
fn lines<'a>(log: &'a [Value], message: &str) -> Vec<&'a Value> {
    log.iter().filter(|line| line["message"] == message).collect()
}

fn provision(user_id: &str) -> Value {
    json!({"user_id": user_id, "auth": auth("acc_secret_words", "rt_secret_words", 1_770_000_000),
        "variables": {"PLAIN": "variable_secret_words"}, "labels": {"x": "label_secret_words"},
        "secrets": {"KEY": "arn:aws:secretsmanager:us-east-1:123456789012:secret:name-AbCdEf"}})
}

#[tokio::test]
async fn a_provision_is_logged_and_traced_from_the_request_to_each_aws_call() {
    let receiver = Receiver::start(Some(StatusCode::OK)).await;
    let dev = Dev::start(&receiver.url, &[("PROVISIONER_LOG", "info,openclaw_provisioner::aws=debug")]).await;
    // Ids are bytes in a span; these bytes are readable words.
    let (trace, parent) = ("the-callers-own-", "its-span");
    let hex = |words: &str| words.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let traceparent = format!("00-{}-{}-01", hex(trace), hex(parent));
    let headers = [("x-request-id", "r-17"), ("traceparent", traceparent.as_str())];
    assert_eq!(dev.request("POST", "/provision", &headers, &provision("alice")).await.0, 201);
    let headers = [("x-request-id", "r-17"), ("traceparent", "00-nonsense-01")];
    let resize = json!({"cpu": 1024, "memory_mib": 4096});
    assert_eq!(dev.request("POST", "/containers/alice/resize", &headers, &resize).await.0, 202);
    let log = dev.stop().await;

    for line in &log {
        let nested = line.as_object().unwrap().values().find(|value| value.is_object() || value.is_array());
        assert_eq!(nested, None, "a line is flat: {line}");
    }
    let steps = lines(&log, "step taken");
    let created = steps.iter().find(|line| line["step"] == "create_service").unwrap();
    for (field, value) in
        [("request_id", "r-17"), ("operation", "provision"), ("user_id", "alice"), ("path", "/provision")]
    {
        assert_eq!(created[field], value, "{created}");
    }
    assert!(created["attempt"] == 1 && created["elapsed_ms"].is_u64(), "{created}");
    let operation_id = created["operation_id"].as_str().unwrap();
    assert_eq!(operation_id.len(), 16);

    let calls = lines(&log, "AWS call");
    let call = calls.iter().find(|line| line["aws_action"] == "ecs:CreateService").unwrap();
    assert!(call["aws_request_id"].as_str().is_some_and(|id| id.len() > 8), "{call}");
    for (field, value) in [("operation_id", operation_id), ("aws_code", "OK"), ("step", "create_service")] {
        assert_eq!(call[field], value, "{call}");
    }
    assert!(call["attempt"] == 1 && call["elapsed_ms"].is_u64(), "{call}");

    let spans = receiver.received();
    for word in ["request", "converge", "create_service", "aws_call", "ecs:CreateService", operation_id, "alice"] {
        assert!(spans.contains(word), "the spans say {word}: {spans}");
    }
    assert!(spans.contains("openclaw-provisioner"), "the service has a name");
    assert!(spans.matches(trace).count() > 3, "all of a request's spans are in the caller's trace");
    assert_eq!(spans.matches(parent).count(), 1, "the request's span alone is right below the caller's");
}

#[tokio::test]
async fn the_audit_has_caller_operation_user_and_outcome_whatever_the_log_level() {
    let dev = Dev::start("", &[("PROVISIONER_LOG", "error")]).await;
    let headers = [("x-request-id", "r-18")];
    assert_eq!(dev.request("POST", "/provision", &headers, &provision("alice")).await.0, 201);
    let resize = json!({"cpu": 1024, "memory_mib": 4096});
    dev.request("POST", "/containers/alice/resize", &headers, &resize).await;
    dev.request("POST", "/containers/alice/resize", &headers, &resize).await;
    dev.request("POST", "/containers/alice/gateway/rotate", &headers, &json!({})).await;
    dev.request("POST", "/containers/alice/stop", &headers, &json!({})).await;
    dev.request("POST", "/containers/alice/cancel", &headers, &json!({})).await;
    dev.request("POST", "/containers/alice/credentials/repair", &headers, &json!({})).await;
    dev.request("POST", "/containers/bob/start", &headers, &json!({})).await;
    let mut log = dev.stop().await;

    let mut told = Vec::new();
    for line in &mut log {
        let line = line.as_object_mut().unwrap();
        assert_eq!((&line["target"], &line["message"]), (&json!("audit"), &json!("audit")), "{line:?}");
        assert_eq!((&line["caller"], &line["request_id"]), (&json!("dev"), &json!("r-18")), "{line:?}");
        assert!(line["operation_id"].is_string() && line["elapsed_ms"].is_u64(), "{line:?}");
        let text = |name: &str| line.get(name).map_or("-".into(), |value| value.to_string().replace('"', ""));
        let seen = |when: &str| {
            let names = ["state", "desired", "size", "task_definition", "base"];
            names.map(|name| text(&format!("{when}_{name}"))).join(" ")
        };
        told.push(format!(
            "{} {} {} {}: {} > {}",
            text("user_id"),
            text("operation"),
            text("outcome"),
            text("reason"),
            seen("before"),
            seen("after")
        ));
    }
    // The emulator decides whether the task still runs by then.
    let settled =
        [("running 1", "up 1"), ("provisioning 1", "up 1"), ("stopping 0", "down 0"), ("stopped 0", "down 0")];
    let told = settled.iter().fold(told.join("\n"), |told, (state, either)| told.replace(state, either));
    insta::assert_snapshot!(told, @"
    alice provision created -: absent - - - - > up 1 512/2048 openclaw-dev-user:1 openclaw-dev:1
    alice resize changed -: up 1 512/2048 openclaw-dev-user:1 openclaw-dev:1 > up 1 1024/4096 openclaw-dev-user:2 openclaw-dev:1
    alice resize unchanged -: up 1 1024/4096 openclaw-dev-user:2 openclaw-dev:1 > up 1 1024/4096 openclaw-dev-user:2 openclaw-dev:1
    alice rotate_gateway_token changed -: up 1 1024/4096 openclaw-dev-user:2 openclaw-dev:1 > up 1 1024/4096 openclaw-dev-user:2 openclaw-dev:1
    alice stop changed -: up 1 1024/4096 openclaw-dev-user:2 openclaw-dev:1 > down 0 1024/4096 openclaw-dev-user:2 openclaw-dev:1
    alice cancel unchanged -: down 0 - - - > down 0 1024/4096 openclaw-dev-user:2 openclaw-dev:1
    alice repair_credentials unchanged -: down 0 1024/4096 openclaw-dev-user:2 openclaw-dev:1 > down 0 1024/4096 openclaw-dev-user:2 openclaw-dev:1
    bob start failed container_not_found: absent - - - - > absent - - - -
    ");
}

#[tokio::test]
async fn neither_logs_nor_metrics_nor_spans_show_a_token_or_a_secret_at_any_level() {
    let receiver = Receiver::start(Some(StatusCode::OK)).await;
    let dev = Dev::start(&receiver.url, &[("PROVISIONER_LOG", "trace")]).await;
    let mut newer = provision("alice");
    assert_eq!(dev.request("POST", "/provision", &[], &newer).await.0, 201);
    let (_, gateway) = dev.request("GET", "/containers/alice/gateway", &[], &Value::Null).await;
    let gateway: Value = serde_json::from_str(&gateway).unwrap();
    let newest = auth("acc_secret_words", "rt_newer_secret_words", 1_780_000_000);
    newer["auth"] = newest.clone();
    let (status, answer) = dev.request("POST", "/provision", &[], &newer).await;
    assert!(answer.contains(r#""credentials":"written""#), "{status} {answer}");
    // A refused body is not shown either.
    let bad = json!({"auth": {"tokens": {"refresh_token": "rt_bad_secret_words"}}, "nonsense_secret_words": 1});
    dev.request("PUT", "/containers/alice/credentials", &[], &bad).await;
    dev.request("GET", "/containers/alice", &[("authorization", "Bearer wrong_secret_words")], &Value::Null).await;
    assert_eq!(dev.request("POST", "/containers/alice/gateway/rotate", &[], &json!({})).await.0, 202);
    let (_, rotated) = dev.request("GET", "/containers/alice/gateway", &[], &Value::Null).await;
    let rotated: Value = serde_json::from_str(&rotated).unwrap();
    let (status, metrics) = dev.request("GET", "/metrics", &[], &Value::Null).await;
    assert_eq!(status, 200);
    let token = dev.token.clone();
    let log: Vec<String> = dev.stop().await.iter().map(Value::to_string).collect();

    let spans = receiver.received();
    assert!(spans.contains("rotate_gateway_token") && metrics.contains("rotate_gateway_token"), "{spans}");
    assert!(log.iter().any(|line| line.contains(r#""level":"TRACE""#) || line.contains(r#""level":"DEBUG""#)));
    let signature = newest["tokens"]["access_token"].as_str().unwrap();
    let gateway_tokens = [&gateway, &rotated].map(|answer| answer["token"].as_str().unwrap());
    assert_ne!(gateway_tokens[0], gateway_tokens[1]);
    for secret in ["secret_words", "eyJ", &token, signature, gateway_tokens[0], gateway_tokens[1]] {
        for (where_, text) in [("log", &log.join("\n")), ("metrics", &metrics), ("spans", &spans)] {
            let at = text.find(secret).map(|at| &text[at.saturating_sub(200)..at]);
            assert_eq!(at, None, "{secret} is in the {where_}");
        }
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_is_logged_once() {
    let receiver = Receiver::start(Some(StatusCode::BAD_REQUEST)).await;
    let dev = Dev::start(&receiver.url, &[("OTEL_BSP_SCHEDULE_DELAY", "20")]).await;
    for exports in 1..=3 {
        assert_eq!(dev.request("GET", "/healthz", &[], &Value::Null).await.0, 200);
        receiver.wait_for(exports).await;
    }
    receiver.answer(StatusCode::OK);
    assert_eq!(dev.request("GET", "/healthz", &[], &Value::Null).await.0, 200);
    receiver.wait_for(4).await;
    let log = dev.stop().await;
    assert_eq!(lines(&log, "traces cannot be exported; spans are dropped meanwhile").len(), 1, "{log:#?}");
    assert_eq!(lines(&log, "traces are exported again").len(), 1, "{log:#?}");
}

#[tokio::test]
async fn a_receiver_that_never_answers_delays_neither_callers_nor_the_shutdown() {
    let receiver = Receiver::start(None).await;
    let dev = Dev::start(&receiver.url, &[("OTEL_BSP_SCHEDULE_DELAY", "20")]).await;
    assert_eq!(dev.request("GET", "/healthz", &[], &Value::Null).await.0, 200);
    receiver.wait_for(1).await;
    assert_eq!(dev.request("POST", "/provision", &[], &provision("alice")).await.0, 201);
    // The process ends by itself and without error; otherwise nextest would end the test.
    let log = dev.stop().await;
    assert!(lines(&log, "audit").len() == 1, "{log:#?}");
}

#[tokio::test]
async fn an_invalid_endpoint_is_an_error_at_the_start() {
    let output = Dev::refused("not a url").await;
    assert!(output.contains("OTEL_EXPORTER_OTLP"), "{output}");
}
