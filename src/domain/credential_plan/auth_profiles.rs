//! `agents/main/agent/auth-profiles.json`: our profile in it, read and written; whatever else is there stays.

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde_json::{Map, Value, json};

use super::Provider;
use crate::domain::auth_json::{ChatGptAuth, fingerprint};
use crate::domain::freshness::SignIn;
use crate::domain::jwt::Claims;

/// What our profile of one provider holds.
#[derive(Clone, Debug)]
pub enum Profile {
    /// There is none, or not one that could sign anybody in.
    Missing,
    /// OpenClaw 2026.5.12 took the tokens out, encrypted them elsewhere, and left a reference (openclaw-facts §2).
    Moved,
    /// A sign-in.
    Tokens(Box<Tokens>),
}

/// The tokens of a profile.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// What they say about themselves.
    pub sign_in: SignIn,
    /// The whole sign-in, where it is fit for being staged elsewhere.
    pub auth: Option<ChatGptAuth>,
}

/// The file as an object; `None` when it is none, and nothing in it can be kept.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes).ok()? {
        Value::Object(file) => Some(file),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// Our profile of a provider.
#[must_use]
pub fn read(file: &Map<String, Value>, provider: Provider) -> Profile {
    let Some(profile) = file.get("profiles").and_then(|profiles| profiles.get(provider.profile_id())) else {
        return Profile::Missing;
    };
    if !is_oauth(profile) {
        return Profile::Missing;
    }
    if profile.get("oauthRef").is_some_and(|reference| !reference.is_null()) {
        return Profile::Moved;
    }
    tokens(profile).map_or(Profile::Missing, |tokens| Profile::Tokens(Box::new(tokens)))
}

fn tokens(profile: &Value) -> Option<Tokens> {
    let text = |name: &str| profile.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (access, refresh) = (text("access")?, text("refresh")?);
    let claims = Claims::read(access).unwrap_or_default();
    let account_id = text("accountId").map(str::to_owned).or(claims.account_id);
    let auth = ChatGptAuth::parse(json!({
        "auth_mode": "chatgpt",
        "tokens": {"access_token": access, "refresh_token": refresh, "account_id": account_id},
    }));
    Some(Tokens {
        sign_in: SignIn {
            account_id,
            email: text("email").map(str::to_owned).or(claims.email),
            // The file has no such time. `expires` is left to the gateway: a failed doctor fences it with a 1.
            last_refresh: None,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            fingerprint: fingerprint(refresh),
        },
        auth: auth.ok(),
    })
}

/// The file with our profile of `provider` made from a sign-in.
#[must_use]
pub fn with_profile(mut file: Map<String, Value>, provider: Provider, auth: &ChatGptAuth) -> Map<String, Value> {
    file.entry("version").or_insert_with(|| json!(1));
    let profiles = file.entry("profiles").or_insert_with(|| json!({}));
    if !profiles.is_object() {
        *profiles = json!({});
    }
    // 8.2 and 9.6 do not refresh on a 401, so the time must be exact (openclaw-facts §2). Where the token does not
    // say, it counts as expired when it was made: the first turn refreshes it.
    let expires = auth.sign_in().expires_at.unwrap_or(auth.last_refresh());
    let mut profile = json!({
        "type": "oauth",
        "provider": provider.name(),
        "access": auth.access_token().expose_secret(),
        "refresh": auth.refresh_token().expose_secret(),
        "expires": expires.as_millisecond(),
        "accountId": auth.account_id(),
    });
    if let Some(email) = &auth.sign_in().email {
        profile["email"] = json!(email);
    }
    profiles[provider.profile_id()] = profile;
    file
}

/// Takes our profile of `provider` out, unless it is something else than a sign-in; says whether it was there.
pub fn remove(file: &mut Map<String, Value>, provider: Provider) -> bool {
    let Some(profiles) = file.get_mut("profiles").and_then(Value::as_object_mut) else { return false };
    let ours = profiles.get(provider.profile_id()).is_some_and(is_oauth);
    ours && profiles.remove(provider.profile_id()).is_some()
}

/// Whether no profile is left in it.
#[must_use]
pub fn is_empty(file: &Map<String, Value>) -> bool {
    file.get("profiles").and_then(Value::as_object).is_none_or(Map::is_empty)
}

/// The file's bytes.
#[must_use]
pub fn to_bytes(file: Map<String, Value>) -> SecretSlice<u8> {
    let text = SecretString::from(format!("{:#}\n", Value::Object(file)));
    SecretSlice::from(text.expose_secret().as_bytes().to_vec())
}

/// A user may keep an API key under the very same id: that is not ours.
fn is_oauth(profile: &Value) -> bool {
    profile.get("type").and_then(Value::as_str) == Some("oauth")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::jwt::tests::jwt;

    fn auth() -> ChatGptAuth {
        let access = jwt(&json!({"iat": 1_777_000_000, "exp": 1_777_864_000, "email": "ada@example.com"}));
        let tokens = json!({"access_token": access, "refresh_token": "rt-1", "account_id": "acc"});
        ChatGptAuth::parse(json!({"auth_mode": "chatgpt", "tokens": tokens})).unwrap()
    }

    #[test]
    fn the_profile_has_the_members_that_releases_read() {
        let mut file = Value::Object(with_profile(Map::new(), Provider::OpenAiCodex, &auth()));
        let access = file.pointer_mut("/profiles/openai-codex:default/access").unwrap().take();
        assert_eq!(access.as_str().unwrap(), auth().access_token().expose_secret());
        insta::assert_snapshot!(format!("{file:#}"), @r#"
        {
          "profiles": {
            "openai-codex:default": {
              "access": null,
              "accountId": "acc",
              "email": "ada@example.com",
              "expires": 1777864000000,
              "provider": "openai-codex",
              "refresh": "rt-1",
              "type": "oauth"
            }
          },
          "version": 1
        }
        "#);
    }

    #[test]
    fn what_was_written_reads_back_as_the_same_sign_in() {
        let file = with_profile(Map::new(), Provider::OpenAi, &auth());
        let Profile::Tokens(tokens) = read(&file, Provider::OpenAi) else { panic!("no tokens") };
        assert_eq!(&tokens.sign_in, auth().sign_in());
        assert_eq!(tokens.auth.unwrap().to_file_bytes().expose_secret(), auth().to_file_bytes().expose_secret());
        assert!(matches!(read(&file, Provider::OpenAiCodex), Profile::Missing));
    }

    #[test]
    fn other_profiles_and_members_of_the_users_own_stay() {
        let theirs = json!({
            "version": 2, "lastGood": {"anthropic": "anthropic:default"},
            "profiles": {"anthropic:default": {"type": "api_key", "key": "sk"}, "openai:default": {"type": "api_key"}},
        });
        let Value::Object(file) = theirs.clone() else { panic!() };
        let mut file = with_profile(file, Provider::OpenAiCodex, &auth());
        assert!(!remove(&mut file, Provider::OpenAi));
        assert!(remove(&mut file, Provider::OpenAiCodex) && !remove(&mut file, Provider::OpenAiCodex));
        assert_eq!(Value::Object(file), theirs);
    }

    #[test]
    fn a_profile_without_usable_tokens_is_told_from_one_that_moved() {
        let profile = |profile: Value| {
            let file = json!({"profiles": {"openai:default": profile}});
            read(file.as_object().unwrap(), Provider::OpenAi)
        };
        assert!(matches!(profile(json!({"type": "oauth", "oauthRef": {"id": "x"}})), Profile::Moved));
        for useless in [json!(null), json!({"type": "oauth", "access": "a"}), json!({"access": "a", "refresh": "r"})] {
            assert!(matches!(profile(useless.clone()), Profile::Missing), "{useless}");
        }
        let opaque = profile(json!({"type": "oauth", "access": "opaque", "refresh": "r", "accountId": "acc"}));
        let Profile::Tokens(tokens) = opaque else { panic!("no tokens") };
        assert!(tokens.auth.is_none() && tokens.sign_in.issued_at.is_none());
    }
}
