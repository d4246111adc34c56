//! A user's files on EFS, in place before any task starts (incident 23).
//!
//! ```text
//! <EFS root>/users/<user id>/codex/auth.json       the sign-in; owned by the container's user, directories 0700
//! <EFS root>/users/<user id>/agents/main/agent/auth-profiles.json   the same, where the release reads that instead
//! <EFS root>/users/<user id>/openclaw.json         our entries in it
//! <EFS root>/.provisioner/locks/<user id>.lock     one converging replica per user; beyond every tenant's root
//! <EFS root>/.provisioner/staged/<user id>.json    what was last staged, without tokens, where no file shows it
//! ```
//! `jail` and `places` walk, `write` replaces, `credentials` and `configuration` stage, `records` remembers, `purge` removes,
//! `locks` keeps replicas apart. What to write is decided by the domain's credential plan.
//! Every call opens the root anew, so a file system that was mounted again is found again.

mod configuration;
mod credentials;
mod error;
mod jail;
mod locations;
mod locks;
mod places;
mod purge;
mod records;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

pub use error::{StagingError, StagingErrorKind};
pub use locations::{Location, LocationKind};
pub use locks::{LockError, UserLock, UserLocks};

use crate::domain::auth_json::ChatGptAuth;
use crate::domain::credential_plan::{CredentialPlan, ModelEntries, Verdict, Warning, judge, signed_in};
use crate::domain::freshness::{Decision, Reason, SignIn};
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

/// The result of [`Staging::stage_sign_in`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Written or kept.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The sign-in that the release will use.
    pub stored: SignIn,
    /// A newer release may have kept rotating it in a database that this one does not read.
    pub not_carried_over: bool,
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
    /// Opens the root once, so that a wrong path fails at start and not at the first user.
    ///
    /// Without `owner` nothing is chowned: files belong to this process's user (local development without root).
    pub fn open(efs_root: &Path, owner: Option<Owner>) -> Result<Self, StagingError> {
        jail::Dir::root(efs_root)?;
        Ok(Self { root: Arc::from(PathBuf::from(efs_root)), owner, reread: Reread::default() })
    }

    /// With another patience for half-written files.
    #[must_use]
    pub fn with_reread(self, reread: Reread) -> Self {
        Self { reread, ..self }
    }

    /// Puts the sign-in where the plan's release reads it, unless a fresher one is there or in a place that another
    /// release left it in; that one is moved then.
    pub async fn stage_sign_in(
        &self,
        user: &UserId,
        plan: &CredentialPlan,
        auth: ChatGptAuth,
        force: bool,
    ) -> Result<Staged, StagingError> {
        let (verdict, moved_aside) = self.settle(user, plan, Some(Arc::new(auth)), force).await?;
        let not_carried_over = verdict.not_carried_over;
        let (Some(decision), Some(stored)) = (verdict.decision, verdict.stored) else {
            // A sign-in that was sent is either written or not as fresh as one that is there.
            return Err(StagingError::Contended { path: format!("users/{user}"), attempts: 1 });
        };
        let (outcome, reason) = match decision {
            Decision::Write { reason } => (Outcome::Written, reason),
            Decision::KeepFresher { reason } => (Outcome::KeptFresher, reason),
        };
        tracing::info!(
            user_id = %user,
            outcome = outcome.name(),
            reason = reason.name(),
            fingerprint = stored.fingerprint,
            authority = ?plan.authority,
            ?moved_aside,
            "staged a sign-in"
        );
        Ok(Staged { outcome, reason, stored, not_carried_over, moved_aside })
    }

    /// Moves the user's live sign-in to where the plan's release reads it. `false`: there is none that it will read.
    pub async fn carry_over(&self, user: &UserId, plan: &CredentialPlan) -> Result<bool, StagingError> {
        // Mostly there is nothing to do, and then nothing is touched.
        let observed = self.settled(user, credentials::inspect).await?;
        let verdict = judge(plan, observed.disk(), None, false);
        if verdict.changes_nothing() {
            return Ok(!verdict.not_carried_over);
        }
        let (verdict, moved_aside) = self.settle(user, plan, None, false).await?;
        let fingerprint = verdict.stored.as_ref().map(|stored| stored.fingerprint.as_str());
        tracing::info!(user_id = %user, fingerprint, authority = ?plan.authority, ?moved_aside, "carried a sign-in over");
        Ok(!verdict.not_carried_over)
    }

    /// Judges and writes, until nothing changes in between.
    async fn settle(
        &self,
        user: &UserId,
        plan: &CredentialPlan,
        auth: Option<Arc<ChatGptAuth>>,
        force: bool,
    ) -> Result<(Verdict, Vec<String>), StagingError> {
        let (owner, plan) = (self.owner, *plan);
        let mut moved_aside = Vec::new();
        for _ in 0..ATTEMPTS {
            let observed = self.settled(user, move |root, user| credentials::prepare(root, user, owner, &plan)).await;
            let observed = match observed {
                Err(StagingError::Contended { .. }) => continue,
                observed => observed?,
            };
            moved_aside.extend(observed.moved_aside.clone());
            let verdict = judge(&plan, observed.disk(), auth.as_deref(), force);
            let wanted = verdict.clone();
            let committed = self
                .blocking(user, move |root, user| credentials::commit(root, user, owner, &plan, &wanted, &observed))
                .await;
            match committed {
                Ok(write::Replaced::Done { moved_aside: paths }) => {
                    moved_aside.extend(paths);
                    return Ok((verdict, moved_aside));
                }
                Ok(write::Replaced::Disturbed) | Err(StagingError::Contended { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StagingError::Contended { path: format!("users/{user}"), attempts: ATTEMPTS })
    }

    /// Merges our entries into the user's `openclaw.json`; the answer says when it had to be left alone. Without
    /// `makes_token`, the gateway's token comes from elsewhere.
    pub async fn stage_configuration(
        &self,
        user: &UserId,
        model: ModelEntries,
        makes_token: bool,
    ) -> Result<Option<Warning>, StagingError> {
        let owner = self.owner;
        for _ in 0..ATTEMPTS {
            let tried = self
                .blocking(user, move |root, user| configuration::stage(root, user, owner, model, makes_token))
                .await;
            match tried {
                Ok(configuration::Tried::Done(warning)) => return Ok(warning),
                Ok(configuration::Tried::Disturbed) | Err(StagingError::Contended { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StagingError::Contended { path: format!("users/{user}/openclaw.json"), attempts: ATTEMPTS })
    }

    /// Whether any release would find a sign-in of the user's; changes nothing.
    pub async fn has_sign_in(&self, user: &UserId) -> Result<bool, StagingError> {
        Ok(signed_in(self.settled(user, credentials::inspect).await?.disk()))
    }

    /// Every place where a release may look for the user's sign-in, without any token; changes nothing.
    pub async fn locations(&self, user: &UserId, plan: &CredentialPlan) -> Result<Vec<Location>, StagingError> {
        let plan = *plan;
        self.blocking(user, move |root, user| locations::list(root, user, &plan)).await
    }

    /// Removes what was staged of the user's sign-in; `false` when there was none. What else the user has, stays.
    pub async fn remove_sign_in(&self, user: &UserId) -> Result<bool, StagingError> {
        let owner = self.owner;
        self.blocking(user, move |root, user| credentials::remove(root, user, owner)).await
    }

    /// Whether the user has a directory.
    pub async fn user_directory_exists(&self, user: &UserId) -> Result<bool, StagingError> {
        self.blocking(user, |root, user| Ok(matches!(places::home(root, user)?, jail::Child::Directory(_)))).await
    }

    /// Removes the user's directory with everything in it. Nothing there is success; [`StagingError::PurgeUnfinished`]
    /// asks for another call. The container must have stopped.
    pub async fn purge(&self, user: &UserId) -> Result<(), StagingError> {
        self.blocking(user, |root, user| {
            purge::purge(&places::users(root)?, &jail::Name::of(user))?;
            records::remove(root, user).map(drop)
        })
        .await
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
            let mut moved_aside = observed.moved_aside;
            observed = self.blocking(user, read).await?;
            moved_aside.append(&mut observed.moved_aside);
            observed.moved_aside = moved_aside;
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
    places::users(root)?;
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
