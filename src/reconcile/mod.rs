//! One way for everything: observe, plan, execute, until the planner has nothing left to do.

mod accepted_work;
mod accepting;
mod admission;
mod base;
mod cancel;
mod changes;
mod converge;
mod converged;
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
mod options;
mod plan;
mod promotion;
mod pursuit;
mod roles;
mod rolling;
mod status;
mod target;
mod work;

pub use accepted_work::{AcceptedWork, Ended};
pub use cancel::{Cancelled, CancelledDeployment};
pub use converged::{ConvergeOutcome, Converged, StagedSignIn};
pub use credentials::Credentials;
pub use error::{ConvergeError, FailureKind};
pub use foresight::{Foreseen, Foresight, Origin};
pub use gateway::{Gateway, GatewayAuth};
pub use gc::{Fate, Gc, LeftOver, Sweep};
pub use intent::{Intent, SignInChange, Verb};
pub use operation::Caller;
pub use options::Options;
pub use plan::{Done, Effects, NotRemoved, Observed, Plan, Refusal, Step, plan};
pub use promotion::FleetBase;
pub use pursuit::Known;
pub use status::{ContainerView, Refined, Watched};
pub use target::{Definition, Desired, IfMissing, Redeploy, Target};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::aws::{Aws, Class, Scope};
use crate::domain::{Coordinates, UserId};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::staging::{Staging, StagingError};
use accepted_work::UnderWay;
use cancel::Cancellations;
use changes::Changes;
use converge::{Reply, Unwritten};
use deletions::Deletions;
use hints::Hints;
use newest_base::NewestBase;
use operation::Operation;
use pursuit::Pursuits;
use work::Work;

/// How long an answer that is due may wait until the remaining work is written down.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3);

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
    unwritten: Unwritten,
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
            unwritten: Unwritten::default(),
        }
    }

    /// Carries out an intent. It runs in a task of its own, so a caller that goes away interrupts nothing. The answer comes
    /// when all is done, as soon as only waiting is left, or after [`Options::answer_within`]. A forced delete cancels what
    /// is under way for the user in this process.
    ///
    /// # Errors
    /// The reason why the target was not reached. Calling again continues from where it stopped.
    pub async fn apply(self: &Arc<Self>, intent: Intent) -> Result<Converged, ConvergeError> {
        if matches!(intent.target, Target::Absent { force: true, .. }) {
            // A forced delete must not wait behind an ordinary one, which holds the lock while the service drains.
            self.cancellations.cancel(&intent.user);
        }
        self.carry_out(intent, Class::Interactive).await
    }

    fn begin(&self, verb: Verb, by: &Caller, user: &UserId) -> Operation {
        Operation::begin(verb, by.clone(), user.clone(), self.metrics.clone())
    }

    async fn carry_out(self: &Arc<Self>, mut intent: Intent, class: Class) -> Result<Converged, ConvergeError> {
        let mut operation = self.begin(intent.verb, &intent.caller, &intent.user);
        if self.stopping.is_cancelled() {
            operation.end(Err(&ConvergeError::ShuttingDown));
            return Err(ConvergeError::ShuttingDown);
        }
        intent.target = intent.target.by_default_in(self.options.rollout_order);
        let target = intent.target.clone();
        let (answer, answered) = oneshot::channel();
        let this = Arc::clone(self);
        // At error level, so that log lines of every level have these fields.
        let (verb, operation_id, user) = (operation.verb().name(), operation.id(), operation.user());
        let span = tracing::error_span!("converge", operation = verb, operation_id, user_id = %user);
        let due = Instant::now() + self.options.answer_within;
        let work = async move {
            let answer = Reply::new(answer, due);
            let result = Box::pin(this.converge(Work::new(intent), &mut operation, &answer)).await;
            operation.end(result.as_ref().map(|converged| converged.outcome));
            answer.finish(result);
        };
        // No AWS request of this operation waits for longer than the operation may run.
        let scope = Scope::new(class, Instant::now() + self.options.deadline);
        self.running.spawn(scope.run(work).instrument(span.or_current()));
        match tokio::time::timeout_at(due + WRITTEN_WITHIN, answered).await {
            Ok(Ok(answer)) => answer.map(|converged| converged.answering(&target)),
            Ok(Err(_)) if self.stopping.is_cancelled() => Err(ConvergeError::ShuttingDown),
            Ok(Err(_)) => Err(ConvergeError::Crashed),
            // The work goes on, but nothing would continue it if this process were killed.
            Err(_) => Err(ConvergeError::NotAccepted),
        }
    }

    /// Limits a read to the time that a caller waits for any answer.
    async fn in_time<T>(&self, look: impl Future<Output = Result<T, ConvergeError>>) -> Result<T, ConvergeError> {
        let within = self.options.answer_within;
        let late = Err(ConvergeError::Deadline { seconds: within.as_secs() });
        tokio::time::timeout(within, look).await.unwrap_or(late)
    }

    /// Takes no more work, and waits until background work has ended.
    pub async fn finish(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Stops taking work, and waits until running work reaches a point where another replica can continue it.
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
