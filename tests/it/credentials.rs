//! The sign-in on the file system, as `POST /provision` leaves it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use aws_emulator::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, auth};

const AUTH_JSON: &str = "users/alice/codex/auth.json";
/// When the first sign-in was issued, in seconds of the Unix epoch.
const ISSUED: i64 = 1_770_000_000;

async fn provision(app: &TestApp, auth: Value) -> Answer {
    let answer = app.post("/provision", json!({"user_id": "alice", "auth": auth})).await;
    assert!([200, 201, 202].contains(&answer.status), "{}", answer.body);
    answer
}

/// The result of sending a sign-in: outcome, reason, and the refresh token now in the file.
fn outcome(app: &TestApp, answer: &Answer) -> [Value; 3] {
    let file: Value = serde_json::from_str(&app.file(AUTH_JSON)).unwrap();
    let [credentials, reason] = ["credentials", "credentials_reason"].map(|member| answer.body[member].clone());
    [credentials, reason, file["tokens"]["refresh_token"].clone()]
}

/// Acts as the running container: uses the refresh token and writes the next one.
fn rotate(app: &TestApp, refresh_token: &str, last_refresh: &str) {
    let mut file = auth("acc_1", refresh_token, ISSUED + 3600);
    file["last_refresh"] = json!(last_refresh);
    file["OPENAI_API_KEY"] = Value::Null;
    std::fs::write(app.path(AUTH_JSON), file.to_string()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_users_file_is_what_codex_reads() {
    let app = TestApp::start().await;
    let sent = auth("acc_1", "rt_1", ISSUED);
    let answer = provision(&app, sent.clone()).await;
    assert_eq!(outcome(&app, &answer), ["written", "missing", "rt_1"]);
    let file: Value = serde_json::from_str(&app.file(AUTH_JSON)).unwrap();
    let expected = json!({
        "auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": sent["tokens"], "last_refresh": "2026-02-02T02:40:00Z",
    });
    assert_eq!(file, expected);
}

/// Incident 24: owner flipped between uid 0 and 1000 and left unreadable files.
#[tokio::test(start_paused = true)]
async fn files_belong_to_the_container_and_nobody_else_can_read_them() {
    let app = TestApp::start().await;
    let root = rustix::process::geteuid().is_root();
    for again in 0..3 {
        provision(&app, auth("acc_1", &format!("rt_{again}"), ISSUED + again)).await;
        for (path, mode) in [("users/alice", 0o700), ("users/alice/codex", 0o700), (AUTH_JSON, 0o600)] {
            let metadata = std::fs::metadata(app.path(path)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
            if root {
                assert_eq!((metadata.uid(), metadata.gid()), (1000, 1000), "{path}");
            }
        }
        if root {
            // As a container that ran as root would leave them.
            for path in ["users/alice/codex", AUTH_JSON] {
                std::os::unix::fs::chown(app.path(path), Some(0), Some(0)).unwrap();
            }
        }
        std::fs::set_permissions(app.path(AUTH_JSON), PermissionsExt::from_mode(0o644)).unwrap();
    }
}

/// Incident 28: re-provisioning wrote an older refresh token over one that the running container had already rotated.
#[tokio::test(start_paused = true)]
async fn a_rotated_sign_in_stays_when_older_ones_are_sent_again() {
    let app = TestApp::start().await;
    let sent = auth("acc_1", "rt_1", ISSUED);
    provision(&app, sent.clone()).await;
    rotate(&app, "rt_2", "2026-02-03T00:00:00Z");
    let before = app.file(AUTH_JSON);
    for _ in 0..3 {
        let answer = provision(&app, sent.clone()).await;
        assert_eq!(outcome(&app, &answer), ["kept_fresher", "stored_issued_later", "rt_2"]);
    }
    let mut older = sent;
    older["last_refresh"] = json!("2026-02-02T23:59:59Z");
    let answer = provision(&app, older).await;
    assert_eq!(outcome(&app, &answer), ["kept_fresher", "stored_refreshed_later", "rt_2"]);
    assert_eq!(app.file(AUTH_JSON), before, "not a byte of it changed");
}

#[tokio::test(start_paused = true)]
async fn the_same_sign_in_is_not_written_again() {
    let app = TestApp::start().await;
    provision(&app, auth("acc_1", "rt_1", ISSUED)).await;
    let before = std::fs::metadata(app.path(AUTH_JSON)).unwrap();
    let answer = provision(&app, auth("acc_1", "rt_1", ISSUED)).await;
    assert_eq!(outcome(&app, &answer), ["kept_fresher", "same_sign_in", "rt_1"]);
    let after = std::fs::metadata(app.path(AUTH_JSON)).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
}

#[tokio::test(start_paused = true)]
async fn a_newer_sign_in_replaces_the_stored_one() {
    let app = TestApp::start().await;
    provision(&app, auth("acc_1", "rt_1", ISSUED)).await;
    let answer = provision(&app, auth("acc_1", "rt_2", ISSUED + 1)).await;
    assert_eq!(outcome(&app, &answer), ["written", "issued_later", "rt_2"]);
    rotate(&app, "rt_3", "2026-02-03T00:00:00Z");
    let mut newer = auth("acc_1", "rt_4", ISSUED);
    newer["last_refresh"] = json!("2026-02-03T01:00:00.5+01:00");
    let answer = provision(&app, newer).await;
    assert_eq!(outcome(&app, &answer), ["written", "refreshed_later", "rt_4"]);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_to_another_account_replaces_the_stored_one_at_any_age() {
    let app = TestApp::start().await;
    provision(&app, auth("acc_1", "rt_1", ISSUED)).await;
    let answer = provision(&app, auth("acc_2", "rt_2", ISSUED - 1_000_000)).await;
    assert_eq!(outcome(&app, &answer), ["written", "other_account", "rt_2"]);
}

/// Incident 26: a crash between truncate and write left a 0-byte auth.json; every provider lost its sign-in.
#[tokio::test(start_paused = true)]
async fn an_unusable_file_is_repaired_by_the_next_provision() {
    let app = TestApp::start().await;
    for (content, reason) in [
        ("", "empty"),
        ("\n", "empty"),
        ("{", "unreadable"),
        ("{}", "unreadable"),
        ("[]", "unreadable"),
        ("{\"auth_mode\":\"chatgpt\",\"tokens\":{}}", "unreadable"),
        ("\u{feff}{}", "unreadable"),
    ] {
        provision(&app, auth("acc_1", "rt_1", ISSUED)).await;
        std::fs::write(app.path(AUTH_JSON), content).unwrap();
        // Older than the former one: nothing fresher is left.
        let answer = provision(&app, auth("acc_1", "rt_1", ISSUED)).await;
        assert_eq!(outcome(&app, &answer), ["written", reason, "rt_1"], "{content:?}");
    }
    let names: Vec<_> = std::fs::read_dir(app.path("users/alice/codex")).unwrap().collect();
    assert_eq!(names.len(), 1, "no temporary file stays: {names:?}");
}

/// Incident 23: the service started before its files were written.
#[tokio::test(start_paused = true)]
async fn the_file_is_there_before_the_service_is_created() {
    let app = TestApp::start().await;
    // An empty file is read again after a pause before it is replaced, so AWS answers long before the files are ready.
    std::fs::create_dir_all(app.path("users/alice/codex")).unwrap();
    std::fs::write(app.path(AUTH_JSON), "").unwrap();
    let kind = FaultKind::Hang;
    app.emulator.inject(Fault { service: None, action: "CreateService".into(), skip: 0, times: 1, kind });
    let looking = async {
        while !app.calls().contains(&"ecs:CreateService".to_owned()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        app.file(AUTH_JSON)
    };
    let (answer, file) = tokio::join!(app.provision("alice"), looking);
    assert!(file.contains("rt_1"), "when the service was created the file was {file:?}");
    assert_eq!(answer.status, 201, "the call that hung was tried again: {}", answer.body);
}

/// Incident 23: without files there is no service.
#[tokio::test(start_paused = true)]
async fn no_service_is_created_for_files_that_cannot_be_written() {
    let app = TestApp::start().await;
    std::fs::remove_dir(app.path("users")).unwrap();
    std::fs::write(app.path("users"), "in the way").unwrap();
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, &answer.body["code"]), (500, &json!("files_misconfigured")), "{}", answer.body);
    assert_eq!(answer.body["retryable"], false);
    let calls = app.calls();
    for action in ["ecs:CreateService", "ecs:UpdateService"] {
        assert!(!calls.contains(&action.to_owned()), "{calls:?}");
    }
    // It was registered during the staging, and nothing runs it.
    assert!(app.user_revisions().is_empty());
    std::fs::remove_file(app.path("users")).unwrap();
    let unmounted = app.provision("alice").await;
    let told = (unmounted.status, &unmounted.body["code"], &unmounted.body["retryable"]);
    assert_eq!(told, (503, &json!("files_unavailable"), &json!(true)), "{}", unmounted.body);
    std::fs::create_dir(app.path("users")).unwrap();
    let mended = app.provision("alice").await;
    assert_eq!(mended.status, 201, "{}", mended.body);
}

#[tokio::test(start_paused = true)]
async fn no_other_change_touches_the_sign_in() {
    let app = TestApp::start().await;
    provision(&app, auth("acc_1", "rt_1", ISSUED)).await;
    app.pass_seconds(3).await;
    rotate(&app, "rt_2", "2026-02-03T00:00:00Z");
    let before = app.file(AUTH_JSON);
    for (path, body) in [
        ("resize", json!({"cpu": 1024, "memory_mib": 4096})),
        ("redeploy", json!({"force": true})),
        ("stop", json!({})),
        ("start", json!({})),
    ] {
        let answer = app.post(&format!("/containers/alice/{path}"), body).await;
        assert_eq!(answer.status, 202, "{path}: {}", answer.body);
        app.pass_seconds(5).await;
    }
    app.delete("/containers/alice").await;
    app.pass_seconds(10).await;
    assert_eq!(app.file(AUTH_JSON), before);
}

#[tokio::test(start_paused = true)]
async fn no_answer_and_no_request_to_aws_contains_a_token() {
    let app = TestApp::start().await;
    let sent = auth("acc_1", "SENTINEL-SECRET", ISSUED);
    let access_token = sent["tokens"]["access_token"].as_str().unwrap().to_owned();
    let mut said = provision(&app, sent).await.body.to_string();
    app.pass_seconds(3).await;
    said += &app.get("/containers/alice").await.body.to_string();
    said += &app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await.body.to_string();
    for call in app.emulator.calls() {
        said += &call.request.to_string();
    }
    assert!(said.contains("users/alice"), "the calls are in it");
    assert!(!said.contains("SENTINEL-SECRET") && !said.contains(&access_token), "{said}");
}
