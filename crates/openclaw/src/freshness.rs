//! Decides which of two sign-ins is fresher: the one in the user's directory, or the one that the caller sent.
//!
//! A refresh token can be used only once, and the running container rotates it. So writing an older sign-in over a newer one
//! signs the user out (incident 28). The rule follows openclaw-facts §4 exactly:
//!
//! 1. nothing usable is stored, or another identity (`identity`): write;
//! 2. the later `last_refresh` wins; if either lacks one (or both are equal), the later `iat` of the access token; if that
//!    does not decide either, the later `exp`;
//! 3. if nothing decides: keep what is there;
//! 4. `force` writes in any case.
//!
//! **Hostile values.** A tenant owns the stored file and may put a `last_refresh` of the year 9999 into it. The file is then
//! kept for ever. That harms only the tenant, whose own sign-in it is; the answer says `kept_fresher`, and `force` or
//! removing the credentials is the way out. A cap would need a clock here, and two clocks that disagree could then undo a
//! rotation, which harms innocent users.
//!
//! **An order.** Comparing is antisymmetric for any values. It is transitive as long as both fields are there, or the times
//! of one sign-in agree with each other, as real ones do. Rule 2 uses another field if one is missing, so three
//! contradictory files can form a circle (a test shows one).

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use super::identity::Identity;
use super::jwt::Claims;
use super::relaxed_time;
use super::sha256_hex12;

/// What a sign-in says about itself, without any token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The owner.
    pub identity: Identity,
    /// When the tokens were last refreshed, if the sign-in itself says so.
    pub last_refresh: Option<Timestamp>,
    /// `iat` of the access token.
    pub issued_at: Option<Timestamp>,
    /// `exp` of the access token.
    pub expires_at: Option<Timestamp>,
    /// The first 12 hex digits of SHA-256 of the refresh token.
    pub fingerprint: String,
}

/// The content of `codex/auth.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Existing {
    /// No file.
    Missing,
    /// A file without content.
    Empty,
    /// Something that no release could sign in with: not JSON, without tokens, too large, or not a regular file.
    Unreadable,
    /// A sign-in.
    Parsed(SignIn),
}

impl Existing {
    /// Judges a file's content.
    ///
    /// Less strict than the parser of requests, because the container writes this file and adds fields of its own. Only a
    /// useless file counts as unreadable: a doubtful one may hold a rotated token (incident 28).
    pub fn from_file_bytes(bytes: &[u8]) -> Self {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Self::Empty;
        }
        let parsed = serde_json::from_slice(bytes).ok().and_then(|value: Value| sign_in(&value));
        parsed.map_or(Self::Unreadable, Self::Parsed)
    }
}

fn sign_in(file: &Value) -> Option<SignIn> {
    let tokens = file.get("tokens")?;
    let text = |name: &str| tokens.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let access = Claims::read(text("access_token")?).unwrap_or_default();
    let refresh_token = text("refresh_token")?;
    let id = text("id_token").and_then(Claims::read).unwrap_or_default();
    Some(SignIn {
        identity: Identity::new(text("account_id"), &access, &id),
        // If this time cannot be read, the times of the token decide: its refresh token may be the live one all the same.
        last_refresh: file.get("last_refresh").and_then(Value::as_str).and_then(relaxed_time::parse),
        issued_at: access.issued_at,
        expires_at: access.expires_at,
        fingerprint: fingerprint(refresh_token),
    })
}

/// The reason why a sign-in was written or kept. The names are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FreshnessReason {
    /// Written: there was no file.
    Missing,
    /// Written: the file was empty every time it was read.
    Empty,
    /// Written: the stored file could not sign anybody in.
    Unreadable,
    /// Written: the stored sign-in belongs to another account or person, or names none.
    OtherAccount,
    /// Written: the sent `last_refresh` is later.
    RefreshedLater,
    /// Written: the sent access token was issued later.
    IssuedLater,
    /// Written: the sent access token expires later.
    ExpiresLater,
    /// Written although the stored one would have been kept without force.
    Forced,
    /// Kept: it is the very same refresh token, and nothing that was sent is newer.
    SameSignIn,
    /// Kept: the stored `last_refresh` is later.
    StoredRefreshedLater,
    /// Kept: the stored access token was issued later.
    StoredIssuedLater,
    /// Kept: the stored access token expires later.
    StoredExpiresLater,
    /// Kept: nothing shows that the sent one is newer.
    NothingNewer,
}

impl FreshnessReason {
    /// The stable name, in snake case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::Unreadable => "unreadable",
            Self::OtherAccount => "other_account",
            Self::RefreshedLater => "refreshed_later",
            Self::IssuedLater => "issued_later",
            Self::ExpiresLater => "expires_later",
            Self::Forced => "forced",
            Self::SameSignIn => "same_sign_in",
            Self::StoredRefreshedLater => "stored_refreshed_later",
            Self::StoredIssuedLater => "stored_issued_later",
            Self::StoredExpiresLater => "stored_expires_later",
            Self::NothingNewer => "nothing_newer",
        }
    }

    /// The reason as a sentence for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Missing => "The user had no sign-in yet.",
            Self::Empty => "The stored sign-in was an empty file.",
            Self::Unreadable => "What was stored could not sign anybody in.",
            Self::OtherAccount => "The stored sign-in does not belong to the account and person that was sent.",
            Self::RefreshedLater => "The sign-in that was sent has been refreshed later than the stored one.",
            Self::IssuedLater => "The access token that was sent was issued later than the stored one.",
            Self::ExpiresLater => "The access token that was sent expires later than the stored one.",
            Self::Forced => "The stored sign-in was overwritten because the request said force.",
            Self::SameSignIn => "The sign-in that was sent is the stored one.",
            Self::StoredRefreshedLater => "The stored sign-in has been refreshed later than the one that was sent.",
            Self::StoredIssuedLater => "The stored access token was issued later than the one that was sent.",
            Self::StoredExpiresLater => "The stored access token expires later than the one that was sent.",
            Self::NothingNewer => "Nothing shows that the sign-in that was sent is newer than the stored one.",
        }
    }
}

/// Whether to write the sign-in that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write it.
    Write {
        /// Why.
        reason: FreshnessReason,
    },
    /// Keep what is stored.
    KeepFresher {
        /// Why.
        reason: FreshnessReason,
    },
}

/// Decides between the stored sign-in and the sent one. `incoming` is judged as sent, before anything was filled in.
pub fn decide(existing: &Existing, incoming: &SignIn, force: bool) -> Decision {
    let write = |reason| Decision::Write { reason };
    let stored = match existing {
        Existing::Missing => return write(FreshnessReason::Missing),
        Existing::Empty => return write(FreshnessReason::Empty),
        Existing::Unreadable => return write(FreshnessReason::Unreadable),
        Existing::Parsed(stored) => stored,
    };
    if !stored.identity.same(&incoming.identity) {
        return write(FreshnessReason::OtherAccount);
    }
    let kept = match compare(incoming, stored) {
        (Ordering::Greater, Measure::LastRefresh) => return write(FreshnessReason::RefreshedLater),
        (Ordering::Greater, Measure::IssuedAt) => return write(FreshnessReason::IssuedLater),
        (Ordering::Greater, Measure::ExpiresAt) => return write(FreshnessReason::ExpiresLater),
        (Ordering::Less, Measure::LastRefresh) => FreshnessReason::StoredRefreshedLater,
        (Ordering::Less, Measure::IssuedAt) => FreshnessReason::StoredIssuedLater,
        (Ordering::Less, Measure::ExpiresAt) => FreshnessReason::StoredExpiresLater,
        (Ordering::Equal, _) if incoming.fingerprint == stored.fingerprint => FreshnessReason::SameSignIn,
        (Ordering::Equal, _) => FreshnessReason::NothingNewer,
    };
    if force { write(FreshnessReason::Forced) } else { Decision::KeepFresher { reason: kept } }
}

/// Which of two sign-ins of one account is fresher (rule 2).
#[must_use]
pub fn compare_freshness(a: &SignIn, b: &SignIn) -> Ordering {
    compare(a, b).0
}

/// The field that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    LastRefresh,
    IssuedAt,
    ExpiresAt,
}

/// Rule 2. A time that either side lacks decides nothing, and the next one is compared.
fn compare(a: &SignIn, b: &SignIn) -> (Ordering, Measure) {
    let by = |a: Option<Timestamp>, b: Option<Timestamp>| a.zip(b).map_or(Ordering::Equal, |(a, b)| a.cmp(&b));
    match (by(a.last_refresh, b.last_refresh), by(a.issued_at, b.issued_at)) {
        (Ordering::Equal, Ordering::Equal) => (by(a.expires_at, b.expires_at), Measure::ExpiresAt),
        (Ordering::Equal, told) => (told, Measure::IssuedAt),
        (told, _) => (told, Measure::LastRefresh),
    }
}

/// A digest that tells refresh tokens apart and reveals nothing of them.
pub(super) fn fingerprint(refresh_token: &str) -> String {
    sha256_hex12(refresh_token.as_bytes())
}

#[cfg(test)]
mod tests;
