//! Files as the Codex CLI and people write them.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_auth_json_of_any_codex_release_is_staged_unchanged() {
    let app = with_base("o:2026.4.21").await;
    for mode in [None, Some(Value::Null), Some(json!("chatgpt"))] {
        let mut sent = auth("rt_1", "home", ISSUED);
        if let Some(mode) = mode {
            sent["auth_mode"] = mode;
        }
        let answer = provision(&app, sent).await;
        assert_eq!(codes(&answer.body), Vec::<&str>::new());
        assert_eq!(file(&app, CODEX)["auth_mode"], "chatgpt");
    }
    let mut sent = auth("rt_2", "home", LATER);
    sent["agent_identity"] = json!({"token": "SENTINEL-SECRET"});
    sent["tokens"]["expires_at"] = json!("SENTINEL-SECRET");
    sent["personal_access_token"] = Value::Null;
    let answer = provision(&app, sent.clone()).await;
    assert_eq!((outcome(&answer)[0], codes(&answer.body)), ("written", vec!["auth_members_dropped"]));
    let message = answer.body["warnings"][0]["message"].as_str().unwrap();
    for name in ["auth.agent_identity", "auth.personal_access_token", "auth.tokens.expires_at"] {
        assert!(message.contains(name), "{message}");
    }
    assert!(!message.contains("SENTINEL") && !app.file(CODEX).contains("SENTINEL"));
    let put = put(&app, sent).await;
    assert_eq!((put.status, codes(&put.body)), (200, vec!["auth_members_dropped"]), "{}", put.body);
}

#[tokio::test(start_paused = true)]
async fn a_stored_sign_in_that_codex_can_read_is_not_unreadable() {
    for time in [
        "2026-09-21T14:13:20Z",
        "2026-09-21 14:13:20.551234+00:00",
        "2026-09-21T14:13:20+0000",
        "2026-09-21T14:13:20 UTC",
        "2026-09-21T14:13:20.551234789Z",
    ] {
        let app = with_base("o:2026.4.21").await;
        let mut sent = auth("rt_1", "home", ISSUED);
        sent["last_refresh"] = json!("2026-09-21T14:13:20Z");
        provision(&app, sent.clone()).await;
        let mut rotated = auth("rt_2", "home", ROTATED);
        rotated["last_refresh"] = json!(time);
        rotated["tokens"]["id_token"] = rotated["tokens"]["access_token"].clone();
        write(&app, CODEX, &rotated);
        let again = provision(&app, sent).await;
        assert_eq!((outcome(&again)[0], app.file(CODEX)), ("kept_fresher", rotated.to_string()), "{time}");
    }
}

/// Codex refuses such a file, but its refresh token is the live one: the file is repaired, and kept.
#[tokio::test(start_paused = true)]
async fn a_stored_sign_in_with_a_time_that_codex_refuses_is_repaired() {
    let app = with_base("o:2026.4.21").await;
    let sent = auth("rt_1", "home", ISSUED);
    provision(&app, sent.clone()).await;
    let mut rotated = auth("rt_2", "home", ROTATED);
    rotated["last_refresh"] = json!("yesterday");
    write(&app, CODEX, &rotated);
    let again = provision(&app, sent).await;
    assert_eq!(outcome(&again), ["kept_fresher", "stored_issued_later"]);
    let made_good = file(&app, CODEX);
    assert_eq!(
        (&made_good["tokens"]["refresh_token"], made_good["last_refresh"].as_str()),
        (&json!("rt_2"), Some("2026-09-22T14:13:20Z"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_in_another_encoding_is_refused_with_its_name() {
    let app = TestApp::start().await;
    let body = json!({"user_id": "alice"}).to_string();
    let utf_16 = |bytes: fn(u16) -> [u8; 2]| body.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    for (bytes, word) in [
        ([b"\xef\xbb\xbf", body.as_bytes()].concat(), "byte-order mark"),
        (utf_16(u16::to_le_bytes), "UTF-16"),
        (utf_16(u16::to_be_bytes), "UTF-16"),
    ] {
        let answer = app.raw("POST", "/provision", &[], bytes).await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_json")));
        assert!(answer.body["detail"].as_str().unwrap().contains(word), "{}", answer.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_without_the_claim_that_openclaw_needs_gives_a_warning() {
    let app = with_base("o:2026.9.6").await;
    let mut sent = auth("rt_1", "home", ISSUED);
    let payload = json!({"iat": ISSUED, "exp": 4_102_444_800_i64});
    let encode = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    sent["tokens"]["access_token"] = json!(format!("{}.{}.c2ln", encode(json!({})), encode(payload)));
    assert_eq!(codes(&provision(&app, sent).await.body), ["account_claim_missing"]);
}

/// The user's own settings of the Codex CLI, shown and staged.
#[tokio::test(start_paused = true)]
async fn a_codex_config_that_ignores_the_file_gives_a_warning_with_every_layout() {
    let app = with_base("o:2026.4.21").await;
    let sent = auth("rt_1", "home", ISSUED);
    provision(&app, sent.clone()).await;
    for config in ["cli_auth_credentials_store = \"keyring\"", "forced_chatgpt_workspace_id = \"other\"", "not toml"] {
        std::fs::write(app.path("users/alice/codex/config.toml"), config).unwrap();
        for body in [
            provision(&app, sent.clone()).await.body,
            put(&app, sent.clone()).await.body,
            app.get(CREDENTIALS).await.body,
        ] {
            assert_eq!(codes(&body), ["codex_config_ignores_auth_json"], "{config}: {body}");
        }
    }
}
