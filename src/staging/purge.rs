//! Removing a user's directory, whatever the tenant has built in it.
//!
//! Depth is the tenant's choice, so there is neither recursion nor a descriptor per level: every directory found inside
//! is first moved up to the user directory, and emptied there. A handful of descriptors is
//! open at a time, and every directory moves at most once.
//!
//! Width is the tenant's choice, too, so one call removes a slice and no more: on EFS a million files take hours, and
//! whoever asked wants to be able to stop.

use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::error::{StagingError, StagingErrorKind};
use super::jail::{Child, Dir, Name};

const MOVED_UP: Name = Name::fixed(".provisioner-purge-");

/// What one call may do at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    /// Names that it removes or moves.
    pub(super) entries: u64,
    /// Time in which it begins with another name.
    pub(super) time: Duration,
}

impl Default for Slice {
    /// About two seconds, on a fast disk as on EFS, where each name takes some milliseconds.
    fn default() -> Self {
        Self { entries: 50_000, time: Duration::from_secs(2) }
    }
}

/// Removes `name` and everything beneath it; nothing there is success. Links are removed, never followed.
///
/// What cannot be removed stays, and the rest goes; then the error names the first.
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
            // Written to meanwhile, or NFS lists it from a cache: the next call looks again. Or something cannot go.
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(purge.unfinished(parent.path_of(name))),
            result => result.map_err(StagingError::io("remove", parent.path_of(name)))?,
        }
    }
}

/// How emptying a directory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing is left that this call can remove.
    Done,
    /// There may be more.
    SliceOver,
}

/// One call under way.
struct Purge {
    slice: Slice,
    until: Instant,
    removed: u64,
    /// The first thing that cannot be removed until the user, or somebody for them, does something about it.
    obstacle: Option<StagingError>,
}

impl Purge {
    /// Empties `directory`: what is a directory in it goes to `top`, or, when it is at the top already, is emptied and
    /// removed.
    fn empty(&mut self, directory: &Dir, top: &Dir) -> Result<End, StagingError> {
        // Packages are often installed read-only; without root, that also keeps their owner from removing them. Where it
        // does not help, removing says so.
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
            // A listing may leave out what came meanwhile, as all that was moved up; so until one changes nothing.
            if self.removed == before {
                return Ok(End::Done);
            }
        }
    }

    fn remove(&mut self, directory: &Dir, name: &Name, top: &Dir) -> Result<End, StagingError> {
        match gone(directory.unlink(name)) {
            // Linux says EISDIR of a directory, POSIX says EPERM.
            Err(why @ (Errno::ISDIR | Errno::PERM)) => match directory.unlocked_child(name) {
                Ok(Child::Directory(child)) if std::ptr::eq(directory, top) => {
                    match self.empty(&child, top) {
                        Ok(End::SliceOver) => return Ok(End::SliceOver),
                        Ok(End::Done) => {}
                        Err(error) => self.meet(error)?,
                    }
                    // Not empty: somebody writes into it, or something in it cannot go. The next listing has it again.
                    match gone(directory.remove_directory(name)) {
                        Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(End::Done),
                        removed => self.count(directory, name, removed)?,
                    }
                }
                Ok(Child::Directory(child)) => {
                    // Without root, moving a directory takes the permission to write into it.
                    let _unlocked = child.unlock_permissions();
                    let new_name = MOVED_UP.plus(&format!("{:016x}", fastrand::u64(..)));
                    match gone(top.adopt(directory, name, &new_name)) {
                        // The top holds no more directories for now; those in it go first.
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

    /// Goes on past what only the user can mend.
    fn meet(&mut self, error: StagingError) -> Result<(), StagingError> {
        match error.kind() {
            // It went, or something else came, just now: the next listing shows.
            StagingErrorKind::Retryable if matches!(error, StagingError::Contended { .. }) => Ok(()),
            StagingErrorKind::Tenant => {
                self.obstacle.get_or_insert(error);
                Ok(())
            }
            StagingErrorKind::Retryable | StagingErrorKind::Operator => Err(error),
        }
    }

    /// Why it is not done: more is left, or, when nothing goes any more, what is in the way.
    fn unfinished(self, path: String) -> StagingError {
        match self.obstacle {
            Some(obstacle) if self.removed == 0 => obstacle,
            None if self.removed == 0 => StagingError::Contended { path, attempts: 1 },
            Some(_) | None => StagingError::PurgeUnfinished { path, removed: self.removed },
        }
    }
}

/// Somebody else removing it first is as good.
fn gone(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
