//! One converge from lock to answer: observe, then plan and take steps until the planner has nothing left to do.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::ConvergeError;
use super::execute::Taken;
use super::plan::{Observed, Plan, Refusal, Step, plan};
use super::status::ContainerView;
use super::target::Target;
use super::{Converged, Outcome, Reconciler};
use crate::aws::{AwsError, ErrorKind};
use crate::domain::service::ServiceStatus;
use crate::domain::{ChatGptAuth, Coordinates, CurrentDefinition, UserId, with_causes};
use crate::staging::{Staged, StagingError, UserLock};

/// How often a conflict is answered by observing again. Each is caused by another writer or by ECS's eventual
/// consistency, and both pass in seconds; ten, with their waits, are about 20 s.
const MAX_CONFLICTS: u32 = 10;

impl Reconciler {
    /// Converges a user under their lock.
    pub(super) async fn converge(
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
        let elapsed_ms = millis_since(started);
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
        // Joined, not raced: a write that goes on after the lock is released would be nobody's. And before any step:
        // a service that starts before its files are written signs nobody in (incident 23).
        let (staged, observed) = tokio::join!(self.stage(user, sign_in), self.observe(&at, user, target, is_new));
        let staged = staged?;
        let mut observed = observed?;
        observed.done.registered = self.take_unsettled(user, &observed);
        // ECS remembers a deleted service for a while; who comes back then is new all the same.
        let existed = observed.service.as_ref().is_some_and(|service| service.status != ServiceStatus::Inactive);
        let deadline = Instant::now() + self.options.deadline;
        let run = Run { reconciler: self, at, user, target, staged, deadline, existed, did: Did::default(), observed };
        run.complete(answer).await
    }

    /// The revision that an earlier converge registered and could not be sure of, unless the service runs it. A hint and
    /// no record: losing it with the process costs one revision that stays registered.
    fn take_unsettled(&self, user: &UserId, observed: &Observed) -> Option<CurrentDefinition> {
        let left = self.unsettled().remove(user)?;
        let running = observed.service.as_ref().is_some_and(|service| service.task_definition == left.arn);
        (!running).then_some(left)
    }

    fn unsettled(&self) -> MutexGuard<'_, HashMap<UserId, CurrentDefinition>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stage(&self, user: &UserId, sign_in: Option<ChatGptAuth>) -> Result<Option<Staged>, StagingError> {
        match sign_in {
            Some(sign_in) => self.staging.stage_auth(user, sign_in, false).await.map(Some),
            None => Ok(None),
        }
    }
}

/// A converge whose files are in place.
struct Run<'a> {
    reconciler: &'a Reconciler,
    at: Coordinates,
    user: &'a UserId,
    target: &'a Target,
    staged: Option<Staged>,
    deadline: Instant,
    existed: bool,
    did: Did,
    observed: Observed,
}

/// What a converge did, for its answer.
#[derive(Default)]
struct Did {
    create: bool,
    change: bool,
    conflicts: u32,
}

impl Run<'_> {
    async fn complete(mut self, answer: &mut Answer) -> Result<Converged, ConvergeError> {
        let result = self.take_steps(answer).await;
        self.leave_no_orphan(result.as_ref().err()).await;
        result?;
        Ok(self.converged().await)
    }

    async fn take_steps(&mut self, answer: &mut Answer) -> Result<(), ConvergeError> {
        loop {
            match plan(self.user, self.target, &self.observed)? {
                Plan::Converged => return Ok(()),
                Plan::WaitForDrain => {
                    self.say_that_it_waits(answer);
                    self.observe_after(self.reconciler.options.poll_interval).await?;
                }
                Plan::Step(step) => self.take(*step).await?,
            }
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), ConvergeError> {
        let name = step.name();
        self.did.create |= matches!(step, Step::CreateService { .. });
        self.did.change |= step.changes_container();
        let started = Instant::now();
        let taken = self.reconciler.execute(&self.at, self.user, step, &mut self.observed).await?;
        let elapsed_ms = millis_since(started);
        match taken {
            Taken::Folded => {
                tracing::info!(step = name, elapsed_ms, "step taken");
                Ok(())
            }
            Taken::Conflict(error) => {
                tracing::info!(step = name, elapsed_ms, %error, "conflict; observing again");
                self.did.conflicts += 1;
                if self.did.conflicts == MAX_CONFLICTS {
                    return Err(ConvergeError::Contended);
                }
                self.observe_after(Duration::from_millis(100 << self.did.conflicts.min(5))).await
            }
        }
    }

    /// Observes again after a while, unless the deadline passes or the process goes down first.
    async fn observe_after(&mut self, pause: Duration) -> Result<(), ConvergeError> {
        let Reconciler { options, stopping, .. } = self.reconciler;
        if Instant::now() + pause > self.deadline {
            return Err(ConvergeError::Deadline { seconds: options.deadline.as_secs() });
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => return Err(ConvergeError::ShuttingDown),
        }
        let before = self.observed.clone();
        self.observed = self.reconciler.observe_again(&self.at, self.user, self.target, before).await?;
        Ok(())
    }

    fn say_that_it_waits(&self, answer: &mut Answer) {
        let Some(service) = self.observed.service.clone() else { return };
        answer.send(Ok(Converged {
            outcome: Outcome::Waiting,
            view: Some(ContainerView::of_new(service, None)),
            access_point_id: self.observed.access_point_id.clone(),
            staged: self.staged.clone(),
        }));
    }

    /// A revision that was registered and that nothing runs is named by no other, so no delete would ever find it. It
    /// is deregistered when it is certain that the step after it had no effect. Where that is not certain (no answer
    /// came), a service may be running it: then the user's next converge in this process takes it up.
    async fn leave_no_orphan(&mut self, error: Option<&ConvergeError>) {
        let Some(unused) = self.observed.done.registered.take() else { return };
        let certain = match error {
            Some(error) => !matches!(error, ConvergeError::Aws(error) if may_have_taken_effect(error)),
            None => matches!(self.target, Target::Absent { .. }),
        };
        if certain {
            self.reconciler.deregister_unused(&unused.arn).await;
        } else {
            self.reconciler.unsettled().insert(self.user.clone(), unused);
        }
    }

    async fn converged(self) -> Converged {
        let Self { reconciler, at, user, target, staged, existed, did, observed, .. } = self;
        let outcome = match (did.create && !existed, did.change) {
            (true, _) => Outcome::Created,
            (false, true) => Outcome::Changed,
            (false, false) => Outcome::Unchanged,
        };
        let Observed { service, current, access_point_id, .. } = observed;
        let view = match (service, target) {
            (_, Target::Absent { .. }) | (None, Target::Present { .. }) => None,
            (Some(service), Target::Present { .. }) if did.create => Some(ContainerView::of_new(service, current)),
            (Some(service), Target::Present { .. }) => {
                let view = reconciler.view(&at, user, service.clone(), current.clone()).await;
                // What was asked for is done. An error now would make the caller ask again, and a forced restart is
                // not free to repeat.
                Some(view.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the tasks could not be looked at");
                    ContainerView::of_new(service, current)
                }))
            }
        };
        Converged { outcome, view, access_point_id, staged }
    }
}

const fn may_have_taken_effect(error: &AwsError) -> bool {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Unanswered => true,
        ErrorKind::Throttled | ErrorKind::Quota | ErrorKind::Denied | ErrorKind::Refused => false,
    }
}

fn millis_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The caller's answer: sent once, either when only waiting is left or at the end.
pub(super) struct Answer(pub(super) Option<oneshot::Sender<Result<Converged, ConvergeError>>>);

impl Answer {
    fn send(&mut self, result: Result<Converged, ConvergeError>) {
        if let Some(sender) = self.0.take() {
            // A caller that went away wants no answer; the work goes on.
            drop(sender.send(result));
        }
    }

    pub(super) fn finish(mut self, result: Result<Converged, ConvergeError>) {
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
