//! One way for everything: observe, plan, execute, until the planner has nothing left to do.

mod error;
mod execute;
mod names;
mod observe;
mod plan;
mod status;
mod target;

pub use error::ConvergeError;
pub use plan::{Done, Observed, Plan, Refusal, Step, plan};
pub use status::ContainerView;
pub use target::{Definition, Desired, IfMissing, Target};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::aws::{Aws, PosixOwner};
use crate::domain::freshness::Existing;
use crate::domain::service::ServiceStatus;
use crate::domain::{ChatGptAuth, Coordinates, UserId, with_causes};
use crate::staging::{Staged, Staging, StagingError, UserLock, UserLocks};
use execute::Taken;

/// How often a conflict is answered by observing again. Each is caused by another writer or by ECS's eventual
/// consistency, and both pass in seconds; ten, with their waits, are about 20 s.
const MAX_CONFLICTS: u32 = 10;

/// How the reconciler works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// POSIX user of the access points.
    pub owner: PosixOwner,
    /// Whether ECS Exec may open a shell in users' containers.
    pub enable_execute_command: bool,
    /// How long a call waits for another call on the same user.
    pub lock_timeout: Duration,
    /// How long a caller waits for its answer; after that it is told that the work goes on.
    pub answer_within: Duration,
    /// How often a draining service is looked at.
    pub poll_interval: Duration,
    /// How long a converge may go on, its caller long answered.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            owner: PosixOwner { uid: 1000, gid: 1000 },
            enable_execute_command: false,
            lock_timeout: Duration::from_secs(20),
            // Below the 30 s after which common HTTP clients give up.
            answer_within: Duration::from_secs(25),
            poll_interval: Duration::from_secs(2),
            deadline: Duration::from_secs(600),
        }
    }
}

/// Makes users' containers what they should be.
#[derive(Debug)]
pub struct Reconciler {
    aws: Aws,
    staging: Staging,
    locks: UserLocks,
    coordinates: watch::Receiver<Coordinates>,
    options: Options,
    running: TaskTracker,
    stopping: CancellationToken,
}

/// What a converge came to.
#[derive(Debug)]
pub struct Converged {
    /// What it did.
    pub outcome: Outcome,
    /// The container, where there still is one.
    pub view: Option<ContainerView>,
    /// The user's access point.
    pub access_point_id: Option<String>,
    /// What became of the sign-in that was sent along.
    pub staged: Option<Staged>,
}

/// What a converge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Made the service.
    Created,
    /// Changed something.
    Changed,
    /// Found everything as it should be.
    Unchanged,
    /// Waits (for ECS to drain, or for its turn), and goes on in the background.
    Waiting,
}

impl Reconciler {
    /// A reconciler over these adapters; `coordinates` may change while it runs.
    #[must_use]
    pub fn new(
        aws: Aws,
        staging: Staging,
        locks: UserLocks,
        coordinates: watch::Receiver<Coordinates>,
        options: Options,
    ) -> Self {
        let (running, stopping) = (TaskTracker::new(), CancellationToken::new());
        Self { aws, staging, locks, coordinates, options, running, stopping }
    }

    /// Converges a user to `target`, after staging `sign_in`. It runs in a task of its own, so a caller that goes away
    /// interrupts nothing; the answer comes when all is done, as soon as only waiting is left, or after
    /// [`Options::answer_within`].
    ///
    /// # Errors
    /// What kept it from its target. Calling again goes on from wherever it stopped.
    pub async fn apply(
        self: &Arc<Self>,
        user: UserId,
        target: Target,
        sign_in: Option<ChatGptAuth>,
    ) -> Result<Converged, ConvergeError> {
        if self.stopping.is_cancelled() {
            return Err(ConvergeError::ShuttingDown);
        }
        let (answer, answered) = oneshot::channel();
        let this = Arc::clone(self);
        let span = tracing::info_span!("converge", operation = target.name(), user_id = %user);
        let work = async move {
            let mut answer = Answer(Some(answer));
            let result = this.converge(&user, &target, sign_in, &mut answer).await;
            answer.finish(result);
        };
        self.running.spawn(work.instrument(span.or_current()));
        match tokio::time::timeout(self.options.answer_within, answered).await {
            Ok(answer) => answer.unwrap_or(Err(ConvergeError::ShuttingDown)),
            Err(_) => Ok(Converged { outcome: Outcome::Waiting, view: None, access_point_id: None, staged: None }),
        }
    }

    /// Stops taking work, and waits until what runs has come to a point where another replica can go on.
    pub async fn shut_down(&self) {
        self.stopping.cancel();
        self.running.close();
        self.running.wait().await;
    }

    /// Whether the user's sign-in is on the file system.
    ///
    /// # Errors
    /// When the file system does not answer.
    pub async fn has_sign_in(&self, user: &UserId) -> Result<bool, StagingError> {
        Ok(matches!(self.staging.inspect_auth(user).await?, Existing::Parsed(_)))
    }

    /// Whether files can be staged and locks taken.
    ///
    /// # Errors
    /// What is wrong with the file system.
    pub async fn check_files(&self) -> Result<(), StagingError> {
        self.staging.check().await
    }

    fn coordinates(&self) -> Coordinates {
        self.coordinates.borrow().clone()
    }

    async fn converge(
        &self,
        user: &UserId,
        target: &Target,
        sign_in: Option<ChatGptAuth>,
        answer: &mut Answer,
    ) -> Result<Converged, ConvergeError> {
        let started = Instant::now();
        let lock = self.locks.acquire(user, self.options.lock_timeout).await?;
        let is_new = lock.is_new();
        let result = self.converge_locked(user, target, sign_in, is_new, answer).await;
        let never_was = is_new && matches!(result, Err(ConvergeError::Refused(Refusal::NotFound)));
        let is_gone = result.is_ok() && matches!(target, Target::Absent { .. });
        if never_was || is_gone {
            retire(lock).await;
        }
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok(converged) => tracing::info!(outcome = ?converged.outcome, elapsed_ms, "converged"),
            Err(error) => tracing::warn!(error = %with_causes(error), elapsed_ms, "not converged"),
        }
        result
    }

    async fn converge_locked(
        &self,
        user: &UserId,
        target: &Target,
        sign_in: Option<ChatGptAuth>,
        is_new: bool,
        answer: &mut Answer,
    ) -> Result<Converged, ConvergeError> {
        let at = self.coordinates();
        let is_new = is_new && !self.has_files_to_purge(user, target).await?;
        // Joined, not raced: a write that goes on after the lock is released would be nobody's. And before any step:
        // a service that starts before its files are written signs nobody in (incident 23).
        let (staged, observed) = tokio::join!(self.stage(user, sign_in), self.observe(&at, user, target, is_new));
        let staged = staged?;
        let mut observed = observed?;
        // ECS remembers a deleted service for a while; who comes back then is new all the same.
        let existed = observed.service.as_ref().is_some_and(|service| service.status != ServiceStatus::Inactive);
        let deadline = Instant::now() + self.options.deadline;
        let (mut changed, mut created, mut conflicts) = (false, false, 0);
        loop {
            match plan(user, target, &observed)? {
                Plan::Converged => break,
                Plan::WaitForDrain => {
                    if let Some(service) = observed.service.clone() {
                        let view = ContainerView::of_new(service, None);
                        let access_point_id = observed.access_point_id.clone();
                        let outcome = Outcome::Waiting;
                        answer.send(Ok(Converged {
                            outcome,
                            view: Some(view),
                            access_point_id,
                            staged: staged.clone(),
                        }));
                    }
                    self.pause(self.options.poll_interval, deadline).await?;
                    observed = self.observe_again(&at, user, target, observed).await?;
                }
                Plan::Step(step) => {
                    let name = step.name();
                    created |= matches!(*step, Step::CreateService { .. });
                    changed |= step.changes_container();
                    let taken_at = Instant::now();
                    let taken = self.execute(&at, user, *step, &mut observed).await?;
                    let elapsed_ms = u64::try_from(taken_at.elapsed().as_millis()).unwrap_or(u64::MAX);
                    match taken {
                        Taken::Folded => tracing::info!(step = name, elapsed_ms, "step taken"),
                        Taken::Conflict(error) => {
                            tracing::info!(step = name, elapsed_ms, %error, "conflict; observing again");
                            conflicts += 1;
                            if conflicts == MAX_CONFLICTS {
                                return Err(ConvergeError::Contended);
                            }
                            let backoff = Duration::from_millis(100 << conflicts.min(5));
                            self.pause(backoff, deadline).await?;
                            observed = self.observe_again(&at, user, target, observed).await?;
                        }
                    }
                }
            }
        }
        let outcome = match (created && !existed, changed) {
            (true, _) => Outcome::Created,
            (false, true) => Outcome::Changed,
            (false, false) => Outcome::Unchanged,
        };
        let access_point_id = observed.access_point_id.clone();
        let view = match (observed.service, target) {
            (_, Target::Absent { .. }) | (None, _) => None,
            (Some(service), Target::Present { .. }) if created => {
                Some(ContainerView::of_new(service, observed.current))
            }
            (Some(service), Target::Present { .. }) => {
                let view = self.view(&at, user, service.clone(), observed.current.clone()).await;
                // What was asked for is done. An error now would make the caller ask again, and a forced restart is
                // not free to repeat.
                Some(view.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the tasks could not be looked at");
                    ContainerView::of_new(service, observed.current)
                }))
            }
        };
        Ok(Converged { outcome, view, access_point_id, staged })
    }

    /// Whether there is something to purge. Files that an earlier delete kept are all that is left of their user.
    async fn has_files_to_purge(&self, user: &UserId, target: &Target) -> Result<bool, StagingError> {
        match target {
            Target::Absent { purge: true } => self.staging.user_directory_exists(user).await,
            Target::Absent { purge: false } | Target::Present { .. } => Ok(false),
        }
    }

    async fn stage(&self, user: &UserId, sign_in: Option<ChatGptAuth>) -> Result<Option<Staged>, StagingError> {
        match sign_in {
            Some(sign_in) => self.staging.stage_auth(user, sign_in, false).await.map(Some),
            None => Ok(None),
        }
    }

    /// Sleeps, unless the deadline passes or the process goes down first.
    async fn pause(&self, duration: Duration, deadline: Instant) -> Result<(), ConvergeError> {
        if Instant::now() + duration > deadline {
            return Err(ConvergeError::Deadline { seconds: self.options.deadline.as_secs() });
        }
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(()),
            () = self.stopping.cancelled() => Err(ConvergeError::ShuttingDown),
        }
    }
}

/// The caller's answer: sent once, either when only waiting is left or at the end.
struct Answer(Option<oneshot::Sender<Result<Converged, ConvergeError>>>);

impl Answer {
    fn send(&mut self, result: Result<Converged, ConvergeError>) {
        if let Some(sender) = self.0.take() {
            // A caller that went away wants no answer; the work goes on.
            drop(sender.send(result));
        }
    }

    fn finish(mut self, result: Result<Converged, ConvergeError>) {
        self.send(result);
    }
}

/// Removes the lock file of a user of whom nothing is left. That it stays is harmless: the next call only looks a
/// little longer.
async fn retire(lock: UserLock) {
    if let Err(error) = lock.retire().await {
        tracing::warn!(%error, "a lock file stays behind");
    }
}
