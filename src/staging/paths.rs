//! The directories and files of a user that staging knows, and how they are found, created and corrected.

use openclaw::{CredentialFile, files};
use rustix::fs::Mode;

use super::Owner;
use super::error::StagingError;
use super::jail::{Child, Dir, Name};
use crate::domain::user_id::UserId;
use crate::files::Root;

const USERS: Name = Name::fixed("users");
/// The service's own directory, outside every tenant's root.
const PROVISIONER: Name = Name::fixed(".provisioner");
const LOCKS: Name = Name::fixed("locks");
/// Accepted work that is not done.
const PENDING: Name = Name::fixed("pending");
const ROLLOUTS: Name = Name::fixed("rollouts");
// Files that OpenClaw and the entry script use, under the names that they use.
pub(super) static CODEX: [Name; 1] = [Name::fixed(files::CODEX[0])];
pub(super) static AUTH_JSON: Name = Name::fixed(files::AUTH_JSON);
pub(super) static CODEX_CONFIG: Name = Name::fixed(files::CODEX_CONFIG);
pub(super) static AGENT: [Name; 3] =
    [Name::fixed(files::AGENT[0]), Name::fixed(files::AGENT[1]), Name::fixed(files::AGENT[2])];
pub(super) static AUTH_PROFILES: Name = Name::fixed(files::AUTH_PROFILES);
static AUTH_STATE: Name = Name::fixed(files::AUTH_STATE);
pub(super) static OURS: [Name; 1] = [Name::fixed(files::OURS[0])];
pub(super) static HAND_OVER: Name = Name::fixed(files::HAND_OVER);
pub(super) static ASIDE: [Name; 2] = [Name::fixed(files::ASIDE[0]), Name::fixed(files::ASIDE[1])];
/// The most names of a directory that are read: a tenant's directory may have millions.
pub(super) const NAMES_LOOKED_THROUGH: usize = 1_000;
pub(super) const MOST_ASIDES: usize = 64;
/// Mode of directories that only their owner may use.
const PRIVATE: Mode = Mode::RWXU;
/// Mode of `users/`, which is no secret and never the tenant's: root owns it, outside every access point's root.
const LISTABLE: Mode = Mode::from_raw_mode(0o755);
/// How often an open is tried while the tenant keeps swapping the directory.
const SWAPS_ENDURED: u32 = 8;

/// The directories that lead to a place's file, and the file's name.
pub(super) fn path_of(place: CredentialFile) -> (&'static [Name], &'static Name) {
    match place {
        CredentialFile::Codex => (&CODEX, &AUTH_JSON),
        CredentialFile::Profiles => (&AGENT, &AUTH_PROFILES),
        CredentialFile::AuthState => (&AGENT, &AUTH_STATE),
        CredentialFile::HandOver => (&OURS, &HAND_OVER),
    }
}

/// Creates `users/` if it is missing; only at start, see [`users`].
pub(super) fn make_users(root: &Root) -> Result<(), StagingError> {
    let root = Dir::root(root)?;
    root.ensure_durably(&USERS, LISTABLE, None)?.map(drop).ok_or_else(|| not_a_directory(&root, &USERS))
}

/// Opens `users/`, and never creates it: if the file system were unmounted, files would be written to the bare mount point,
/// and a purge would find nothing to remove.
pub(super) fn users(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&USERS)
}

/// Creates `.provisioner/` and its `locks`, `pending` and `rollouts` if they are missing; only at start, see [`locks`].
pub(super) fn make_ours(root: &Root) -> Result<(), StagingError> {
    let make = |parent: &Dir, name: &Name| {
        parent.ensure_durably(name, PRIVATE, None)?.ok_or_else(|| not_a_directory(parent, name))
    };
    let ours = make(&Dir::root(root)?, &PROVISIONER)?;
    make(&ours, &LOCKS)?;
    make(&ours, &PENDING)?;
    make(&ours, &ROLLOUTS).map(drop)
}

/// Opens `.provisioner/locks`, and never creates it: locks on a bare mount point, without the file system, would exclude no
/// other replica.
pub(crate) fn locks(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&PROVISIONER)?.existing(&LOCKS)
}

/// Opens `.provisioner`, and never creates it.
pub(crate) fn ours(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&PROVISIONER)
}

/// Opens `.provisioner/rollouts`, and never creates it.
pub(crate) fn rollouts(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&PROVISIONER)?.existing(&ROLLOUTS)
}

/// Opens `.provisioner/pending`, and never creates it.
pub(crate) fn pending(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&PROVISIONER)?.existing(&PENDING)
}

/// The user's directory if there is one, or what has its name. The tenant may set its mode, but this process can still enter.
pub(super) fn home(root: &Root, user: &UserId) -> Result<Child, StagingError> {
    match Dir::root(root)?.child(&USERS)? {
        Child::Directory(users) => users.unlocked_child(&Name::of(user)),
        Child::Missing => Ok(Child::Missing),
        Child::Other => Ok(Child::Other),
    }
}

/// Creates the user's directory in `users`, or corrects its owner and mode. A new one is durable once `users` is synced.
pub(super) fn make_home(users: &Dir, user: &UserId, owner: Option<Owner>) -> Result<Dir, StagingError> {
    let name = Name::of(user);
    // Only an operator can put anything else here.
    users.ensure(&name, PRIVATE, owner)?.ok_or_else(|| not_a_directory(users, &name))
}

/// The directory at a path, if there is one.
pub(super) fn walk(from: &Dir, path: &[Name]) -> Result<Option<Dir>, StagingError> {
    let mut at: Option<Dir> = None;
    for name in path {
        match at.as_ref().unwrap_or(from).child(name)? {
            Child::Directory(child) => at = Some(child),
            Child::Missing | Child::Other => return Ok(None),
        }
    }
    Ok(at)
}

/// Creates a directory below the user's, or corrects its owner and mode. A new one is durable once `parent` is synced.
///
/// If the tenant has put a link or a file in its place, that is moved aside within their own directory: users are not locked
/// out by their own files, and nothing is followed or lost.
pub(super) fn make(
    parent: &Dir,
    name: &Name,
    owner: Option<Owner>,
    moved_aside: &mut Vec<String>,
) -> Result<Dir, StagingError> {
    for _ in 0..SWAPS_ENDURED {
        if let Some(directory) = parent.ensure(name, PRIVATE, owner)? {
            return Ok(directory);
        }
        moved_aside.extend(parent.move_aside(name)?);
    }
    Err(StagingError::Contended { path: parent.path_of(name), attempts: SWAPS_ENDURED })
}

fn not_a_directory(parent: &Dir, name: &Name) -> StagingError {
    StagingError::NotADirectory { path: parent.path_of(name) }
}
