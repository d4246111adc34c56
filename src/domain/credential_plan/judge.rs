//! What to write into a user's directory so that the release of a plan signs them in: pure, from what is on disk and
//! what the caller sent. Staging does it, and starts over when the files changed meanwhile.
//!
//! A sign-in may be where another release left it. The freshest one of the account counts, wherever it is; it is moved
//! to the place that the plan's release reads, and its refresh token is taken out of every other place of ours
//! (incidents 28, 29, 30).

use std::cmp::Ordering;

use secrecy::SecretSlice;
use serde_json::{Map, Value, json};

use super::auth_profiles::{self, Profile, Tokens};
use super::record::{Record, hashed};
use super::{Authority, CodexRefreshToken, CredentialPlan, Provider};
use crate::domain::auth_json::ChatGptAuth;
use crate::domain::freshness::{Decision, Existing, Reason, SignIn, compare_freshness, decide};

/// What a name in the user's directory holds.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Nothing.
    Missing,
    /// Something that is not a file of ours: a link, a directory, too large.
    Junk,
    /// A file.
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Missing | Self::Junk => None,
        }
    }

    /// Whether it may be a file that is being rewritten in place just now: a part of a JSON object is none.
    #[must_use]
    pub fn may_be_half_written(self) -> bool {
        self.bytes().is_some_and(|bytes| auth_profiles::parse(bytes).is_none())
    }
}

/// What is on disk.
#[derive(Clone, Copy)]
pub struct OnDisk<'a> {
    /// `codex/auth.json`.
    pub codex: Content<'a>,
    /// `agents/main/agent/auth-profiles.json`.
    pub profiles: Content<'a>,
    /// Whether a database of OpenClaw's is there, which nobody but the container can read.
    pub has_store: bool,
    /// What was last staged for a release that moves it out of sight.
    pub record: Option<&'a Record>,
}

/// What to do with a file.
#[derive(Clone, Debug)]
pub enum Change {
    /// Nothing.
    Keep,
    /// Replace it.
    Write(SecretSlice<u8>),
    /// Remove it.
    Remove,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether the sign-in that was sent is written, and why; `None` when none was sent.
    pub decision: Option<Decision>,
    /// The sign-in that the release will use; `None` when there is none.
    pub stored: Option<SignIn>,
    /// `codex/auth.json`.
    pub codex: Change,
    /// `agents/main/agent/auth-profiles.json`.
    pub profiles: Change,
    /// The record to write before (incomplete) and after (complete) the files.
    pub record: Option<Record>,
    /// The release reads none, and there may be one that cannot be read here.
    pub not_carried_over: bool,
}

impl Verdict {
    /// Whether there is nothing to write.
    #[must_use]
    pub const fn changes_nothing(&self) -> bool {
        matches!((&self.codex, &self.profiles, &self.record), (Change::Keep, Change::Keep, None))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Codex,
    Profile(Provider),
    /// Out of sight; known by our record only.
    Store,
}

struct Live {
    place: Place,
    sign_in: SignIn,
    /// With the account hashed, as the record has it: what is compared.
    hashed: SignIn,
    auth: Option<ChatGptAuth>,
}

impl Live {
    fn of(place: Place, sign_in: SignIn, auth: Option<ChatGptAuth>) -> Self {
        Self { place, hashed: hashed(&sign_in), sign_in, auth }
    }
}

/// Decides what the plan's release needs.
#[must_use]
pub fn judge(plan: &CredentialPlan, disk: OnDisk<'_>, sent: Option<&ChatGptAuth>, force: bool) -> Verdict {
    let profiles = disk.profiles.bytes().and_then(auth_profiles::parse);
    let best = best(plan, &disk, profiles.as_ref());
    let existing = best.as_ref().map_or_else(|| unusable(plan, &disk), |best| Existing::Parsed(best.hashed.clone()));
    let is_doubtful = best.as_ref().is_some_and(|best| best.place == Place::Store)
        && disk.record.is_some_and(|record| !record.complete);
    let decision = sent.map(|sent| match decide(&existing, &hashed(sent.sign_in()), force) {
        // Killed while this very one was being staged: once more. What is older than it, was overtaken in any case.
        Decision::KeepFresher { reason: Reason::SameSignIn } if is_doubtful => {
            Decision::Write { reason: Reason::Missing }
        }
        decision => decision,
    });
    let moved;
    let (to_write, live) = match (decision, sent, &best) {
        (Some(Decision::Write { .. }), Some(sent), _) => (Some(sent), None),
        (_, _, Some(best)) if !is_authority(plan, best.place) => {
            moved = best.auth.clone();
            (moved.as_ref(), Some(best))
        }
        (_, _, best) => (None, best.as_ref()),
    };
    let is_replaced = live.is_none() && to_write.is_some();
    let account = live.and_then(|live| live.hashed.account_id.clone());
    let of_account = |sign_in: &SignIn| is_replaced || account.is_some() && hashed(sign_in).account_id == account;
    let out_of_sight = disk.has_store && disk.record.is_some_and(|record| record.complete);
    let is_older = |sent: &ChatGptAuth| {
        let record = disk.record.map(Record::sign_in);
        record.is_some_and(|record| compare_freshness(&hashed(sent.sign_in()), &record) != Ordering::Greater)
    };
    let not_carried_over = match (best.is_none(), sent) {
        (false, _) => false,
        // The database of a release with imports holds it, whoever put it there.
        (true, None) => !(plan.import.is_some() && disk.has_store),
        // A newer release kept rotating it where this one cannot look.
        (true, Some(sent)) => out_of_sight && is_older(sent),
    };
    let record = to_write.filter(|_| plan.profile.is_some()).map(Record::of).or_else(|| {
        let unfinished = disk.record.filter(|record| !record.complete)?;
        let in_a_file = live.filter(|live| live.place != Place::Store);
        in_a_file.filter(|live| live.sign_in.fingerprint == unfinished.fingerprint).map(|_| unfinished.clone())
    });
    let stored = to_write
        .map(|auth| SignIn { last_refresh: Some(auth.last_refresh()), ..auth.sign_in().clone() })
        .or_else(|| live.map(|live| live.sign_in.clone()));
    Verdict {
        codex: codex(plan, &disk, to_write, live, is_replaced, of_account),
        profiles: change_profiles(plan, profiles, to_write, of_account),
        decision,
        stored,
        record,
        not_carried_over,
    }
}

/// Whether any release would find a sign-in here.
#[must_use]
pub fn signed_in(disk: OnDisk<'_>) -> bool {
    let file = disk.profiles.bytes().and_then(auth_profiles::parse).unwrap_or_default();
    let profiles = Provider::ALL.map(|provider| auth_profiles::read(&file, provider));
    let has_moved = profiles.iter().any(|profile| matches!(profile, Profile::Moved));
    let in_codex = disk.codex.bytes().map(Existing::from_file_bytes);
    matches!(in_codex, Some(Existing::Parsed(_)))
        || profiles.iter().any(|profile| matches!(profile, Profile::Tokens(_)))
        || (disk.has_store || has_moved) && disk.record.is_some_and(|record| record.complete)
}

fn is_authority(plan: &CredentialPlan, place: Place) -> bool {
    match (plan.authority, place) {
        (Authority::CodexHome | Authority::CodexPlugin, place) => place == Place::Codex,
        (Authority::AuthProfiles | Authority::ImportedAuthProfiles, Place::Profile(provider)) => {
            plan.profile == Some(provider)
        }
        (Authority::AuthProfiles | Authority::ImportedAuthProfiles, Place::Store) => true,
        (Authority::AuthProfiles | Authority::ImportedAuthProfiles, Place::Codex) => false,
    }
}

/// The authority's sign-in, or a fresher one of the same account; without one, the freshest that can be moved there.
fn best(plan: &CredentialPlan, disk: &OnDisk<'_>, profiles: Option<&Map<String, Value>>) -> Option<Live> {
    let mut found = Vec::new();
    let mut has_moved = false;
    for provider in Provider::ALL {
        match profiles.map_or(Profile::Missing, |file| auth_profiles::read(file, provider)) {
            Profile::Tokens(tokens) => {
                let Tokens { sign_in, auth } = *tokens;
                found.push(Live::of(Place::Profile(provider), sign_in, auth));
            }
            Profile::Moved => has_moved = true,
            Profile::Missing => {}
        }
    }
    if let Some(Existing::Parsed(sign_in)) = disk.codex.bytes().map(Existing::from_file_bytes) {
        let auth = disk.codex.bytes().and_then(ChatGptAuth::from_file_bytes);
        found.push(Live::of(Place::Codex, sign_in, auth));
    }
    let out_of_sight = match plan.authority {
        Authority::CodexHome | Authority::CodexPlugin => false,
        Authority::AuthProfiles => has_moved,
        Authority::ImportedAuthProfiles => disk.has_store || has_moved,
    };
    if let Some(record) = disk.record.filter(|_| out_of_sight) {
        let (sign_in, hashed) = (record.sign_in(), record.sign_in());
        found.push(Live { place: Place::Store, sign_in, hashed, auth: None });
    }
    let (authorities, others): (Vec<Live>, Vec<Live>) =
        found.into_iter().partition(|live| is_authority(plan, live.place));
    let movable = others.into_iter().filter(|live| live.auth.is_some());
    authorities.into_iter().chain(movable).reduce(|best, other| {
        let same_account = best.hashed.account_id == other.hashed.account_id;
        let fresher = compare_freshness(&other.hashed, &best.hashed) == Ordering::Greater;
        if same_account && fresher { other } else { best }
    })
}

/// What is in the authority's place, when it is no sign-in.
fn unusable(plan: &CredentialPlan, disk: &OnDisk<'_>) -> Existing {
    let place = if plan.authority.is_codex_auth_json() { disk.codex } else { disk.profiles };
    match place {
        Content::Missing => Existing::Missing,
        Content::Junk => Existing::Unreadable,
        Content::Bytes(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Existing::Empty,
        // What a release with another authority left is sound, and so is a file with other profiles than ours.
        Content::Bytes(bytes) if plan.profile.is_none() && is_complete_without_refresh(bytes) => Existing::Missing,
        Content::Bytes(bytes) if plan.profile.is_some() && auth_profiles::parse(bytes).is_some() => Existing::Missing,
        Content::Bytes(_) => Existing::Unreadable,
    }
}

fn codex(
    plan: &CredentialPlan,
    disk: &OnDisk<'_>,
    to_write: Option<&ChatGptAuth>,
    live: Option<&Live>,
    is_replaced: bool,
    of_account: impl Fn(&SignIn) -> bool,
) -> Change {
    let write = |auth: &ChatGptAuth| Change::Write(auth.codex_file_bytes(plan.codex_refresh_token));
    match (plan.codex_refresh_token, to_write) {
        (CodexRefreshToken::Real, to_write) => to_write.map_or(Change::Keep, write),
        (CodexRefreshToken::Empty, Some(auth)) if is_replaced => write(auth),
        (CodexRefreshToken::Empty, _) => {
            match disk.codex.bytes().map(|bytes| (bytes, Existing::from_file_bytes(bytes))) {
                // Its own content stays, but not the token that only the authority may spend (incident 29).
                Some((bytes, Existing::Parsed(sign_in))) if of_account(&sign_in) => blanked(bytes),
                // Another account's: the user's own doing.
                Some((_, Existing::Parsed(_))) => Change::Keep,
                Some((bytes, _)) if is_complete_without_refresh(bytes) => Change::Keep,
                Some(_) | None => live.and_then(|live| live.auth.as_ref()).map_or(Change::Keep, write),
            }
        }
    }
}

fn blanked(bytes: &[u8]) -> Change {
    let Some(mut file) = auth_profiles::parse(bytes) else { return Change::Keep };
    match file.get_mut("tokens").and_then(Value::as_object_mut) {
        Some(tokens) => {
            tokens.insert("refresh_token".into(), json!(""));
            Change::Write(auth_profiles::to_bytes(file))
        }
        None => Change::Keep,
    }
}

fn is_complete_without_refresh(bytes: &[u8]) -> bool {
    let file = auth_profiles::parse(bytes).unwrap_or_default();
    let has = |name: &str| {
        let token = file.get("tokens").and_then(|tokens| tokens.get(name)).and_then(Value::as_str);
        token.is_some_and(|token| !token.is_empty())
    };
    ["access_token", "id_token", "account_id"].into_iter().all(has)
}

fn change_profiles(
    plan: &CredentialPlan,
    file: Option<Map<String, Value>>,
    to_write: Option<&ChatGptAuth>,
    of_account: impl Fn(&SignIn) -> bool,
) -> Change {
    let mut now = file.clone().unwrap_or_default();
    for provider in Provider::ALL.into_iter().filter(|provider| plan.profile != Some(*provider)) {
        // A profile of ours that this release must not use: replaced, or moved to where it does (incident 30).
        let is_ours = match auth_profiles::read(&now, provider) {
            Profile::Tokens(tokens) => of_account(&tokens.sign_in),
            Profile::Moved => to_write.is_some(),
            Profile::Missing => false,
        };
        if is_ours {
            auth_profiles::remove(&mut now, provider);
        }
    }
    if let (Some(provider), Some(auth)) = (plan.profile, to_write) {
        now = auth_profiles::with_profile(now, provider, auth);
    }
    match file {
        None if now.is_empty() => Change::Keep,
        Some(before) if before == now => Change::Keep,
        Some(_) if auth_profiles::is_empty(&now) => Change::Remove,
        Some(_) | None => Change::Write(auth_profiles::to_bytes(now)),
    }
}

#[cfg(test)]
mod tests;
