//! What was last staged, remembered where no file shows it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::auth_json::ChatGptAuth;
use crate::domain::freshness::SignIn;
use crate::domain::user_id::sha256_hex12;

/// What was last staged, without any token: freshness is judged by it where the authority is out of sight
/// (openclaw-facts §4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `false` while the files are being written: after a crash, this very sign-in is staged once more.
    pub complete: bool,
    /// The first 12 hex digits of SHA-256 of the account.
    account: String,
    pub(super) fingerprint: String,
    last_refresh: Option<Timestamp>,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl Record {
    pub(super) fn of(auth: &ChatGptAuth) -> Self {
        let SignIn { last_refresh, issued_at, expires_at, fingerprint, .. } = auth.sign_in().clone();
        let account = sha256_hex12(auth.account_id().as_bytes());
        Self { complete: false, account, fingerprint, last_refresh, issued_at, expires_at }
    }

    /// The record from before the files are written, or from after.
    #[must_use]
    pub fn marked(&self, complete: bool) -> Self {
        Self { complete, ..self.clone() }
    }

    pub(super) fn sign_in(&self) -> SignIn {
        SignIn {
            account_id: Some(self.account.clone()),
            email: None,
            last_refresh: self.last_refresh,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            fingerprint: self.fingerprint.clone(),
        }
    }
}

/// With the account hashed, as the record has it.
pub(super) fn hashed(sign_in: &SignIn) -> SignIn {
    let account_id = sign_in.account_id.as_ref().map(|account| sha256_hex12(account.as_bytes()));
    SignIn { account_id, ..sign_in.clone() }
}
