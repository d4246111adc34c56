//! Measuring what a user's directory holds, whatever the tenant has built in it. Nothing is changed, not even a mode.
//!
//! Width is the tenant's choice, so a walk is cut into slices and ends after a number of names. Depth is too, so there is no
//! recursion, and below a number of levels nothing is opened. What was left out is said: then the directory holds *at least* what
//! was counted.

use std::time::{Duration, Instant};

use rustix::fs::FileType;

use super::error::{StagingError, StagingErrorKind};
use super::jail::{Child, Dir, Name};
use super::paths;
use crate::domain::user_id::UserId;
use crate::files::Root;

/// Levels of directories that are open at a time, two descriptors each. What people and package managers build is some twenty deep.
const DEEPEST: usize = 64;
/// A block of `st_blocks`, whatever the file system's own are. Of EFS it is what is billed, metadata aside (EFS user guide, "How
/// Amazon EFS reports file system and object sizes").
const BLOCK: u64 = 512;

/// How fast it is walked. On EFS each name takes about a millisecond, and each is metered as a read of metadata: in increments of 1 KiB
/// after the first 4 KiB (EFS user guide, "How Amazon EFS reports file system and object sizes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Names in one go.
    pub entries: u64,
    /// Time in which one go begins with another name.
    pub time: Duration,
    /// Between two goes.
    pub pause: Duration,
    /// Names after which a walk ends, done or not.
    pub most_entries: u64,
}

impl Default for Pace {
    /// On EFS 250 names a second, a quarter of the time, so that a walk takes seven minutes at most.
    fn default() -> Self {
        Self {
            entries: 250,
            time: Duration::from_millis(250),
            pause: Duration::from_millis(750),
            most_entries: 100_000,
        }
    }
}

/// What was found so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Bytes on the file system.
    pub bytes: u64,
    /// Names.
    pub entries: u64,
    /// Whether nothing was left out.
    pub complete: bool,
}

/// A walk through one user's directory.
pub(super) struct Walk {
    levels: Vec<Level>,
    found: Measured,
    /// Names that were looked at, those included that had gone by then: whoever keeps changing names keeps nobody walking.
    seen: u64,
    most_entries: u64,
}

/// A directory that is being read.
struct Level {
    directory: Dir,
    names: Box<dyn Iterator<Item = Result<Name, StagingError>> + Send>,
}

impl Walk {
    /// Opens the user's directory; `None` where they have none.
    pub(super) fn begin(root: &Root, user: &UserId, pace: Pace) -> Result<Option<Self>, StagingError> {
        let users = paths::users(root)?;
        let name = Name::of(user);
        let Some(stat) = users.stat(&name)? else { return Ok(None) };
        let found = Measured { bytes: bytes(&stat), entries: 0, complete: true };
        let mut walk = Self { levels: Vec::new(), found, seen: 0, most_entries: pace.most_entries };
        match walk.enter(&users, &name) {
            // Its mode keeps this process out, which then is not root: whoever stages mends that, and nobody here.
            Err(StagingError::Io { .. }) => walk.found.complete = false,
            entered => entered?,
        }
        Ok(Some(walk))
    }

    /// One go. `true`: the walk is at its end.
    pub(super) fn go_on(&mut self, root: &Root, pace: Pace) -> Result<bool, StagingError> {
        let until = Instant::now() + pace.time;
        let mut left = pace.entries;
        while let Some(level) = self.levels.last_mut() {
            if self.seen >= self.most_entries {
                self.found.complete = false;
                return Ok(true);
            }
            // Nobody waits any more: what is found now is told to nobody.
            if left == 0 || Instant::now() >= until || !root.permit().holds() {
                return Ok(false);
            }
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            left -= 1;
            self.seen += 1;
            let directory = level.directory.clone();
            let counted = match name {
                Ok(name) => self.count(&directory, &name),
                Err(error) => {
                    self.levels.pop();
                    Err(error)
                }
            };
            counted.or_else(|error| self.pass_over(error))?;
        }
        Ok(true)
    }

    pub(super) const fn found(&self) -> Measured {
        self.found
    }

    fn count(&mut self, directory: &Dir, name: &Name) -> Result<(), StagingError> {
        // Gone since it was listed.
        let Some(stat) = directory.stat(name)? else { return Ok(()) };
        self.found.entries += 1;
        self.found.bytes = self.found.bytes.saturating_add(bytes(&stat));
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        if self.levels.len() >= DEEPEST {
            self.found.complete = false;
            return Ok(());
        }
        self.enter(directory, name)
    }

    /// Reads a directory next. What has another kind by now is the tenant's doing, and was counted.
    fn enter(&mut self, parent: &Dir, name: &Name) -> Result<(), StagingError> {
        match parent.child(name)? {
            Child::Directory(directory) => {
                let names = Box::new(directory.entries()?);
                self.levels.push(Level { directory, names });
                Ok(())
            }
            Child::Missing | Child::Other => Ok(()),
        }
    }

    /// Goes on past what the tenant has closed, or changes right now; the file system's own errors end the walk.
    fn pass_over(&mut self, error: StagingError) -> Result<(), StagingError> {
        match error.kind() {
            StagingErrorKind::Tenant => {}
            StagingErrorKind::Retryable if matches!(error, StagingError::Contended { .. }) => {}
            StagingErrorKind::Retryable | StagingErrorKind::Operator => return Err(error),
        }
        self.found.complete = false;
        Ok(())
    }
}

/// What a name takes. One of several names of a file has its part: all of them together are the file.
fn bytes(stat: &rustix::fs::Stat) -> u64 {
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
    let names = match FileType::from_raw_mode(stat.st_mode) {
        // Its links are its directories.
        FileType::Directory => 1,
        _ => u64::try_from(i128::from(stat.st_nlink)).unwrap_or(1).max(1),
    };
    blocks / names
}
