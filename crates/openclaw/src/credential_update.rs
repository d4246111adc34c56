//! Decides what to write where, from what is on disk and what the caller sent. Pure; `staging` writes the files.
//!
//! A sign-in is compared only with those of its own identity (`identity`), wherever they are, and the freshest of them wins.
//! The place that already holds it keeps it: nothing is moved without need, because the container may be rotating it right
//! now. The winner is put where the release looks for it before it is removed anywhere else, so that a crash between the two
//! leaves one too many and never none. Only copies that are certainly useless are removed: the winner itself and older ones
//! of the same identity. Anything else that would be lost is moved aside first (`aside`).

mod candidates;
mod on_disk;
mod removal;
mod taken_away;

use jiff::Timestamp;
use secrecy::SecretSlice;
use serde_json::Map;

use super::aside::AsideName;
use super::hand_over::{self, HandOver};
use super::{
    Authority, CodexRefreshToken, CredentialPlan, ProfileProvider, Release, Warning, auth_profiles, auth_state,
};
use crate::auth_json::ChatGptAuth;
use crate::freshness::{Decision, Existing, SignIn, decide};
use candidates::{Candidate, Holder, is_in_place};

use super::stored::Stored;
pub use on_disk::{AuthState, OnDisk, Profiles, api_key_in};
pub use removal::{signed_out, unneeded};

/// A file that this service writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFile {
    /// `codex/auth.json`.
    Codex,
    /// `agents/main/agent/auth-profiles.json`.
    Profiles,
    /// `agents/main/agent/auth-state.json`.
    AuthState,
    /// `.provisioner/sign-in.json`.
    HandOver,
}

/// One change to one file.
#[derive(Debug)]
pub enum Change {
    /// Replace it by this.
    Write(CredentialFile, SecretSlice<u8>),
    /// Move aside what is there, then write this.
    MoveAsideAndWrite(CredentialFile, SecretSlice<u8>),
    /// Move aside what is there.
    MoveAside(CredentialFile),
    /// Remove it.
    Remove(CredentialFile),
    /// Keep a sign-in that another change takes away.
    SetAside(AsideName, SecretSlice<u8>),
    /// Remove a sign-in that was kept so.
    RemoveAside(AsideName),
}

impl Change {
    /// Whether it is an order for the entry script, which runs when a task starts.
    #[must_use]
    pub const fn is_order(&self) -> bool {
        matches!(self, Self::Write(CredentialFile::HandOver, _) | Self::MoveAsideAndWrite(CredentialFile::HandOver, _))
    }
}

/// The changes to make, and what they mean.
#[derive(Debug)]
pub struct CredentialUpdate {
    /// The changes, in this order.
    pub changes: Vec<Change>,
    /// What happens to the sign-in that was sent; `None` if none was sent.
    pub decision: Option<Decision>,
    /// The live sign-in afterwards.
    pub live: Option<SignIn>,
    /// Whether the container has to start again to find it.
    pub needs_start: bool,
    /// Since when a sign-in waits for a start.
    pub pending_since: Option<Timestamp>,
    /// The plan that applies.
    pub plan: CredentialPlan,
    /// What the caller should know.
    pub warnings: Vec<Warning>,
    /// Whether nobody can sign in with what is there: there is no live refresh token, and no valid access token.
    pub reauth_required: bool,
}

/// Decides what to write so that `release` finds the freshest sign-in of one identity, and finds it once. The identity is
/// that of the sent sign-in, or else of the staged one.
#[must_use]
pub fn update_credentials(
    release: &Release,
    on_disk: &OnDisk,
    incoming: Option<&ChatGptAuth>,
    force: bool,
    now: Timestamp,
) -> CredentialUpdate {
    let mut plan = release.plan();
    let copies_codex = plan.keeps_own_profile;
    // It makes its own profile from codex/auth.json; if that is missing, another release made the profile.
    plan.keeps_own_profile &= matches!(on_disk.codex, Stored::Tokens(_));
    let mut all = candidates::all(release, &plan, on_disk);
    let identity =
        incoming.map(|auth| auth.sign_in().identity.clone()).or_else(|| candidates::ours(&plan, on_disk, &all));
    let best = identity.and_then(|identity| candidates::freshest_of(&identity, &plan, on_disk, &all));
    let decision = incoming.map(|auth| {
        let another = || all.iter().find(|candidate| candidate.holder != Holder::Aside);
        let stored = best.map(|best| &all[best]).or_else(another);
        decide(&existing(stored, on_disk), auth.sign_in(), force)
    });
    let winner = match (incoming, decision) {
        (Some(auth), Some(Decision::Write { .. })) => Some(Winner::Sent(auth)),
        _ => best.map(|best| Winner::Stored(all.swap_remove(best))),
    };
    // The plugin's plan has to wait for a newer sign-in: the one in the store cannot be taken out of it.
    let plan = match (&winner, plan.authority) {
        (Some(Winner::Stored(Candidate { holder: Holder::Store | Holder::Moved, .. })), Authority::CodexPlugin) => {
            release.plan_without_plugin()
        }
        _ => plan,
    };
    let force = force && incoming.is_some();
    let mut update = Updating { plan, copies_codex, on_disk, force, now }.update(winner, decision);
    if let Some(sent) = incoming {
        update.warnings.extend(what_was_sent(sent));
    }
    update
}

fn existing(best: Option<&Candidate>, on_disk: &OnDisk) -> Existing {
    match (best, &on_disk.codex) {
        (Some(best), _) => Existing::Parsed(best.sign_in.clone()),
        (None, Stored::Empty) => Existing::Empty,
        (None, Stored::Unreadable) => Existing::Unreadable,
        (None, Stored::Missing | Stored::Blank(_) | Stored::Tokens(_)) => Existing::Missing,
    }
}

#[expect(clippy::large_enum_variant, reason = "there is one, on the stack, for a moment")]
enum Winner<'a> {
    Sent(&'a ChatGptAuth),
    Stored(Candidate),
}

impl Winner<'_> {
    fn sign_in(&self) -> SignIn {
        match self {
            Self::Sent(auth) => auth.sign_in_as_written(),
            Self::Stored(candidate) => candidate.sign_in.clone(),
        }
    }

    fn auth(&self) -> Option<&ChatGptAuth> {
        match self {
            Self::Sent(auth) => Some(auth),
            Self::Stored(candidate) => candidate.auth.as_ref(),
        }
    }
}

/// One update under way.
struct Updating<'a> {
    plan: CredentialPlan,
    /// Whether the release makes a profile from `codex/auth.json`, and other profiles of its provider outrank that.
    copies_codex: bool,
    on_disk: &'a OnDisk,
    force: bool,
    now: Timestamp,
}

impl Updating<'_> {
    fn update(self, winner: Option<Winner<'_>>, decision: Option<Decision>) -> CredentialUpdate {
        let mut warnings = Vec::new();
        let mut changes = Vec::new();
        let mut needs_start = false;
        if let Some(winner) = &winner {
            let is_there =
                matches!(winner, Winner::Stored(candidate) if is_in_place(&self.plan, self.on_disk, candidate));
            match winner.auth() {
                _ if is_there => {
                    changes.extend(self.remember_moved(winner));
                    changes.extend(self.clear(winner, true, &mut warnings));
                }
                Some(auth) => {
                    changes.extend(self.target(auth, &winner.sign_in(), &mut warnings));
                    needs_start = self.plan.authority == Authority::Store;
                    changes.extend(self.clear(winner, false, &mut warnings));
                }
                // Opaque tokens that somebody else made: no other place could hold them.
                None => warnings.push(Warning::NotCarriedOver),
            }
            changes = self.nothing_lost(changes, &winner.sign_in(), &mut warnings);
        } else if self.has_lost_one() {
            warnings.push(Warning::NotCarriedOver);
        }
        if let Some(Winner::Sent(auth)) = &winner {
            warnings.extend(flaws(auth, self.now));
        }
        let live = winner.map(|winner| winner.sign_in());
        warnings.extend(self.on_disk.codex_config.warnings(live.as_ref().map(|live| &live.identity)));
        let pending_since = match &self.on_disk.hand_over {
            HandOver::Pending { since, .. } if self.plan.authority == Authority::Store => *since,
            _ => None,
        };
        let still_good = match &self.on_disk.codex {
            Stored::Blank(sign_in) if self.plan.authority.is_codex_auth_json() => {
                sign_in.expires_at.is_some_and(|expires| expires > self.now)
            }
            Stored::Blank(_) | Stored::Missing | Stored::Empty | Stored::Unreadable | Stored::Tokens(_) => false,
        };
        let reauth_required = live.is_none() && !still_good;
        CredentialUpdate {
            changes,
            decision,
            live,
            needs_start,
            pending_since,
            plan: self.plan,
            warnings,
            reauth_required,
        }
    }

    /// Whether there is a sign-in that neither this release nor this service can read.
    fn has_lost_one(&self) -> bool {
        let moved =
            |profile: &auth_profiles::Profile| matches!(profile.content, auth_profiles::ProfileContent::Moved(_));
        matches!(self.on_disk.hand_over, HandOver::Imported { .. }) || self.on_disk.profiles.read().iter().any(moved)
    }

    /// Puts the winner where the release looks for it; [`Self::clear`] writes it into `auth-profiles.json`.
    fn target(&self, auth: &ChatGptAuth, sign_in: &SignIn, warnings: &mut Vec<Warning>) -> Option<Change> {
        match (self.plan.authority, self.plan.profile) {
            (Authority::Store, _) => {
                let order = hand_over::pending(auth, sign_in, self.force, self.now);
                Some(Change::Write(CredentialFile::HandOver, order))
            }
            (Authority::AuthProfiles, Some(provider)) => {
                if !matches!(self.on_disk.profiles, Profiles::Unreadable) {
                    return None;
                }
                warnings.push(Warning::ProfilesUnreadable);
                let file = auth_profiles::with_profile(Map::new(), provider, auth);
                Some(Change::MoveAsideAndWrite(CredentialFile::Profiles, auth_profiles::to_bytes(file)))
            }
            (Authority::CodexHome | Authority::CodexPlugin | Authority::AuthProfiles, _) => {
                Some(Change::Write(CredentialFile::Codex, auth.codex_file_bytes(CodexRefreshToken::Real)))
            }
        }
    }

    /// Once 5.12's encrypted sign-in is imported, only a record shows how fresh it was.
    fn remember_moved(&self, winner: &Winner<'_>) -> Option<Change> {
        let Winner::Stored(Candidate { holder: Holder::Moved, sign_in, .. }) = winner else { return None };
        let is_new =
            !matches!(&self.on_disk.hand_over, HandOver::Imported { sign_in: known, .. } if **known == *sign_in);
        let wanted = self.plan.authority == Authority::Store && is_new;
        wanted.then(|| Change::Write(CredentialFile::HandOver, hand_over::adopted(sign_in, self.now)))
    }

    /// Changes everything else so that the winner is used, and used once.
    fn clear(&self, winner: &Winner<'_>, is_there: bool, warnings: &mut Vec<Warning>) -> Vec<Change> {
        let sign_in = winner.sign_in();
        let taken_out = self.taken_out(winner, is_there);
        let mut changes = Vec::new();
        changes.extend(self.profiles(winner, is_there, &taken_out, warnings));
        if !self.plan.authority.is_codex_auth_json() {
            changes.extend(self.blank_codex(winner, &sign_in));
        }
        changes.extend(self.auth_state(winner, is_there, &taken_out, warnings));
        if let HandOver::Pending { .. } = &self.on_disk.hand_over
            && self.plan.authority != Authority::Store
        {
            changes.push(Change::Remove(CredentialFile::HandOver));
        }
        changes
    }

    /// `auth-profiles.json` with the winner in it, if it belongs there, without the removed profiles, and with nothing that
    /// keeps the winner from being used.
    fn profiles(
        &self,
        winner: &Winner<'_>,
        is_there: bool,
        taken_out: &[String],
        warnings: &mut Vec<Warning>,
    ) -> Option<Change> {
        let (before, mut file) = match &self.on_disk.profiles {
            Profiles::File(file) => (Some(file), file.clone()),
            Profiles::Missing => (None, Map::new()),
            Profiles::Unreadable => return None,
        };
        auth_profiles::remove(&mut file, taken_out);
        // For a store, the entry script writes the profile.
        if let (Authority::AuthProfiles | Authority::Store, Some(provider)) = (self.plan.authority, self.plan.profile)
            && !is_there
            && let Some(id) = auth_profiles::make_way(&mut file, provider)
        {
            warnings.push(Warning::ProfileRenamed { id });
        }
        let written = match (self.plan.authority, self.plan.profile, winner.auth()) {
            (Authority::AuthProfiles, Some(provider), Some(auth)) if !is_there => {
                file = auth_profiles::with_profile(file, provider, auth);
                true
            }
            _ => false,
        };
        self.make_usable(&mut file, winner, is_there, taken_out, "auth-profiles.json", warnings);
        if before.is_none_or(|before| *before == file) && !written {
            return None;
        }
        Some(match auth_profiles::is_empty(&file) {
            true => Change::Remove(CredentialFile::Profiles),
            false => Change::Write(CredentialFile::Profiles, auth_profiles::to_bytes(file)),
        })
    }

    fn auth_state(
        &self,
        winner: &Winner<'_>,
        is_there: bool,
        taken_out: &[String],
        warnings: &mut Vec<Warning>,
    ) -> Option<Change> {
        let AuthState::File(before) = &self.on_disk.auth_state else { return None };
        let mut file = before.clone();
        self.make_usable(&mut file, winner, is_there, taken_out, "auth-state.json", warnings);
        (*before != file).then(|| Change::Write(CredentialFile::AuthState, auth_profiles::to_bytes(file)))
    }

    /// Removes the failures of the former sign-in, and puts the winner's profile into an order that lacks it.
    fn make_usable(
        &self,
        file: &mut Map<String, serde_json::Value>,
        winner: &Winner<'_>,
        is_there: bool,
        taken_out: &[String],
        name: &str,
        warnings: &mut Vec<Warning>,
    ) {
        if !is_there {
            let ours = ProfileProvider::ALL.into_iter().map(|provider| provider.profile_id().to_owned());
            auth_state::forget_failures(file, &ours.chain(taken_out.iter().cloned()).collect::<Vec<_>>());
        }
        let kept_under = match winner {
            Winner::Stored(Candidate { profile: Some((_, id)), .. }) if is_there => Some(id.as_str()),
            Winner::Stored(_) | Winner::Sent(_) => None,
        };
        let Some(provider) = self.plan.profile_in_use() else { return };
        if auth_state::put_in_front(file, provider, kept_under.unwrap_or(provider.profile_id())) {
            let place = format!("order in agents/main/agent/{name}");
            warnings.push(Warning::AuthOrderChanged { place });
        }
    }

    /// `codex/auth.json` is always complete; if it is not the authority, it has no refresh token.
    fn blank_codex(&self, winner: &Winner<'_>, sign_in: &SignIn) -> Option<Change> {
        let own = match &self.on_disk.codex {
            Stored::Missing | Stored::Empty | Stored::Unreadable => None,
            // Only a sign-in that was sent, or one of somebody else, is a reason to write. What the release itself rotated
            // is its own business.
            Stored::Blank(staged) => match winner {
                Winner::Sent(_) => None,
                Winner::Stored(_) if !staged.identity.same(&sign_in.identity) => None,
                Winner::Stored(_) => return None,
            },
            Stored::Tokens(tokens) if tokens.sign_in.identity.same(&sign_in.identity) => tokens.auth.as_ref(),
            Stored::Tokens(_) => None,
        };
        let auth = winner.auth().or(own)?;
        Some(Change::Write(CredentialFile::Codex, auth.codex_file_bytes(CodexRefreshToken::Empty)))
    }
}

/// What is wrong with a well-formed sign-in.
fn flaws(auth: &ChatGptAuth, now: Timestamp) -> Vec<Warning> {
    const REFRESH: &str = "offline_access";
    let is_over = auth.sign_in().expires_at.is_some_and(|expires| expires <= now);
    let cannot_refresh = auth.scopes().is_some_and(|scopes| !scopes.iter().any(|scope| scope == REFRESH));
    let flaws = [
        is_over.then_some(Warning::AccessTokenExpired),
        cannot_refresh.then_some(Warning::ScopeMissing { scope: REFRESH }),
    ];
    flaws.into_iter().flatten().collect()
}

/// What the sender should fix, whether the sign-in is used or not.
fn what_was_sent(auth: &ChatGptAuth) -> Vec<Warning> {
    let dropped = auth.dropped();
    let found = [
        auth.account_is_not_in_tokens().then_some(Warning::AccountIdNotInToken),
        (!auth.access_token_names_account()).then_some(Warning::AccountClaimMissing),
        (!dropped.is_empty()).then(|| Warning::MembersDropped { names: dropped.to_vec() }),
    ];
    found.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
