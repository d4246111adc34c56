//! Reads a user's sign-in on disk, and changes it as the placement says. Blocking; `Staging` runs these outside the
//! runtime's threads.

use openclaw::{
    Aside, AsideName, AuthState, Change, CodexConfig, CredentialFile, HandOver, OnDisk, Profiles, Stored, api_key_in,
};
use secrecy::ExposeSecret as _;

use super::Owner;
use super::error::{StagingError, StagingErrorKind};
use super::home::{Edit, Home, What};
use super::jail::{Child, Dir, Found, Name};
use super::paths::{self, ASIDE, CODEX, path_of};
use super::write::remove_leftovers;
use crate::domain::user_id::UserId;
use crate::files::Root;

/// The user's files that may contain a sign-in.
pub(super) struct UserFiles {
    pub(super) on_disk: OnDisk,
    files: Files,
}

/// The files that are written for a sign-in.
struct Files {
    codex: Found,
    profiles: Found,
    auth_state: Found,
    hand_over: Found,
}

impl Files {
    fn read(mut found: impl FnMut(CredentialFile) -> Result<Found, StagingError>) -> Result<Self, StagingError> {
        let (codex, profiles, hand_over) =
            (found(CredentialFile::Codex)?, found(CredentialFile::Profiles)?, found(CredentialFile::HandOver)?);
        Ok(Self { codex, profiles, auth_state: found(CredentialFile::AuthState)?, hand_over })
    }
}

impl UserFiles {
    fn new(files: Files, asides: Vec<Aside>, codex_config: CodexConfig) -> Self {
        let Files { codex, profiles, auth_state, hand_over } = &files;
        let on_disk = OnDisk {
            codex: match codex {
                Found::Missing => Stored::Missing,
                Found::Regular(bytes) => Stored::from_file_bytes(bytes),
                Found::TooLarge(_) | Found::Other(_) => Stored::Unreadable,
            },
            codex_api_key: match codex {
                Found::Regular(bytes) => api_key_in(bytes),
                Found::Missing | Found::TooLarge(_) | Found::Other(_) => None,
            },
            profiles: match profiles {
                Found::Missing => Profiles::Missing,
                Found::Regular(bytes) => Profiles::from_file_bytes(bytes),
                Found::TooLarge(_) | Found::Other(_) => Profiles::Unreadable,
            },
            hand_over: match hand_over {
                Found::Regular(bytes) => HandOver::from_file_bytes(bytes),
                Found::Missing | Found::TooLarge(_) | Found::Other(_) => HandOver::Nothing,
            },
            auth_state: match auth_state {
                Found::Regular(bytes) => AuthState::from_file_bytes(bytes),
                Found::Missing | Found::TooLarge(_) | Found::Other(_) => AuthState::Nothing,
            },
            asides,
            codex_config,
        };
        Self { on_disk, files }
    }

    fn found(&self, place: CredentialFile) -> &Found {
        match place {
            CredentialFile::Codex => &self.files.codex,
            CredentialFile::Profiles => &self.files.profiles,
            CredentialFile::HandOver => &self.files.hand_over,
            CredentialFile::AuthState => &self.files.auth_state,
        }
    }

    /// Whether one of the files may be in the middle of a rewrite in place (openclaw-facts §3).
    pub(super) fn may_be_half_written(&self) -> bool {
        let OnDisk { codex, profiles, hand_over, auth_state, .. } = &self.on_disk;
        let doubtful = |place| match place {
            CredentialFile::Codex => matches!(codex, Stored::Empty | Stored::Unreadable),
            CredentialFile::Profiles => matches!(profiles, Profiles::Missing | Profiles::Unreadable),
            CredentialFile::HandOver => matches!(hand_over, HandOver::Nothing),
            CredentialFile::AuthState => matches!(auth_state, AuthState::Nothing),
        };
        CredentialFile::ALL.into_iter().any(|place| doubtful(place) && matches!(self.found(place), Found::Regular(_)))
    }
}

fn read(home: Option<&Dir>, place: CredentialFile) -> Result<Found, StagingError> {
    let (path, name) = path_of(place);
    match home.map(|home| paths::walk(home, path)).transpose()?.flatten() {
        Some(directory) => directory.read(name),
        None => Ok(Found::Missing),
    }
}

/// The sign-ins that were moved aside earlier. Only files with our names, and no more than this service can have made.
fn asides(directory: &Dir) -> Result<Vec<Aside>, StagingError> {
    let mut found = Vec::new();
    let names = directory.names(paths::NAMES_LOOKED_THROUGH)?.into_iter();
    let ours = names.filter_map(|name| Some((AsideName::parse(&name.shown())?, name)));
    for (known, name) in ours.take(paths::MOST_ASIDES) {
        if let Found::Regular(bytes) = directory.read(&name)? {
            found.extend(Aside::from_file_bytes(known, &bytes));
        }
    }
    found.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    Ok(found)
}

fn codex_config(directory: &Dir) -> Result<CodexConfig, StagingError> {
    match directory.read(&paths::CODEX_CONFIG) {
        Ok(Found::Regular(bytes)) => Ok(CodexConfig::from_file_bytes(&bytes)),
        Ok(Found::Missing | Found::TooLarge(_) | Found::Other(_)) => Ok(CodexConfig::default()),
        // It is only needed for a warning, so a file that only the user can open is ignored.
        Err(error) if error.kind() == StagingErrorKind::Tenant => Ok(CodexConfig::default()),
        Err(error) => Err(error),
    }
}

/// Creates `codex`, corrects owners and modes, removes leftovers, and reads the files.
pub(super) fn prepare(
    home: &mut Home,
    owner: Option<Owner>,
    moved_aside: &mut Vec<String>,
) -> Result<UserFiles, StagingError> {
    // `CODEX_HOME` must exist, even if it is empty (openclaw-facts §3).
    let codex = home.make_at(&CODEX, moved_aside)?;
    for place in CredentialFile::ALL {
        let (path, name) = path_of(place);
        if let Some(at) = home.find(path)? {
            home.sweep(at)?;
            home.at(at).heal_file(name, owner)?;
        }
    }
    let files = Files::read(|place| {
        let (path, name) = path_of(place);
        home.read(path, name)
    })?;
    let asides = match home.find(&ASIDE)? {
        Some(at) => {
            home.sweep(at)?;
            asides(home.at(at))?
        }
        None => Vec::new(),
    };
    let codex = home.at(codex);
    let codex_config = if codex.is_new() { CodexConfig::default() } else { codex_config(codex)? };
    Ok(UserFiles::new(files, asides, codex_config))
}

/// Reads the files and changes nothing.
pub(super) fn inspect(root: &Root, user: &UserId) -> Result<UserFiles, StagingError> {
    let home = match paths::home(root, user)? {
        Child::Directory(home) => Some(home),
        Child::Missing | Child::Other => None,
    };
    let walk = |path| home.as_ref().map(|home| paths::walk(home, path)).transpose().map(Option::flatten);
    let files = Files::read(|place| read(home.as_ref(), place))?;
    let asides = walk(&ASIDE)?.as_ref().map(asides).transpose()?.unwrap_or_default();
    let codex_config = walk(&CODEX)?.as_ref().map(codex_config).transpose()?.unwrap_or_default();
    Ok(UserFiles::new(files, asides, codex_config))
}

/// Removes temporary files of a killed process, which contain tokens.
pub(super) fn tidy(root: &Root, user: &UserId) -> Result<(), StagingError> {
    let Child::Directory(home) = paths::home(root, user)? else { return Ok(()) };
    for path in CredentialFile::ALL.into_iter().map(|place| path_of(place).0).chain([&ASIDE[..]]) {
        if let Some(directory) = paths::walk(&home, path)? {
            remove_leftovers(&directory)?;
        }
    }
    Ok(())
}

/// Converts changes into edits of the files that were read.
pub(super) fn edits<'a>(observed: &'a UserFiles, changes: &'a [Change]) -> impl Iterator<Item = Edit<'a>> {
    let aside = |name, what| Edit { path: &ASIDE, name: Name::of_aside(name), before: None, what };
    changes.iter().map(move |change| {
        let (place, what) = match change {
            Change::Write(place, bytes) => (*place, What::Write(bytes.expose_secret())),
            Change::MoveAsideAndWrite(place, bytes) => (*place, What::MoveAsideAndWrite(bytes.expose_secret())),
            Change::MoveAside(place) => (*place, What::MoveAside),
            Change::Remove(place) => (*place, What::Remove),
            Change::SetAside(name, bytes) => return aside(name, What::Keep(bytes.expose_secret())),
            Change::RemoveAside(name) => return aside(name, What::Remove),
        };
        let (path, name) = path_of(place);
        Edit { path, name: name.clone(), before: Some(observed.found(place)), what }
    })
}
