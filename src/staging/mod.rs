//! A user's files on EFS, in place before any task starts (incident 23).
//!
//! ```text
//! <EFS root>/users/<user id>/codex/auth.json     the sign-in; owned by the container's user, directories 0700
//! <EFS root>/users/<user id>/agents/main/agent/auth-profiles.json   the same, for the releases that read it there
//! <EFS root>/users/<user id>/openclaw.json       the user's settings, with our entries in them
//! <EFS root>/users/<user id>/.provisioner/       the entry script, and what it is to import
//! <EFS root>/.provisioner/file-system            the id of this file system
//! <EFS root>/.provisioner/locks/<user id>.lock   one converging replica per user; beyond every tenant's root
//! <EFS root>/.provisioner/pending/<user id>.*    work that was accepted and is not done, see `ledger`
//! ```
//! `jail` walks, `write` replaces, `paths` knows the directories, `home` changes a user's files in as few calls as it takes,
//! `credentials` reads sign-ins, `configuration` merges into `openclaw.json`, `entry` has the entry script, `arrange` puts
//! all of that into place, `locations` describes, `purge` removes, `measure` says how much there is, `identity` knows which file system this is, `check` tells
//! whether any of it can work. All of it is done by [`Files`], which alone has the root. Every call opens it anew, so a file
//! system that was mounted again is found again.

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
/// missing at the first mount (aws-facts §2), so staging sets the very same.
pub const USER_DIRECTORY_PERMISSIONS: &str = "0700";

/// How long the file system may take to show that it works.
const CHECKED_WITHIN: Duration = Duration::from_secs(3);
/// How long one go of a measurement may take, which takes a quarter of a second where the file system answers.
const MEASURED_WITHIN: Duration = Duration::from_secs(5);
/// A file system has at most 10,000 access points, and directories of users who were deleted stay.
const MOST_USERS: usize = 100_000;

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
pub enum StagingOutcome {
    /// It is in the user's directory now.
    Written,
    /// The one that was there is at least as fresh, and still there.
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

/// What became of a sign-in that was sent, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Written or kept.
    pub outcome: StagingOutcome,
    /// Why.
    pub reason: FreshnessReason,
}

/// The result of [`Staging::stage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagingResult {
    /// What became of the sign-in that was sent; `None` when none was.
    pub staged: Option<Staged>,
    /// The sign-in that the release will use.
    pub live: Option<SignIn>,
    /// Something was written that only the start of a task takes up.
    pub needs_start: bool,
    /// Since when a sign-in waits for a task to start.
    pub pending_since: Option<Timestamp>,
    /// The plan that is in force.
    pub plan: CredentialPlan,
    /// What the caller should know.
    pub warnings: Vec<Warning>,
    /// The user has to sign in again.
    pub reauth_required: bool,
    /// What of the tenant's own was in the way, and is now at these paths relative to the EFS root.
    pub moved_aside: Vec<String>,
}

/// Access to the users' directories beneath the EFS root. Cheap to clone.
///
/// What changes a user's files is called [`under`](Self::under) their lock, and runs to its end, or until the lock is lost,
/// even when its future is dropped. The lock lives as long as that.
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
    /// Opens the root once, so that a wrong path fails at start and not at the first user, and makes `users/` and the
    /// directory of locks in it: that they are there later tells the file system from its bare mount point.
    ///
    /// Without `owner` nothing is chowned: files belong to this process's user (local development without root).
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

    /// With the id of the file system, which [`Self::check`] looks for.
    #[must_use]
    pub fn with_file_system(self, id: &str) -> Self {
        Self { file_system_id: Some(id.into()), ..self }
    }

    /// The same for changes under a user's lock.
    #[must_use]
    pub fn under(&self, fence: Option<Arc<dyn Fence>>) -> Self {
        Self { fence, ..self.clone() }
    }

    /// The same for looks that an answer can go without.
    #[must_use]
    pub fn as_hint(&self) -> Self {
        Self { is_hint: true, ..self.clone() }
    }

    /// With another patience for half-written files.
    #[must_use]
    pub fn with_reread(self, reread: Reread) -> Self {
        Self { reread, ..self }
    }

    /// Takes the user's sign-in away wherever it is; what else the user has, stays. Answers whether a task has to start
    /// for it: only the container can take it out of its own store.
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

    /// Where `release` would find the user's sign-in, and how good that is; changes nothing.
    pub async fn look(&self, user: &UserId, release: &Release) -> Result<CredentialUpdate, StagingError> {
        let (observed, _) = self.settled(user, |root, user| Ok((credentials::inspect(root, user)?, vec![]))).await?;
        Ok(update_credentials(release, &observed.on_disk, None, false, Timestamp::now()))
    }

    /// Every place where a sign-in was ever seen to be, described without any token.
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

    /// Moves aside what shadows the sign-in that the release uses; nothing is deleted. Answers old and new paths,
    /// relative to the user's directory. A file that the user alone can mend is an error once all others were moved.
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

    /// Everybody for whom there is something in `users/`, in order.
    pub async fn users(&self) -> Result<Vec<UserId>, StagingError> {
        let names = self.files.run(Job::ours(), |root| paths::users(root)?.names(MOST_USERS)).await?;
        let user = |name: jail::Name| UserId::parse(std::str::from_utf8(name.bytes()).ok()?).ok();
        let mut users: Vec<UserId> = names.into_iter().filter_map(user).collect();
        users.sort_unstable();
        Ok(users)
    }

    /// Walks the user's directory, and says what it holds; `None` where there is none. Takes minutes, holds up nobody, and never
    /// makes other work on files fail.
    ///
    /// # Errors
    /// What the file system says. What the tenant has closed or built is none: then it is at least what was found.
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

    /// Removes the user's directory with everything in it. Nothing there is success; [`StagingError::PurgeUnfinished`]
    /// asks for another call: each removes a slice, in about two seconds, so that whoever asks can stop between two. The
    /// container must have stopped.
    pub async fn purge(&self, user: &UserId) -> Result<(), StagingError> {
        self.blocking(user, |root, user| {
            purge::purge(&paths::users(root)?, &jail::Name::of(user), purge::Slice::default())
        })
        .await
    }

    /// Whether staging can work at all, for readiness: the root is there, of the right file system and writable, files can
    /// be given to their owner, and locks exclude.
    pub async fn check(&self) -> Result<(), StagingError> {
        let (owner, id) = (self.owner, self.file_system_id.clone());
        let job = Job::ours().within(CHECKED_WITHIN);
        self.files.run(job, move |root| check::check(root, owner, id.as_deref())).await
    }

    /// The same for an operator who asks what is wrong, with what need not be looked at again and again.
    pub async fn diagnose(&self) -> Result<Diagnosis, StagingError> {
        let owner = self.owner;
        self.files.run(Job::ours(), move |root| check::diagnose(root, owner)).await
    }

    /// Reads until the files are sound, or were unsound as often as we are patient.
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

    /// Whether the changes were made, all of them; else somebody else changed a file, and it has to be looked at anew.
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

    /// Work on a user's files, under their lock where there is one.
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
