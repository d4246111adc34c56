//! `.provisioner/aside/` in a user's directory: sign-ins that were in the way of another one and may be the only live ones
//! of their account. OpenClaw reads nothing there. When a sign-in of the same account is sent later, the two are compared,
//! and the one that was moved aside is put back if it is fresher.
//!
//! A file is named after its refresh token's fingerprint, so that a repetition writes the same file. Its content is an
//! `auth.json`, or an `auth-profiles.json` with one profile. An API key that was in `codex/auth.json` is kept there too, and
//! only the user puts it back.

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde_json::{Map, Value, json};

use super::auth_profiles::{self, ProfileContent, Tokens};
use super::stored::Stored;
use crate::freshness::SignIn;
use crate::sha256_hex12;

/// One sign-in that was moved aside.
#[derive(Clone, Debug)]
pub struct Aside {
    /// The file's name.
    pub name: AsideName,
    /// What it holds.
    pub content: ProfileContent,
}

/// The name of a file there: 12 hex digits and `.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsideName(String);

impl AsideName {
    /// The name for the sign-in with this fingerprint.
    #[must_use]
    pub fn of(fingerprint: &str) -> Self {
        Self(format!("{fingerprint}.json"))
    }

    /// Parses a name that was found; `None` if it is not such a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".json")?;
        let plain = digits.len() == 12 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| Self(name.to_owned()))
    }

    /// The file's name in the directory.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path relative to the user's directory.
    #[must_use]
    pub fn path(&self) -> String {
        format!(".provisioner/aside/{}", self.0)
    }
}

impl Aside {
    /// Reads a file's content; `None` if it holds no sign-in.
    #[must_use]
    pub fn from_file_bytes(name: AsideName, bytes: &[u8]) -> Option<Self> {
        if let Stored::Tokens(tokens) = Stored::from_file_bytes(bytes) {
            return Some(Self { name, content: ProfileContent::Tokens(tokens) });
        }
        let content = auth_profiles::read(&auth_profiles::parse(bytes)?).pop()?.content;
        Some(Self { name, content })
    }

    /// Its tokens, if it has any in plain text.
    pub(super) fn tokens(&self) -> Option<&Tokens> {
        match &self.content {
            ProfileContent::Tokens(tokens) => Some(tokens),
            ProfileContent::Moved(_) | ProfileContent::Useless => None,
        }
    }

    /// Its owner and freshness.
    pub(super) fn sign_in(&self) -> Option<&SignIn> {
        match &self.content {
            ProfileContent::Tokens(tokens) => Some(&tokens.sign_in),
            ProfileContent::Moved(sign_in) => Some(sign_in),
            ProfileContent::Useless => None,
        }
    }
}

/// The file for an API key, and its name.
pub(super) fn of_api_key(key: &SecretString) -> (String, SecretSlice<u8>) {
    let file = SecretString::from(format!("{:#}\n", json!({"OPENAI_API_KEY": key.expose_secret()})));
    (sha256_hex12(key.expose_secret().as_bytes()), SecretSlice::from(file.expose_secret().as_bytes().to_vec()))
}

/// The file for one profile, and its name if the profile has no refresh token in plain text.
pub(super) fn of_profile(id: &str, profile: &Value) -> (String, SecretSlice<u8>) {
    let mut file = Map::new();
    file.insert("version".to_owned(), json!(1));
    file.insert("profiles".to_owned(), json!({ id: profile }));
    (sha256_hex12(profile.to_string().as_bytes()), auth_profiles::to_bytes(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_this_service_writes_are_parsed() {
        assert_eq!(AsideName::parse("0123456789ab.json").unwrap().path(), ".provisioner/aside/0123456789ab.json");
        for other in ["", ".json", "0123456789AB.json", "0123456789abc.json", "../3456789ab.json", "0123456789ab.json~"]
        {
            assert_eq!(AsideName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_profile_is_read_back_even_if_it_was_encrypted() {
        for (profile, has_tokens) in [
            (json!({"type": "oauth", "provider": "openai", "access": "a", "refresh": "r", "accountId": "acc"}), true),
            (json!({"type": "oauth", "provider": "openai-codex", "oauthRef": {"id": "x"}, "accountId": "acc"}), false),
        ] {
            let (name, bytes) = of_profile("openai:work", &profile);
            let aside = Aside::from_file_bytes(AsideName::of(&name), bytes.expose_secret()).unwrap();
            assert_eq!(
                (aside.tokens().is_some(), aside.sign_in().unwrap().identity.account()),
                (has_tokens, Some("acc"))
            );
        }
        assert!(Aside::from_file_bytes(AsideName::of("x"), b"{}").is_none());
    }
}
