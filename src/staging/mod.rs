//! Writes a user's files to EFS before any task starts (incident 23).
//!
//! ```text
//! <EFS root>/users/<user id>/codex/auth.json     the sign-in; owned by the container's user, directories 0700
//! <EFS root>/users/<user id>/agents/main/agent/auth-profiles.json   the same, for the releases that read it there
//! <EFS root>/users/<user id>/openclaw.json       the user's settings, with our entries in them
//! <EFS root>/users/<user id>/.provisioner/       the entry script, and the sign-in that it should import
//! <EFS root>/.provisioner/file-system            the id of this file system
//! <EFS root>/.provisioner/locks/<user id>.lock   one converging replica per user; outside every tenant's root
//! <EFS root>/.provisioner/pending/<user id>.*    accepted work that is not done, see `ledger`
//! ```
//! `jail` walks paths, `write` replaces files, `paths` knows the directories, `home` changes a user's files with few calls,
//! `credentials` reads sign-ins, `configuration` merges into `openclaw.json`, `entry` has the entry script, `arrange` puts
//! all of these into place, `locations` describes sign-ins, `purge` removes a directory, `measure` finds its size, `identity`
//! knows which file system this is, and `check` tests whether staging can work. All work runs in [`Files`], the only owner of
//! the root. Every call opens the root again, so a file system that was remounted is found.

mod arrange;
mod check;
mod configuration;
mod credentials;
mod entry;
mod error;
mod home;
mod identity;
pub(crate) mod jail;
mod locations;
mod measure;
pub(crate) mod paths;
mod purge;
pub(crate) mod write;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use openclaw::freshness::{Decision, FreshnessReason, SignIn};
use openclaw::{Change, CredentialPlan, CredentialUpdate, Release, Warning, signed_out, update_credentials};
use rustix::fs::{Gid, Uid};

pub use arrange::ToStage;
pub use check::Diagnosis;
pub use error::{StagingError, StagingErrorKind};
pub use identity::{Initialize, file_system_of, identify, other_file_system};
pub use locations::{Location, LocationKind};
pub use measure::{Measured, Pace};

use home::Home;

use crate::domain::user_id::UserId;
use crate::files::{Fence, Files, Job, Root};

/// The mode of a user's directory, for the access point's `CreationInfo`. EFS applies it only when the directory is
/// missing at the first mount (aws-facts §2), so staging sets the same mode.
pub const USER_DIRECTORY_PERMISSIONS: &str = "0700";

/// Time limit of the check whether the file system works.
const CHECKED_WITHIN: Duration = Duration::from_secs(3);
/// Time limit of one slice of a measurement; a slice takes a quarter of a second if the file system answers.
const MEASURED_WITHIN: Duration = Duration::from_secs(5);
/// The most user directories that are listed: a file system has at most 10,000 access points, but deleted users' directories stay.
const MOST_USERS: usize = 100_000;

/// How often staging starts again when the files change while it works.
const ATTEMPTS: u32 = 8;

/// The POSIX user that the container runs as, and that owns all staged files.
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

/// How an empty or malformed file is read again before it counts as bad: Codex 0.130 rewrites in place (openclaw-facts §3).
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

/// The result of staging a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagingOutcome {
    /// The sign-in is now in the user's directory.
    Written,
    /// The existing sign-in is at least as fresh, and was kept.
    KeptFresher,
}

impl StagingOutcome {
    /// The stable name, in snake case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::KeptFresher => "kept_fresher",
        }
    }
}

/// The result of staging a sign-in that was sent, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Written or kept.
    pub outcome: StagingOutcome,
    /// The reason.
    pub reason: FreshnessReason,
}

/// The result of [`Staging::stage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagingResult {
    /// The result for the sign-in that was sent; `None` when none was sent.
    pub staged: Option<Staged>,
    /// The sign-in that the release will use.
    pub live: Option<SignIn>,
    /// Something was written that a container reads only when a task starts.
    pub needs_start: bool,
    /// The time since when a sign-in waits for a task to start.
    pub pending_since: Option<Timestamp>,
    /// The release's plan.
    pub plan: CredentialPlan,
    /// Warnings for the caller.
    pub warnings: Vec<Warning>,
    /// The user must sign in again.
    pub reauth_required: bool,
    /// New paths, relative to the EFS root, of the tenant's own files that were in the way.
    pub moved_aside: Vec<String>,
}

/// Access to the users' directories beneath the EFS root. Cheap to clone.
///
/// Methods that change a user's files are called [`under`](Self::under) the user's lock. They run to their end, or until the
/// lock is lost, even when their future is dropped. The lock is held for that long.
#[derive(Clone, Debug)]
pub struct Staging {
    files: Files,
    fence: Option<Arc<dyn Fence>>,
    is_hint: bool,
    owner: Option<Owner>,
    reread: Reread,
    file_system_id: Option<Arc<str>>,
}

impl Staging {
    /// Opens the root once, so that a wrong path fails at start and not at the first user, and creates `users/` and the
    /// directory of locks in it. Later, these directories distinguish the file system from its bare mount point.
    ///
    /// Without `owner` no file changes its owner: files belong to this process's user (local development without root).
    ///
    /// # Errors
    /// When the root cannot be used.
    pub async fn open(files: &Files, owner: Option<Owner>) -> Result<Self, StagingError> {
        files
            .run(Job::ours(), |root| {
                paths::make_users(root)?;
                paths::make_ours(root)
            })
            .await?;
        let (files, reread) = (files.clone(), Reread::default());
        Ok(Self { files, fence: None, is_hint: false, owner, reread, file_system_id: None })
    }

    /// Sets the id of the file system, which [`Self::check`] compares.
    #[must_use]
    pub fn with_file_system(self, id: &str) -> Self {
        Self { file_system_id: Some(id.into()), ..self }
    }

    /// A copy for changes under a user's lock.
    #[must_use]
    pub fn under(&self, fence: Option<Arc<dyn Fence>>) -> Self {
        Self { fence, ..self.clone() }
    }

    /// A copy for optional reads: an answer is complete without them.
    #[must_use]
    pub fn as_hint(&self) -> Self {
        Self { is_hint: true, ..self.clone() }
    }

    /// Sets how half-written files are read again.
    #[must_use]
    pub fn with_reread(self, reread: Reread) -> Self {
        Self { reread, ..self }
    }

    /// Removes the user's sign-in from all places; the user's other files stay. Returns whether a task must start for this:
    /// only the container can remove a sign-in from its own store.
    pub async fn remove_sign_in(&self, user: &UserId, release: &Release) -> Result<bool, StagingError> {
        for _ in 0..ATTEMPTS {
            let tidied = |root: &Root, user: &UserId| {
                credentials::tidy(root, user)?;
                Ok((credentials::inspect(root, user)?, vec![]))
            };
            let (observed, mut moved_aside) = match self.settled(user, tidied).await {
                Err(StagingError::Contended { .. }) => continue,
                observed => observed?,
            };
            let changes = signed_out(release, &observed.on_disk, Timestamp::now()).map_err(|_| {
                StagingError::UnreadableProfiles { path: format!("users/{user}/agents/main/agent/auth-profiles.json") }
            })?;
            let needs_start = changes.iter().any(Change::is_order);
            if changes.is_empty() {
                return Ok(false);
            }
            if self.committed(user, observed, changes, &mut moved_aside).await? {
                return Ok(needs_start);
            }
        }
        Err(StagingError::Contended { path: format!("users/{user}"), attempts: ATTEMPTS })
    }

    /// Reads the sign-in that `release` would use, and its state; changes nothing.
    pub async fn look(&self, user: &UserId, release: &Release) -> Result<CredentialUpdate, StagingError> {
        let (observed, _) = self.settled(user, |root, user| Ok((credentials::inspect(root, user)?, vec![]))).await?;
        Ok(update_credentials(release, &observed.on_disk, None, false, Timestamp::now()))
    }

    /// Describes every known place of a sign-in, without tokens.
    pub async fn locations(&self, user: &UserId, release: &Release) -> Result<Vec<Location>, StagingError> {
        let CredentialUpdate { plan, live, .. } = self.look(user, release).await?;
        for _ in 0..ATTEMPTS {
            let live = live.clone();
            match self.blocking(user, move |root, user| locations::list(root, user, &plan, live.as_ref())).await {
                Err(StagingError::Contended { .. }) => {}
                listed => return listed,
            }
        }
        Err(StagingError::Contended { path: format!("users/{user}"), attempts: ATTEMPTS })
    }

    /// Moves aside the files that shadow the sign-in that the release uses; nothing is deleted. Returns old and new paths,
    /// relative to the user's directory. A file that only the user can repair is an error, after all others were moved.
    pub async fn repair(&self, user: &UserId, release: &Release) -> Result<Vec<(String, String)>, StagingError> {
        let CredentialUpdate { plan, live, .. } = self.look(user, release).await?;
        let (owner, mut moved) = (self.owner, Vec::new());
        for _ in 0..ATTEMPTS {
            let live = live.clone();
            let repaired = self.blocking(user, move |root, user| {
                let mut moved = Vec::new();
                let repaired = locations::repair(root, user, owner, &plan, live.as_ref(), &mut moved);
                Ok((repaired, moved))
            });
            let (repaired, now) = repaired.await?;
            moved.extend(now);
            match repaired {
                Ok(()) => return Ok(moved),
                Err(StagingError::Contended { .. }) => {}
                Err(error) => {
                    tracing::warn!(user_id = %user, ?moved, "moved aside what could be, and something is left");
                    return Err(error);
                }
            }
        }
        Err(StagingError::Contended { path: format!("users/{user}"), attempts: ATTEMPTS })
    }

    /// Whether the user has a directory.
    pub async fn user_directory_exists(&self, user: &UserId) -> Result<bool, StagingError> {
        self.blocking(user, |root, user| Ok(matches!(paths::home(root, user)?, jail::Child::Directory(_)))).await
    }

    /// Every user with an entry in `users/`, sorted.
    pub async fn users(&self) -> Result<Vec<UserId>, StagingError> {
        let names = self.files.run(Job::ours(), |root| paths::users(root)?.names(MOST_USERS)).await?;
        let user = |name: jail::Name| UserId::parse(std::str::from_utf8(name.bytes()).ok()?).ok();
        let mut users: Vec<UserId> = names.into_iter().filter_map(user).collect();
        users.sort_unstable();
        Ok(users)
    }

    /// Measures the user's directory; `None` if there is none. This takes minutes, blocks nobody, and never makes other work on
    /// files fail.
    ///
    /// # Errors
    /// Errors of the file system. Directories that the tenant has closed or made too large are no error: the result is then a
    /// minimum.
    pub async fn measure(&self, user: &UserId, pace: Pace) -> Result<Option<Measured>, StagingError> {
        let job = || Job::of(user).as_hint().within(MEASURED_WITHIN);
        let of = user.clone();
        let begun = self.files.run(job(), move |root| measure::Walk::begin(root, &of, pace)).await?;
        let Some(mut walk) = begun else { return Ok(None) };
        loop {
            let go_on = move |root: &Root| walk.go_on(root, pace).map(|ended| (walk, ended));
            let (gone_on, ended) = self.files.run(job(), go_on).await?;
            walk = gone_on;
            if ended {
                return Ok(Some(walk.found()));
            }
            tokio::time::sleep(pace.pause).await;
        }
    }

    /// Removes the user's directory with everything in it. A missing directory is success; [`StagingError::PurgeUnfinished`]
    /// asks for another call: each call removes a slice, in about two seconds, so that the caller can stop between two. The
    /// container must have stopped.
    pub async fn purge(&self, user: &UserId) -> Result<(), StagingError> {
        self.blocking(user, |root, user| {
            purge::purge(&paths::users(root)?, &jail::Name::of(user), purge::Slice::default())
        })
        .await
    }

    /// Checks for readiness whether staging can work: the root exists, is the right file system and is writable, files can
    /// be given to their owner, and locks work.
    pub async fn check(&self) -> Result<(), StagingError> {
        let (owner, id) = (self.owner, self.file_system_id.clone());
        let job = Job::ours().within(CHECKED_WITHIN);
        self.files.run(job, move |root| check::check(root, owner, id.as_deref())).await
    }

    /// The same check for an operator, with details that readiness does not need.
    pub async fn diagnose(&self) -> Result<Diagnosis, StagingError> {
        let owner = self.owner;
        self.files.run(Job::ours(), move |root| check::diagnose(root, owner)).await
    }

    /// Reads the files; reads them again, up to the limit, while one may be half written.
    async fn settled<F>(&self, user: &UserId, read: F) -> Result<(credentials::UserFiles, Vec<String>), StagingError>
    where
        F: Fn(&Root, &UserId) -> Result<(credentials::UserFiles, Vec<String>), StagingError> + Copy + Send + 'static,
    {
        let (mut observed, mut moved_aside) = self.blocking(user, read).await?;
        for _ in 0..self.reread.times {
            if !observed.may_be_half_written() {
                break;
            }
            tokio::time::sleep(self.reread.pause).await;
            let (again, moved) = self.blocking(user, read).await?;
            observed = again;
            moved_aside.extend(moved);
        }
        Ok((observed, moved_aside))
    }

    /// Makes the changes. `false`: somebody else changed a file meanwhile, so the files must be read again.
    async fn committed(
        &self,
        user: &UserId,
        observed: credentials::UserFiles,
        changes: Vec<Change>,
        moved_aside: &mut Vec<String>,
    ) -> Result<bool, StagingError> {
        if changes.is_empty() {
            return Ok(true);
        }
        let owner = self.owner;
        let committed = self.blocking(user, move |root, user| {
            let mut moved_aside = Vec::new();
            let edits: Vec<_> = credentials::edits(&observed, &changes).collect();
            let done = Home::make(root, user, owner)?.apply(&edits, &mut moved_aside)?;
            Ok((done, moved_aside))
        });
        match committed.await {
            Ok((done, moved)) => {
                moved_aside.extend(moved);
                Ok(done)
            }
            Err(StagingError::Contended { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Runs work on a user's files, under their lock if there is one.
    async fn blocking<T, F>(&self, user: &UserId, work: F) -> Result<T, StagingError>
    where
        T: Send + 'static,
        F: FnOnce(&Root, &UserId) -> Result<T, StagingError> + Send + 'static,
    {
        let job = Job::of(user).under(self.fence.clone());
        let (job, user) = (if self.is_hint { job.as_hint() } else { job }, user.clone());
        self.files.run(job, move |root| work(root, &user)).await
    }
}

impl From<Decision> for Staged {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Write { reason } => Self { outcome: StagingOutcome::Written, reason },
            Decision::KeepFresher { reason } => Self { outcome: StagingOutcome::KeptFresher, reason },
        }
    }
}

#[cfg(test)]
mod tests;
