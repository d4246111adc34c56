//! A user's files as they are: what each can sign in, and what of it must not be lost.

use serde_json::{Map, Value};

use crate::domain::auth_json::ChatGptAuth;
use crate::domain::credential_plan::auth_profiles::{self, Profile, Tokens};
use crate::domain::credential_plan::hand_over::HandOver;
use crate::domain::freshness::{Existing, SignIn};

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
                Self::Tokens(Box::new(Tokens { sign_in, auth: ChatGptAuth::from_file_bytes(bytes) }))
            }
            Existing::Unreadable => match ChatGptAuth::without_refresh_token(bytes) {
                Some(sign_in) => Self::Blank(Box::new(sign_in)),
                None => Self::Unreadable,
            },
        }
    }
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
        match self {
            Self::File(file) => auth_profiles::read(file),
            Self::Missing | Self::Unreadable => Vec::new(),
        }
    }
}

/// A user's three files.
#[derive(Clone, Debug, Default)]
pub struct OnDisk {
    /// `codex/auth.json`.
    pub codex: Stored,
    /// `agents/main/agent/auth-profiles.json`.
    pub profiles: Profiles,
    /// `.provisioner/sign-in.json`.
    pub hand_over: HandOver,
}
