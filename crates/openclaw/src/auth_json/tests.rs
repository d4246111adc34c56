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
fn missing_members_come_from_the_access_token_and_freshness_is_judged_as_sent() {
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
fn an_opaque_access_token_is_accepted_if_nothing_has_to_be_read_from_it() {
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

/// Whatever the mode says, the key has to go.
#[test]
fn a_key_beside_tokens_is_named_before_the_mode() {
    for mode in [None, Some(Value::Null), Some(json!("apikey")), Some(json!("chatgpt"))] {
        let mut body = with("/auth_mode", mode.clone());
        body["OPENAI_API_KEY"] = json!(SECRET);
        assert_eq!(ChatGptAuth::parse(body).unwrap_err().field(), "auth.OPENAI_API_KEY", "{mode:?}");
    }
}

#[test]
fn refusals_name_the_path_and_the_fix_and_never_the_value() {
    let cases = [
        with("/auth_mode", Some(json!(SECRET))),
        with("/auth_mode", Some(json!("apikey"))),
        with("/OPENAI_API_KEY", Some(json!(SECRET))),
        with("/last_refresh", Some(json!("2026-04-25T10:00:00"))),
        with("/last_refresh", Some(json!(1_777_000_000))),
        with("/tokens", None),
        with("/tokens", Some(json!([SECRET]))),
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
    auth.auth_mode: is not "chatgpt"; send "chatgpt" or leave it out; other sign-ins are not staged as auth.json
    auth.auth_mode: is not "chatgpt"; send "chatgpt" or leave it out; other sign-ins are not staged as auth.json
    auth.OPENAI_API_KEY: has a value: an API key is no part of a ChatGPT sign-in; take it out of the file, or send null, to stage the ChatGPT sign-in; an API key goes into `secrets`, with the provider openai_key
    auth.last_refresh: is not an RFC 3339 time with a zone; use a form such as 2026-04-25T10:00:00Z, or leave it out
    auth.last_refresh: is not an RFC 3339 time with a zone; use a form such as 2026-04-25T10:00:00Z, or leave it out
    auth.tokens: is missing; copy it unchanged from the sign-in's auth.json
    auth.tokens: is not an object; copy it unchanged from the sign-in's auth.json
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

/// From `codex login` of the releases before `auth_mode` and of later ones, with additions of tools around it.
#[test]
fn an_auth_json_of_any_codex_release_is_accepted_as_it_is() {
    for mode in [None, Some(Value::Null)] {
        let auth = ChatGptAuth::parse(with("/auth_mode", mode)).unwrap();
        assert_eq!((file(&auth)["auth_mode"].clone(), auth.dropped()), (json!("chatgpt"), &[][..]));
    }
    let mut body = with("/agent_identity", Some(json!({"secret": SECRET})));
    body["expires_at"] = Value::Null;
    body["tokens"]["expires_at"] = json!(SECRET);
    body["tokens"]["a b\nc"] = json!(SECRET);
    let auth = ChatGptAuth::parse(body).unwrap();
    assert_eq!(
        auth.dropped(),
        ["auth.agent_identity", "auth.expires_at", "auth.tokens.\"a b\\nc\"", "auth.tokens.expires_at"]
    );
    assert!(!file(&auth).to_string().contains(SECRET));
    let many: Map<String, Value> = (0..50).map(|n| (format!("m{n}"), Value::Null)).collect();
    let mut body = body_of(many);
    body["tokens"] = self::body()["tokens"].clone();
    body["last_refresh"] = json!("2026-04-25 12:00:00.25 +0200");
    let auth = ChatGptAuth::parse(body).unwrap();
    assert_eq!((auth.dropped().len(), file(&auth)["last_refresh"].clone()), (8, json!("2026-04-25T10:00:00.25Z")));
}

fn body_of(members: Map<String, Value>) -> Value {
    Value::Object(members)
}

#[test]
fn a_written_account_is_compared_with_the_claims_of_the_tokens() {
    let parsed = |account: Value| ChatGptAuth::parse(with("/tokens/account_id", Some(account))).unwrap();
    assert!(parsed(json!("org-1")).account_is_not_in_tokens());
    assert!(!parsed(json!("acc-claim")).account_is_not_in_tokens() && !parsed(Value::Null).account_is_not_in_tokens());
    assert!(parsed(json!("acc-claim")).access_token_names_account());
    let without = ChatGptAuth::parse(with("/tokens/access_token", Some(json!(jwt(&json!({"iat": 1})))))).unwrap();
    assert!(!without.account_is_not_in_tokens() && !without.access_token_names_account());
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
    /// The written file is read back as the sign-in that was sent, except for the filled `last_refresh`.
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
