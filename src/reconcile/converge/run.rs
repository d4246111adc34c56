//! One converge under way: plan, take the step, and again, until the planner has nothing left to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::lock::Lock;
use super::reply::Reply;
use crate::aws::{AwsError, ErrorKind, ServiceChange};
use crate::domain::service::{ServiceStatus, is_newer_revision};
use crate::domain::{Coordinates, CurrentDefinition, Phase, UserId, with_causes};
use crate::ledger::{Ask, LedgerError};
use crate::reconcile::accepting::Accepting;
use crate::reconcile::error::ConvergeError;
use crate::reconcile::execute::Taken;
use crate::reconcile::operation::Operation;
use crate::reconcile::plan::{Effects, NotRemoved, Observed, Plan, Step, has_seen_role, plan};
use crate::reconcile::status::ContainerView;
use crate::reconcile::target::Target;
use crate::reconcile::work::Work;
use crate::reconcile::{ConvergeOutcome, Converged, Reconciler, SignInChange, StagedSignIn};
use crate::staging::Staging;

/// How many conflicts are answered by observing again. Each is caused by another writer or by ECS's eventual consistency,
/// and both pass in seconds; ten, with their waits, are about 20 s.
const MAX_CONFLICTS: u32 = 10;
/// How often a converge checks whether it is asked to stop or to make way. One that ends sooner makes no check.
const HEEDS_EVERY: Duration = Duration::from_secs(1);

/// A converge under way.
pub(super) struct Run<'a> {
    pub(super) reconciler: &'a Reconciler,
    pub(super) lock: &'a mut Lock,
    pub(super) cancelled: &'a CancellationToken,
    pub(super) at: Coordinates,
    pub(super) user: &'a UserId,
    pub(super) target: &'a Target,
    pub(super) accepting: &'a Arc<Accepting>,
    /// Changes of the sign-in, in order.
    pub(super) changes: Vec<SignInChange>,
    /// Whether there was a service before.
    pub(super) existed: bool,
    pub(super) is_to_yield: bool,
    pub(super) times: Times,
    pub(super) did: Did,
    pub(super) observed: Observed,
}

/// When it did what, and what it must be done by.
pub(super) struct Times {
    began: Instant,
    deadline: Instant,
    /// When the last look began.
    looked: Instant,
    /// When it last checked whether another request asks something of it.
    heeded: Instant,
    /// When the user's role was changed last, and when ECS sees it for certain.
    role_settles: Option<(i64, Instant)>,
}

impl Times {
    /// Of a converge that begins now, and may take so long.
    pub(super) fn from_now(deadline: Duration) -> Self {
        let began = Instant::now();
        Self { began, deadline: began + deadline, looked: began, heeded: began, role_settles: None }
    }
}

/// What a converge did, for its answer and for the next one.
#[derive(Default)]
pub(super) struct Did {
    create: bool,
    change: bool,
    /// A step was tried that makes the service run what this converge registered.
    ran: bool,
    /// ARNs of the revisions that it registered.
    registered: BTreeSet<String>,
    /// When a registration began whose result is not known, in milliseconds of the Unix epoch.
    pub(super) registering: Option<i64>,
    pub(super) staged: Option<StagedSignIn>,
    conflicts: u32,
}

impl Did {
    /// Nothing yet, with a registration of an earlier converge whose result is not known.
    pub(super) fn since(registering: Option<i64>) -> Self {
        Self { registering, ..Self::default() }
    }
}

impl Run<'_> {
    pub(super) async fn complete(
        mut self,
        operation: &mut Operation,
        answer: &Reply,
    ) -> Result<Converged, ConvergeError> {
        let result = self.take_steps(answer).await;
        if let Err(error) = &result {
            self.leave_no_orphan(error).await;
        }
        if let Err(error) = self.remember().await {
            // At worst, a revision stays registered.
            tracing::warn!(error = %with_causes(&error), "the user's revisions could not be written down");
            // Of a new user the note is this converge's own, and nothing is left of what it registered.
            let Did { registering, registered, .. } = &self.did;
            let leaves_none = registering.is_none() && registered.is_disjoint(&self.observed.revisions);
            if let Some(since) = self.lock.registering().filter(|_| self.lock.is_new() && leaves_none) {
                self.reconciler.unwritten.never_begun(self.user, since);
            }
        }
        self.count_sign_in();
        operation.saw(&self.observed);
        result?;
        Ok(self.converged().await)
    }

    async fn take_steps(&mut self, answer: &Reply) -> Result<(), ConvergeError> {
        let mut is_let_in = false;
        loop {
            if Instant::now() > self.times.deadline {
                return Err(ConvergeError::Deadline { seconds: self.reconciler.options.deadline.as_secs() });
            }
            self.take_in_what_shows();
            self.see_how_old_the_role_is();
            let may_be_deploying = self.may_be_deploying();
            self.observed.is_settled &= !may_be_deploying;
            self.observed.may_appear = may_be_deploying && self.observed.accepted.is_none();
            let next = plan(self.user, self.target, &self.observed)?;
            // Checked before anything is changed. A caller who already has an answer is not refused any more.
            if !is_let_in && !answer.is_given() {
                self.reconciler.admit_before_it_changes(&next, self.target)?;
            }
            is_let_in = true;
            match next {
                Plan::Converged => {
                    self.place_for_current().await?;
                    if !self.needs_start() {
                        return Ok(());
                    }
                    // Plan again: the next step is the restart.
                    self.observed.done.needs_start = true;
                }
                waits @ (Plan::WaitForDrain | Plan::WaitForRole) => {
                    if waits == Plan::WaitForRole {
                        // Nothing else is left, and what came with the request is not to wait for that.
                        self.place_for_current().await?;
                        if self.needs_start() {
                            self.observed.done.needs_start = true;
                            continue;
                        }
                    }
                    self.say_that_it_waits(answer).await;
                    answer.give_up_turn();
                    self.heed(answer).await?;
                    if self.is_to_yield && self.accepting.is_accepted().await {
                        return Err(ConvergeError::Yielded);
                    }
                    self.observe_after(self.next_look()).await?;
                }
                // Only between steps, so that no step is left half done.
                Plan::Step(_) if self.cancelled.is_cancelled() => return Err(ConvergeError::Cancelled),
                // A purge takes many slices: the next call continues it.
                Plan::Step(step) if self.reconciler.stopping.is_cancelled() && matches!(*step, Step::PurgeFiles) => {
                    return Err(ConvergeError::ShuttingDown);
                }
                Plan::Step(step) => {
                    self.heed(answer).await?;
                    self.take(*step).await?;
                }
            }
        }
    }

    /// Writes down and stages what has to be there before the step is taken. Returns whether the user's files are staged beside
    /// the step, which registers their revision.
    async fn prepare(&mut self, step: &Step) -> Result<bool, ConvergeError> {
        let Effects { starts_task, changes_container, task_definition, .. } = step.effects();
        self.lock.verify().await?;
        if let Step::StopTasks { resume } = step {
            // Written before the step: if this process is killed, the next one starts again what stops here.
            self.observed.resume = Some(*resume);
            self.remember().await?;
        }
        let is_half = matches!(step, Step::StopTasks { .. });
        if is_half || changes_container && matches!(self.target, Target::Absent { .. }) {
            self.promise_to_go_on().await?;
        }
        let registers = matches!(step, Step::RegisterTaskDefinition(_));
        let beside = registers && self.can_stage_beside();
        if registers && !beside {
            // Where no files can be staged, nothing is registered either.
            self.staging().prepare(self.user).await?;
        }
        if registers {
            // Written before the step: if this process is killed before AWS answers, the next one has to know that there may
            // be a revision.
            self.did.registering = Some(Timestamp::now().as_millisecond());
            if self.lock.registering().is_none() {
                self.remember().await?;
            }
        }
        if starts_task {
            // A service that starts before its files are written signs nobody in (incident 23).
            self.place_for(task_definition).await?;
            self.accepting.reach(Phase::FilesStaged).await;
        }
        Ok(beside)
    }

    async fn take(&mut self, step: Step) -> Result<(), ConvergeError> {
        let Effects { name, starts_task, reaches, changes_container, .. } = step.effects();
        let beside = self.prepare(&step).await?;
        let registers = matches!(step, Step::RegisterTaskDefinition(_));
        let restarts = matches!(step, Step::UpdateService { restart: true, .. });
        self.did.create |= matches!(step, Step::CreateService { .. });
        self.did.change |= changes_container && !self.is_repeat(&step);
        let had_run = self.did.ran;
        self.did.ran |= step.effects().task_definition.is_some();
        let is_forced = matches!(self.target, Target::Absent { force: true, .. });
        let removes = step.effects().removes.filter(|_| is_forced).map(|(what, id)| (what, id.map(str::to_owned)));
        let (started, attempt) = (Instant::now(), self.did.conflicts + 1);
        self.accepting.send(service_change(&step));
        let is_first_change = changes_container && !self.accepting.begin();
        let span = tracing::info_span!("step", step = name);
        let taken = match step {
            Step::RegisterTaskDefinition(rendered) if beside => {
                self.register_and_stage(rendered).instrument(span).await
            }
            step => self.reconciler.execute(&self.at, self.user, step, &mut self.observed).instrument(span).await,
        };
        self.reconciler.metrics.step(name, started.elapsed());
        match &taken {
            Err(ConvergeError::Aws(error)) if is_first_change && was_refused(error) => self.accepting.had_no_effect(),
            Ok(Taken::Conflict(_) | Taken::NotYet(_)) if is_first_change => self.accepting.had_no_effect(),
            Ok(_) | Err(_) => {}
        }
        if registers && let Some(registered) = &self.observed.done.registered {
            self.did.registered.insert(registered.arn.clone());
        }
        let is_open = matches!(&taken, Err(ConvergeError::Aws(error)) if !was_refused(error));
        if registers && !is_open {
            self.did.registering = None;
        }
        if let Ok(Taken::Conflict(_) | Taken::NotYet(_)) = &taken {
            // It was refused, so that nothing runs what was registered.
            self.did.ran = had_run;
        }
        match self.remember().await {
            // A revision that is not remembered is not used: if this process were killed now, nothing would find it.
            Err(error) if registers => return Err(error),
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "the user's revisions could not be written down")
            }
            // The record could be written, so the lock was still held then.
            Ok(()) if taken.is_ok() => self.accepting.send(None),
            Ok(()) => {}
        }
        let taken = match (taken, removes) {
            (Err(error), Some((what, id))) => {
                tracing::warn!(what, id, error = %with_causes(&error), "could not be removed; going on with the rest");
                self.observed.done.not_removed.push(NotRemoved { what, id, error: error.to_string() });
                Taken::Folded
            }
            // There was a pause between the last check of the lock and this call, so the plan may be out of date.
            (Err(ConvergeError::Aws(error)), None) if error.kind() == ErrorKind::Fenced => {
                self.lock.verify().await?;
                Taken::Conflict(error.to_string())
            }
            (taken, _) => taken?,
        };
        let elapsed_ms = millis_since(started);
        match taken {
            Taken::Folded => {
                if starts_task && let Some(StagedSignIn { result, .. }) = &mut self.did.staged {
                    result.needs_start = false;
                    result.pending_since = None;
                }
                tracing::info!(step = name, attempt, elapsed_ms, "step taken");
                if let Some(phase) = reaches {
                    self.accepting.reach(phase).await;
                }
                if restarts {
                    // One restart is what was asked for.
                    self.accepting.advance(Work::restarted).await;
                }
                Ok(())
            }
            Taken::NotYet(how) => {
                tracing::info!(
                    step = name,
                    attempt,
                    elapsed_ms,
                    how,
                    "ECS does not see the user's role yet; trying again"
                );
                self.observe_after(self.reconciler.options.poll_interval).await
            }
            Taken::Conflict(how) => {
                tracing::info!(step = name, attempt, elapsed_ms, how, "conflict; observing again");
                self.did.conflicts += 1;
                if self.did.conflicts == MAX_CONFLICTS {
                    return Err(ConvergeError::Contended);
                }
                self.observe_after(Duration::from_millis(100 << self.did.conflicts.min(5))).await
            }
        }
    }

    /// Whether the step sends a desired count that the service has already.
    fn is_repeat(&self, step: &Step) -> bool {
        match (step, &self.observed.service) {
            (
                Step::UpdateService { task_definition: None, desired: Some(desired), restart: false, .. },
                Some(service),
            ) => *desired == service.desired,
            _ => false,
        }
    }

    /// Observes again after a while, unless the deadline passes or the process goes down first.
    async fn observe_after(&mut self, pause: Duration) -> Result<(), ConvergeError> {
        let Reconciler { options, stopping, .. } = self.reconciler;
        if Instant::now() + pause > self.times.deadline {
            return Err(ConvergeError::Deadline { seconds: options.deadline.as_secs() });
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => return Err(ConvergeError::ShuttingDown),
            () = self.cancelled.cancelled() => return Err(ConvergeError::Cancelled),
        }
        let before = self.observed.clone();
        self.times.looked = Instant::now();
        self.observed = self.reconciler.observe_again(&self.at, self.user, self.target, before, self.cancelled).await?;
        Ok(())
    }

    /// Checks now and then whether another request wants something of this one. Also makes way for another replica when this
    /// process shuts down and nobody waits for an answer.
    async fn heed(&mut self, answer: &Reply) -> Result<(), ConvergeError> {
        if self.reconciler.stopping.is_cancelled() && answer.is_given() && self.accepting.is_accepted().await {
            return Err(ConvergeError::ShuttingDown);
        }
        let Some(slot) = self.lock.pending().filter(|_| self.times.heeded.elapsed() >= HEEDS_EVERY) else {
            return Ok(());
        };
        self.times.heeded = Instant::now();
        match slot.asked().await {
            Ok(Some(Ask::Cancel)) => return Err(ConvergeError::Cancelled),
            Ok(Some(Ask::Yield)) => self.is_to_yield = true,
            Ok(None) => {}
            Err(LedgerError::Lost { .. }) => return Err(ConvergeError::LockLost),
            // The other request sees that this one goes on.
            Err(error) => {
                tracing::debug!(error = %with_causes(&error), "whether another request asks for something could not be read")
            }
        }
        Ok(())
    }

    async fn say_that_it_waits(&self, answer: &Reply) {
        let Some(service) = self.observed.service.clone().filter(|_| self.reconciler.options.answers_early) else {
            return;
        };
        if answer.is_given() {
            return;
        }
        if let Err(error) = self.accepting.accept().await {
            // It is tried again, and the caller is promised nothing that may not happen.
            tracing::warn!(error = %with_causes(&error), "the waiting work could not be written down");
            return;
        }
        answer.send(Ok(Converged {
            outcome: ConvergeOutcome::Waiting,
            view: Some(match self.target {
                Target::Absent { .. } => ContainerView::of_deleting(service),
                // Where it waits for the role alone, what was asked for is deployed.
                Target::Present { .. } => ContainerView::of_new(service, self.observed.done.deployed.clone()),
            }),
            sign_in: self.did.staged.clone(),
            not_removed: Vec::new(),
            is_on_its_way: false,
            without_lock: self.lock.missing(),
        }));
    }

    /// Writes down a delete that has begun, or a replacement that stops the task first, so that it is finished. A kill would
    /// otherwise leave half of it, which nobody asked for.
    async fn promise_to_go_on(&self) -> Result<(), ConvergeError> {
        match self.accepting.accept().await {
            Err(error) if !matches!(self.target, Target::Absent { force: true, .. }) => Err(error),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// Deregisters a revision that this converge registered, if it is certain that nothing runs it: no step after it was
    /// tried, or AWS refused that step. Without an answer, a service may be running it: it stays remembered, and the user's
    /// next converge uses it. A revision that an earlier converge left also stays, because that one may have told a service
    /// to run it.
    async fn leave_no_orphan(&mut self, error: &ConvergeError) {
        let is_unused = match error {
            // The next holder needs the revision.
            ConvergeError::LockLost | ConvergeError::Yielded | ConvergeError::ShuttingDown => false,
            ConvergeError::Aws(error) => !self.did.ran || was_refused(error),
            error => !self.did.ran || matches!(error, ConvergeError::Cancelled),
        };
        let previous = self.observed.current.as_ref().and_then(|current| current.previous.clone());
        let registered_here = &self.did.registered;
        // What ran before stays, so that the user can go back to it.
        let is_unused = |registered: &mut CurrentDefinition| {
            is_unused && registered_here.contains(&registered.arn) && previous.as_ref() != Some(&registered.arn)
        };
        let Some(unused) = self.observed.done.registered.take_if(is_unused) else { return };
        let is_remembered = self.lock.remembers(&unused.arn);
        if is_remembered {
            self.reconciler.deregister_unused(self.user, &unused.arn, &mut self.observed).await;
        } else {
            // Nothing would find it later, so this does not wait for spare capacity.
            match self.reconciler.aws.ecs.deregister_now(&unused.arn).await {
                Ok(()) => {
                    self.observed.revisions.remove(&unused.arn);
                }
                Err(error) => {
                    tracing::error!(task_definition = unused.arn, %error, "a revision stays registered that nothing remembers");
                }
            }
        }
    }

    /// Writes down what is known of the user, if it has changed.
    async fn remember(&mut self) -> Result<(), ConvergeError> {
        self.lock.remember(&self.at, &self.observed, self.did.registering).await
    }

    /// How long to wait before the next observation when only waiting is left. Before a change has had the time to show, a
    /// reading proves nothing.
    fn next_look(&self) -> Duration {
        let Observed { service, accepted, is_settled, .. } = &self.observed;
        let is_active = service.as_ref().is_some_and(|service| service.status == ServiceStatus::Active);
        let settles_in = accepted.as_ref().filter(|_| is_active && !is_settled);
        let settles_in = settles_in.map(|accepted| self.reconciler.settles_in(self.user, accepted));
        settles_in.filter(|time| !time.is_zero()).unwrap_or(self.reconciler.options.poll_interval)
    }

    /// Takes in a change whose result nobody saw and that shows now. It may be as young as this reading, so the next reading
    /// may not show it: from here on, such a reading counts as older than what was accepted.
    fn take_in_what_shows(&mut self) {
        let Observed { service, accepted, revisions, .. } = &self.observed;
        let Some(service) = service.clone().filter(|service| service.status == ServiceStatus::Active) else { return };
        let is_newer = accepted
            .as_ref()
            .is_none_or(|accepted| is_newer_revision(&service.task_definition, &accepted.task_definition));
        if is_newer && revisions.contains(&service.task_definition) {
            let has_live_tasks = self.observed.has_live_tasks;
            self.reconciler.accept(self.user, &service, &mut self.observed);
            self.observed.has_live_tasks = has_live_tasks;
        }
    }

    /// Whether a remembered revision is newer than what ECS is known to have accepted. The process that registered it may
    /// have been killed before it wrote down that ECS was told to run it, and that may not show yet.
    fn may_be_deploying(&self) -> bool {
        let Observed { service, accepted, revisions, .. } = &self.observed;
        let accepted = accepted.as_ref().map(|accepted| &accepted.task_definition);
        let is_unaccounted = match accepted.or(service.as_ref().map(|service| &service.task_definition)) {
            Some(known) => revisions.iter().any(|arn| is_newer_revision(arn, known)),
            None => !revisions.is_empty(),
        };
        // Judged by when the reading began, however long ago that is.
        is_unaccounted && self.times.looked.duration_since(self.times.began) < self.reconciler.options.settled_after
    }

    /// ECS sees a role, and what it may do, a while after IAM has accepted it.
    fn see_how_old_the_role_is(&mut self) {
        if has_seen_role(&self.observed) {
            self.observed.role_changed_at = None;
        }
        let Some(changed_at) = self.observed.role_changed_at else {
            self.observed.is_role_young = false;
            return;
        };
        // Its age is read off once: from then on this process's own clock counts, which does not jump.
        let known = self.times.role_settles.filter(|(known, _)| *known == changed_at);
        let settles_after = self.reconciler.options.role_settles_after;
        let (_, settled_at) = known.unwrap_or_else(|| (changed_at, settled_at(changed_at, settles_after)));
        self.times.role_settles = Some((changed_at, settled_at));
        self.observed.is_role_young = Instant::now() < settled_at;
        if !self.observed.is_role_young {
            self.observed.role_changed_at = None;
        }
    }

    pub(super) fn staging(&self) -> Staging {
        self.reconciler.staging.under(self.lock.fence())
    }

    async fn converged(self) -> Converged {
        let without_lock = self.lock.missing();
        let Self { reconciler, at, user, target, existed, did, observed, .. } = self;
        let outcome = match (did.create && !existed, did.change) {
            (true, _) => ConvergeOutcome::Created,
            (false, true) => ConvergeOutcome::Changed,
            (false, false) => ConvergeOutcome::Unchanged,
        };
        let Observed { service, current, done, .. } = observed;
        let view = match (service, target) {
            (_, Target::Absent { .. }) | (None, Target::Present { .. }) => None,
            (Some(service), Target::Present { .. }) if did.create => Some(ContainerView::of_new(service, current)),
            (Some(service), Target::Present { .. }) => {
                let view = reconciler.view(&at, user, service.clone(), current.clone()).await;
                // The request is done. An error now would make the caller repeat it, and a forced restart is not free to
                // repeat.
                let view = view.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the tasks could not be looked at");
                    ContainerView::of_new(service, current)
                });
                reconciler.note_stop(user, &view.status, &view.asked_for).await;
                Some(view)
            }
        };
        Converged {
            outcome,
            view,
            sign_in: did.staged,
            not_removed: done.not_removed,
            is_on_its_way: false,
            without_lock,
        }
    }
}

/// When what was changed at `changed_at`, in milliseconds of the Unix epoch, is so long ago.
fn settled_at(changed_at: i64, settles_after: Duration) -> Instant {
    let age = Timestamp::now().as_millisecond().saturating_sub(changed_at);
    let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
    Instant::now() + settles_after.saturating_sub(age)
}

/// What the step changes of a service that is there.
fn service_change(step: &Step) -> Option<ServiceChange> {
    let (task_definition, desired_count) = match step {
        Step::UpdateService { task_definition, desired, .. } => (task_definition.clone(), *desired),
        Step::StopTasks { .. } => (None, Some(0)),
        Step::EnsureAccessPoint
        | Step::CheckImage(_)
        | Step::EnsureRole
        | Step::PutRolePolicy(_)
        | Step::RegisterTaskDefinition(_)
        | Step::CreateService { .. }
        | Step::DeleteService
        | Step::DeregisterRevision(_)
        | Step::DeleteRole
        | Step::DeleteAccessPoint(_)
        | Step::PurgeFiles
        | Step::DeleteRevisions(_) => return None,
    };
    Some(ServiceChange { task_definition, desired_count, ..ServiceChange::default() })
}

/// Whether the call had no effect: AWS understood and refused it, or it was never sent. Throttling does not prove that: it
/// may be the answer to the last attempt only, after an earlier one that took effect and was not answered.
const fn was_refused(error: &AwsError) -> bool {
    match error.kind() {
        ErrorKind::Refused | ErrorKind::Denied | ErrorKind::Quota | ErrorKind::NotSent => true,
        ErrorKind::Unavailable
        | ErrorKind::Unreachable
        | ErrorKind::Unanswered
        | ErrorKind::Throttled
        | ErrorKind::Fenced => false,
    }
}

pub(super) fn millis_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
