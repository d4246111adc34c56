//! Taking a sign-in away wherever it is.

use jiff::Timestamp;

use super::{Change, OnDisk, Place, Placement, Profiles, Stored, without_profiles};
use crate::domain::credential_plan::{HandOver, Release, Warning, hand_over};

/// What is to be done for a provider that takes no ChatGPT sign-in: as [`signed_out`], but profiles that cannot be read
/// are moved aside, or a file that the tenant broke would stand in the way of every resize.
#[must_use]
pub fn unneeded(release: &Release, on_disk: &OnDisk, now: Timestamp) -> Placement {
    let changes = taken_away(release, on_disk, now);
    let is_aside = changes.iter().any(|change| matches!(change, Change::MoveAside(_)));
    Placement {
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

/// What is to be done so that nobody is signed in any more. `Err` names what could not be read, and may hold a sign-in.
///
/// # Errors
/// [`Place::Profiles`] when its content is no JSON.
pub fn signed_out(release: &Release, on_disk: &OnDisk, now: Timestamp) -> Result<Vec<Change>, Place> {
    match &on_disk.profiles {
        Profiles::Unreadable => Err(Place::Profiles),
        Profiles::Missing | Profiles::File(_) => Ok(taken_away(release, on_disk, now)),
    }
}

fn taken_away(release: &Release, on_disk: &OnDisk, now: Timestamp) -> Vec<Change> {
    let mut changes = Vec::new();
    match &on_disk.profiles {
        Profiles::Unreadable => changes.push(Change::MoveAside(Place::Profiles)),
        Profiles::Missing => {}
        Profiles::File(file) => {
            let ids: Vec<String> = on_disk.profiles.read().into_iter().map(|profile| profile.id).collect();
            changes.extend(without_profiles(file, &ids));
        }
    }
    if !matches!(on_disk.codex, Stored::Missing) {
        changes.push(Change::Remove(Place::Codex));
    }
    match &on_disk.hand_over {
        // Only the container can take it out of its store.
        HandOver::Imported { .. } => changes.push(Change::Write(Place::HandOver, hand_over::sign_out(now))),
        // It may be in the store by now, or an older one still is.
        HandOver::Pending { .. } if release.plan().needs_entry => {
            changes.push(Change::Write(Place::HandOver, hand_over::sign_out(now)));
        }
        HandOver::Pending { .. } => changes.push(Change::Remove(Place::HandOver)),
        HandOver::Nothing | HandOver::SignOut => {}
    }
    changes
}
