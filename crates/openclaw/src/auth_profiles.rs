//! `agents/main/agent/auth-profiles.json`: reads and writes our profile in it; everything else there stays.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde_json::{Map, Value, json};

use super::ProfileProvider;
use crate::auth_json::ChatGptAuth;
use crate::freshness::SignIn;
use crate::freshness::fingerprint;
use crate::identity::Identity;
use crate::jwt::Claims;

/// The end of the new id of a profile that was in the way; `import.mjs` uses it too.
const KEPT: &str = "kept";

/// An OAuth profile, with any id, of a provider that can hold a ChatGPT sign-in.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its id, such as `openai-codex:default`.
    pub id: String,
    /// Its provider.
    pub provider: ProfileProvider,
    /// Its content.
    pub content: ProfileContent,
}

/// The content of a profile.
#[derive(Clone, Debug)]
pub enum ProfileContent {
    /// Nothing that could sign anybody in.
    Useless,
    /// OpenClaw 2026.5.12 took the tokens out, encrypted them elsewhere, and left a reference (openclaw-facts §2). The rest
    /// of the sign-in has no fingerprint.
    Moved(Box<SignIn>),
    /// A sign-in.
    Tokens(Box<Tokens>),
}

/// The tokens of a place.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// What they say about themselves.
    pub sign_in: SignIn,
    /// The whole sign-in, if it is fit to be staged elsewhere.
    pub auth: Option<ChatGptAuth>,
    /// Whether Codex refuses the file that it is in, so that the file has to be written again.
    pub is_refused: bool,
}

/// The file as an object; `None` if it is not one, so that nothing in it can be kept.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes).ok()? {
        Value::Object(file) => Some(file),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// The profiles that may hold a ChatGPT sign-in, with any id: releases use whichever they find (openclaw-facts §1).
#[must_use]
pub fn read(file: &Map<String, Value>) -> Vec<Profile> {
    let profiles = file.get("profiles").and_then(Value::as_object).into_iter().flatten();
    let ours = profiles.filter_map(|(id, profile)| {
        let provider = provider_of(profile).filter(|_| is_oauth(profile))?;
        Some(Profile { id: id.clone(), provider, content: content(profile) })
    });
    ours.collect()
}

fn provider_of(profile: &Value) -> Option<ProfileProvider> {
    let name = profile.get("provider").and_then(Value::as_str)?;
    ProfileProvider::ALL.into_iter().find(|provider| provider.name() == name)
}

fn content(profile: &Value) -> ProfileContent {
    if profile.get("oauthRef").is_some_and(|reference| !reference.is_null()) {
        return ProfileContent::Moved(Box::new(what_is_left(profile)));
    }
    tokens(profile).map_or(ProfileContent::Useless, |tokens| ProfileContent::Tokens(Box::new(tokens)))
}

fn what_is_left(profile: &Value) -> SignIn {
    let text = |name: &str| profile.get(name).and_then(Value::as_str).map(str::to_owned);
    let expires = profile.get("expires").and_then(Value::as_i64).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    SignIn {
        identity: Identity::of_account(text("accountId").as_deref(), text("email").as_deref()),
        last_refresh: None,
        issued_at: None,
        expires_at: expires,
        fingerprint: String::new(),
    }
}

/// The tokens of one profile, if a release could sign in with them.
#[must_use]
pub fn tokens(profile: &Value) -> Option<Tokens> {
    let text = |name: &str| profile.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (access, refresh) = (text("access")?, text("refresh")?);
    let claims = Claims::read(access).unwrap_or_default();
    let auth = ChatGptAuth::parse(json!({
        "auth_mode": "chatgpt",
        "tokens": {"access_token": access, "refresh_token": refresh, "account_id": text("accountId")},
    }));
    let identity = Identity::new(text("accountId"), &claims, &Claims::default()).with_email(text("email"));
    Some(Tokens {
        is_refused: false,
        sign_in: SignIn {
            identity,
            // The file has no such time. `expires` is left to the gateway: a doctor that failed sets it to 1.
            last_refresh: None,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            fingerprint: fingerprint(refresh),
        },
        auth: auth.ok(),
    })
}

/// A profile made from a sign-in.
#[must_use]
pub fn profile(provider: ProfileProvider, auth: &ChatGptAuth) -> Value {
    // 8.2 and 9.6 do not refresh on a 401, so the time must be exact (openclaw-facts §2). If the token does not have it, the
    // token counts as expired since it was made: the first turn refreshes it.
    let expires = auth.sign_in().expires_at.unwrap_or(auth.last_refresh());
    let mut profile = json!({
        "type": "oauth",
        "provider": provider.name(),
        "access": auth.access_token().expose_secret(),
        "refresh": auth.refresh_token().expose_secret(),
        "expires": expires.as_millisecond(),
        // Not the written one. From 2026.9.4 on, if the new token claims another account, a refresh is refused after it was
        // granted, and both refresh tokens are lost (seen on 9.6). Earlier releases write the claim when they refresh.
        "accountId": auth.account_of_tokens(),
    });
    if let Some(email) = auth.sign_in().identity.email() {
        profile["email"] = json!(email);
    }
    profile
}

/// The file with our profile of `provider`, made from a sign-in.
#[must_use]
pub fn with_profile(mut file: Map<String, Value>, provider: ProfileProvider, auth: &ChatGptAuth) -> Map<String, Value> {
    file.entry("version").or_insert_with(|| json!(1));
    let profiles = file.entry("profiles").or_insert_with(|| json!({}));
    if !profiles.is_object() {
        *profiles = json!({});
    }
    profiles[provider.profile_id()] = profile(provider, auth);
    file
}

/// If something that is no sign-in has the id of our profile, such as an API key of the user's, gives it another id. Returns
/// the new id.
pub fn make_way(file: &mut Map<String, Value>, provider: ProfileProvider) -> Option<String> {
    let profiles = file.get_mut("profiles")?.as_object_mut()?;
    let in_the_way = profiles.get(provider.profile_id()).filter(|profile| profile.is_object() && !is_oauth(profile))?;
    let in_the_way = in_the_way.clone();
    let free = (1..).map(|number| match number {
        1 => format!("{}:{KEPT}", provider.name()),
        more => format!("{}:{KEPT}-{more}", provider.name()),
    });
    let id = free.into_iter().find(|id| !profiles.contains_key(id))?;
    profiles.remove(provider.profile_id());
    profiles.insert(id.clone(), in_the_way);
    Some(id)
}

/// Removes the profiles with these ids.
pub fn remove(file: &mut Map<String, Value>, ids: &[String]) {
    if let Some(profiles) = file.get_mut("profiles").and_then(Value::as_object_mut) {
        profiles.retain(|id, _| !ids.contains(id));
    }
}

/// Whether it has no profile left.
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

/// A user may keep an API key under the very same id: that one is not ours.
fn is_oauth(profile: &Value) -> bool {
    profile.get("type").and_then(Value::as_str) == Some("oauth")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::tests::jwt;

    fn auth() -> ChatGptAuth {
        let access = jwt(&json!({"iat": 1_777_000_000, "exp": 1_777_864_000, "email": "ada@example.com"}));
        let tokens = json!({"access_token": access, "refresh_token": "rt-1", "account_id": "acc"});
        ChatGptAuth::parse(json!({"auth_mode": "chatgpt", "tokens": tokens})).unwrap()
    }

    #[test]
    fn the_profile_has_the_members_that_releases_read() {
        let mut file = Value::Object(with_profile(Map::new(), ProfileProvider::OpenAiCodex, &auth()));
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
    fn the_profile_has_the_account_of_the_token_that_a_refresh_is_compared_with() {
        let claim = json!({"chatgpt_account_id": "acc-claim"});
        let access = jwt(&json!({"iat": 1_777_000_000, "https://api.openai.com/auth": claim}));
        let tokens = json!({"access_token": access, "refresh_token": "rt-1", "account_id": "org-written"});
        let auth = ChatGptAuth::parse(json!({"tokens": tokens})).unwrap();
        let profile = profile(ProfileProvider::OpenAi, &auth);
        assert_eq!(profile["accountId"], "acc-claim");
        assert!(super::tokens(&profile).unwrap().sign_in.identity.same(&auth.sign_in().identity));
    }

    #[test]
    fn an_api_key_with_our_id_gets_another_id() {
        let key = |key: &str| json!({"type": "api_key", "provider": "openai", "key": key});
        let profiles = json!({"profiles": {"openai:default": key("second"), "openai:kept": key("first")}});
        let mut file = parse(profiles.to_string().as_bytes()).unwrap();
        assert_eq!(make_way(&mut file, ProfileProvider::OpenAi).as_deref(), Some("openai:kept-2"));
        let file = with_profile(file, ProfileProvider::OpenAi, &auth());
        assert_eq!(file["profiles"]["openai:kept"]["key"], "first");
        assert_eq!(file["profiles"]["openai:kept-2"]["key"], "second");
        assert_eq!(file["profiles"]["openai:default"]["refresh"], "rt-1");
        for nothing in [json!({}), json!({"profiles": []}), json!({"profiles": {"openai:default": 1}})] {
            assert_eq!(make_way(&mut parse(nothing.to_string().as_bytes()).unwrap(), ProfileProvider::OpenAi), None);
        }
        assert_eq!(make_way(&mut file.clone(), ProfileProvider::OpenAi), None, "a sign-in is replaced");
    }

    #[test]
    fn a_written_profile_is_read_back_as_the_same_sign_in() {
        let file = with_profile(Map::new(), ProfileProvider::OpenAi, &auth());
        let [Profile { id, provider: ProfileProvider::OpenAi, content: ProfileContent::Tokens(tokens) }] =
            &read(&file)[..]
        else {
            panic!("no tokens")
        };
        assert_eq!((id.as_str(), &tokens.sign_in), ("openai:default", auth().sign_in()));
        let auth_again = tokens.auth.as_ref().unwrap();
        assert_eq!(auth_again.to_file_bytes().expose_secret(), auth().to_file_bytes().expose_secret());
    }

    #[test]
    fn other_profiles_and_members_of_the_users_own_stay() {
        let theirs = json!({
            "version": 2, "lastGood": {"anthropic": "anthropic:default"},
            "profiles": {"anthropic:default": {"type": "api_key", "key": "sk"}, "openai:default": {"type": "api_key"}},
        });
        let Value::Object(file) = theirs.clone() else { panic!() };
        assert!(read(&file).is_empty());
        let mut file = with_profile(file, ProfileProvider::OpenAiCodex, &auth());
        let ids: Vec<String> = read(&file).into_iter().map(|profile| profile.id).collect();
        assert_eq!(ids, ["openai-codex:default"]);
        remove(&mut file, &ids);
        assert_eq!(Value::Object(file), theirs);
    }

    #[test]
    fn a_profile_without_usable_tokens_differs_from_one_whose_tokens_moved() {
        let read_one = |mut profile: Value| {
            profile["provider"] = json!("openai");
            let file = json!({"profiles": {"openai:work": profile}});
            read(file.as_object().unwrap()).pop().map(|profile| profile.content)
        };
        let moved =
            json!({"type": "oauth", "oauthRef": {"id": "x"}, "accountId": "acc", "expires": 1_777_864_000_000_i64});
        let Some(ProfileContent::Moved(left)) = read_one(moved) else { panic!("not moved") };
        assert_eq!((left.identity.account(), left.expires_at), (Some("acc"), auth().sign_in().expires_at));
        let useless = json!({"type": "oauth", "access": "a"});
        assert!(matches!(read_one(useless), Some(ProfileContent::Useless)));
        assert!(read_one(json!({"access": "a", "refresh": "r"})).is_none());
        let opaque = read_one(json!({"type": "oauth", "access": "opaque", "refresh": "r", "accountId": "acc"}));
        let Some(ProfileContent::Tokens(tokens)) = opaque else { panic!("no tokens") };
        assert!(tokens.auth.is_none() && tokens.sign_in.issued_at.is_none());
    }
}
