//! A user's sign-in on disk: read, and changed as the placement says. Blocking; `Staging` runs these off the runtime's
//! threads.

use rustix::io::Errno;
use secrecy::ExposeSecret as _;

use super::Owner;
use super::error::{StagingError, StagingErrorKind};
use super::jail::{Child, Dir, Found, Name};
use super::places::{self, PLACES, path_of};
use super::write::{Replaced, remove_leftovers, replace};
use crate::domain::credential_plan::{
    Aside, AsideName, AuthState, Change, CodexConfig, HandOver, OnDisk, Place, Profiles, Stored, api_key_in,
};
use crate::domain::user_id::UserId;
use crate::files::Root;

/// What was found where a sign-in may be.
pub(super) struct Observed {
    pub(super) on_disk: OnDisk,
    codex: Found,
    profiles: Found,
    auth_state: Found,
    hand_over: Found,
}

impl Observed {
    fn read(home: Option<&Dir>) -> Result<Self, StagingError> {
        let found = |place| read(home, place);
        let (codex, profiles, hand_over) = (found(Place::Codex)?, found(Place::Profiles)?, found(Place::HandOver)?);
        let auth_state = found(Place::AuthState)?;
        let on_disk = OnDisk {
            codex: match &codex {
                Found::Missing => Stored::Missing,
                Found::Regular(bytes) => Stored::from_file_bytes(bytes),
                Found::TooLarge(_) | Found::Other(_) => Stored::Unreadable,
            },
            codex_api_key: match &codex {
                Found::Regular(bytes) => api_key_in(bytes),
                Found::Missing | Found::TooLarge(_) | Found::Other(_) => None,
            },
            profiles: match &profiles {
                Found::Missing => Profiles::Missing,
                Found::Regular(bytes) => Profiles::from_file_bytes(bytes),
                Found::TooLarge(_) | Found::Other(_) => Profiles::Unreadable,
            },
            hand_over: match &hand_over {
                Found::Regular(bytes) => HandOver::from_file_bytes(bytes),
                Found::Missing | Found::TooLarge(_) | Found::Other(_) => HandOver::Nothing,
            },
            auth_state: match &auth_state {
                Found::Regular(bytes) => AuthState::from_file_bytes(bytes),
                Found::Missing | Found::TooLarge(_) | Found::Other(_) => AuthState::Nothing,
            },
            asides: home.map(asides).transpose()?.unwrap_or_default(),
            codex_config: home.map(codex_config).transpose()?.unwrap_or_default(),
        };
        Ok(Self { on_disk, codex, profiles, auth_state, hand_over })
    }

    fn found(&self, place: Place) -> &Found {
        match place {
            Place::Codex => &self.codex,
            Place::Profiles => &self.profiles,
            Place::HandOver => &self.hand_over,
            Place::AuthState => &self.auth_state,
        }
    }

    /// Whether one may be a file that is being rewritten in place just now (openclaw-facts §3).
    pub(super) fn may_be_half_written(&self) -> bool {
        let OnDisk { codex, profiles, hand_over, auth_state, .. } = &self.on_disk;
        let doubtful = |place| match place {
            Place::Codex => matches!(codex, Stored::Empty | Stored::Unreadable),
            Place::Profiles => matches!(profiles, Profiles::Missing | Profiles::Unreadable),
            Place::HandOver => matches!(hand_over, HandOver::Nothing),
            Place::AuthState => matches!(auth_state, AuthState::Nothing),
        };
        PLACES.into_iter().any(|place| doubtful(place) && matches!(self.found(place), Found::Regular(_)))
    }
}

fn read(home: Option<&Dir>, place: Place) -> Result<Found, StagingError> {
    let (path, name) = path_of(place);
    match home.map(|home| places::walk(home, path)).transpose()?.flatten() {
        Some(directory) => directory.read(name),
        None => Ok(Found::Missing),
    }
}

/// What was moved aside earlier. Only files of our names, and no more than a user can ever have by us.
fn asides(home: &Dir) -> Result<Vec<Aside>, StagingError> {
    let Some(directory) = places::walk(home, &places::ASIDE)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let names = directory.names(places::NAMES_LOOKED_THROUGH)?.into_iter();
    let ours = names.filter_map(|name| Some((AsideName::parse(&name.shown())?, name)));
    for (known, name) in ours.take(places::MOST_ASIDES) {
        if let Found::Regular(bytes) = directory.read(&name)? {
            found.extend(Aside::from_file_bytes(known, &bytes));
        }
    }
    found.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    Ok(found)
}

fn codex_config(home: &Dir) -> Result<CodexConfig, StagingError> {
    let Some(directory) = places::walk(home, &places::CODEX)? else { return Ok(CodexConfig::default()) };
    match directory.read(&places::CODEX_CONFIG) {
        Ok(Found::Regular(bytes)) => Ok(CodexConfig::from_file_bytes(&bytes)),
        Ok(Found::Missing | Found::TooLarge(_) | Found::Other(_)) => Ok(CodexConfig::default()),
        // It is asked for a warning alone: one that only the user can open says nothing.
        Err(error) if error.kind() == StagingErrorKind::Tenant => Ok(CodexConfig::default()),
        Err(error) => Err(error),
    }
}

/// Makes `codex`, heals owners and modes, removes leftovers, and reads what is there.
pub(super) fn prepare(
    root: &Root,
    user: &UserId,
    owner: Option<Owner>,
    moved_aside: &mut Vec<String>,
) -> Result<Observed, StagingError> {
    let home = places::make_home(root, user, owner)?;
    // `CODEX_HOME` must exist, whatever is in it (openclaw-facts §3).
    places::make(&home, &places::CODEX, owner, moved_aside)?;
    for place in PLACES {
        let (path, name) = path_of(place);
        if let Some(directory) = places::walk(&home, path)? {
            // The one before it in `PLACES` is in the same directory.
            if place != Place::AuthState {
                remove_leftovers(&directory)?;
            }
            directory.heal_file(name, owner)?;
        }
    }
    if let Some(aside) = places::walk(&home, &places::ASIDE)? {
        remove_leftovers(&aside)?;
    }
    Observed::read(Some(&home))
}

/// Reads what is there and changes nothing.
pub(super) fn inspect(root: &Root, user: &UserId) -> Result<Observed, StagingError> {
    match places::home(root, user)? {
        Child::Directory(home) => Observed::read(Some(&home)),
        Child::Missing | Child::Other => Observed::read(None),
    }
}

/// Removes what a killed process left, which holds tokens.
pub(super) fn tidy(root: &Root, user: &UserId) -> Result<(), StagingError> {
    let Child::Directory(home) = places::home(root, user)? else { return Ok(()) };
    for path in PLACES.into_iter().map(|place| path_of(place).0).chain([&places::ASIDE[..]]) {
        if let Some(directory) = places::walk(&home, path)? {
            remove_leftovers(&directory)?;
        }
    }
    Ok(())
}

/// Takes the changes one after the other; `Disturbed` as soon as a file is not what was observed any more.
pub(super) fn commit(
    root: &Root,
    user: &UserId,
    owner: Option<Owner>,
    observed: &Observed,
    changes: &[Change],
    moved_aside: &mut Vec<String>,
) -> Result<Replaced, StagingError> {
    let home = places::make_home(root, user, owner)?;
    for change in changes {
        let place = match change {
            Change::Write(place, _)
            | Change::MoveAsideAndWrite(place, _)
            | Change::MoveAside(place)
            | Change::Remove(place) => place,
            Change::SetAside(name, bytes) => {
                let directory = places::make(&home, &places::ASIDE, owner, moved_aside)?;
                replace(&directory, &Name::of_aside(name), bytes.expose_secret(), owner, || Ok(true))?;
                continue;
            }
            Change::RemoveAside(name) => {
                let Some(directory) = places::walk(&home, &places::ASIDE)? else { continue };
                remove(&directory, &Name::of_aside(name))?;
                continue;
            }
        };
        let (path, name) = path_of(*place);
        let before = moved_aside.len();
        let directory = places::make(&home, path, owner, moved_aside)?;
        if moved_aside.len() > before || directory.read(name)? != *observed.found(*place) {
            return Ok(Replaced::Disturbed);
        }
        let replaced = match change {
            Change::Write(_, bytes) => {
                write_into(&home, &directory, *place, owner, bytes.expose_secret(), observed.found(*place))?
            }
            Change::MoveAsideAndWrite(_, bytes) => {
                moved_aside.extend(directory.move_aside(name)?);
                write_into(&home, &directory, *place, owner, bytes.expose_secret(), &Found::Missing)?
            }
            Change::MoveAside(_) => {
                moved_aside.extend(directory.move_aside(name)?);
                Replaced::Done { moved_aside: None }
            }
            Change::Remove(_) => remove(&directory, name)?,
            Change::SetAside(..) | Change::RemoveAside(_) => continue,
        };
        match replaced {
            Replaced::Done { moved_aside: path } => moved_aside.extend(path),
            Replaced::Disturbed => return Ok(Replaced::Disturbed),
        }
    }
    Ok(Replaced::Done { moved_aside: None })
}

/// Writes a place's file into its directory, as it was opened in the user's directory.
pub(super) fn write_into(
    home: &Dir,
    directory: &Dir,
    place: Place,
    owner: Option<Owner>,
    bytes: &[u8],
    before: &Found,
) -> Result<Replaced, StagingError> {
    let (path, name) = path_of(place);
    let replaced = replace(directory, name, bytes, owner, || Ok(directory.read(name)? == *before))?;
    // The tenant may have moved the directory away while we wrote into it; then it is something else now.
    let in_place = match places::walk(home, path)? {
        Some(now) => now.identity()? == directory.identity()?,
        None => false,
    };
    Ok(if in_place { replaced } else { Replaced::Disturbed })
}

fn remove(directory: &Dir, name: &Name) -> Result<Replaced, StagingError> {
    match directory.unlink(name) {
        Ok(()) | Err(Errno::NOENT) => {}
        // A directory of this name holds no sign-in, and is the tenant's. POSIX says EPERM of one.
        Err(Errno::ISDIR | Errno::PERM) if !directory.is_file(name)? => {}
        Err(errno) => return Err(StagingError::io("remove", directory.path_of(name))(errno)),
    }
    directory.sync()?;
    Ok(Replaced::Done { moved_aside: None })
}
