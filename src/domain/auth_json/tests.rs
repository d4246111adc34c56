use proptest::prelude::*;

use super::super::freshness::Existing;
use super::super::jwt::tests::jwt;
use super::*;

const SECRET: &str = "s3cr3t-value";

fn access() -> String {
    jwt(&json!({
        "iat": 1_777_000_000, "exp": 1_777_864_000,
        "https://api.openai.com/auth": {"chatgpt_account_id": "acc-claim"},
    }))
}

fn body() -> Value {
    json!({
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": null,
        "tokens": {
            "access_token": access(),
            "refresh_token": "rt_1",
            "id_token": jwt(&json!({"email": "Ada@example.com"})),
            "account_id": "acc-1",
        },
        "last_refresh": "2026-04-25T12:00:00.25+02:00",
    })
}

/// The body with the member at a pointer replaced, or removed for `None`.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut body = body();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    body
}

fn file(auth: &ChatGptAuth) -> Value {
    serde_json::from_slice(auth.to_file_bytes().expose_secret()).unwrap()
}

#[test]
fn a_complete_sign_in_becomes_the_file_that_codex_reads() {
    let auth = ChatGptAuth::parse(body()).unwrap();
    let text = String::from_utf8(auth.to_file_bytes().expose_secret().to_vec()).unwrap();
    let text = text.replace(&access(), "<access>").replace(&jwt(&json!({"email": "Ada@example.com"})), "<id>");
    insta::assert_snapshot!(text, @r#"
    {
      "OPENAI_API_KEY": null,
      "auth_mode": "chatgpt",
      "last_refresh": "2026-04-25T10:00:00.25Z",
      "tokens": {
        "access_token": "<access>",
        "account_id": "acc-1",
        "id_token": "<id>",
        "refresh_token": "rt_1"
      }
    }
    "#);
}

#[test]
fn what_is_missing_is_filled_from_the_access_token_and_judged_as_sent() {
    let mut body = with("/last_refresh", None);
    let tokens = body["tokens"].as_object_mut().unwrap();
    tokens.remove("id_token");
    tokens.insert("account_id".to_owned(), Value::Null);
    let auth = ChatGptAuth::parse(body).unwrap();
    let file = file(&auth);
    assert_eq!(file["tokens"]["id_token"], access());
    assert_eq!(file["tokens"]["account_id"], "acc-claim");
    assert_eq!(file["last_refresh"], "2026-04-24T03:06:40Z");
    assert_eq!(auth.last_refresh().as_second(), 1_777_000_000);
    assert_eq!(auth.sign_in().last_refresh, None);
    assert_eq!(auth.sign_in().issued_at, Some(auth.last_refresh()));
}

#[test]
fn an_opaque_access_token_is_accepted_when_nothing_has_to_be_read_from_it() {
    let auth = ChatGptAuth::parse(with("/tokens/access_token", Some(json!("opaque")))).unwrap();
    assert_eq!((auth.sign_in().issued_at, auth.sign_in().expires_at), (None, None));
    for (pointer, field) in [
        ("/tokens/id_token", "auth.tokens.id_token"),
        ("/tokens/account_id", "auth.tokens.account_id"),
        ("/last_refresh", "auth.last_refresh"),
    ] {
        let mut body = with(pointer, None);
        body["tokens"]["access_token"] = json!("opaque");
        assert_eq!(ChatGptAuth::parse(body).unwrap_err().field(), field);
    }
}

#[test]
fn refusals_name_the_path_and_the_fix_and_never_the_value() {
    let cases = [
        with("/auth_mode", Some(json!(SECRET))),
        with("/auth_mode", None),
        with("/OPENAI_API_KEY", Some(json!(SECRET))),
        with("/last_refresh", Some(json!("2026-04-25T10:00:00"))),
        with("/last_refresh", Some(json!(1_777_000_000))),
        with("/tokens", None),
        with("/tokens", Some(json!([SECRET]))),
        with("/refreshToken", Some(json!(SECRET))),
        with("/tokens/refreshToken", Some(json!(SECRET))),
        with("/tokens/a b\nc", Some(json!(SECRET))),
        with("/tokens/access_token", None),
        with("/tokens/access_token", Some(json!(""))),
        with("/tokens/refresh_token", Some(Value::Null)),
        with("/tokens/refresh_token", Some(json!(format!("{SECRET}\n")))),
        with("/tokens/refresh_token", Some(json!(format!("{SECRET}\u{7f}")))),
        with("/tokens/refresh_token", Some(json!(format!("{SECRET}é")))),
        with("/tokens/refresh_token", Some(json!([SECRET]))),
        with("/tokens/access_token", Some(json!(SECRET.repeat(2000)))),
        with("/tokens/id_token", Some(json!(SECRET))),
        with("/tokens/account_id", Some(json!("acc 1"))),
        json!(SECRET),
        Value::Null,
    ];
    let messages: Vec<String> =
        cases.into_iter().map(|case| ChatGptAuth::parse(case).unwrap_err().to_string()).collect();
    let messages = messages.join("\n");
    assert!(!messages.contains(SECRET));
    insta::assert_snapshot!(messages, @r#"
    auth.auth_mode: is not "chatgpt"; send "chatgpt"; other sign-ins are not staged as auth.json
    auth.auth_mode: is missing; send "chatgpt"; other sign-ins are not staged as auth.json
    auth.OPENAI_API_KEY: has a value beside a ChatGPT sign-in; leave it out or send null; provider keys go into `secrets`
    auth.last_refresh: is not an RFC 3339 time with a zone; use a form such as 2026-04-25T10:00:00Z, or leave it out
    auth.last_refresh: is not an RFC 3339 time with a zone; use a form such as 2026-04-25T10:00:00Z, or leave it out
    auth.tokens: is missing; copy it unchanged from the sign-in's auth.json
    auth.tokens: is not an object; copy it unchanged from the sign-in's auth.json
    auth.refreshToken: is not a known field; leave it out
    auth.tokens.refreshToken: is not a known field; leave it out
    auth.tokens."a b\nc": is not a known field; leave it out
    auth.tokens.access_token: is missing; copy it unchanged from the sign-in's auth.json
    auth.tokens.access_token: is empty; copy it unchanged from the sign-in's auth.json
    auth.tokens.refresh_token: is missing; copy it unchanged from the sign-in's auth.json
    auth.tokens.refresh_token: contains whitespace, a newline or a control character; copy it unchanged from the sign-in's auth.json
    auth.tokens.refresh_token: contains whitespace, a newline or a control character; copy it unchanged from the sign-in's auth.json
    auth.tokens.refresh_token: contains a character outside ASCII; copy it unchanged from the sign-in's auth.json
    auth.tokens.refresh_token: is not a string; copy it unchanged from the sign-in's auth.json
    auth.tokens.access_token: has 24000 bytes, more than 16384; copy it unchanged from the sign-in's auth.json
    auth.tokens.id_token: is not a JWT; copy it unchanged from the sign-in's auth.json
    auth.tokens.account_id: contains whitespace, a newline or a control character; copy it unchanged from the sign-in's auth.json
    auth: is not an object; copy it unchanged from the sign-in's auth.json
    auth: is missing; copy it unchanged from the sign-in's auth.json
    "#);
}

#[test]
fn last_refresh_is_strictly_rfc_3339_with_a_zone() {
    for good in ["2026-04-25T10:00:00Z", "2026-04-25t10:00:00.123456789z", "2026-04-25T10:00:00-11:30"] {
        assert!(rfc3339(good).is_some(), "{good}");
    }
    for bad in [
        "",
        "now",
        "2026-04-25",
        "2026-04-25T10:00Z",
        "2026-04-25 10:00:00Z",
        "2026-04-25T10:00:00",
        "2026-04-25T10:00:00+02",
        "2026-04-25T10:00:00+02:00[Europe/Berlin]",
        "2026-13-25T10:00:00Z",
        "2026-04-25T10:00:00..5Z",
        "2026-04-25T10:00:001Z",
        "2026-04-25T10:00:00Z ",
        "2026-04-25T10:00:0éZ",
        "99999-04-25T10:00:00Z",
    ] {
        assert!(rfc3339(bad).is_none(), "{bad}");
    }
}

#[test]
fn debug_shows_no_token() {
    let auth = ChatGptAuth::parse(with("/tokens/refresh_token", Some(json!(SECRET)))).unwrap();
    assert_eq!(
        format!("{auth:?}"),
        format!("ChatGptAuth {{ account_id: \"acc-1\", fingerprint: \"{}\", .. }}", fingerprint(SECRET))
    );
    assert!(!format!("{:?} {:?}", auth.sign_in(), auth.to_file_bytes()).contains(SECRET));
}

#[test]
fn the_fingerprint_is_the_start_of_the_refresh_tokens_hash() {
    // printf rt_1 | sha256sum
    assert_eq!(ChatGptAuth::parse(body()).unwrap().fingerprint(), "0c779dddf03d");
}

proptest! {
    /// The file that we write is read back as the sign-in that was sent, apart from the filled `last_refresh`.
    #[test]
    fn the_written_file_is_read_back(refresh in "[!-~]{1,80}", with_time in any::<bool>(), with_id in any::<bool>()) {
        let mut body = with("/tokens/refresh_token", Some(json!(refresh)));
        if !with_time {
            body["last_refresh"] = Value::Null;
        }
        if !with_id {
            body["tokens"]["id_token"] = Value::Null;
        }
        let auth = ChatGptAuth::parse(body).unwrap();
        let expected = SignIn { last_refresh: Some(auth.last_refresh()), ..auth.sign_in().clone() };
        let bytes = auth.to_file_bytes();
        prop_assert_eq!(Existing::from_file_bytes(bytes.expose_secret()), Existing::Parsed(expected));
    }
}
