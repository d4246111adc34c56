//! Why a user's container last stopped, in a small file next to their lock file and removed with it. Blocking.

use rustix::io::Errno;

use crate::domain::{LastStop, UserId};
use crate::files::Root;
use crate::staging::StagingError;
use crate::staging::jail::{Dir, Found, Name};
use crate::staging::paths;
use crate::staging::write::replace;

/// The last note; `None` if it cannot be parsed.
pub(super) fn read(root: &Root, user: &UserId) -> Result<Option<LastStop>, StagingError> {
    Ok(match paths::locks(root)?.read(&file_name(user))? {
        Found::Regular(bytes) => serde_json::from_slice(&bytes).ok(),
        Found::Missing | Found::TooLarge(_) | Found::Other(_) => None,
    })
}

pub(super) fn note(root: &Root, user: &UserId, stop: &LastStop) -> Result<(), StagingError> {
    if read(root, user)?.is_some_and(|noted| noted.is_same(stop)) {
        return Ok(());
    }
    let bytes = serde_json::to_vec(stop).unwrap_or_default();
    replace(&paths::locks(root)?, &file_name(user), &bytes, None, || Ok(true)).map(drop)
}

/// Removes the note. If that fails it is harmless: after some time the note is ignored.
pub(super) fn remove(directory: &Dir, user: &UserId) {
    match directory.unlink(&file_name(user)) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => tracing::warn!(%errno, "could not remove the note why a container stopped"),
    }
}

/// The name of the note's file. No user id contains a full stop.
fn file_name(user: &UserId) -> Name {
    Name::of(user).plus(".stop")
}
