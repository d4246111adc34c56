//! A user's files as they are: what each can sign in, and what of it must not be lost.

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::aside::Aside;
use crate::auth_json::ChatGptAuth;
use crate::auth_profiles::{self, Profile, Tokens};
use crate::codex_config::CodexConfig;
use crate::freshness::{Existing, SignIn};
use crate::hand_over::HandOver;
use crate::relaxed_time;

/// What is at `codex/auth.json`.
#[derive(Clone, Debug, Default)]
pub enum Stored {
    /// No file.
    #[default]
    Missing,
    /// A file without content.
    Empty,
    /// Nothing that could sign anybody in.
    Unreadable,
    /// Complete but for the refresh token, which another place holds.
    Blank(Box<SignIn>),
    /// A sign-in.
    Tokens(Box<Tokens>),
}

impl Stored {
    /// Judges a file's content.
    #[must_use]
    pub fn from_file_bytes(bytes: &[u8]) -> Self {
        match Existing::from_file_bytes(bytes) {
            Existing::Missing => Self::Missing,
            Existing::Empty => Self::Empty,
            Existing::Parsed(sign_in) => {
                let auth = ChatGptAuth::from_file_bytes(bytes);
                Self::Tokens(Box::new(Tokens { sign_in, auth, is_refused: has_malformed_time(bytes) }))
            }
            Existing::Unreadable => match ChatGptAuth::without_refresh_token(bytes) {
                Some(sign_in) => Self::Blank(Box::new(sign_in)),
                None => Self::Unreadable,
            },
        }
    }
}

/// Codex refuses the whole file over a `last_refresh` that it cannot read (openclaw-facts §3).
fn has_malformed_time(bytes: &[u8]) -> bool {
    let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let time = file.get("last_refresh").filter(|time| !time.is_null());
    time.is_some_and(|time| time.as_str().and_then(relaxed_time::parse).is_none())
}

/// The API key in a `codex/auth.json`, where somebody signed in with one, or with both.
#[must_use]
pub fn api_key_in(bytes: &[u8]) -> Option<SecretString> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    file.get("OPENAI_API_KEY")?.as_str().filter(|key| !key.trim().is_empty()).map(SecretString::from)
}

/// What is at `auth-profiles.json`.
#[derive(Clone, Debug, Default)]
pub enum Profiles {
    /// No file, or an empty one.
    #[default]
    Missing,
    /// No JSON object. It may still hold other providers' keys, so it is moved aside and never overwritten.
    Unreadable,
    /// A file.
    File(Map<String, Value>),
}

impl Profiles {
    /// Judges a file's content.
    #[must_use]
    pub fn from_file_bytes(bytes: &[u8]) -> Self {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Self::Missing;
        }
        auth_profiles::parse(bytes).map_or(Self::Unreadable, Self::File)
    }

    pub(super) fn read(&self) -> Vec<Profile> {
        self.file().map(auth_profiles::read).unwrap_or_default()
    }

    pub(super) const fn file(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::File(file) => Some(file),
            Self::Missing | Self::Unreadable => None,
        }
    }

    /// A profile as the file has it.
    pub(super) fn raw(&self, id: &str) -> Option<&Value> {
        self.file()?.get("profiles")?.get(id)
    }
}

/// What is at `auth-state.json`: no tokens, but what keeps profiles from being used.
#[derive(Clone, Debug, Default)]
pub enum AuthState {
    /// No file, or none that could be read; a release then begins anew.
    #[default]
    Nothing,
    /// A file.
    File(Map<String, Value>),
}

impl AuthState {
    /// Judges a file's content.
    #[must_use]
    pub fn from_file_bytes(bytes: &[u8]) -> Self {
        auth_profiles::parse(bytes).map_or(Self::Nothing, Self::File)
    }
}

/// A user's files that a sign-in is in, or that decide whether it is used.
#[derive(Clone, Debug, Default)]
pub struct OnDisk {
    /// `codex/auth.json`.
    pub codex: Stored,
    /// The API key beside or instead of a sign-in in `codex/auth.json`: the user's own.
    pub codex_api_key: Option<SecretString>,
    /// `agents/main/agent/auth-profiles.json`.
    pub profiles: Profiles,
    /// `agents/main/agent/auth-state.json`.
    pub auth_state: AuthState,
    /// `.provisioner/sign-in.json`.
    pub hand_over: HandOver,
    /// `.provisioner/aside/`.
    pub asides: Vec<Aside>,
    /// `codex/config.toml`.
    pub codex_config: CodexConfig,
}
