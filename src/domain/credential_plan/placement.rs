//! What to write where, from what is on disk and what the caller sent. Pure; the files are written by `staging`.
//!
//! The freshest sign-in of all that are known wins, and what holds it already keeps it: nothing is moved without need,
//! because the container may be rotating it this very moment. The winner is put where the release looks for it before
//! it is taken away anywhere else, so that a crash between the two leaves one too many and never none. Only copies that
//! are certainly of no use are taken away: the winner itself, older ones, and those of another account.

mod on_disk;
mod removal;

use std::cmp::Ordering;

use jiff::Timestamp;
use secrecy::SecretSlice;
use serde_json::{Map, Value};

use super::auth_profiles::{self, Profile, ProfileContent, Tokens};
use super::hand_over::{self, HandOver};
use super::{Authority, CodexRefreshToken, CredentialPlan, Provider, Release, Warning};
use crate::domain::auth_json::ChatGptAuth;
use crate::domain::freshness::{Decision, Existing, SignIn, compare_freshness, decide};

pub use on_disk::{OnDisk, Profiles, Stored};
pub use removal::{signed_out, unneeded};

/// A file that this service writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `codex/auth.json`.
    Codex,
    /// `agents/main/agent/auth-profiles.json`.
    Profiles,
    /// `.provisioner/sign-in.json`.
    HandOver,
}

/// One change to one file.
#[derive(Debug)]
pub enum Change {
    /// Replace it by this.
    Write(Place, SecretSlice<u8>),
    /// Move aside what is there, then write this.
    MoveAsideAndWrite(Place, SecretSlice<u8>),
    /// Move aside what is there.
    MoveAside(Place),
    /// Remove it.
    Remove(Place),
}

impl Change {
    /// Whether it is for the entry script, which the start of a task runs.
    #[must_use]
    pub const fn is_order(&self) -> bool {
        matches!(self, Self::Write(Place::HandOver, _))
    }
}

/// What is to be done.
#[derive(Debug)]
pub struct Placement {
    /// In this order.
    pub changes: Vec<Change>,
    /// What became of the sign-in that was sent; `None` when none was.
    pub decision: Option<Decision>,
    /// The live sign-in afterwards.
    pub live: Option<SignIn>,
    /// The container has to start again to find it.
    pub needs_start: bool,
    /// Since when a sign-in waits for a start.
    pub pending_since: Option<Timestamp>,
    /// The plan that is in force.
    pub plan: CredentialPlan,
    /// What the caller should know.
    pub warnings: Vec<Warning>,
    /// Nobody can sign in with what is there: no live refresh token, and no access token that is still good.
    pub reauth_required: bool,
}

/// Where a sign-in is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Codex,
    Profiles,
    /// In `auth-profiles.json`, encrypted elsewhere.
    Moved,
    Pending,
    Store,
}

struct Candidate {
    holder: Holder,
    sign_in: SignIn,
    auth: Option<ChatGptAuth>,
    /// Under which provider, in `auth-profiles.json`.
    provider: Option<Provider>,
}

/// Decides what to write so that `release` finds the freshest sign-in, and finds it once.
#[must_use]
pub fn place(
    release: &Release,
    on_disk: &OnDisk,
    incoming: Option<&ChatGptAuth>,
    force: bool,
    now: Timestamp,
) -> Placement {
    let mut plan = release.plan();
    // It makes its own profile of what is in codex/auth.json; where nothing is, the profile is another release's.
    plan.keeps_own_profile &= matches!(on_disk.codex, Stored::Tokens(_));
    let best = candidates(release, &plan, on_disk).into_iter().reduce(|best, next| fresher(&plan, best, next));
    let decision = incoming.map(|auth| decide(&existing(best.as_ref(), on_disk), auth.sign_in(), force));
    let winner = match (incoming, decision) {
        (Some(auth), Some(Decision::Write { .. })) => Some(Winner::Sent(auth)),
        _ => best.map(Winner::Stored),
    };
    // The plugin's plan waits until a newer sign-in comes: what the store holds cannot be taken out of it.
    let plan = match (&winner, plan.authority) {
        (Some(Winner::Stored(Candidate { holder: Holder::Store | Holder::Moved, .. })), Authority::CodexPlugin) => {
            release.plan_without_plugin()
        }
        _ => plan,
    };
    Placing { plan, on_disk, now }.place(winner, decision)
}

fn candidates(release: &Release, plan: &CredentialPlan, on_disk: &OnDisk) -> Vec<Candidate> {
    let held = |holder, tokens: &Tokens, provider| {
        let Tokens { sign_in, auth } = tokens.clone();
        Candidate { holder, sign_in, auth, provider }
    };
    let mut found = Vec::new();
    if let Stored::Tokens(tokens) = &on_disk.codex {
        found.push(held(Holder::Codex, tokens, None));
    }
    let can_decrypt = plan.needs_profile_secret_key || plan.needs_entry;
    for Profile { provider, content, .. } in on_disk.profiles.read() {
        match content {
            ProfileContent::Tokens(tokens) => found.push(held(Holder::Profiles, &tokens, Some(provider))),
            ProfileContent::Moved(sign_in) if can_decrypt => {
                found.push(Candidate {
                    holder: Holder::Moved,
                    sign_in: *sign_in,
                    auth: None,
                    provider: Some(provider),
                });
            }
            ProfileContent::Moved(_) | ProfileContent::Useless => {}
        }
    }
    match &on_disk.hand_over {
        HandOver::Pending { tokens, .. } => found.push(held(Holder::Pending, tokens, None)),
        HandOver::Imported { sign_in, by } if release.reads_store_of(*by) => {
            let sign_in = (**sign_in).clone();
            found.push(Candidate { holder: Holder::Store, sign_in, auth: None, provider: None });
        }
        HandOver::Imported { .. } | HandOver::SignOut | HandOver::Nothing => {}
    }
    found
}

/// The fresher of two; of equals the one that need not be moved.
fn fresher(plan: &CredentialPlan, one: Candidate, other: Candidate) -> Candidate {
    match compare_freshness(&one.sign_in, &other.sign_in) {
        Ordering::Greater => one,
        Ordering::Less => other,
        Ordering::Equal if !is_in_place(plan, &one) && is_in_place(plan, &other) => other,
        // A receipt is written after the import: what is pending beside it came later.
        Ordering::Equal => one,
    }
}

/// Whether the release finds it where it is.
fn is_in_place(plan: &CredentialPlan, candidate: &Candidate) -> bool {
    match (plan.authority, candidate.holder) {
        (Authority::CodexHome | Authority::CodexPlugin, Holder::Codex) => true,
        (Authority::CodexHome, Holder::Profiles) => plan.keeps_own_profile,
        (Authority::AuthProfiles, Holder::Profiles | Holder::Moved) => candidate.provider == plan.profile,
        // The entry script imports what 5.12 encrypted.
        (Authority::Store, Holder::Pending | Holder::Store | Holder::Moved) => true,
        (Authority::CodexHome, Holder::Moved | Holder::Pending | Holder::Store)
        | (Authority::CodexPlugin, Holder::Profiles | Holder::Moved | Holder::Pending | Holder::Store)
        | (Authority::AuthProfiles, Holder::Codex | Holder::Pending | Holder::Store)
        | (Authority::Store, Holder::Codex | Holder::Profiles) => false,
    }
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

impl<'a> Winner<'a> {
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

/// One placement under way.
struct Placing<'a> {
    plan: CredentialPlan,
    on_disk: &'a OnDisk,
    now: Timestamp,
}

impl Placing<'_> {
    fn place(self, winner: Option<Winner<'_>>, decision: Option<Decision>) -> Placement {
        let mut warnings = Vec::new();
        let mut changes = Vec::new();
        let mut needs_start = false;
        if let Some(winner) = &winner {
            let in_place = matches!(winner, Winner::Stored(candidate) if is_in_place(&self.plan, candidate));
            match winner.auth() {
                _ if in_place => {
                    changes.extend(self.remember_moved(winner));
                    changes.extend(self.clear(winner, true));
                }
                Some(auth) => {
                    changes.push(self.target(auth, &winner.sign_in(), &mut warnings));
                    needs_start = self.plan.authority == Authority::Store;
                    changes.extend(self.clear(winner, false));
                }
                // Opaque tokens of somebody else's making: no other place could hold them.
                None => warnings.push(Warning::NotCarriedOver),
            }
        } else if self.has_lost_one() {
            warnings.push(Warning::NotCarriedOver);
        }
        if let Some(Winner::Sent(auth)) = &winner {
            warnings.extend(flaws(auth, self.now));
        }
        let live = winner.map(|winner| winner.sign_in());
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
        Placement { changes, decision, live, needs_start, pending_since, plan: self.plan, warnings, reauth_required }
    }

    /// A sign-in that this release cannot read and we cannot either.
    fn has_lost_one(&self) -> bool {
        let moved = |profile: &Profile| matches!(profile.content, ProfileContent::Moved(_));
        matches!(self.on_disk.hand_over, HandOver::Imported { .. }) || self.on_disk.profiles.read().iter().any(moved)
    }

    /// The winner, where the release looks for it.
    fn target(&self, auth: &ChatGptAuth, sign_in: &SignIn, warnings: &mut Vec<Warning>) -> Change {
        match (self.plan.authority, self.plan.profile) {
            (Authority::Store, _) => Change::Write(Place::HandOver, hand_over::pending(auth, sign_in, self.now)),
            (Authority::AuthProfiles, Some(provider)) => {
                let (mut file, unreadable) = match &self.on_disk.profiles {
                    Profiles::File(file) => (file.clone(), false),
                    Profiles::Missing => (Map::new(), false),
                    Profiles::Unreadable => (Map::new(), true),
                };
                auth_profiles::remove(&mut file, &self.replaced(sign_in));
                let bytes = auth_profiles::to_bytes(auth_profiles::with_profile(file, provider, auth));
                if unreadable {
                    warnings.push(Warning::ProfilesUnreadable);
                    return Change::MoveAsideAndWrite(Place::Profiles, bytes);
                }
                Change::Write(Place::Profiles, bytes)
            }
            (Authority::CodexHome | Authority::CodexPlugin | Authority::AuthProfiles, _) => {
                Change::Write(Place::Codex, auth.codex_file_bytes(CodexRefreshToken::Real))
            }
        }
    }

    /// Once 5.12's encrypted sign-in is imported, nothing but a record tells how fresh it was.
    fn remember_moved(&self, winner: &Winner<'_>) -> Option<Change> {
        let Winner::Stored(Candidate { holder: Holder::Moved, sign_in, .. }) = winner else { return None };
        let is_new =
            !matches!(&self.on_disk.hand_over, HandOver::Imported { sign_in: known, .. } if **known == *sign_in);
        let wanted = self.plan.authority == Authority::Store && is_new;
        wanted.then(|| Change::Write(Place::HandOver, hand_over::adopted(sign_in, self.now)))
    }

    /// Takes away, everywhere but where it belongs, what is certainly of no use.
    fn clear(&self, winner: &Winner<'_>, in_place: bool) -> Vec<Change> {
        let sign_in = winner.sign_in();
        let mut changes = Vec::new();
        if !self.plan.authority.is_codex_auth_json() {
            changes.extend(self.blank_codex(winner, &sign_in));
        }
        if let Profiles::File(file) = &self.on_disk.profiles {
            let ids = match (self.plan.authority, winner) {
                (Authority::AuthProfiles, _) => Vec::new(),
                (_, Winner::Stored(Candidate { holder: Holder::Profiles, .. })) if in_place => Vec::new(),
                (_, Winner::Stored(Candidate { holder: Holder::Moved, .. })) => Vec::new(),
                // The release itself keeps a copy there; an older sign-in could outrank the winner.
                (Authority::CodexHome, Winner::Stored(_)) if in_place => self.older(&sign_in),
                (Authority::CodexHome | Authority::CodexPlugin | Authority::Store, _) => self.replaced(&sign_in),
            };
            changes.extend(without_profiles(file, &ids));
        }
        if let HandOver::Pending { tokens, .. } = &self.on_disk.hand_over
            && self.plan.authority != Authority::Store
            && is_of_no_use(&tokens.sign_in, &sign_in)
        {
            changes.push(Change::Remove(Place::HandOver));
        }
        changes
    }

    /// `codex/auth.json` is always complete, and where it is not the authority it has no refresh token.
    fn blank_codex(&self, winner: &Winner<'_>, sign_in: &SignIn) -> Option<Change> {
        let own = match &self.on_disk.codex {
            Stored::Missing | Stored::Empty | Stored::Unreadable => None,
            // Only a sign-in that was sent is news; what the release rotated by itself is its own business.
            Stored::Blank(_) => match winner {
                Winner::Sent(_) => None,
                Winner::Stored(_) => return None,
            },
            Stored::Tokens(tokens) if is_of_no_use(&tokens.sign_in, sign_in) => tokens.auth.as_ref(),
            Stored::Tokens(_) => return None,
        };
        let auth = winner.auth().or(own)?;
        Some(Change::Write(Place::Codex, auth.codex_file_bytes(CodexRefreshToken::Empty)))
    }

    /// Ids of the profiles with another sign-in than this one, and an older one.
    fn older(&self, sign_in: &SignIn) -> Vec<String> {
        let is_older = |profile: &Profile| match &profile.content {
            ProfileContent::Tokens(tokens) => {
                tokens.sign_in.fingerprint != sign_in.fingerprint && is_of_no_use(&tokens.sign_in, sign_in)
            }
            ProfileContent::Moved(_) | ProfileContent::Useless => false,
        };
        self.on_disk.profiles.read().into_iter().filter(is_older).map(|profile| profile.id).collect()
    }

    /// Ids of the profiles that a sign-in takes the place of.
    fn replaced(&self, sign_in: &SignIn) -> Vec<String> {
        let is_ours = |profile: &Profile| match &profile.content {
            ProfileContent::Tokens(tokens) => is_of_no_use(&tokens.sign_in, sign_in),
            ProfileContent::Moved(_) | ProfileContent::Useless => {
                Provider::ALL.iter().any(|provider| provider.profile_id() == profile.id)
            }
        };
        self.on_disk.profiles.read().into_iter().filter(is_ours).map(|profile| profile.id).collect()
    }
}

/// What is wrong with a sign-in although it is well-formed.
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

/// Whether `this` may be taken away once `winner` is in place.
fn is_of_no_use(this: &SignIn, winner: &SignIn) -> bool {
    this.fingerprint == winner.fingerprint
        || this.account_id != winner.account_id
        || compare_freshness(this, winner) == Ordering::Less
}

fn without_profiles(file: &Map<String, Value>, ids: &[String]) -> Option<Change> {
    if ids.is_empty() {
        return None;
    }
    let mut file = file.clone();
    auth_profiles::remove(&mut file, ids);
    Some(match auth_profiles::is_empty(&file) {
        true => Change::Remove(Place::Profiles),
        false => Change::Write(Place::Profiles, auth_profiles::to_bytes(file)),
    })
}

#[cfg(test)]
mod tests;
