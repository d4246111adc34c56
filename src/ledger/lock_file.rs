//! A user's lock file: its name, and taking its lock.
//!
//! `flock` is never taken on a file that rename replaces, and it belongs to the open file, so unlike `fcntl` it also excludes threads
//! (incident 25). The kernel, or the NFS lease, releases it when a process is killed.

use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::slots::Newest;
use crate::domain::UserId;
use crate::files::{Clock, Files, Root};
use crate::staging::jail::{Dir, Name, identity};
use crate::staging::{StagingError, paths};

/// Flags of a lock file. On NFS, flock becomes a write lock on the server, which needs a file that is open for writing.
const FLAGS: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// Suffix of a lock file's name. No user id contains a full stop.
const SUFFIX: &str = ".lock";
/// If a lock file disappears this often in one try, it counts as busy.
const RACES_ENDURED: u32 = 16;

/// A locked file.
pub(super) struct Locked {
    /// `None` after the file was moved out for unlocking.
    pub(super) file: Option<OwnedFd>,
    pub(super) files: Files,
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.files.detach(move || unlock(&file));
        }
    }
}

pub(super) fn unlock(file: &OwnedFd) {
    // Closing is not enough: a process that is being spawned has a copy of the descriptor until it execs.
    let _closing_follows = rustix::fs::flock(file, FlockOperation::Unlock);
}

pub(super) fn file_name(user: &UserId) -> Name {
    Name::of(user).plus(SUFFIX)
}

pub(super) fn user_of(name: &[u8]) -> Option<UserId> {
    UserId::parse(std::str::from_utf8(name).ok()?.strip_suffix(SUFFIX)?).ok()
}

/// The lock file, if there is one.
pub(super) fn open(directory: &Dir, name: &Name) -> Result<Option<OwnedFd>, StagingError> {
    match directory.open(name, FLAGS, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::STALE) => Ok(None),
        Err(errno) => Err(StagingError::io("open", directory.path_of(name))(errno)),
    }
}

/// The start of an acquisition: the locked file and its content.
pub(super) struct Taken {
    pub(super) locked: Locked,
    pub(super) is_new: bool,
    pub(super) newest: Newest,
    pub(super) looked_at: u64,
}

/// Tries to lock the user's file once; `None` when somebody else holds it.
pub(super) fn try_lock(root: &Root, user: &UserId, files: Files, clock: &Clock) -> Result<Option<Taken>, StagingError> {
    let (directory, name) = (paths::locks(root)?, file_name(user));
    let failed = |action| StagingError::io(action, directory.path_of(&name));
    for _ in 0..RACES_ENDURED {
        let (file, is_new) = match open(&directory, &name)? {
            Some(file) => (file, false),
            None => {
                let created = directory.open(&name, FLAGS | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR);
                match created {
                    Ok(file) => (file, true),
                    Err(Errno::EXIST) => continue,
                    Err(errno) => return Err(failed("create")(errno)),
                }
            }
        };
        let looked_at = u64::try_from(clock().as_millis()).unwrap_or(u64::MAX);
        match lock(&directory, &name, &file)? {
            Tried::Held => {
                let locked = Locked { file: Some(file), files };
                let read = locked.file.as_ref().map_or_else(|| Ok(Newest::default()), Newest::read);
                let newest = read.map_err(failed("read"))?;
                return Ok(Some(Taken { locked, is_new, newest, looked_at }));
            }
            Tried::Busy => return Ok(None),
            Tried::Nameless => {}
        }
    }
    Ok(None)
}

/// The result of trying to lock an open file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Held,
    Busy,
    /// The name no longer leads to this file, so the lock is useless.
    Nameless,
}

pub(super) fn lock(directory: &Dir, name: &Name, file: &OwnedFd) -> Result<Tried, StagingError> {
    let failed = |action| StagingError::io(action, directory.path_of(name));
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(Tried::Busy),
        // The file was removed on the server between opening and locking.
        Err(Errno::STALE | Errno::INTR) => return Ok(Tried::Nameless),
        Err(errno) => return Err(failed("lock")(errno)),
    }
    // The previous holder may have removed the file after we opened it. Then we hold a file without a name, and the next
    // process creates and locks a new file. Opening again asks the NFS server; a stat may be answered from the cache.
    let Some(named_now) = open(directory, name)? else { return Ok(Tried::Nameless) };
    let stat = |file: &OwnedFd| rustix::fs::fstat(file).map(|stat| identity(&stat)).map_err(failed("stat"));
    Ok(if stat(file)? == stat(&named_now)? { Tried::Held } else { Tried::Nameless })
}
