//! The sign-in in a user's directory: read, judged, replaced. Blocking; `Staging` runs these off the runtime's threads.

use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use secrecy::ExposeSecret as _;

use super::Owner;
use super::error::StagingError;
use super::jail::{Child, Dir, Found, Name};
use super::write::{Replaced, remove_leftovers, replace};
use crate::domain::auth_json::ChatGptAuth;
use crate::domain::freshness::Existing;
use crate::domain::user_id::UserId;

pub(super) const USERS: Name = Name::fixed("users");
const CODEX: Name = Name::fixed("codex");
const AUTH_JSON: Name = Name::fixed("auth.json");
/// The tenant's own, and nobody else's business.
const PRIVATE: Mode = Mode::RWXU;
/// `users/` is not a secret and never the tenant's: root-owned, beyond every access point's root.
const LISTABLE: Mode = Mode::from_raw_mode(0o755);
/// The tenant may keep swapping `codex` while it is opened.
const SWAPS_ENDURED: u32 = 8;

/// What was found where the sign-in belongs, and in which directory.
pub(super) struct Observed {
    pub(super) existing: Existing,
    found: Found,
    pub(super) moved_aside: Option<String>,
}

impl Observed {
    /// Whether it may be a file that Codex is rewriting in place just now (openclaw-facts §3).
    pub(super) fn may_be_half_written(&self) -> bool {
        let unusable = match self.existing {
            Existing::Empty | Existing::Unreadable => true,
            Existing::Missing | Existing::Parsed(_) => false,
        };
        unusable && matches!(self.found, Found::Regular(_))
    }
}

/// Makes the directories, heals their owner and mode, removes leftovers, and reads what is there.
pub(super) fn prepare(root: &Path, user: &UserId, owner: Option<Owner>) -> Result<Observed, StagingError> {
    let (_, codex, moved_aside) = make(root, user, owner)?;
    remove_leftovers(&codex)?;
    let found = codex.read(&AUTH_JSON)?;
    Ok(Observed { existing: judge(&found), found, moved_aside })
}

/// Puts the sign-in in place of what was observed, unless that has changed since.
pub(super) fn commit(
    root: &Path,
    user: &UserId,
    owner: Option<Owner>,
    auth: &ChatGptAuth,
    observed: &Observed,
) -> Result<Replaced, StagingError> {
    let (home, codex, moved_aside) = make(root, user, owner)?;
    if moved_aside.is_some() {
        return Ok(Replaced::Disturbed);
    }
    commit_into(&home, &codex, owner, auth, observed)
}

/// The second half of [`commit`], with `codex` as it was opened in the user's directory.
pub(super) fn commit_into(
    home: &Dir,
    codex: &Dir,
    owner: Option<Owner>,
    auth: &ChatGptAuth,
    observed: &Observed,
) -> Result<Replaced, StagingError> {
    let bytes = auth.to_file_bytes();
    let unchanged = || Ok(codex.read(&AUTH_JSON)? == observed.found);
    let replaced = replace(codex, &AUTH_JSON, bytes.expose_secret(), owner, unchanged)?;
    // The tenant may have moved the directory away while we wrote into it; then `codex` is something else now.
    let in_place = match home.child(&CODEX)? {
        Child::Directory(now) => now.identity()? == codex.identity()?,
        Child::Missing | Child::Other => false,
    };
    Ok(if in_place { replaced } else { Replaced::Disturbed })
}

/// Makes the sign-in that was kept readable for the container (incident 24).
pub(super) fn heal_kept(root: &Path, user: &UserId, owner: Option<Owner>) -> Result<(), StagingError> {
    match look(root, user)? {
        Some(codex) => codex.heal_file(&AUTH_JSON, owner),
        None => Ok(()),
    }
}

/// Reads what is there and changes nothing.
pub(super) fn inspect(root: &Path, user: &UserId) -> Result<Observed, StagingError> {
    let found = match look(root, user)? {
        Some(codex) => codex.read(&AUTH_JSON)?,
        None => Found::Missing,
    };
    Ok(Observed { existing: judge(&found), found, moved_aside: None })
}

/// Removes the sign-in and leftovers of it; `false` when there was none.
pub(super) fn remove(root: &Path, user: &UserId) -> Result<bool, StagingError> {
    let Some(codex) = look(root, user)? else {
        return Ok(false);
    };
    remove_leftovers(&codex)?;
    let removed = match codex.unlink(&AUTH_JSON) {
        Ok(()) => true,
        // A directory of this name holds no sign-in, and is the tenant's. POSIX says EPERM of one.
        Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) if !codex.is_file(&AUTH_JSON)? => false,
        Err(errno) => return Err(StagingError::io("remove", codex.path_of(&AUTH_JSON))(errno)),
    };
    codex.sync()?;
    Ok(removed)
}

/// Makes `users/` if it is missing: at start alone, see [`users`].
pub(super) fn make_users(root: &Path) -> Result<(), StagingError> {
    let root = Dir::root(root)?;
    root.ensure(&USERS, LISTABLE, None)?.map(drop).ok_or_else(|| not_a_directory(&root, &USERS))
}

/// `users/`. It is never made here: were the file system unmounted, files would be written to the bare mount point, and
/// a purge would find nothing to remove.
pub(super) fn users(root: &Path) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&USERS)
}

/// The user's directory if there is one, whatever it is.
pub(super) fn home(root: &Path, user: &UserId) -> Result<Child, StagingError> {
    match Dir::root(root)?.child(&USERS)? {
        Child::Directory(users) => users.child(&Name::of(user)),
        Child::Missing => Ok(Child::Missing),
        Child::Other => Ok(Child::Other),
    }
}

/// `codex`, if it is a directory.
fn look(root: &Path, user: &UserId) -> Result<Option<Dir>, StagingError> {
    let Child::Directory(home) = home(root, user)? else {
        return Ok(None);
    };
    match home.child(&CODEX)? {
        Child::Directory(codex) => Ok(Some(codex)),
        Child::Missing | Child::Other => Ok(None),
    }
}

/// The user's directory and `codex` in it, made or healed.
///
/// A link or a file that the tenant put where `codex` belongs is moved aside, within their own directory: nobody is
/// locked out by their own junk, and nothing of it is followed or lost.
pub(super) fn make(
    root: &Path,
    user: &UserId,
    owner: Option<Owner>,
) -> Result<(Dir, Dir, Option<String>), StagingError> {
    let users = users(root)?;
    let name = Name::of(user);
    // Nobody but an operator can put something else here.
    let home = users.ensure(&name, PRIVATE, owner)?.ok_or_else(|| not_a_directory(&users, &name))?;
    let mut moved_aside = None;
    for _ in 0..SWAPS_ENDURED {
        match home.ensure(&CODEX, PRIVATE, owner)? {
            Some(codex) => return Ok((home, codex, moved_aside)),
            None => moved_aside = home.move_aside(&CODEX)?.or(moved_aside),
        }
    }
    Err(StagingError::Contended { path: home.path_of(&CODEX), attempts: SWAPS_ENDURED })
}

fn judge(found: &Found) -> Existing {
    match found {
        Found::Missing => Existing::Missing,
        Found::Regular(bytes) => Existing::from_file_bytes(bytes),
        Found::TooLarge(_) | Found::Other(_) => Existing::Unreadable,
    }
}

fn not_a_directory(parent: &Dir, name: &Name) -> StagingError {
    StagingError::NotADirectory { path: parent.path_of(name) }
}
