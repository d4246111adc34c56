//! Why a user's container last stopped, in a small file beside their lock file, which goes with it. Blocking.

use rustix::io::Errno;

use crate::domain::{LastStop, UserId};
use crate::files::Root;
use crate::staging::StagingError;
use crate::staging::jail::{Dir, Found, Name};
use crate::staging::paths;
use crate::staging::write::replace;

/// What was noted last; nothing when it cannot be understood.
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

/// Removes it. That it stays behind is harmless: it explains nothing after a while.
pub(super) fn remove(directory: &Dir, user: &UserId) {
    match directory.unlink(&file_name(user)) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => tracing::warn!(%errno, "a note of why a container stopped stays behind"),
    }
}

/// No user id has a full stop in it.
fn file_name(user: &UserId) -> Name {
    Name::of(user).plus(".stop")
}
