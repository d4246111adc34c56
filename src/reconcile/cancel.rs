//! Cancels a user's pending operations, and the deployment that ECS has in progress for them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::converge::forget;
use super::error::ConvergeError;
use super::operation::Operation;
use super::plan::{Observed, Refusal};
use super::status::ContainerView;
use super::{Caller, ConvergeOutcome, Converged, Intent, Reconciler, Verb};
use crate::aws::{AwsError, ErrorKind};
use crate::domain::service::{Deployment, Rollout, Service, ServiceDeployment, ServiceDeploymentState, ServiceStatus};
use crate::domain::{UserId, with_causes};
use crate::ledger::{Ask, LedgerError, Noted};

/// How often the holder of a user's lock is asked to stop.
const ASKS_EVERY: Duration = Duration::from_secs(1);

/// The pause before a service that goes back is looked at again; longer each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The result of a cancel.
#[derive(Debug)]
pub struct Cancelled {
    /// Operations that were under way or waiting, and have ended.
    pub operations: usize,
    /// Whether one of them ran in another replica.
    pub at_work_elsewhere: bool,
    /// What happened to the deployment that was in progress; `None`: none was.
    pub deployment: Option<CancelledDeployment>,
    /// The container after it.
    pub view: ContainerView,
}

impl Cancelled {
    /// Whether there was anything to stop.
    #[must_use]
    pub const fn outcome(&self) -> ConvergeOutcome {
        match (self.operations, self.deployment) {
            (0, None) => ConvergeOutcome::Unchanged,
            (1.., None) | (_, Some(_)) => ConvergeOutcome::Changed,
        }
    }
}

/// What happens to a deployment in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelledDeployment {
    /// ECS goes back to the one before.
    RolledBack,
    /// There is none before it: no more tasks are started.
    ScaledToZero,
}

impl Reconciler {
    /// Stops this user's operations in every replica, and removes what was accepted for them. ECS's deployment in progress
    /// goes back to the one before, or to no task if there is none. A step that has begun is finished first and waited for,
    /// so that nothing of it happens after the answer. `by` is recorded as the caller, also of what this starts.
    ///
    /// # Errors
    /// `Refused(NotFound)` when there is no container, also when the work that would create it has been cancelled. `Busy`
    /// when a step takes longer than a call waits.
    pub async fn cancel(self: &Arc<Self>, by: &Caller, user: &UserId) -> Result<Cancelled, ConvergeError> {
        let mut operation = self.begin(Verb::Cancel, by, user);
        let result = self.cancel_all(by, user, &mut operation).await;
        operation.end(result.as_ref().map(Cancelled::outcome));
        result
    }

    async fn cancel_all(
        self: &Arc<Self>,
        by: &Caller,
        user: &UserId,
        operation: &mut Operation,
    ) -> Result<Cancelled, ConvergeError> {
        let here = self.cancellations.cancel(user);
        let Stopped { at_work_elsewhere, accepted } = self.stop_all(user).await?;
        let elsewhere = usize::from(at_work_elsewhere || (accepted && here == 0));
        let operations = here + elsewhere;
        let at = self.coordinates();
        let found = self.describe_current(&at, user).await?;
        let Some(service) = found.filter(|service| service.status != ServiceStatus::Inactive) else {
            return Err(Refusal::NotFound.into());
        };
        operation.saw(&Observed { service: Some(service.clone()), ..Observed::default() });
        let deployment = match is_deploying(&service) {
            false => None,
            true if self.roll_back(&at.cluster, &service).await? => {
                let former = self.wait_for_former(&at.cluster, &service).await?;
                self.place_for_former(by, user, former).await?;
                Some(CancelledDeployment::RolledBack)
            }
            true => {
                self.apply_now(Intent::stop(by, user.clone())).await?;
                Some(CancelledDeployment::ScaledToZero)
            }
        };
        tracing::info!(user_id = %user, operations, at_work_elsewhere, ?deployment, "cancelled");
        let view = self.look(user).await?;
        let (service, current) = (Some(view.service.clone()), view.current.clone());
        operation.saw(&Observed { service, current, ..Observed::default() });
        Ok(Cancelled { operations, at_work_elsewhere, deployment, view })
    }

    /// Waits for the user's operations to end, also in other replicas, and removes what was accepted for them.
    async fn stop_all(&self, user: &UserId) -> Result<Stopped, ConvergeError> {
        match self.stop_held(user).await {
            Ok(stopped) => Ok(stopped),
            Err(busy @ LedgerError::Busy { .. }) => Err(busy.into()),
            // The file system itself may be stuck.
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "could not read whether another replica works on the user");
                Ok(Stopped::default())
            }
        }
    }

    async fn stop_held(&self, user: &UserId) -> Result<Stopped, LedgerError> {
        let at_work_elsewhere = self.ledger.is_held_elsewhere(user, self.options.lock_timeout).await?;
        let noted = self.ledger.noted(user).await?;
        if !at_work_elsewhere && !matches!(noted, Some(Noted::Pending(_) | Noted::NotUnderstood)) {
            return Ok(Stopped::default());
        }
        let held = tokio::select! {
            held = self.ledger.acquire(user, self.options.lock_timeout) => held?,
            never = self.keep_cancelling(user) => match never {},
        };
        let slot = held.pending();
        // Takes away the request to stop that this call made: the operation that it was for has ended.
        slot.asked().await?;
        let accepted = match slot.read().await {
            Ok(pending) => pending.is_some(),
            Err(LedgerError::NotUnderstood { .. }) => true,
            Err(error) => return Err(error),
        };
        if accepted {
            slot.clear().await?;
        }
        if held.is_new() {
            forget(held).await;
        }
        Ok(Stopped { at_work_elsewhere, accepted })
    }

    async fn keep_cancelling(&self, user: &UserId) -> Infallible {
        loop {
            if let Err(error) = self.ledger.ask(user, Ask::Cancel).await {
                tracing::debug!(user_id = %user, error = %with_causes(&error), "the holder of the user's lock could not be asked to stop");
            }
            tokio::time::sleep(ASKS_EVERY).await;
        }
    }

    /// As [`Self::apply`], but fails unless the work is done when it returns.
    async fn apply_now(self: &Arc<Self>, intent: Intent) -> Result<Converged, ConvergeError> {
        let converged = self.apply(intent).await?;
        match converged.outcome {
            ConvergeOutcome::Created | ConvergeOutcome::Changed | ConvergeOutcome::Unchanged => Ok(converged),
            ConvergeOutcome::Waiting => Err(ConvergeError::Deadline { seconds: self.options.answer_within.as_secs() }),
        }
    }

    /// Puts the sign-in where the returning release looks for it: it was staged for the release that is given up. Repeated
    /// if that was done on a reading from before ECS went back.
    async fn place_for_former(
        self: &Arc<Self>,
        by: &Caller,
        user: &UserId,
        former: Option<String>,
    ) -> Result<(), ConvergeError> {
        let deadline = Instant::now() + self.options.answer_within;
        let mut pause = FIRST_PAUSE;
        loop {
            let converged = self.apply_now(Intent::stage(by, user.clone())).await?;
            let placed_for = converged.view.map(|view| view.service.task_definition);
            if former.is_none() || placed_for == former {
                return Ok(());
            }
            if Instant::now() + pause > deadline {
                return Err(ConvergeError::Deadline { seconds: self.options.answer_within.as_secs() });
            }
            sleep(pause).await;
            pause = (pause * 2).min(self.options.poll_interval);
        }
    }

    /// Waits until the service names the revision that it goes back to, and returns it. StopServiceDeployment answers before
    /// anything has moved; a sign-in staged before that would be staged for the release that is given up. `None`: somebody
    /// else's deployment came in between, and there is no way back to wait for.
    async fn wait_for_former(&self, cluster: &str, before: &Service) -> Result<Option<String>, ConvergeError> {
        let Some(former) = before.deployments.iter().find(|other| is_former(other)) else { return Ok(None) };
        let stopped = before.primary();
        let began = Instant::now();
        let deadline = began + self.options.answer_within;
        let mut pause = FIRST_PAUSE;
        loop {
            let looked = Instant::now();
            let now = self.aws.ecs.describe_service(cluster, &before.name).await?.ok_or(Refusal::NotFound)?;
            let is_stopped = |other: &Deployment| stopped.is_some_and(|stopped| stopped.id == other.id);
            // A reading from before the deployment names the former revision too.
            let shows_stopped = now.deployments.iter().any(|other| !other.primary && is_stopped(other));
            let is_current = shows_stopped || looked - began >= self.options.settled_after;
            if now.task_definition == former.task_definition && is_current {
                return Ok(Some(former.task_definition.clone()));
            }
            let created = |deployment: &Deployment| deployment.created_at_seconds;
            let is_another = now.primary().is_none_or(|primary| {
                let is_known = before.deployments.iter().any(|known| known.id == primary.id);
                !is_known
                    && primary.task_definition != former.task_definition
                    && primary.rollout == Rollout::InProgress
                    && created(primary) >= stopped.and_then(created)
            });
            if is_another {
                return Ok(None);
            }
            if Instant::now() + pause > deadline {
                return Err(ConvergeError::Deadline { seconds: self.options.answer_within.as_secs() });
            }
            sleep(pause).await;
            pause = (pause * 2).min(self.options.poll_interval);
        }
    }

    /// Makes ECS go back to the deployment before the PRIMARY one; returns whether it does. One that is already going back
    /// is left alone: a second cancel must not stop the task that comes back.
    async fn roll_back(&self, cluster: &str, service: &Service) -> Result<bool, ConvergeError> {
        let is_moving = service.primary().is_some_and(|primary| primary.rollout == Rollout::InProgress);
        let newest = match self.aws.ecs.newest_service_deployment(cluster, &service.name).await {
            Ok(newest) => newest,
            // Without this answer nobody knows whether the service is already going back, and that task must not be stopped.
            Err(error) if error.is_not_implemented() => return Err(error.into()),
            Err(error) => return cannot_roll_back(error),
        };
        let Some(ServiceDeployment { arn, state, .. }) = newest else { return Ok(false) };
        match state {
            ServiceDeploymentState::RolledBack => Ok(is_moving),
            ServiceDeploymentState::InProgress if service.deployments.iter().any(is_former) => {
                self.aws.ecs.roll_back_service_deployment(&arn).await.or_else(cannot_roll_back)
            }
            ServiceDeploymentState::InProgress | ServiceDeploymentState::Ended => Ok(false),
        }
    }
}

/// Some roles may not roll back, and some emulators cannot: then scaling to 0 is still possible.
fn cannot_roll_back(error: AwsError) -> Result<bool, ConvergeError> {
    match error.kind() {
        ErrorKind::Refused | ErrorKind::Denied => {
            tracing::warn!(%error, "the deployment could not be rolled back; the service is scaled to 0 instead");
            Ok(false)
        }
        ErrorKind::Throttled
        | ErrorKind::Quota
        | ErrorKind::Unavailable
        | ErrorKind::Unreachable
        | ErrorKind::Unanswered
        | ErrorKind::NotSent
        | ErrorKind::Fenced => Err(error.into()),
    }
}

/// Whether it is the deployment that ECS goes back to.
fn is_former(other: &Deployment) -> bool {
    !other.primary && other.rollout == Rollout::Completed
}

/// What a cancel found and stopped.
#[derive(Debug, Clone, Copy, Default)]
struct Stopped {
    /// Another replica was at work on the user.
    at_work_elsewhere: bool,
    /// Work had been accepted that was not done.
    accepted: bool,
}

fn is_deploying(service: &Service) -> bool {
    let in_progress = service.primary().is_some_and(|primary| primary.rollout != Rollout::Completed);
    service.status == ServiceStatus::Active && service.desired > 0 && in_progress
}

type Tokens = Arc<Mutex<HashMap<UserId, (CancellationToken, usize)>>>;

/// The converges under way, by user.
#[derive(Debug, Clone, Default)]
pub(super) struct Cancellations(Tokens);

/// A converge under way; dropping it removes it from the list.
pub(super) struct Cancellable {
    pub(super) token: CancellationToken,
    user: UserId,
    all: Tokens,
}

impl Cancellations {
    pub(super) fn enter(&self, user: &UserId) -> Cancellable {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, count) = all.entry(user.clone()).or_default();
        *count += 1;
        Cancellable { token: token.clone(), user: user.clone(), all: self.0.clone() }
    }

    /// Cancels the user's converges and returns how many there were. Later ones are not affected.
    pub(super) fn cancel(&self, user: &UserId) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((token, count)) = all.remove(user) else { return 0 };
        token.cancel();
        count
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        // A cancelled entry is already removed; an entry of the same user is a later one.
        if self.token.is_cancelled() {
            return;
        }
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = all.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.user);
            }
        }
    }
}
