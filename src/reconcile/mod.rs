//! One way for everything: observe, plan, execute, until the planner has nothing left to do.

mod accepted_work;
mod accepting;
mod admission;
mod base;
mod cancel;
mod changes;
mod converge;
mod credentials;
mod deletions;
mod error;
mod execute;
mod foresight;
mod gateway;
mod gc;
mod hints;
mod intent;
mod late;
#[cfg(test)]
mod model;
mod names;
mod newest_base;
mod observe;
mod operation;
mod plan;
mod promotion;
mod pursuit;
mod rolling;
mod status;
mod target;

pub use accepted_work::{AcceptedWork, Ended};
pub use cancel::{Cancelled, CancelledDeployment};
pub use credentials::Credentials;
pub use error::{ConvergeError, FailureKind};
pub use foresight::{Foreseen, Foresight, Origin};
pub use gateway::{Gateway, GatewayAuth};
pub use gc::{Fate, Gc, LeftOver, Sweep};
pub use operation::Caller;
pub use plan::{Done, NotRemoved, Observed, Plan, Refusal, Step, plan};
pub use promotion::FleetBase;
pub use pursuit::Known;
pub use status::{ContainerView, Refined, Watched};
pub use target::{Definition, Desired, IfMissing, Target};

use std::sync::Arc;
use std::time::Duration;

use openclaw::{ChatGptAuth, Provider, Release, Warning};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::aws::{Aws, Class, PosixOwner, Scope};
use crate::domain::{Coordinates, CurrentDefinition, RolloutOrder, UserId};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::probe::GatewayProbe;
use crate::staging::{Staging, StagingError, StagingResult};
use accepted_work::UnderWay;
use cancel::Cancellations;
use changes::Changes;
use converge::{NewestRevisions, Reply};
use deletions::Deletions;
use hints::Hints;
use intent::Work;
use newest_base::NewestBase;
use operation::Operation;
use pursuit::Pursuits;

/// How long a caller to whom an answer is due waits until it is written down that the work goes on.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3);

/// How the reconciler works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// POSIX user of the access points.
    pub owner: PosixOwner,
    /// Whether ECS Exec may open a shell in users' containers.
    pub enable_execute_command: bool,
    /// In which order tasks are replaced, where a request does not say.
    pub rollout_order: RolloutOrder,
    /// Tasks that may fail before ECS gives a deployment up and goes back.
    pub failure_threshold: u32,
    /// How users' gateways are asked whether they answer.
    pub gateway_probe: GatewayProbe,
    /// How long a call waits for another call on the same user.
    pub lock_timeout: Duration,
    /// How long a caller waits for its answer; after that it is told that the work goes on.
    pub answer_within: Duration,
    /// Whether a caller is told so as soon as only waiting is left.
    pub answers_early: bool,
    /// After how long everything that ECS accepted shows in what is read. AWS documents no bound; seconds are usual.
    pub settled_after: Duration,
    /// How often a draining service is looked at.
    pub poll_interval: Duration,
    /// How long a converge may go on, its caller long answered.
    pub deadline: Duration,
    /// How long a converge may have to wait for AWS's rate limits; one that would wait longer is refused at its start.
    pub max_queue: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            owner: PosixOwner { uid: 1000, gid: 1000 },
            enable_execute_command: false,
            rollout_order: RolloutOrder::StopFirst,
            failure_threshold: 2,
            gateway_probe: GatewayProbe::default(),
            lock_timeout: Duration::from_secs(20),
            // Below the 30 s after which common HTTP clients give up.
            answer_within: Duration::from_secs(25),
            answers_early: true,
            settled_after: Duration::from_secs(5),
            poll_interval: Duration::from_secs(2),
            deadline: Duration::from_secs(600),
            max_queue: Duration::from_secs(60),
        }
    }
}

/// Makes users' containers what they should be.
#[derive(Debug)]
pub struct Reconciler {
    aws: Aws,
    staging: Staging,
    ledger: Arc<dyn Ledger>,
    coordinates: watch::Receiver<Coordinates>,
    options: Options,
    metrics: Metrics,
    running: TaskTracker,
    stopping: CancellationToken,
    cancellations: Cancellations,
    deletions: Deletions,
    changes: Changes,
    under_way: UnderWay,
    pursuits: Pursuits,
    hints: Hints,
    newest_base: NewestBase,
    newest_revisions: NewestRevisions,
}

/// What a converge came to.
#[derive(Debug)]
pub struct Converged {
    /// What it did.
    pub outcome: ConvergeOutcome,
    /// The container, where there still is one.
    pub view: Option<ContainerView>,
    /// What came of the user's sign-in.
    pub sign_in: Option<StagedSignIn>,
    /// What a forced delete could not remove.
    pub not_removed: Vec<NotRemoved>,
    /// Why it went on without the user's lock; `None`: it had it.
    pub without_lock: Option<String>,
}

/// A user's files, made what the container needs.
#[derive(Debug, Clone)]
pub struct StagedSignIn {
    /// The release that they were made for.
    pub release: Release,
    /// The way of signing in that they were made for.
    pub kind: Provider,
    /// What was done.
    pub result: StagingResult,
    /// Old and new paths of what a repair moved aside, relative to the user's directory.
    pub moved_aside: Vec<(String, String)>,
}

impl Converged {
    /// It goes on, and nothing of it is known yet.
    fn waiting() -> Self {
        Self {
            outcome: ConvergeOutcome::Waiting,
            view: None,
            sign_in: None,
            not_removed: Vec::new(),
            without_lock: None,
        }
    }

    /// What the caller should know although it went through.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let problem = self.without_lock.iter().cloned();
        let mut warnings: Vec<Warning> = problem.map(|problem| Warning::WithoutLock { problem }).collect();
        if let Some(StagedSignIn { release, kind, result, moved_aside: _ }) = &self.sign_in {
            warnings.extend(release.warnings(*kind));
            warnings.extend(result.warnings.iter().cloned());
        }
        let current = self.view.as_ref().and_then(|view| view.current.as_ref());
        warnings.extend(current.and_then(CurrentDefinition::isolation_warning));
        warnings
    }
}

/// What a converge does to the user's sign-in, beside putting it where the release looks for it.
#[derive(Debug, Clone)]
pub enum SignInChange {
    /// Nothing.
    None,
    /// Stage this one.
    Send {
        /// The sign-in.
        auth: Box<ChatGptAuth>,
        /// Also over a fresher one.
        force: bool,
    },
    /// Take it away.
    Remove,
    /// Move aside what shadows it.
    Repair,
    /// Leave it, and give the gateway a new token.
    RotateGatewayToken,
}

/// What a converge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvergeOutcome {
    /// Made the service.
    Created,
    /// Changed something.
    Changed,
    /// Found everything as it should be.
    Unchanged,
    /// Waits (for ECS to drain, or for its turn), and goes on in the background.
    Waiting,
}

impl ConvergeOutcome {
    /// The stable name, in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Waiting => "waiting",
        }
    }
}

impl Reconciler {
    /// A reconciler over these adapters, which counts into `metrics`; `coordinates` may change while it runs.
    #[must_use]
    pub fn new(
        aws: Aws,
        staging: Staging,
        ledger: Arc<dyn Ledger>,
        coordinates: watch::Receiver<Coordinates>,
        options: Options,
        metrics: Metrics,
    ) -> Self {
        let (running, stopping) = (TaskTracker::new(), CancellationToken::new());
        Self {
            aws,
            staging,
            ledger,
            coordinates,
            options,
            metrics,
            running,
            stopping,
            cancellations: Cancellations::default(),
            deletions: Deletions::default(),
            changes: Changes::default(),
            under_way: UnderWay::default(),
            pursuits: Pursuits::default(),
            hints: Hints::default(),
            newest_base: NewestBase::default(),
            newest_revisions: NewestRevisions::default(),
        }
    }

    /// Converges a user to `target`, after staging `sign_in`, because `by` asks for it. It runs in a task of its own,
    /// so a caller that goes away interrupts nothing; the answer comes when all is done, as soon as only waiting is
    /// left, or after [`Options::answer_within`]. A forced delete cancels what is under way for the user in this process.
    ///
    /// # Errors
    /// What kept it from its target. Calling again goes on from wherever it stopped.
    pub async fn apply(
        self: &Arc<Self>,
        by: &Caller,
        user: UserId,
        target: Target,
        sign_in: SignInChange,
    ) -> Result<Converged, ConvergeError> {
        let kind = match sign_in {
            SignInChange::Remove => "remove_credentials",
            SignInChange::Repair => "repair_credentials",
            SignInChange::RotateGatewayToken => "rotate_gateway_token",
            SignInChange::None | SignInChange::Send { .. } => target.name(),
        };
        if matches!(target, Target::Absent { force: true, .. }) {
            // The delete before it holds the lock for as long as the service drains: the very thing to get out of.
            self.cancellations.cancel(&user);
        }
        let operation = self.begin(kind, by, &user);
        let target = target.by_default_in(self.options.rollout_order);
        self.carry_out(operation, target, sign_in, Class::Interactive).await
    }

    fn begin(&self, kind: &'static str, by: &Caller, user: &UserId) -> Operation {
        Operation::begin(kind, by.clone(), user.clone(), self.metrics.clone())
    }

    async fn carry_out(
        self: &Arc<Self>,
        mut operation: Operation,
        target: Target,
        sign_in: SignInChange,
        class: Class,
    ) -> Result<Converged, ConvergeError> {
        if self.stopping.is_cancelled() {
            operation.end(Err(&ConvergeError::ShuttingDown));
            return Err(ConvergeError::ShuttingDown);
        }
        let (answer, answered) = oneshot::channel();
        let this = Arc::clone(self);
        // An error's level: whatever is logged, its line has these fields.
        let (kind, operation_id, user) = (operation.kind(), operation.id(), operation.user());
        let span = tracing::error_span!("converge", operation = kind, operation_id, user_id = %user);
        let due = Instant::now() + self.options.answer_within;
        let work = async move {
            let answer = Reply::new(answer, due);
            let work = Work::new(operation.caller().name(), operation.kind(), target, sign_in);
            let result = Box::pin(this.converge(work, &mut operation, &answer)).await;
            operation.end(result.as_ref().map(|converged| converged.outcome));
            answer.finish(result);
        };
        // Nothing that it asks of AWS waits for longer than it may go on.
        let scope = Scope::new(class, Instant::now() + self.options.deadline);
        self.running.spawn(scope.run(work).instrument(span.or_current()));
        match tokio::time::timeout_at(due + WRITTEN_WITHIN, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) if self.stopping.is_cancelled() => Err(ConvergeError::ShuttingDown),
            Ok(Err(_)) => Err(ConvergeError::Crashed),
            // It goes on, but nothing says that it would if this process were killed.
            Err(_) => Err(ConvergeError::NotAccepted),
        }
    }

    /// A look that a caller waits for, at most as long as for anything else.
    async fn in_time<T>(&self, look: impl Future<Output = Result<T, ConvergeError>>) -> Result<T, ConvergeError> {
        let within = self.options.answer_within;
        let late = Err(ConvergeError::Deadline { seconds: within.as_secs() });
        tokio::time::timeout(within, look).await.unwrap_or(late)
    }

    /// Takes no more work, and waits for what goes on in the background to come to its end.
    pub async fn finish(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Stops taking work, and waits until what runs has come to a point where another replica can go on.
    pub async fn shut_down(&self) {
        self.stopping.cancel();
        self.running.close();
        self.running.wait().await;
    }

    /// Whether files can be staged and locks taken.
    ///
    /// # Errors
    /// What is wrong with the file system.
    pub async fn check_files(&self) -> Result<(), StagingError> {
        self.staging.check().await
    }

    /// Whether this process is deleting the user's container: ECS calls its service ACTIVE until its task has ended.
    #[must_use]
    pub fn is_deleting(&self, user: &UserId) -> bool {
        self.deletions.has(user)
    }

    fn coordinates(&self) -> Coordinates {
        self.coordinates.borrow().clone()
    }
}
