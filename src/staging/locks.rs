//! One converging replica per user.
//!
//! Two layers: within this process a fair queue per user, so that tasks wait in order instead of polling; between
//! replicas `flock` on a file of its own beneath `.provisioner/locks`. The lock file is never one that rename replaces,
//! and `flock` belongs to the open file, so unlike `fcntl` it also excludes threads (incident 25). The kernel, or the
//! NFS lease, releases it when a process is killed.

mod queue;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::error::StagingError;
use super::jail::{Dir, Name, identity};
use crate::domain::user_id::UserId;
use queue::{Place, Queues};

const PROVISIONER: Name = Name::fixed(".provisioner");
const LOCKS: Name = Name::fixed("locks");
/// flock on NFS becomes a write lock on the server, which needs a file that is open for writing.
const FLAGS: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// Between tries of a lock that another replica holds. Jittered, so that waiting replicas do not try in step.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Most of a note that is read: some hundred lines, where two or three are usual.
const NOTE_BYTES: usize = 64 * 1024;
/// A lock file that vanishes this often in one try counts as busy.
const RACES_ENDURED: u32 = 16;
/// A longer timeout means "wait for ever", without overflowing the clock.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a user's lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else is converging this user; try again later.
    #[error("user {user_id} was still locked after {waited:?}{}", if *elsewhere { ", by another replica" } else { "" })]
    Busy {
        /// The user.
        user_id: UserId,
        /// How long it was tried.
        waited: Duration,
        /// Whether it is another process that has the lock.
        elsewhere: bool,
    },
    /// The lock file could not be used.
    #[error("could not lock user {user_id}")]
    Io {
        /// The user.
        user_id: UserId,
        /// What failed.
        #[source]
        source: StagingError,
    },
}

/// The locks of all users. Cheap to clone; clones share the queues.
#[derive(Clone, Debug)]
pub struct UserLocks {
    root: Arc<Path>,
    queues: Queues,
}

/// Holds a user; dropping it lets go.
#[derive(Debug)]
pub struct UserLock {
    // Declared, and so dropped, before the place in the queue: the next in line finds the file free.
    file: Locked,
    place: Place,
    root: Arc<Path>,
    is_new: bool,
    note: Vec<String>,
}

/// A locked file.
#[derive(Debug)]
struct Locked(Arc<OwnedFd>);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being spawned just now has a copy of the descriptor until it execs.
        let _closing_follows = rustix::fs::flock(&*self.0, FlockOperation::Unlock);
    }
}

impl UserLocks {
    /// Makes `.provisioner/locks` beneath the EFS root, readable by this process's user only.
    pub fn open(efs_root: &Path) -> Result<Self, StagingError> {
        make_directory(efs_root)?;
        Ok(Self { root: Arc::from(PathBuf::from(efs_root)), queues: Queues::default() })
    }

    /// Waits for the user's lock, at most `timeout`; with zero it is tried once. Dropping the future gives up cleanly.
    pub async fn acquire(&self, user: &UserId, timeout: Duration) -> Result<UserLock, LockError> {
        let started = Instant::now();
        let deadline = started + timeout.min(LONGEST_TIMEOUT);
        let place = self.place(user, started, deadline).await?;
        let mut pause = FIRST_PAUSE;
        loop {
            // Should this future be dropped here, the job's answer is dropped when it comes, and the lock with it.
            let (root, name) = (self.root.clone(), file_name(user));
            let tried = run(user, move || try_lock(&root, &name)).await?;
            if let Some((file, is_new)) = tried {
                let fd = file.0.clone();
                let note = run(user, move || read_note(&fd)).await?;
                return Ok(UserLock { file, place, root: self.root.clone(), is_new, note });
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(LockError::Busy { user_id: user.clone(), waited: now - started, elsewhere: true });
            }
            sleep_until((now + pause.mul_f64(0.5 + fastrand::f64() / 2.0)).min(deadline)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until nobody in this process holds the user or stands in line, at most `timeout`, and says whether another
    /// process holds them at this moment. Makes no lock file.
    pub async fn is_held_elsewhere(&self, user: &UserId, timeout: Duration) -> Result<bool, LockError> {
        let started = Instant::now();
        let _place = self.place(user, started, started + timeout.min(LONGEST_TIMEOUT)).await?;
        let (root, name) = (self.root.clone(), file_name(user));
        run(user, move || {
            let directory = directory(&root)?;
            match directory.open(&name, FLAGS, Mode::empty()) {
                Ok(file) => Ok(match lock(&directory, &name, &file)? {
                    Tried::Busy => true,
                    Tried::Held => {
                        drop(Locked(Arc::new(file)));
                        false
                    }
                    Tried::Nameless => false,
                }),
                Err(Errno::NOENT | Errno::STALE) => Ok(false),
                Err(errno) => Err(StagingError::io("open", directory.path_of(&name))(errno)),
            }
        })
        .await
    }

    async fn place(&self, user: &UserId, started: Instant, deadline: Instant) -> Result<Place, LockError> {
        timeout_at(deadline, Place::wait(&self.queues, user)).await.map_err(|_| LockError::Busy {
            user_id: user.clone(),
            waited: started.elapsed(),
            elsewhere: false,
        })
    }

    /// What is noted in the user's lock file, whoever holds it; nothing when there is none.
    pub async fn peek(&self, user: &UserId) -> Result<Vec<String>, LockError> {
        let (root, name) = (self.root.clone(), file_name(user));
        run(user, move || {
            let directory = directory(&root)?;
            match directory.open(&name, FLAGS, Mode::empty()) {
                Ok(file) => read_note(&file),
                Err(Errno::NOENT | Errno::STALE) => Ok(Vec::new()),
                Err(errno) => Err(StagingError::io("open", directory.path_of(&name))(errno)),
            }
        })
        .await
    }

    /// Whether the user has a lock file: was ever locked, and not retired since. When that cannot be read, `true`: a
    /// user is never taken for unknown by mistake.
    pub async fn exists(&self, user: &UserId) -> bool {
        let (root, name) = (self.root.clone(), file_name(user));
        let found = run(user, move || Ok(directory(&root)?.stat(&name)?.is_some())).await;
        found.unwrap_or_else(|error| {
            tracing::warn!(user_id = %user, error = &error as &dyn std::error::Error, "could not look for a lock file");
            true
        })
    }
}

impl UserLock {
    /// Whether this acquisition made the lock file: a hint that no replica has seen the user before.
    ///
    /// `false` proves nothing (somebody may have made the file and died); `true` is right.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// What an earlier holder noted in the lock file, a line each. The file is never replaced, so the note and the lock
    /// are of one and the same file.
    pub fn note(&self) -> &[String] {
        &self.note
    }

    /// Notes something for the next holder, durable when it returns; lines without line breaks.
    pub async fn write_note(&mut self, lines: Vec<String>) -> Result<(), LockError> {
        let fd = self.file.0.clone();
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        run(&self.place.user, move || write_note(&fd, text.as_bytes())).await?;
        self.note = lines;
        Ok(())
    }

    /// Removes the lock file and lets go: the last step of deleting a user completely.
    pub async fn retire(self) -> Result<(), LockError> {
        let user = self.place.user.clone();
        run(&user, move || {
            // All of it moves in here: were only parts used, dropping the future would let go before the removal.
            let Self { file, place, root, is_new: _, note: _ } = self;
            let (directory, name) = (directory(&root)?, file_name(&place.user));
            match directory.unlink(&super::stops::file_name(&place.user)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => tracing::warn!(%errno, "a note of why a container stopped stays behind"),
            }
            // Only the holder removes it, and what the path names was checked when it was locked.
            let removed = directory.unlink(&name);
            drop(file);
            drop(place);
            match removed {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(StagingError::io("remove", directory.path_of(&name))(errno)),
            }
        })
        .await
    }
}

/// Makes `.provisioner/locks` if it is missing: at start alone, see [`directory`].
pub(super) fn make_directory(root: &Path) -> Result<(), StagingError> {
    let make = |parent: &Dir, name: &Name| {
        let taken = || StagingError::NotADirectory { path: parent.path_of(name) };
        parent.ensure(name, Mode::RWXU, None)?.ok_or_else(taken)
    };
    make(&make(&Dir::root(root)?, &PROVISIONER)?, &LOCKS).map(drop)
}

/// `.provisioner/locks`. It is never made here: locks on a bare mount point, its file system unmounted, would exclude no
/// other replica.
pub(super) fn directory(root: &Path) -> Result<Dir, StagingError> {
    Dir::root(root)?.existing(&PROVISIONER)?.existing(&LOCKS)
}

fn file_name(user: &UserId) -> Name {
    Name::of(user).plus(".lock")
}

/// The locked file and whether it is new; `None` when somebody else holds it.
fn try_lock(root: &Path, name: &Name) -> Result<Option<(Locked, bool)>, StagingError> {
    let directory = directory(root)?;
    let failed = |action| StagingError::io(action, directory.path_of(name));
    for _ in 0..RACES_ENDURED {
        let (file, is_new) = match directory.open(name, FLAGS, Mode::empty()) {
            Ok(file) => (file, false),
            Err(Errno::NOENT) => {
                let created = directory.open(name, FLAGS | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR);
                match created {
                    Ok(file) => (file, true),
                    Err(Errno::EXIST) => continue,
                    Err(errno) => return Err(failed("create")(errno)),
                }
            }
            Err(errno) => return Err(failed("open")(errno)),
        };
        match lock(&directory, name, &file)? {
            Tried::Held => return Ok(Some((Locked(Arc::new(file)), is_new))),
            Tried::Busy => return Ok(None),
            Tried::Nameless => {}
        }
    }
    Ok(None)
}

/// What trying to lock an open lock file came to.
#[derive(Debug, PartialEq, Eq)]
enum Tried {
    Held,
    Busy,
    /// It is no longer the file that the name stands for: the lock is worth nothing.
    Nameless,
}

fn lock(directory: &Dir, name: &Name, file: &OwnedFd) -> Result<Tried, StagingError> {
    let failed = |action| StagingError::io(action, directory.path_of(name));
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(Tried::Busy),
        // Removed on the server between opening and locking.
        Err(Errno::STALE | Errno::INTR) => return Ok(Tried::Nameless),
        Err(errno) => return Err(failed("lock")(errno)),
    }
    // Its holder may have retired it after we opened it: then we hold a file without a name, and the next one makes a
    // new file and locks that. Opening anew asks the NFS server, where a stat may be answered from the cache.
    let named_now = match directory.open(name, FLAGS, Mode::empty()) {
        Ok(now) => now,
        Err(Errno::NOENT | Errno::STALE) => return Ok(Tried::Nameless),
        Err(errno) => return Err(failed("open")(errno)),
    };
    let stat = |file: &OwnedFd| rustix::fs::fstat(file).map(|stat| identity(&stat)).map_err(failed("stat"));
    Ok(if stat(file)? == stat(&named_now)? { Tried::Held } else { Tried::Nameless })
}

/// At most [`NOTE_BYTES`]; a line that a crash cut short means nothing to anybody and is passed on as it is.
fn read_note(file: &OwnedFd) -> Result<Vec<String>, StagingError> {
    let mut bytes = vec![0; NOTE_BYTES];
    let mut length = 0;
    loop {
        match rustix::io::pread(file, &mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(StagingError::io("read", "a lock file")(errno)),
        }
    }
    let text = String::from_utf8_lossy(&bytes[..length]);
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn write_note(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), StagingError> {
    let failed = |errno| StagingError::io("write", "a lock file")(errno);
    let length = bytes.len() as u64;
    let mut at = 0;
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, at) {
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    rustix::fs::ftruncate(file, length).map_err(failed)?;
    rustix::fs::fsync(file).map_err(failed)
}

async fn run<T: Send + 'static>(
    user: &UserId,
    work: impl FnOnce() -> Result<T, StagingError> + Send + 'static,
) -> Result<T, LockError> {
    let done = super::join(tokio::task::spawn_blocking(work)).await;
    done.map_err(|source| LockError::Io { user_id: user.clone(), source })
}

#[cfg(test)]
mod tests;
