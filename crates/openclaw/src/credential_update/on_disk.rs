//! A user's present files: the sign-ins in them, and what must not be lost.

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::aside::Aside;
use crate::auth_profiles::{self, Profile};
use crate::codex_config::CodexConfig;
use crate::hand_over::HandOver;
use crate::stored::Stored;

/// The API key in a `codex/auth.json`, if somebody signed in with one, or with both.
#[must_use]
pub fn api_key_in(bytes: &[u8]) -> Option<SecretString> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    file.get("OPENAI_API_KEY")?.as_str().filter(|key| !key.trim().is_empty()).map(SecretString::from)
}

/// The content of `auth-profiles.json`.
#[derive(Clone, Debug, Default)]
pub enum Profiles {
    /// No file, or an empty one.
    #[default]
    Missing,
    /// Not a JSON object. It may still hold other providers' keys, so it is moved aside and never overwritten.
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

    /// A profile as it is in the file.
    pub(super) fn raw(&self, id: &str) -> Option<&Value> {
        self.file()?.get("profiles")?.get(id)
    }
}

/// The content of `auth-state.json`: no tokens, but it can keep profiles from being used.
#[derive(Clone, Debug, Default)]
pub enum AuthState {
    /// No file, or one that cannot be read; a release then begins with a new one.
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

/// A user's files that hold a sign-in, or that decide whether it is used.
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
