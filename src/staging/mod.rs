//! A user's files on EFS, in place before any task starts (incident 23).
//!
//! ```text
//! <EFS root>/users/<user id>/codex/auth.json     the sign-in; owned by the container's user, directories 0700
//! <EFS root>/.provisioner/locks/<user id>.lock   one converging replica per user; beyond every tenant's root
//! ```
//! `jail` walks, `write` replaces, `credentials` judges and stages, `purge` removes, `locks` keeps replicas apart.
//! Every call opens the root anew, so a file system that was mounted again is found again.

mod credentials;
mod error;
mod jail;
mod locks;
mod purge;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

pub use error::{StagingError, StagingErrorKind};
pub use locks::{LockError, UserLock, UserLocks};

use crate::domain::auth_json::ChatGptAuth;
use crate::domain::freshness::{Decision, Existing, Reason, SignIn, decide};
use crate::domain::user_id::UserId;

/// The mode of a user's directory, for the access point's `CreationInfo`. EFS applies it only when the directory is
/// missing at the first mount (aws-facts §2), so staging sets the very same.
pub const USER_DIRECTORY_PERMISSIONS: &str = "0700";

/// How often staging starts over when the files change under it.
const ATTEMPTS: u32 = 8;

/// The POSIX user that the container runs as, and that owns everything staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl Owner {
    fn raw_uid(self) -> Uid {
        Uid::from_raw_unchecked(self.uid)
    }

    fn raw_gid(self) -> Gid {
        Gid::from_raw_unchecked(self.gid)
    }
}

/// How an empty or malformed file is read again before it is judged: Codex 0.130 rewrites in place (openclaw-facts §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reread {
    /// How often it is read again.
    pub times: u32,
    /// The pause before each.
    pub pause: Duration,
}

impl Default for Reread {
    /// Once, after 200 ms: a rewrite is one `write` of some kilobytes.
    fn default() -> Self {
        Self { times: 1, pause: Duration::from_millis(200) }
    }
}

/// What became of a sign-in that was to be staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the user's directory now.
    Written,
    /// The one that was there is at least as fresh, and still there.
    KeptFresher,
}

impl Outcome {
    /// The stable name, in snake case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::KeptFresher => "kept_fresher",
        }
    }
}

/// The result of [`Staging::stage_auth`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Written or kept.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The sign-in that is in the file now.
    pub stored: SignIn,
    /// What of the tenant's own was in the way, and is now at these paths relative to the EFS root.
    pub moved_aside: Vec<String>,
}

/// Access to the users' directories beneath the EFS root. Cheap to clone.
///
/// Methods that change something expect the caller to hold the user's [`UserLock`], and run to their end even when
/// their future is dropped: converge in a task of its own, so that a lock outlives the work that it guards.
#[derive(Clone, Debug)]
pub struct Staging {
    root: Arc<Path>,
    owner: Option<Owner>,
    reread: Reread,
}

impl Staging {
    /// Opens the root once, so that a wrong path fails at start and not at the first user, and makes `users/` and the
    /// directory of locks in it: that they are there later tells the file system from its bare mount point.
    ///
    /// Without `owner` nothing is chowned: files belong to this process's user (local development without root).
    pub fn open(efs_root: &Path, owner: Option<Owner>) -> Result<Self, StagingError> {
        credentials::make_users(efs_root)?;
        locks::make_directory(efs_root)?;
        Ok(Self { root: Arc::from(PathBuf::from(efs_root)), owner, reread: Reread::default() })
    }

    /// With another patience for half-written files.
    #[must_use]
    pub fn with_reread(self, reread: Reread) -> Self {
        Self { reread, ..self }
    }

    /// Puts the sign-in into the user's directory, unless a fresher one is there ([`decide`]).
    pub async fn stage_auth(&self, user: &UserId, auth: ChatGptAuth, force: bool) -> Result<Staged, StagingError> {
        let auth = Arc::new(auth);
        let mut moved_aside = Vec::new();
        for _ in 0..ATTEMPTS {
            let owner = self.owner;
            let observed = self.settled(user, move |root, user| credentials::prepare(root, user, owner)).await;
            let observed = match observed {
                Err(StagingError::Contended { .. }) => continue,
                observed => observed?,
            };
            moved_aside.extend(observed.moved_aside.clone());
            let (outcome, reason, stored) = match decide(&observed.existing, auth.sign_in(), force) {
                Decision::KeepFresher { reason } => {
                    self.blocking(user, move |root, user| credentials::heal_kept(root, user, owner)).await?;
                    let stored = match observed.existing {
                        Existing::Parsed(stored) => stored,
                        // Only a sign-in is ever kept.
                        Existing::Missing | Existing::Empty | Existing::Unreadable => continue,
                    };
                    (Outcome::KeptFresher, reason, stored)
                }
                Decision::Write { reason } => {
                    let written = auth.clone();
                    let replaced = self
                        .blocking(user, move |root, user| credentials::commit(root, user, owner, &written, &observed))
                        .await;
                    match replaced {
                        Ok(write::Replaced::Done { moved_aside: path }) => moved_aside.extend(path),
                        Ok(write::Replaced::Disturbed) | Err(StagingError::Contended { .. }) => continue,
                        Err(error) => return Err(error),
                    }
                    let last_refresh = Some(auth.last_refresh());
                    (Outcome::Written, reason, SignIn { last_refresh, ..auth.sign_in().clone() })
                }
            };
            tracing::info!(
                user_id = %user,
                outcome = outcome.name(),
                reason = reason.name(),
                fingerprint = stored.fingerprint,
                ?moved_aside,
                "staged a sign-in"
            );
            return Ok(Staged { outcome, reason, stored, moved_aside });
        }
        Err(StagingError::Contended { path: format!("users/{user}/codex/auth.json"), attempts: ATTEMPTS })
    }

    /// What is at the user's `codex/auth.json`; changes nothing.
    pub async fn inspect_auth(&self, user: &UserId) -> Result<Existing, StagingError> {
        Ok(self.settled(user, credentials::inspect).await?.existing)
    }

    /// Removes the user's `codex/auth.json`; `false` when there was none. What else the user has, stays.
    pub async fn remove_auth(&self, user: &UserId) -> Result<bool, StagingError> {
        self.blocking(user, credentials::remove).await
    }

    /// Whether the user has a directory.
    pub async fn user_directory_exists(&self, user: &UserId) -> Result<bool, StagingError> {
        self.blocking(user, |root, user| Ok(matches!(credentials::home(root, user)?, jail::Child::Directory(_)))).await
    }

    /// Removes the user's directory with everything in it. Nothing there is success; [`StagingError::PurgeUnfinished`]
    /// asks for another call. The container must have stopped.
    pub async fn purge(&self, user: &UserId) -> Result<(), StagingError> {
        self.blocking(user, |root, user| purge::purge(&credentials::users(root)?, &jail::Name::of(user))).await
    }

    /// Whether staging can work at all, for readiness: the root is there and writable, and locks exclude.
    pub async fn check(&self) -> Result<(), StagingError> {
        let root = self.root.clone();
        join(tokio::task::spawn_blocking(move || check(&root))).await
    }

    /// Reads until the file is sound, or was unsound as often as we are patient.
    async fn settled<F>(&self, user: &UserId, read: F) -> Result<credentials::Observed, StagingError>
    where
        F: Fn(&Path, &UserId) -> Result<credentials::Observed, StagingError> + Copy + Send + 'static,
    {
        let mut observed = self.blocking(user, read).await?;
        for _ in 0..self.reread.times {
            if !observed.may_be_half_written() {
                break;
            }
            tokio::time::sleep(self.reread.pause).await;
            let moved_aside = observed.moved_aside;
            observed = self.blocking(user, read).await?;
            observed.moved_aside = moved_aside.or(observed.moved_aside);
        }
        Ok(observed)
    }

    /// NFS may take its time; never on a thread that serves others.
    async fn blocking<T, F>(&self, user: &UserId, work: F) -> Result<T, StagingError>
    where
        T: Send + 'static,
        F: FnOnce(&Path, &UserId) -> Result<T, StagingError> + Send + 'static,
    {
        let (root, user) = (self.root.clone(), user.clone());
        join(tokio::task::spawn_blocking(move || work(&root, &user))).await
    }
}

async fn join<T>(job: tokio::task::JoinHandle<Result<T, StagingError>>) -> Result<T, StagingError> {
    job.await.unwrap_or_else(|why| Err(StagingError::CutShort(why)))
}

fn check(root: &Path) -> Result<(), StagingError> {
    credentials::users(root)?;
    let directory = locks::directory(root)?;
    let temporary = write::Temporary::new(&directory);
    let path = directory.path_of(&temporary.name);
    let first = directory.create_new(&temporary.name)?;
    rustix::io::write(&first, b"ok").map_err(StagingError::io("write", &*path))?;
    rustix::fs::fsync(&first).map_err(StagingError::io("sync", &*path))?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let second = directory.open(&temporary.name, flags, Mode::empty()).map_err(StagingError::io("open", &*path))?;
    let lock = |file| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive);
    lock(std::os::fd::AsFd::as_fd(&first)).map_err(StagingError::io("lock", &*path))?;
    match lock(std::os::fd::AsFd::as_fd(&second)) {
        Err(Errno::WOULDBLOCK) => Ok(()),
        Ok(()) => Err(StagingError::LocksDoNotExclude),
        Err(errno) => Err(StagingError::io("lock", path)(errno)),
    }
}

#[cfg(test)]
mod tests;
