//! The directories and files of a user that staging knows: walked, made and healed.

use openclaw::{CredentialFile, files};
use rustix::fs::Mode;

use super::Owner;
use super::error::StagingError;
use super::jail::{Child, Dir, Name};
use crate::domain::user_id::UserId;
use crate::files::Root;

const USERS: Name = Name::fixed("users");
/// This service's own, beyond every tenant's root.
const PROVISIONER: Name = Name::fixed(".provisioner");
const LOCKS: Name = Name::fixed("locks");
/// Work that was accepted and is not done.
const PENDING: Name = Name::fixed("pending");
const ROLLOUTS: Name = Name::fixed("rollouts");
// What OpenClaw and the entry script know, by the names that they know.
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
/// A tenant's directory may hold millions of names: ours are looked for among this many, and so many are read.
pub(super) const NAMES_LOOKED_THROUGH: usize = 1_000;
pub(super) const MOST_ASIDES: usize = 64;
/// The tenant's own, and nobody else's business.
const PRIVATE: Mode = Mode::RWXU;
/// `users/` is not a secret and never the tenant's: root-owned, beyond every access point's root.
const LISTABLE: Mode = Mode::from_raw_mode(0o755);
/// The tenant may keep swapping a directory while it is opened.
const SWAPS_ENDURED: u32 = 8;

/// The directories down to a place's file, and its name.
pub(super) fn path_of(place: CredentialFile) -> (&'static [Name], &'static Name) {
    match place {
        CredentialFile::Codex => (&CODEX, &AUTH_JSON),
        CredentialFile::Profiles => (&AGENT, &AUTH_PROFILES),
        CredentialFile::AuthState => (&AGENT, &AUTH_STATE),
        CredentialFile::HandOver => (&OURS, &HAND_OVER),
    }
}

/// Makes `users/` if it is missing: at start alone, see [`users`].
pub(super) fn make_users(root: &Root) -> Result<(), StagingError> {
    let root = Dir::root(root)?;
    root.ensure_durably(&USERS, LISTABLE, None)?.map(drop).ok_or_else(|| not_a_directory(&root, &USERS))
}

/// `users/`. It is never made here: were the file system unmounted, files would be written to the bare mount point, and
/// a purge would find nothing to remove.
pub(super) fn users(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&USERS)
}

/// Makes `.provisioner/locks`, `.provisioner/pending` and `.provisioner/rollouts` if they are missing: at start alone, see [`locks`].
pub(super) fn make_ours(root: &Root) -> Result<(), StagingError> {
    let make = |parent: &Dir, name: &Name| {
        parent.ensure_durably(name, PRIVATE, None)?.ok_or_else(|| not_a_directory(parent, name))
    };
    let ours = make(&Dir::root(root)?, &PROVISIONER)?;
    make(&ours, &LOCKS)?;
    make(&ours, &PENDING)?;
    make(&ours, &ROLLOUTS).map(drop)
}

/// `.provisioner/locks`. It is never made here: locks on a bare mount point, its file system unmounted, would exclude no
/// other replica.
pub(crate) fn locks(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&PROVISIONER)?.existing(&LOCKS)
}

/// `.provisioner`, which is never made here either.
pub(crate) fn ours(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&PROVISIONER)
}

/// `.provisioner/rollouts`, which is never made here either.
pub(crate) fn rollouts(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&PROVISIONER)?.existing(&ROLLOUTS)
}

/// `.provisioner/pending`, which is never made here either.
pub(crate) fn pending(root: &Root) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&PROVISIONER)?.existing(&PENDING)
}

/// The user's directory if there is one, whatever it is. Its mode is the tenant's to set, and keeps nobody out here.
pub(super) fn home(root: &Root, user: &UserId) -> Result<Child, StagingError> {
    match Dir::root(root)?.child(&USERS)? {
        Child::Directory(users) => users.unlocked_child(&Name::of(user)),
        Child::Missing => Ok(Child::Missing),
        Child::Other => Ok(Child::Other),
    }
}

/// The user's directory in `users`, made or healed. A new one is durable once `users` is synced.
pub(super) fn make_home(users: &Dir, user: &UserId, owner: Option<Owner>) -> Result<Dir, StagingError> {
    let name = Name::of(user);
    // Nobody but an operator can put something else here.
    users.ensure(&name, PRIVATE, owner)?.ok_or_else(|| not_a_directory(users, &name))
}

/// The directory at a path, if it is one.
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

/// A directory in the user's, made or healed. A new one is durable once `parent` is synced.
///
/// A link or a file that the tenant put where one belongs is moved aside, within their own directory: nobody is locked
/// out by their own junk, and nothing of it is followed or lost.
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
