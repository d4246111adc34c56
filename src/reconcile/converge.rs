//! One converge from lock to answer: observe, then plan and take steps until the planner has nothing left to do.

pub(super) mod lock;
mod reply;
mod run;
mod staging;
mod taking_in;
mod unwritten;

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accepting::Accepting;
use super::error::{ConvergeError, FailureKind};
use super::operation::Operation;
use super::plan::{Observed, Refusal};
use super::target::Target;
use super::work::Work;
use super::{ConvergeOutcome, Converged, Reconciler};
use crate::aws::{AwsError, fenced};
use crate::domain::service::{ServiceStatus, revision};
use crate::domain::{BaseChoice, Coordinates, CurrentDefinition, Phase, UserId, with_causes};
use crate::ledger::{Hold, LedgerError};
use lock::Lock;
pub(super) use reply::Reply;
use run::{Did, Run, Times, millis_since};
pub(super) use unwritten::Unwritten;

impl Reconciler {
    /// Does `request` under its user's lock, together with work that was accepted earlier.
    pub(super) async fn converge(
        self: &Arc<Self>,
        request: Work,
        operation: &mut Operation,
        answer: &Reply,
    ) -> Result<Converged, ConvergeError> {
        let user = operation.user().clone();
        let cancellable = self.cancellations.enter(&user);
        let lock = tokio::select! {
            // In this order: a cancelled operation releases the lock that the next one waits for.
            biased;
            () = cancellable.token.cancelled() => return Err(ConvergeError::Cancelled),
            () = self.stopping.cancelled() => return Err(ConvergeError::ShuttingDown),
            lock = self.take_in(&user, &request) => lock,
        };
        let lock = match lock {
            Ok(held) => Lock::Held(held),
            // A running container can be stopped even while the file system does not answer.
            Err(LedgerError::Unusable { source, .. }) if request.needs_no_files() => {
                tracing::warn!(error = %with_causes(&source), "going on without the user's lock");
                Lock::Without { error: with_causes(&source) }
            }
            // The holder of the lock does this work too.
            Err(LedgerError::Busy { .. }) if self.is_accepted_already(&user, &request).await => {
                return Ok(Converged::waiting());
            }
            Err(error) => return Err(error.into()),
        };
        let before = match lock.pending() {
            // The lock file, which says that work is pending, may have been lost.
            Some(slot) if lock.is_new() && self.pursuits.is_listed(&user) => slot.find().await?,
            Some(slot) => slot.read().await?,
            None => None,
        };
        let work = match before {
            Some(pending) => {
                let before = Work::of_pending(&pending).ok_or(LedgerError::NotUnderstood { user_id: user.clone() });
                before.map_err(ConvergeError::from).and_then(|before| Ok(before.then(request)?))
            }
            None => Ok(request),
        };
        match work {
            Ok(work) => Box::pin(self.converge_held(lock, work, false, &cancellable.token, operation, answer)).await,
            Err(error) => {
                // What was accepted before goes on without this request.
                drop(lock);
                self.follow(&user, self.options.poll_interval);
                Err(error)
            }
        }
    }

    /// Does the work of a user whose lock is held. `is_accepted`: the work is already written down, and nobody waits for an
    /// answer.
    pub(super) async fn converge_held(
        self: &Arc<Self>,
        mut lock: Lock,
        work: Work,
        is_accepted: bool,
        cancelled: &CancellationToken,
        operation: &mut Operation,
        answer: &Reply,
    ) -> Result<Converged, ConvergeError> {
        let started = Instant::now();
        let (user, deletes, purges) = (operation.user().clone(), work.is_delete_alone(), work.purges());
        let (slot, is_new) = (lock.pending(), lock.is_new());
        let accepting = Accepting::new(slot, work, is_accepted);
        let _under_way = self.under_way.enter(&user, &accepting);
        let (may_send, lost) = (lock.may_send(), lock.lost());
        let result = {
            let late = self.answer_late(answer, &accepting);
            // On the heap: nested futures of this size would fill a thread's stack.
            let mut work =
                Box::pin(fenced(may_send, self.converge_all(&mut lock, cancelled, operation, answer, &accepting)));
            let work = async {
                tokio::select! {
                    biased;
                    result = &mut work => result,
                    () = late => work.await,
                }
            };
            tokio::select! {
                // In this order: once the lock is lost, nothing more is done.
                biased;
                () = lost => Err(ConvergeError::LockLost),
                result = work => result,
                () = self.hand_over(&accepting) => Err(ConvergeError::ShuttingDown),
            }
        };
        let is_refused = matches!(
            result,
            Err(ConvergeError::Refused(Refusal::NotFound | Refusal::Invalid(_)) | ConvergeError::QueueFull(_))
        );
        let never_was = is_new && is_refused;
        let has_lost = result.as_ref().is_err_and(|error| error.kind() == FailureKind::LockLost);
        if let Some(change) = accepting.in_flight().filter(|_| has_lost) {
            self.put_back_later(&user, change);
        }
        let (result, goes_on) = self.conclude(result, &accepting, deletes && is_accepted).await;
        // What a forced delete could not remove stays remembered, so that the next one tries again.
        let is_gone = result.as_ref().is_ok_and(|converged| converged.not_removed.is_empty()) && deletes;
        match lock {
            // A later purge has to delete these revisions.
            Lock::Held(held) if !purges && !held.record().deregistered.is_empty() => {
                if is_gone {
                    keep_of_deleted(held).await;
                }
            }
            // Unless a revision could not be deregistered: nothing else would find it.
            Lock::Held(held) if is_gone || never_was && held.record().revisions.is_empty() => forget(held).await,
            lock => drop(lock),
        }
        if goes_on {
            self.follow(&user, self.options.poll_interval);
        }
        let elapsed_ms = millis_since(started);
        match &result {
            Ok(converged) => tracing::info!(outcome = ?converged.outcome, elapsed_ms, "converged"),
            Err(ConvergeError::Yielded) => tracing::info!(elapsed_ms, "made way for another request"),
            Err(error) => {
                let aws = error.aws();
                tracing::warn!(
                    error = %with_causes(error),
                    reason = error.kind().name(),
                    aws_action = aws.map(AwsError::operation),
                    aws_code = aws.and_then(AwsError::code),
                    aws_request_id = aws.and_then(AwsError::request_id),
                    elapsed_ms,
                    "not converged"
                );
            }
        }
        result
    }

    /// Converges to one target after the other.
    async fn converge_all(
        &self,
        lock: &mut Lock,
        cancelled: &CancellationToken,
        operation: &mut Operation,
        answer: &Reply,
        accepting: &Arc<Accepting>,
    ) -> Result<Converged, ConvergeError> {
        let mut targets = accepting.snapshot().targets().into_iter().peekable();
        let mut converged = Converged::waiting();
        while let Some(target) = targets.next() {
            let _deleting = matches!(target, Target::Absent { .. }).then(|| self.deletions.enter(operation.user()));
            let converging = self.converge_locked(&target, accepting, lock, cancelled, operation, answer);
            converged = match Box::pin(converging).await {
                // There is no container for this target, and a later target creates one.
                Err(ConvergeError::Refused(Refusal::NotFound)) if targets.peek().is_some() => Converged::waiting(),
                converged => converged?,
            };
            if targets.peek().is_none() {
                break;
            }
            if matches!(target, Target::Absent { .. }) {
                accepting.advance(Work::deleted).await;
            } else if accepting.snapshot().is_at_once(&target) && !matches!(converged.outcome, ConvergeOutcome::Waiting)
            {
                // This request is done. Earlier accepted work includes it and goes on, however long it takes.
                accepting.accept().await?;
                answer.send(Ok(converged));
                converged = Converged::waiting();
            }
        }
        Ok(converged)
    }

    async fn converge_locked(
        &self,
        target: &Target,
        accepting: &Arc<Accepting>,
        lock: &mut Lock,
        cancelled: &CancellationToken,
        operation: &mut Operation,
        answer: &Reply,
    ) -> Result<Converged, ConvergeError> {
        let (at, is_new, user) = (self.coordinates(), lock.is_new(), &operation.user().clone());
        // A caller who already has an answer is not refused any more.
        if !answer.is_given() {
            self.admit_before_it_looks(target, is_new)?;
        }
        let looked = self.observe_under(&at, target, lock, cancelled, operation).await;
        if looked.is_err() && is_new {
            self.forget_registering(lock, user).await;
        }
        let (observed, registering) = looked?;
        // ECS remembers a deleted service for a while; a user who comes back in that time is new all the same.
        let existed = observed.service.as_ref().is_some_and(|service| service.status != ServiceStatus::Inactive);
        let changes = match target {
            Target::Present { .. } => accepting.snapshot().sign_in_changes(),
            Target::Absent { .. } => Vec::new(),
        };
        if observed.access_point_id.is_some() {
            accepting.reach(Phase::AccessPoint).await;
        }
        let run = Run {
            reconciler: self,
            lock,
            cancelled,
            at,
            user,
            target,
            accepting,
            changes,
            existed,
            is_to_yield: false,
            times: Times::from_now(self.options.deadline),
            did: Did::since(registering),
            observed,
        };
        run.complete(operation, answer).await
    }

    /// Writes down that nothing is registered after all, where a new user's record said otherwise.
    async fn forget_registering(&self, lock: &mut Lock, user: &UserId) {
        if let Err((since, error)) = lock.registers_nothing().await {
            tracing::warn!(error = %with_causes(&error), "the note that a registration began could not be cleared");
            self.unwritten.never_begun(user, since);
        }
    }

    /// Observes the user in AWS and in the ledger. Also returns when a registration began whose result is not known.
    async fn observe_under(
        &self,
        at: &Coordinates,
        target: &Target,
        lock: &Lock,
        cancelled: &CancellationToken,
        operation: &mut Operation,
    ) -> Result<(Observed, Option<i64>), ConvergeError> {
        let user = &operation.user().clone();
        let accepted = self.changes.newest(user, lock.accepted());
        let mut observed = self.observe_current(at, user, target, lock.is_new(), accepted.as_ref(), cancelled).await?;
        operation.saw(&observed);
        observed.revisions = lock.revisions(at, user);
        observed.deregistered = lock.deregistered();
        observed.resume = lock.resume();
        observed.remembered_access_point = lock.access_point(&at.file_system_id);
        observed.done.not_removed = lock.not_removed(target);
        observed.role_changed_at = lock.role_changed_at();
        if observed.role_changed_at.is_some() {
            // Whoever told ECS to run it may not have seen how that went.
            observed.done.deployed = observed.current.clone().filter(|current| current.has_own_role);
        }
        let mut registering = lock.registering();
        if let Some(since) = registering.filter(|_| target.needs_base() || target.purges()) {
            // For a new user, this converge itself wrote that down.
            if !lock.is_new() {
                observed.revisions.extend(self.unwritten_revisions(at, user, since, cancelled).await?);
            }
            registering = None;
        }
        observed.done.registered = self.left_over(user, target, &observed).await?;
        Ok((observed, registering))
    }

    /// The newest revision that an earlier converge registered and that nothing runs. This converge may be able to use it.
    async fn left_over(
        &self,
        user: &UserId,
        target: &Target,
        observed: &Observed,
    ) -> Result<Option<CurrentDefinition>, ConvergeError> {
        let current = observed.current.as_ref();
        let in_use = |arn: &String| {
            let names = |other: &Option<String>| other.as_ref() == Some(arn);
            current.is_some_and(|current| current.arn == *arn || names(&current.previous))
        };
        let left = observed.revisions.iter().filter(|arn| !in_use(arn));
        let newest = left.max_by_key(|arn| revision(arn).map(|(_, number)| number));
        // A user who goes back to a former base may still have the revision that they had on it.
        let former = current.and_then(|current| current.previous.as_ref());
        let former = former.filter(|_| matches!(target.base(), Some(BaseChoice::Named(_) | BaseChoice::Former(_))));
        match newest.or(former).filter(|_| target.needs_base()) {
            Some(arn) => Ok(self.revision_of(arn, user).await?.filter(|revision| revision.active)),
            None => Ok(None),
        }
    }
}

/// Keeps only what a later purge has to delete.
async fn keep_of_deleted(mut held: Box<dyn Hold>) {
    let record = held.record().of_deleted();
    if let Err(error) = held.write(record).await {
        tracing::warn!(error = %with_causes(&error), "the record of a deleted user could not be shortened");
    }
}

/// Removes the record of a user when nothing else is left. A failure is harmless: the next call only takes a little longer.
pub(super) async fn forget(held: Box<dyn Hold>) {
    if let Err(error) = held.remove().await {
        tracing::warn!(error = %with_causes(&error), "a lock file stays behind");
    }
}
