//! A user's ChatGPT sign-in: checked when it arrives, and written as the `auth.json` that Codex and OpenClaw read.

use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde_json::{Map, Value, json};

use super::CodexRefreshToken;
use super::freshness::{SignIn, fingerprint};
use super::identity::Identity;
use super::jwt::Claims;
use super::relaxed_time;
use super::{Invalid, shown};

/// Real tokens have 2 to 4 KiB; more than this is a mistake or an attack.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const MAX_ACCOUNT_ID_BYTES: usize = 256;
const COPY_FIX: &str = "copy it unchanged from the sign-in's auth.json";
/// How many extra members a warning names.
const MOST_NAMED: usize = 8;

/// A complete sign-in, which the Codex CLI and OpenClaw accept and can refresh (openclaw-facts §3).
///
/// None of it can be printed: `Debug` shows the fingerprint and the account only.
#[derive(Clone)]
pub struct ChatGptAuth {
    access_token: SecretString,
    refresh_token: SecretString,
    id_token: SecretString,
    account_id: String,
    last_refresh: Timestamp,
    sign_in: SignIn,
    /// Names of members that are not staged, made fit to be shown.
    dropped: Vec<String>,
    claimed_accounts: Vec<String>,
    /// The claim of the access token.
    access_account: Option<String>,
}

impl ChatGptAuth {
    /// Reads the `auth` member of a request: an `auth.json` as any release of Codex wrote it. Errors name paths that begin
    /// with `auth` and never quote a value. Unknown members are dropped, see [`Self::dropped`].
    pub fn parse(value: Value) -> Result<Self, Invalid> {
        let mut auth = object(value, "auth")?;
        let mode = auth.remove("auth_mode");
        // If there are tokens, the key has to go, whatever the mode says.
        let has_tokens = auth.get("tokens").is_some_and(|tokens| !tokens.is_null());
        if !has_tokens {
            check_mode(mode.as_ref())?;
        }
        if !matches!(auth.remove("OPENAI_API_KEY"), None | Some(Value::Null)) {
            // Without `auth_mode` the CLI uses the key and not the tokens (seen on 0.171.0).
            let fix = "take it out of the file, or send null, to stage the ChatGPT sign-in; an API key goes into \
                       `secrets`, with the provider openai_key";
            return Err(Invalid::new(
                "auth.OPENAI_API_KEY",
                "has a value: an API key is no part of a ChatGPT sign-in",
                fix,
            ));
        }
        check_mode(mode.as_ref())?;
        let sent_last_refresh = auth.remove("last_refresh").map_or(Ok(None), last_refresh)?;
        let tokens = auth.remove("tokens").ok_or_else(|| missing("auth.tokens", COPY_FIX))?;
        let mut dropped = names_left(&auth, "auth");

        let mut tokens = object(tokens, "auth.tokens")?;
        let mut take = |name: &str| tokens.remove(name).filter(|value| !value.is_null());
        let access_token = token(take("access_token"), "auth.tokens.access_token")?;
        let refresh_token = token(take("refresh_token"), "auth.tokens.refresh_token")?;
        let (id_token, account_id) = (take("id_token"), take("account_id"));
        dropped.extend(names_left(&tokens, "auth.tokens"));
        dropped.truncate(MOST_NAMED);

        let access_claims = Claims::read(access_token.expose_secret());
        let (id_token, id_claims) = match id_token {
            Some(sent) => {
                let sent = token(Some(sent), "auth.tokens.id_token")?;
                let claims = Claims::read(sent.expose_secret())
                    .ok_or_else(|| Invalid::new("auth.tokens.id_token", "is not a JWT", COPY_FIX))?;
                (sent, claims)
            }
            // Codex accepts it in that place (openclaw-facts §3), but only if it is a JWT, which Codex parses there.
            None => match &access_claims {
                Some(claims) => (access_token.clone(), claims.clone()),
                None => {
                    return Err(missing("auth.tokens.id_token", "send it: the access token is not a JWT either"));
                }
            },
        };
        let access_claims = access_claims.unwrap_or_default();

        let claimed = Identity::new(None, &access_claims, &id_claims);
        let account_id = match account_id {
            Some(sent) => visible(sent, "auth.tokens.account_id", MAX_ACCOUNT_ID_BYTES)?,
            // Without it Codex is "logged in" but never refreshes (openclaw-facts §3).
            None => claimed.account().map(str::to_owned).ok_or_else(|| {
                missing("auth.tokens.account_id", "send it: no token has the claim chatgpt_account_id")
            })?,
        };
        // Never the present time: a sign-in that is sent again would look fresher than the rotated file that it is about to
        // overwrite (openclaw-facts §4).
        let filled_last_refresh = sent_last_refresh.or(access_claims.issued_at).ok_or_else(|| {
            missing("auth.last_refresh", "send when the tokens were issued: the access token does not say")
        })?;
        let sign_in = SignIn {
            identity: Identity::new(Some(&account_id), &access_claims, &id_claims),
            last_refresh: sent_last_refresh,
            issued_at: access_claims.issued_at,
            expires_at: access_claims.expires_at,
            fingerprint: fingerprint(refresh_token.expose_secret()),
        };
        Ok(Self {
            access_token,
            refresh_token,
            id_token,
            account_id,
            last_refresh: filled_last_refresh,
            sign_in,
            dropped,
            claimed_accounts: claimed.accounts().to_vec(),
            access_account: access_claims.account_id,
        })
    }

    /// The names of members that were sent besides the sign-in and are not staged, such as `auth.agent_identity`.
    #[must_use]
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// Whether the tokens name accounts, but not the one that is written beside them.
    #[must_use]
    pub fn account_is_not_in_tokens(&self) -> bool {
        !self.claimed_accounts.is_empty() && !self.claimed_accounts.contains(&self.account_id)
    }

    /// Whether the access token has the claim from which OpenClaw takes the account at each turn.
    #[must_use]
    pub fn access_token_names_account(&self) -> bool {
        self.access_account.is_some()
    }

    /// The account that OpenClaw will find in a refreshed token; the written one if the tokens name none.
    pub(super) fn account_of_tokens(&self) -> &str {
        self.access_account.as_ref().or(self.claimed_accounts.first()).unwrap_or(&self.account_id)
    }

    /// The basis of freshness: what the caller *sent*, before a missing `last_refresh` was filled in.
    pub fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    /// The scopes of the access token; `None` if it names none.
    #[must_use]
    pub fn scopes(&self) -> Option<Vec<String>> {
        Claims::read(self.access_token.expose_secret())?.scopes
    }

    /// The same sign-in as it will be read once it is written: with the `last_refresh` that was filled in.
    pub fn sign_in_as_written(&self) -> SignIn {
        SignIn { last_refresh: Some(self.last_refresh), ..self.sign_in.clone() }
    }

    /// The ChatGPT account, as sent or from the claim.
    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    /// The `last_refresh` that the file has: as sent, or else the access token's `iat`.
    pub fn last_refresh(&self) -> Timestamp {
        self.last_refresh
    }

    /// The first 12 hex digits of SHA-256 of the refresh token. Answers and logs use it to tell sign-ins apart.
    pub fn fingerprint(&self) -> &str {
        &self.sign_in.fingerprint
    }

    /// Reads a sign-in on disk, to stage it elsewhere; `None` if it would be incomplete there. The container adds members of
    /// its own to the file, so only those that matter are taken.
    pub fn from_file_bytes(bytes: &[u8]) -> Option<Self> {
        let file: Value = serde_json::from_slice(bytes).ok()?;
        let token = |name: &str| file.get("tokens").and_then(|tokens| tokens.get(name)).cloned();
        let names = ["access_token", "refresh_token", "id_token", "account_id"];
        let tokens: Map<String, Value> =
            names.into_iter().filter_map(|name| Some((name.to_owned(), token(name)?))).collect();
        // A time that cannot be read is filled in anew; otherwise the sign-in could never be moved to where it can be used.
        let last_refresh = file.get("last_refresh").and_then(Value::as_str).and_then(relaxed_time::parse);
        let last_refresh = last_refresh.map(|time| time.to_string());
        Self::parse(json!({"auth_mode": "chatgpt", "tokens": tokens, "last_refresh": last_refresh})).ok()
    }

    /// Reads a `codex/auth.json` that is complete except for its refresh token, which another file holds.
    pub fn without_refresh_token(bytes: &[u8]) -> Option<SignIn> {
        let mut file: Value = serde_json::from_slice(bytes).ok()?;
        let refresh_token = file.get_mut("tokens")?.get_mut("refresh_token")?;
        if refresh_token.as_str() != Some("") {
            return None;
        }
        // The parser needs one; its fingerprint belongs to nobody.
        *refresh_token = json!("none");
        Self::from_file_bytes(file.to_string().as_bytes()).map(|auth| auth.sign_in)
    }

    /// The access token, for the other file that a sign-in is written to.
    pub(super) fn access_token(&self) -> &SecretString {
        &self.access_token
    }

    /// The refresh token, for the other file that a sign-in is written to.
    pub(super) fn refresh_token(&self) -> &SecretString {
        &self.refresh_token
    }

    /// The exact content of `codex/auth.json` if that is the authority.
    pub fn to_file_bytes(&self) -> SecretSlice<u8> {
        self.codex_file_bytes(CodexRefreshToken::Real)
    }

    /// What was sent, to be parsed again: without the `last_refresh` that was filled in, because freshness ignores it.
    pub fn to_sent_bytes(&self) -> SecretSlice<u8> {
        self.file_bytes(self.refresh_token.expose_secret(), self.sign_in.last_refresh)
    }

    /// The exact content of `codex/auth.json`: complete, even without a refresh token (openclaw-facts §3).
    pub fn codex_file_bytes(&self, refresh_token: CodexRefreshToken) -> SecretSlice<u8> {
        let refresh_token = match refresh_token {
            CodexRefreshToken::Real => self.refresh_token.expose_secret(),
            CodexRefreshToken::Empty => "",
        };
        self.file_bytes(refresh_token, Some(self.last_refresh))
    }

    fn file_bytes(&self, refresh_token: &str, last_refresh: Option<Timestamp>) -> SecretSlice<u8> {
        let file = json!({
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": null,
            "tokens": {
                "id_token": self.id_token.expose_secret(),
                "access_token": self.access_token.expose_secret(),
                "refresh_token": refresh_token,
                "account_id": self.account_id,
            },
            "last_refresh": last_refresh.map(|time| time.to_string()),
        });
        let text = format!("{file:#}\n").into_bytes();
        SecretSlice::from(text)
    }
}

impl fmt::Debug for ChatGptAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatGptAuth")
            .field("account_id", &self.account_id)
            .field("fingerprint", &self.sign_in.fingerprint)
            .finish_non_exhaustive()
    }
}

fn last_refresh(value: Value) -> Result<Option<Timestamp>, Invalid> {
    let parsed = match &value {
        Value::Null => return Ok(None),
        Value::String(text) => relaxed_time::parse(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let fix = "use a form such as 2026-04-25T10:00:00Z, or leave it out";
    parsed.map(Some).ok_or_else(|| Invalid::new("auth.last_refresh", "is not an RFC 3339 time with a zone", fix))
}

/// Checks the mode as the CLI resolves it: without a mode, tokens are a ChatGPT sign-in unless a key is beside them.
fn check_mode(mode: Option<&Value>) -> Result<(), Invalid> {
    let fix = "send \"chatgpt\" or leave it out; other sign-ins are not staged as auth.json";
    match mode {
        Some(Value::String(mode)) if mode == "chatgpt" => Ok(()),
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(Invalid::new("auth.auth_mode", "is not \"chatgpt\"", fix)),
    }
}

fn token(value: Option<Value>, field: &str) -> Result<SecretString, Invalid> {
    let value = value.ok_or_else(|| missing(field, COPY_FIX))?;
    visible(value, field, MAX_TOKEN_BYTES).map(SecretString::from)
}

/// Text of visible ASCII. A stray newline would survive every step and fail only when the container signs in.
fn visible(value: Value, field: &str, max_bytes: usize) -> Result<String, Invalid> {
    let refuse = |problem: String| Err(Invalid::new(field, problem, COPY_FIX));
    let Value::String(text) = value else {
        return refuse("is not a string".to_owned());
    };
    if text.is_empty() {
        return refuse("is empty".to_owned());
    }
    if text.len() > max_bytes {
        return refuse(format!("has {} bytes, more than {max_bytes}", text.len()));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse("contains whitespace, a newline or a control character".to_owned());
    }
    if !text.is_ascii() {
        return refuse("contains a character outside ASCII".to_owned());
    }
    Ok(text)
}

fn object(value: Value, field: &str) -> Result<Map<String, Value>, Invalid> {
    match value {
        Value::Object(members) => Ok(members),
        Value::Null => Err(missing(field, COPY_FIX)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Invalid::new(field, "is not an object", COPY_FIX))
        }
    }
}

fn missing(field: &str, fix: &str) -> Invalid {
    Invalid::new(field, "is missing", fix)
}

/// The names of unknown members. Codex and the tools around it add some with every release.
fn names_left(rest: &Map<String, Value>, parent: &str) -> Vec<String> {
    let plain = |name: &str| name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let shown_name = |name: &String| if plain(name) { name.clone() } else { shown(name) };
    rest.keys().take(MOST_NAMED).map(|name| format!("{parent}.{}", shown_name(name))).collect()
}

#[cfg(test)]
mod tests;
