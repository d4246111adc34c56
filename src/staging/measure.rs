//! Measures a user's directory, independent of what the tenant has built in it. Nothing is changed, not even a mode.
//!
//! The tenant chooses the width, so a walk is cut into slices and ends after a number of names. The tenant chooses the depth,
//! too, so there is no recursion, and below a number of levels nothing is opened. The result says if anything was left out:
//! then the directory holds *at least* what was counted.

use std::time::{Duration, Instant};

use rustix::fs::FileType;

use super::error::{StagingError, StagingErrorKind};
use super::jail::{Child, Dir, Name};
use super::paths;
use crate::domain::user_id::UserId;
use crate::files::Root;

/// Levels of directories that are open at a time, two descriptors each. People and package managers build about twenty levels.
const DEEPEST: usize = 64;
/// Bytes of a block in `st_blocks`, independent of the file system's own block size. On EFS they are what is billed, apart from
/// metadata (EFS user guide, "How Amazon EFS reports file system and object sizes").
const BLOCK: u64 = 512;

/// Speed of a walk. On EFS each name takes about a millisecond, and is metered as a read of metadata: in increments of 1 KiB
/// after the first 4 KiB (EFS user guide, "How Amazon EFS reports file system and object sizes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The most names in one slice.
    pub entries: u64,
    /// Time after which a slice begins with no other name.
    pub time: Duration,
    /// Pause between two slices.
    pub pause: Duration,
    /// Names after which a walk ends, even if it is not complete.
    pub most_entries: u64,
}

impl Default for Pace {
    /// On EFS 250 names a second, working a quarter of the time, so that a walk takes seven minutes at most.
    fn default() -> Self {
        Self {
            entries: 250,
            time: Duration::from_millis(250),
            pause: Duration::from_millis(750),
            most_entries: 100_000,
        }
    }
}

/// The result of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Bytes on the file system.
    pub bytes: u64,
    /// Names.
    pub entries: u64,
    /// Whether everything was counted.
    pub complete: bool,
}

/// A walk through one user's directory.
pub(super) struct Walk {
    levels: Vec<Level>,
    found: Measured,
    /// Names that were read, including those that were removed meanwhile: a tenant who keeps changing names cannot make a walk
    /// endless.
    seen: u64,
    most_entries: u64,
}

/// A directory that is being read.
struct Level {
    directory: Dir,
    names: Box<dyn Iterator<Item = Result<Name, StagingError>> + Send>,
}

impl Walk {
    /// Opens the user's directory; `None` if there is none.
    pub(super) fn begin(root: &Root, user: &UserId, pace: Pace) -> Result<Option<Self>, StagingError> {
        let users = paths::users(root)?;
        let name = Name::of(user);
        let Some(stat) = users.stat(&name)? else { return Ok(None) };
        let found = Measured { bytes: bytes(&stat), entries: 0, complete: true };
        let mut walk = Self { levels: Vec::new(), found, seen: 0, most_entries: pace.most_entries };
        match walk.enter(&users, &name) {
            // Its mode keeps this process out, which is then not root. Staging corrects the mode; measuring changes nothing.
            Err(StagingError::Io { .. }) => walk.found.complete = false,
            entered => entered?,
        }
        Ok(Some(walk))
    }

    /// Walks one slice. `true`: the walk has ended.
    pub(super) fn go_on(&mut self, root: &Root, pace: Pace) -> Result<bool, StagingError> {
        let until = Instant::now() + pace.time;
        let mut left = pace.entries;
        while let Some(level) = self.levels.last_mut() {
            if self.seen >= self.most_entries {
                self.found.complete = false;
                return Ok(true);
            }
            // Without the permit nobody waits for the result any more.
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
        // It was removed after it was listed.
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

    /// Reads a directory next. If the tenant has replaced it by something else meanwhile, that was counted already.
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

    /// Skips entries that the tenant has closed or is changing; the file system's own errors end the walk.
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

/// Bytes of one name. A file with several names is divided among them, so that all together count once.
fn bytes(stat: &rustix::fs::Stat) -> u64 {
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
    let names = match FileType::from_raw_mode(stat.st_mode) {
        // A directory's link count is its number of subdirectories, not of names.
        FileType::Directory => 1,
        _ => u64::try_from(i128::from(stat.st_nlink)).unwrap_or(1).max(1),
    };
    blocks / names
}
