//! Removes a sign-in from every place.

use jiff::Timestamp;

use super::candidates::{self, is_our_id};
use super::{Change, CredentialFile, CredentialUpdate, OnDisk, Profiles};
use crate::aside::{self, AsideName};
use crate::auth_profiles::{self, Profile, ProfileContent};
use crate::freshness::SignIn;
use crate::stored::Stored;
use crate::{HandOver, Release, Warning, hand_over};

/// The changes for a provider that takes no ChatGPT sign-in: the staged one is removed, and the user's sign-ins of other
/// accounts stay. Profiles that cannot be read are moved aside; otherwise a file that the tenant broke would block every
/// resize.
#[must_use]
pub fn unneeded(release: &Release, on_disk: &OnDisk, now: Timestamp) -> CredentialUpdate {
    let plan = release.plan();
    let ours = candidates::ours(&plan, on_disk, &candidates::all(release, &plan, on_disk));
    let is_ours = |sign_in: &SignIn| ours.as_ref().is_none_or(|ours| sign_in.identity.same(ours));
    let goes = |profile: &Profile| match &profile.content {
        ProfileContent::Tokens(tokens) => is_ours(&tokens.sign_in),
        ProfileContent::Moved(sign_in) => is_ours(sign_in),
        ProfileContent::Useless => is_our_id(&profile.id),
    };
    let codex = match &on_disk.codex {
        Stored::Tokens(tokens) if !is_ours(&tokens.sign_in) => Change::MoveAside(CredentialFile::Codex),
        _ => Change::Remove(CredentialFile::Codex),
    };
    let changes = taken_away(release, on_disk, now, goes, codex);
    let is_aside = changes.iter().any(|change| matches!(change, Change::MoveAside(CredentialFile::Profiles)));
    CredentialUpdate {
        decision: None,
        live: None,
        needs_start: changes.iter().any(Change::is_order),
        pending_since: None,
        plan: release.plan(),
        warnings: is_aside.then_some(Warning::ProfilesUnreadable).into_iter().collect(),
        reauth_required: false,
        changes,
    }
}

/// The changes after which nobody is signed in any more. `Err` names the file that could not be read and may hold a sign-in.
///
/// # Errors
/// [`CredentialFile::Profiles`] if its content is not JSON.
pub fn signed_out(release: &Release, on_disk: &OnDisk, now: Timestamp) -> Result<Vec<Change>, CredentialFile> {
    if matches!(on_disk.profiles, Profiles::Unreadable) {
        return Err(CredentialFile::Profiles);
    }
    let mut changes = taken_away(release, on_disk, now, |_| true, Change::Remove(CredentialFile::Codex));
    changes.extend(on_disk.asides.iter().map(|aside| Change::RemoveAside(aside.name.clone())));
    Ok(changes)
}

fn taken_away(
    release: &Release,
    on_disk: &OnDisk,
    now: Timestamp,
    goes: impl Fn(&Profile) -> bool,
    codex: Change,
) -> Vec<Change> {
    let mut changes = Vec::new();
    match &on_disk.profiles {
        Profiles::Unreadable => changes.push(Change::MoveAside(CredentialFile::Profiles)),
        Profiles::Missing => {}
        Profiles::File(file) => {
            let ids: Vec<String> = on_disk.profiles.read().into_iter().filter(goes).map(|profile| profile.id).collect();
            if !ids.is_empty() {
                let mut file = file.clone();
                auth_profiles::remove(&mut file, &ids);
                changes.push(match auth_profiles::is_empty(&file) {
                    true => Change::Remove(CredentialFile::Profiles),
                    false => Change::Write(CredentialFile::Profiles, auth_profiles::to_bytes(file)),
                });
            }
        }
    }
    if let (Some(key), Change::Remove(_)) = (&on_disk.codex_api_key, &codex) {
        let (key, bytes) = aside::of_api_key(key);
        changes.push(Change::SetAside(AsideName::of(&key), bytes));
    }
    if !matches!(on_disk.codex, Stored::Missing) {
        changes.push(codex);
    }
    match &on_disk.hand_over {
        // Only the container can remove it from its store.
        HandOver::Imported { .. } => changes.push(Change::Write(CredentialFile::HandOver, hand_over::sign_out(now))),
        // It may be in the store by now, or an older one may still be there.
        HandOver::Pending { .. } if release.plan().needs_entry => {
            changes.push(Change::Write(CredentialFile::HandOver, hand_over::sign_out(now)));
        }
        HandOver::Pending { .. } => changes.push(Change::Remove(CredentialFile::HandOver)),
        HandOver::Nothing | HandOver::SignOut => {}
    }
    changes
}
