//! What is removed once the winner is where it belongs, and what of that is moved aside first.

use std::cmp::Ordering;

use secrecy::{ExposeSecret as _, SecretSlice};

use super::candidates::{Candidate, Holder, is_our_id};
use super::on_disk::api_key_in;
use super::{Change, CredentialFile, OnDisk, Profiles, Updating, Winner};
use crate::aside::{self, AsideName};
use crate::auth_profiles::{Profile, ProfileContent};
use crate::freshness::{SignIn, compare_freshness};
use crate::stored::Stored;
use crate::{Authority, HandOver, ProfileProvider, Warning};

/// Whether `this` may be removed once `winner` is in place: it is the winner, or an older sign-in of certainly the same
/// person.
fn is_of_no_use(this: &SignIn, winner: &SignIn) -> bool {
    !this.fingerprint.is_empty() && this.fingerprint == winner.fingerprint
        || this.identity.certainly_same(&winner.identity) && compare_freshness(this, winner) == Ordering::Less
}

impl Updating<'_> {
    /// Ids of the profiles that must not stay beside the winner.
    pub(super) fn taken_out(&self, winner: &Winner<'_>, is_there: bool) -> Vec<String> {
        let in_profiles = match winner {
            Winner::Stored(Candidate { holder: Holder::Moved, .. }) => return Vec::new(),
            Winner::Stored(Candidate { holder: Holder::Profiles, profile, .. }) if is_there => profile.as_ref(),
            Winner::Stored(_) | Winner::Sent(_) => None,
        };
        let sign_in = winner.sign_in();
        let goes = |profile: &Profile| {
            if in_profiles.is_some_and(|(_, id)| *id == profile.id) {
                return false;
            }
            match &profile.content {
                ProfileContent::Tokens(tokens) if tokens.sign_in.identity.same(&sign_in.identity) => {
                    match self.plan.authority {
                        // The release keeps its own copies there, and rotates those.
                        Authority::AuthProfiles if is_there => false,
                        Authority::CodexHome if in_profiles.is_some() => false,
                        Authority::CodexHome if is_there => {
                            tokens.sign_in.fingerprint != sign_in.fingerprint && is_of_no_use(&tokens.sign_in, &sign_in)
                        }
                        _ => is_of_no_use(&tokens.sign_in, &sign_in),
                    }
                }
                ProfileContent::Tokens(_) => self.outranks(profile),
                ProfileContent::Moved(moved) if !moved.identity.same(&sign_in.identity) => self.outranks(profile),
                ProfileContent::Moved(_) | ProfileContent::Useless => {
                    (!is_there || self.plan.authority == Authority::Store) && is_our_id(&profile.id)
                }
            }
        };
        self.on_disk.profiles.read().into_iter().filter(goes).map(|profile| profile.id).collect()
    }

    /// Whether another person's profile is used before the winner, or is overwritten by the release or the import.
    fn outranks(&self, profile: &Profile) -> bool {
        match self.plan.authority {
            Authority::CodexHome => {
                is_our_id(&profile.id) || self.copies_codex && profile.provider == ProfileProvider::OpenAiCodex
            }
            Authority::Store => is_our_id(&profile.id),
            // A profile under the id that is written is overwritten, and `nothing_lost` keeps it.
            Authority::AuthProfiles | Authority::CodexPlugin => false,
        }
    }

    /// Adds changes around these: before them, changes that keep what would otherwise be lost; after them, changes that
    /// remove what was kept and is in use again.
    pub(super) fn nothing_lost(
        &self,
        changes: Vec<Change>,
        winner: &SignIn,
        warnings: &mut Vec<Warning>,
    ) -> Vec<Change> {
        let left: Vec<String> = held(&after(self.on_disk, &changes)).into_iter().map(|held| held.key).collect();
        let mut kept = Vec::new();
        let mut only_here = Vec::new();
        for lost in held(self.on_disk) {
            let is_of_no_use = lost.sign_in.as_ref().is_some_and(|lost| is_of_no_use(lost, winner));
            if left.contains(&lost.key) || is_of_no_use {
                continue;
            }
            let name = AsideName::of(&lost.key);
            let is_kept = self.on_disk.asides.iter().any(|aside| aside.name == name);
            match lost.bytes {
                Some(_) if is_kept => {}
                Some(bytes) => {
                    let path = name.path();
                    warnings.push(match lost.sign_in {
                        None => Warning::ApiKeySetAside { path },
                        Some(_) => Warning::SignInSetAside { path },
                    });
                    kept.push(Change::SetAside(name, bytes));
                }
                None => only_here.push(lost.place),
            }
        }
        // No other file could hold these tokens, so their whole file is moved.
        let moved = changes.into_iter().map(|change| match change {
            Change::Write(place, bytes) if only_here.contains(&place) => Change::MoveAsideAndWrite(place, bytes),
            Change::Remove(place) if only_here.contains(&place) => Change::MoveAside(place),
            other => other,
        });
        kept.extend(moved);
        let forgotten =
            self.on_disk.asides.iter().filter(|aside| aside.sign_in().is_some_and(|kept| is_of_no_use(kept, winner)));
        kept.extend(forgotten.map(|aside| Change::RemoveAside(aside.name.clone())));
        kept
    }
}

/// A sign-in or a key that a file holds.
struct Held {
    place: CredentialFile,
    /// Tells it apart from others, and names its file once it is moved aside.
    key: String,
    /// `None`: it is an API key of the user's.
    sign_in: Option<SignIn>,
    /// What to write there; `None` if only the whole file can be moved.
    bytes: Option<SecretSlice<u8>>,
}

fn held(on_disk: &OnDisk) -> Vec<Held> {
    let mut found = Vec::new();
    let whole = |place, tokens: &crate::Tokens| Held {
        place,
        key: tokens.sign_in.fingerprint.clone(),
        sign_in: Some(tokens.sign_in.clone()),
        bytes: tokens.auth.as_ref().map(|auth| auth.to_file_bytes()),
    };
    if let Stored::Tokens(tokens) = &on_disk.codex {
        found.push(whole(CredentialFile::Codex, tokens));
    }
    if let Some(key) = &on_disk.codex_api_key {
        let (key, bytes) = aside::of_api_key(key);
        found.push(Held { place: CredentialFile::Codex, key, sign_in: None, bytes: Some(bytes) });
    }
    if let HandOver::Pending { tokens, .. } = &on_disk.hand_over {
        found.push(whole(CredentialFile::HandOver, tokens));
    }
    for profile in on_disk.profiles.read() {
        let Some(raw) = on_disk.profiles.raw(&profile.id) else { continue };
        let (name, bytes) = aside::of_profile(&profile.id, raw);
        let (key, sign_in) = match profile.content {
            ProfileContent::Tokens(tokens) => (tokens.sign_in.fingerprint.clone(), tokens.sign_in),
            ProfileContent::Moved(sign_in) => (name, *sign_in),
            ProfileContent::Useless => continue,
        };
        found.push(Held { place: CredentialFile::Profiles, key, sign_in: Some(sign_in), bytes: Some(bytes) });
    }
    found
}

/// The content of the files once the changes are made.
fn after(on_disk: &OnDisk, changes: &[Change]) -> OnDisk {
    let mut files = on_disk.clone();
    for change in changes {
        let (place, bytes) = match change {
            Change::Write(place, bytes) | Change::MoveAsideAndWrite(place, bytes) => (place, bytes.expose_secret()),
            Change::MoveAside(place) | Change::Remove(place) => (place, &[][..]),
            Change::SetAside(..) | Change::RemoveAside(_) => continue,
        };
        match place {
            CredentialFile::Codex => {
                files.codex = Stored::from_file_bytes(bytes);
                files.codex_api_key = api_key_in(bytes);
            }
            CredentialFile::Profiles => files.profiles = Profiles::from_file_bytes(bytes),
            CredentialFile::HandOver => files.hand_over = HandOver::from_file_bytes(bytes),
            CredentialFile::AuthState => {}
        }
    }
    files
}
