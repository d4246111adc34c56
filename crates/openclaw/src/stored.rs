//! The content of a `codex/auth.json`.

use serde_json::Value;

use super::auth_json::ChatGptAuth;
use super::auth_profiles::Tokens;
use super::freshness::{Existing, SignIn};
use super::relaxed_time;

/// The content of `codex/auth.json`.
#[derive(Clone, Debug, Default)]
pub enum Stored {
    /// No file.
    #[default]
    Missing,
    /// A file without content.
    Empty,
    /// A file that could not sign anybody in.
    Unreadable,
    /// Complete except for the refresh token, which another place holds.
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

/// Codex refuses the whole file if it cannot read `last_refresh` (openclaw-facts §3).
fn has_malformed_time(bytes: &[u8]) -> bool {
    let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let time = file.get("last_refresh").filter(|time| !time.is_null());
    time.is_some_and(|time| time.as_str().and_then(relaxed_time::parse).is_none())
}
