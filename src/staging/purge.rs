//! Removes a user's directory, independent of what the tenant has built in it.
//!
//! The tenant chooses the depth, so there is neither recursion nor one descriptor per level: every directory inside
//! is first moved up to the user directory, and emptied there. Only a few descriptors are
//! open at a time, and every directory moves at most once.
//!
//! The tenant chooses the width, too, so one call removes only a slice: on EFS a million files take hours, and the
//! caller must be able to stop.

use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::error::{StagingError, StagingErrorKind};
use super::jail::{Child, Dir, Name};

const MOVED_UP: Name = Name::fixed(".provisioner-purge-");

/// Limits of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    /// The most names that it removes or moves.
    pub(super) entries: u64,
    /// Time after which it begins with no other name.
    pub(super) time: Duration,
}

impl Default for Slice {
    /// About two seconds, both on a fast disk and on EFS, where each name takes some milliseconds.
    fn default() -> Self {
        Self { entries: 50_000, time: Duration::from_secs(2) }
    }
}

/// Removes `name` and everything beneath it; if nothing is there, that is success. Links are removed, never followed.
///
/// If something cannot be removed, the rest is removed, and the error names the first obstacle.
pub(super) fn purge(parent: &Dir, name: &Name, slice: Slice) -> Result<(), StagingError> {
    let mut purge = Purge { slice, until: Instant::now() + slice.time, removed: 0, obstacle: None };
    loop {
        let top = match parent.unlocked_child(name)? {
            Child::Directory(top) => top,
            Child::Missing => return parent.sync(),
            Child::Other => {
                return gone(parent.unlink(name))
                    .map_err(StagingError::io("remove", parent.path_of(name)))
                    .and_then(|()| parent.sync());
            }
        };
        let end = purge.empty(&top, &top)?;
        if end == End::SliceOver {
            return Err(purge.unfinished(parent.path_of(name)));
        }
        match gone(parent.remove_directory(name)) {
            // Somebody wrote to it meanwhile, or NFS listed it from a cache: the next call looks again. Or something cannot
            // be removed.
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(purge.unfinished(parent.path_of(name))),
            result => result.map_err(StagingError::io("remove", parent.path_of(name)))?,
        }
    }
}

/// The result of emptying a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing is left that this call can remove.
    Done,
    /// There may be more.
    SliceOver,
}

/// The state of one call.
struct Purge {
    slice: Slice,
    until: Instant,
    removed: u64,
    /// The first error that stays until the user, or somebody for them, changes something.
    obstacle: Option<StagingError>,
}

impl Purge {
    /// Empties `directory`: a directory in it is moved to `top`, or, if it is in `top` already, is emptied and removed.
    fn empty(&mut self, directory: &Dir, top: &Dir) -> Result<End, StagingError> {
        // Packages are often installed read-only; without root, not even their owner can then remove them. If this does not
        // help, the removal reports an error.
        let _unlocked = directory.unlock_permissions();
        loop {
            let before = self.removed;
            for name in directory.entries()? {
                if self.removed >= self.slice.entries || Instant::now() >= self.until {
                    return Ok(End::SliceOver);
                }
                if self.remove(directory, &name?, top)? == End::SliceOver {
                    return Ok(End::SliceOver);
                }
            }
            // A listing may leave out entries that came meanwhile, such as directories that were moved up. So it is repeated
            // until it removes nothing.
            if self.removed == before {
                return Ok(End::Done);
            }
        }
    }

    fn remove(&mut self, directory: &Dir, name: &Name, top: &Dir) -> Result<End, StagingError> {
        match gone(directory.unlink(name)) {
            // For a directory Linux returns EISDIR, POSIX says EPERM.
            Err(why @ (Errno::ISDIR | Errno::PERM)) => match directory.unlocked_child(name) {
                Ok(Child::Directory(child)) if std::ptr::eq(directory, top) => {
                    match self.empty(&child, top) {
                        Ok(End::SliceOver) => return Ok(End::SliceOver),
                        Ok(End::Done) => {}
                        Err(error) => self.meet(error)?,
                    }
                    // Not empty: somebody writes into it, or something in it cannot be removed. The next listing has it again.
                    match gone(directory.remove_directory(name)) {
                        Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(End::Done),
                        removed => self.count(directory, name, removed)?,
                    }
                }
                Ok(Child::Directory(child)) => {
                    // Without root, moving a directory requires permission to write into it.
                    let _unlocked = child.unlock_permissions();
                    let new_name = MOVED_UP.plus(&format!("{:016x}", fastrand::u64(..)));
                    match gone(top.adopt(directory, name, &new_name)) {
                        // The top is full for now; the directories in it are removed first.
                        Err(errno @ (Errno::MLINK | Errno::NOSPC | Errno::DQUOT)) => {
                            let full = StagingError::io("move up", directory.path_of(name))(errno);
                            self.obstacle.get_or_insert(full);
                        }
                        moved => self.count(directory, name, moved)?,
                    }
                }
                Ok(Child::Missing) => {}
                Ok(Child::Other) => self.count(directory, name, Err(why))?,
                Err(error) => self.meet(error)?,
            },
            removed => self.count(directory, name, removed)?,
        }
        Ok(End::Done)
    }

    fn count(&mut self, directory: &Dir, name: &Name, result: Result<(), Errno>) -> Result<(), StagingError> {
        match result {
            Ok(()) => {
                self.removed += 1;
                Ok(())
            }
            Err(errno) => self.meet(StagingError::io("remove", directory.path_of(name))(errno)),
        }
    }

    /// Continues after an error that only the user can solve; returns all others.
    fn meet(&mut self, error: StagingError) -> Result<(), StagingError> {
        match error.kind() {
            // The entry changed at this moment; the next listing shows it.
            StagingErrorKind::Retryable if matches!(error, StagingError::Contended { .. }) => Ok(()),
            StagingErrorKind::Tenant => {
                self.obstacle.get_or_insert(error);
                Ok(())
            }
            StagingErrorKind::Retryable | StagingErrorKind::Operator => Err(error),
        }
    }

    /// Why the purge is not done: more is left, or, if nothing could be removed, the obstacle.
    fn unfinished(self, path: String) -> StagingError {
        match self.obstacle {
            Some(obstacle) if self.removed == 0 => obstacle,
            None if self.removed == 0 => StagingError::Contended { path, attempts: 1 },
            Some(_) | None => StagingError::PurgeUnfinished { path, removed: self.removed },
        }
    }
}

/// Treats an entry that somebody else removed first as success.
fn gone(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
