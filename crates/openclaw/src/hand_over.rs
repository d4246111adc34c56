//! `.provisioner/sign-in.json` in a user's directory: hands a sign-in over to a store that only the container writes.
//!
//! This service leaves a pending sign-in there. The entry script, the first thing in the container, imports it before the
//! gateway starts, and turns the file into a receipt: the same without any token. So a receipt exists only after the store
//! has the sign-in, and from then on freshness is judged by the receipt (openclaw-facts §4). The tenant may forge it; that
//! harms only the tenant.

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use secrecy::{SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ProfileProvider;
use super::auth_profiles::{self, Tokens};
use crate::OpenClawVersion;
use crate::auth_json::ChatGptAuth;
use crate::freshness::SignIn;
use crate::identity::Identity;

/// The content of the file.
#[derive(Clone, Debug, Default)]
pub enum HandOver {
    /// No file, or nothing that the entry script would import.
    #[default]
    Nothing,
    /// Not imported yet.
    Pending {
        /// The sign-in.
        tokens: Box<Tokens>,
        /// When it was left there.
        since: Option<Timestamp>,
    },
    /// The store has it, or is about to import it from where only the container can read it.
    Imported {
        /// As it was when it was handed over; the store may have rotated it since.
        sign_in: Box<SignIn>,
        /// The release whose store has it; `None`: the next release that starts imports it.
        by: Option<OpenClawVersion>,
    },
    /// The store has to remove the sign-in.
    SignOut,
}

/// Every member is optional, and its type is checked by hand: a file that the tenant broke counts as missing.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    version: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_in: Option<Summary>,
    profile_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    imported_by: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sign_out: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    force: bool,
}

/// A sign-in without its tokens.
#[derive(Serialize, Deserialize)]
struct Summary {
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
    /// The parts of the identity that earlier builds wrote and read.
    account_id: Option<String>,
    email: Option<String>,
    last_refresh: Option<Timestamp>,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    fingerprint: String,
}

impl HandOver {
    /// Reads the file's content.
    #[must_use]
    pub fn from_file_bytes(bytes: &[u8]) -> Self {
        let Ok(File { version: 1, sign_in, profile, since, imported_by, sign_out, .. }) = serde_json::from_slice(bytes)
        else {
            return Self::Nothing;
        };
        if sign_out {
            return Self::SignOut;
        }
        if let Some(mut tokens) = profile.as_ref().and_then(auth_profiles::tokens) {
            let known = sign_in.map(SignIn::from);
            tokens.sign_in.last_refresh = known.as_ref().and_then(|known| known.last_refresh);
            // The profile lacks the id token, which may name the owner more exactly.
            if let Some(known) = known.filter(|known| known.identity.same(&tokens.sign_in.identity)) {
                tokens.sign_in.identity = known.identity;
            }
            return Self::Pending { tokens: Box::new(tokens), since };
        }
        let by = imported_by.and_then(|by| OpenClawVersion::from_tag(&by).ok());
        sign_in.map_or(Self::Nothing, |summary| Self::Imported { sign_in: Box::new(summary.into()), by })
    }
}

/// The file that hands a sign-in over; with `force` even over a fresher one in the store.
#[must_use]
pub fn pending(auth: &ChatGptAuth, sign_in: &SignIn, force: bool, now: Timestamp) -> SecretSlice<u8> {
    to_bytes(&File {
        version: 1,
        sign_in: Some(sign_in.clone().into()),
        profile_id: ProfileProvider::OpenAi.profile_id().to_owned(),
        profile: Some(auth_profiles::profile(ProfileProvider::OpenAi, auth)),
        since: Some(now),
        force,
        ..File::default()
    })
}

/// The file that remembers a sign-in which the entry script imports from elsewhere.
#[must_use]
pub fn adopted(sign_in: &SignIn, now: Timestamp) -> SecretSlice<u8> {
    let profile_id = ProfileProvider::OpenAi.profile_id().to_owned();
    to_bytes(&File {
        version: 1,
        sign_in: Some(sign_in.clone().into()),
        profile_id,
        since: Some(now),
        ..File::default()
    })
}

/// The file that makes the store remove the sign-in.
#[must_use]
pub fn sign_out(now: Timestamp) -> SecretSlice<u8> {
    let profile_id = ProfileProvider::OpenAi.profile_id().to_owned();
    to_bytes(&File { version: 1, profile_id, since: Some(now), sign_out: true, ..File::default() })
}

fn to_bytes(file: &File) -> SecretSlice<u8> {
    let text = SecretString::from(format!("{:#}\n", serde_json::to_value(file).unwrap_or_default()));
    SecretSlice::from(text.expose_secret().as_bytes().to_vec())
}

impl From<SignIn> for Summary {
    fn from(sign_in: SignIn) -> Self {
        let SignIn { identity, last_refresh, issued_at, expires_at, fingerprint } = sign_in;
        let (account_id, email) = (identity.account().map(str::to_owned), identity.email().map(str::to_owned));
        Self { identity: Some(identity), account_id, email, last_refresh, issued_at, expires_at, fingerprint }
    }
}

impl From<Summary> for SignIn {
    fn from(summary: Summary) -> Self {
        let Summary { identity, account_id, email, last_refresh, issued_at, expires_at, fingerprint } = summary;
        let identity = identity.unwrap_or_else(|| Identity::of_account(account_id.as_deref(), email.as_deref()));
        Self { identity, last_refresh, issued_at, expires_at, fingerprint }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;
    use crate::jwt::tests::jwt;

    fn auth() -> ChatGptAuth {
        let access = jwt(&json!({"iat": 1_777_000_000, "exp": 1_777_864_000, "email": "ada@example.com"}));
        let tokens = json!({"access_token": access, "refresh_token": "rt-1", "account_id": "acc"});
        ChatGptAuth::parse(json!({"auth_mode": "chatgpt", "tokens": tokens})).unwrap()
    }

    fn file() -> Value {
        let bytes = pending(&auth(), &auth().sign_in_as_written(), false, Timestamp::UNIX_EPOCH);
        serde_json::from_slice(bytes.expose_secret()).unwrap()
    }

    fn read(file: &Value) -> HandOver {
        HandOver::from_file_bytes(file.to_string().as_bytes())
    }

    #[test]
    fn a_handed_over_sign_in_is_read_back_and_its_receipt_has_no_token() {
        let HandOver::Pending { tokens, since } = read(&file()) else { panic!("not pending") };
        assert_eq!((&tokens.sign_in, since), (&auth().sign_in_as_written(), Some(Timestamp::UNIX_EPOCH)));
        // The receipt that the entry script makes of it.
        let mut receipt = file();
        receipt.as_object_mut().unwrap().remove("profile");
        receipt["imported_by"] = json!("2026.9.6");
        receipt["imported_at"] = json!("2026-11-21T12:00:00Z");
        assert!(!receipt.to_string().contains("rt-1"));
        let HandOver::Imported { sign_in, by } = read(&receipt) else { panic!("no receipt") };
        assert_eq!((*sign_in, by), (auth().sign_in_as_written(), Some(OpenClawVersion::new(2026, 9, 6))));
    }

    #[test]
    fn orders_are_read_and_files_that_the_tenant_broke_count_as_missing() {
        let order = sign_out(Timestamp::UNIX_EPOCH);
        assert!(matches!(HandOver::from_file_bytes(order.expose_secret()), HandOver::SignOut));
        let mut without_tokens = file();
        without_tokens["profile"] = json!({"type": "oauth"});
        without_tokens["sign_in"] = json!(null);
        for broken in [json!(null), json!([]), json!({"version": 2}), json!({"version": "1"}), without_tokens] {
            assert!(matches!(read(&broken), HandOver::Nothing), "{broken}");
        }
    }
}
