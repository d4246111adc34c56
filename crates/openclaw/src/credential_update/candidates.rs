//! Every sign-in in a user's files, its owner, and which of them is used.

use std::cmp::Ordering;

use super::{OnDisk, Profiles};
use crate::auth_json::ChatGptAuth;
use crate::auth_profiles::{Profile, ProfileContent, Tokens};
use crate::freshness::{SignIn, compare_freshness};
use crate::identity::Identity;
use crate::stored::Stored;
use crate::{Authority, CredentialPlan, HandOver, ProfileProvider, Release};

/// The place that holds a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Codex,
    Profiles,
    /// In `auth-profiles.json`, encrypted elsewhere.
    Moved,
    Pending,
    Store,
    /// In a place that nothing reads.
    Aside,
}

pub(super) struct Candidate {
    pub(super) holder: Holder,
    pub(super) sign_in: SignIn,
    pub(super) auth: Option<ChatGptAuth>,
    /// Its provider and id, if it is in `auth-profiles.json`.
    pub(super) profile: Option<(ProfileProvider, String)>,
    /// Whether its file has to be written again.
    pub(super) is_refused: bool,
}

impl Candidate {
    /// Whether its id is one that this service writes.
    fn has_our_id(&self) -> bool {
        self.profile.as_ref().is_none_or(|(_, id)| is_our_id(id))
    }
}

pub(super) fn is_our_id(id: &str) -> bool {
    ProfileProvider::ALL.iter().any(|provider| provider.profile_id() == id)
}

pub(super) fn all(release: &Release, plan: &CredentialPlan, on_disk: &OnDisk) -> Vec<Candidate> {
    let held = |holder, tokens: &Tokens, profile| {
        let Tokens { sign_in, auth, is_refused } = tokens.clone();
        Candidate { holder, sign_in, auth, profile, is_refused }
    };
    let known = |holder, sign_in: &SignIn, profile| Candidate {
        holder,
        sign_in: sign_in.clone(),
        auth: None,
        profile,
        is_refused: false,
    };
    let mut found = Vec::new();
    if let Stored::Tokens(tokens) = &on_disk.codex {
        found.push(held(Holder::Codex, tokens, None));
    }
    let can_decrypt = plan.needs_profile_secret_key || plan.needs_entry;
    for Profile { id, provider, content } in on_disk.profiles.read() {
        match content {
            ProfileContent::Tokens(tokens) => found.push(held(Holder::Profiles, &tokens, Some((provider, id)))),
            ProfileContent::Moved(sign_in) if can_decrypt => {
                found.push(known(Holder::Moved, &sign_in, Some((provider, id))));
            }
            ProfileContent::Moved(_) | ProfileContent::Useless => {}
        }
    }
    match &on_disk.hand_over {
        HandOver::Pending { tokens, .. } => found.push(held(Holder::Pending, tokens, None)),
        HandOver::Imported { sign_in, by } if release.reads_store_of(*by) => {
            found.push(known(Holder::Store, sign_in, None));
        }
        HandOver::Imported { .. } | HandOver::SignOut | HandOver::Nothing => {}
    }
    found.extend(on_disk.asides.iter().filter_map(|aside| Some(held(Holder::Aside, aside.tokens()?, None))));
    found
}

/// The identity of the sign-in that this service staged, as the files show it. Only this service writes a `codex/auth.json`
/// without a refresh token; otherwise it is the freshest one in our places. Only if there is none, another one that the user
/// has.
pub(super) fn ours(plan: &CredentialPlan, on_disk: &OnDisk, all: &[Candidate]) -> Option<Identity> {
    let is_in_use = |candidate: &&Candidate| candidate.holder != Holder::Aside;
    if let Stored::Blank(staged) = &on_disk.codex
        && all.iter().filter(is_in_use).any(|candidate| candidate.sign_in.identity.same(&staged.identity))
    {
        return Some(staged.identity.clone());
    }
    // If the release reads our profile, only the user's own `codex login` writes tokens to the other file.
    let is_read = |candidate: &&Candidate| match &candidate.profile {
        Some((provider, id)) => Some(*provider) == plan.profile && is_our_id(id),
        None => false,
    };
    if plan.authority == Authority::AuthProfiles
        && let Some(read) = all.iter().find(is_read)
    {
        return Some(read.sign_in.identity.clone());
    }
    let freshest = |some: &mut dyn Iterator<Item = &Candidate>| {
        let found = some.reduce(|best, next| match compare_freshness(&best.sign_in, &next.sign_in) {
            Ordering::Less => next,
            Ordering::Equal | Ordering::Greater => best,
        });
        found.map(|candidate| candidate.sign_in.identity.clone())
    };
    let in_our_places = freshest(&mut all.iter().filter(is_in_use).filter(|candidate| candidate.has_our_id()));
    in_our_places.or_else(|| freshest(&mut all.iter().filter(is_in_use)))
}

/// The position of the freshest sign-in of an identity; among equals, the one that need not be moved. One that was moved
/// aside counts only if nothing else of that identity is left.
pub(super) fn freshest_of(
    identity: &Identity,
    plan: &CredentialPlan,
    on_disk: &OnDisk,
    all: &[Candidate],
) -> Option<usize> {
    let is_aside = |at: &usize| all[*at].holder == Holder::Aside;
    let (asides, in_use): (Vec<usize>, Vec<usize>) =
        (0..all.len()).filter(|at| all[*at].sign_in.identity.same(identity)).partition(is_aside);
    let of_them = if in_use.is_empty() { asides } else { in_use }.into_iter();
    of_them.reduce(|best, next| {
        let (one, other) = (&all[best], &all[next]);
        match compare_freshness(&one.sign_in, &other.sign_in) {
            Ordering::Greater => best,
            Ordering::Less => next,
            Ordering::Equal if !is_in_place(plan, on_disk, one) && is_in_place(plan, on_disk, other) => next,
            // A receipt is written after the import, so a pending sign-in beside it came later.
            Ordering::Equal => best,
        }
    })
}

/// Whether the release finds it where it is, and before one of another identity.
pub(super) fn is_in_place(plan: &CredentialPlan, on_disk: &OnDisk, candidate: &Candidate) -> bool {
    if candidate.is_refused {
        return false;
    }
    let identity = &candidate.sign_in.identity;
    match (plan.authority, candidate.holder) {
        (Authority::CodexHome | Authority::CodexPlugin, Holder::Codex) => true,
        (Authority::CodexHome, Holder::Profiles) => {
            let codex_is_theirs = match &on_disk.codex {
                Stored::Tokens(tokens) => !tokens.sign_in.identity.same(identity),
                Stored::Missing | Stored::Empty | Stored::Unreadable | Stored::Blank(_) => false,
            };
            plan.keeps_own_profile && !codex_is_theirs
        }
        (Authority::AuthProfiles, Holder::Profiles | Holder::Moved) => {
            candidate.profile.as_ref().is_some_and(|(provider, id)| {
                let ours = provider.profile_id();
                Some(*provider) == plan.profile && (id == ours || !is_anothers(&on_disk.profiles, ours, identity))
            })
        }
        // The entry script imports what 5.12 encrypted.
        (Authority::Store, Holder::Pending | Holder::Store | Holder::Moved) => true,
        (Authority::CodexHome, Holder::Moved | Holder::Pending | Holder::Store)
        | (Authority::CodexPlugin, Holder::Profiles | Holder::Moved | Holder::Pending | Holder::Store)
        | (Authority::AuthProfiles, Holder::Codex | Holder::Pending | Holder::Store)
        | (Authority::Store, Holder::Codex | Holder::Profiles)
        | (_, Holder::Aside) => false,
    }
}

/// Whether the profile of that id holds a sign-in of somebody else.
fn is_anothers(profiles: &Profiles, id: &str, identity: &Identity) -> bool {
    profiles.read().into_iter().any(|profile| match profile.content {
        ProfileContent::Tokens(tokens) => profile.id == id && !tokens.sign_in.identity.same(identity),
        ProfileContent::Moved(sign_in) => profile.id == id && !sign_in.identity.same(identity),
        ProfileContent::Useless => false,
    })
}
