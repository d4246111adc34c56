//! The runner: one among all replicas. It looks at users, lets [`plan`] choose, and takes the steps. What it has to remember
//! is written down first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::plan::{self, Seen, Step};
use super::taking::{self, Prepared, Taken};
use super::words::{Change, Event, Former, Journal, Line, Rollout, RolloutState, Stage, lines, push};
use super::{Inner, RolloutError, Rollouts};
use crate::domain::{UserId, with_causes};
use crate::ledger::{Hold, LedgerError};
use crate::reconcile::{ContainerView, ConvergeError, Converged, FailureKind, Intent, Target};

/// How often a replica checks whether there is a rollout to run.
const LOOKS_EVERY: Duration = Duration::from_secs(3);
/// How often the runner checks whether to go on.
const TICK: Duration = Duration::from_millis(500);
/// How often a user on the way is looked at, at about four calls each, and how many at a time.
const LOOKS_AT_A_USER_EVERY: Duration = Duration::from_secs(3);
const LOOKS_AT_A_TIME: usize = 16;
/// How long after everybody is finished the runner looks for users who have come meanwhile.
const SHOWS_WITHIN: Duration = Duration::from_secs(20);
/// The pause before a passing problem is tried again.
const TRIES_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// After this many failed tries, over half a minute, a user no longer keeps others waiting.
const STUCK_AFTER: u32 = 6;

/// The result of a task of the runner.
enum Ended {
    Looked(UserId, Result<(ContainerView, bool), ConvergeError>),
    Prepared(UserId, Result<(ContainerView, bool), ConvergeError>),
    Taken(UserId, Result<Box<Converged>, ConvergeError>),
    Returned(UserId, Result<Box<Converged>, ConvergeError>),
}

impl Ended {
    const fn user(&self) -> &UserId {
        match self {
            Self::Looked(user, _) | Self::Prepared(user, _) | Self::Taken(user, _) | Self::Returned(user, _) => user,
        }
    }
}

/// A rollout that this process runs.
struct Run<'a> {
    inner: &'a Arc<Inner>,
    hold: &'a dyn Hold,
    id: String,
    journal: Journal,
    tasks: JoinSet<Ended>,
    /// Users for whom a step is being taken.
    busy: BTreeSet<UserId>,
    /// Users who are being looked at, and when each user on the way was last looked at.
    looking: BTreeSet<UserId>,
    looked: BTreeMap<UserId, Instant>,
    /// What was seen since the last choice.
    seen: BTreeMap<UserId, Seen>,
    /// Until when a user is not tried again, and how often they were tried.
    not_before: BTreeMap<UserId, (Instant, u32)>,
    /// Since when everybody has been finished.
    through: Option<Instant>,
}

impl Rollouts {
    /// Runs every rollout that is not over, if no other replica does, until the process shuts down.
    pub fn run_in_background(&self) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let run = async {
                loop {
                    if let Err(error) = inner.run_if_elected().await {
                        tracing::warn!(error = %with_causes(&error), "rollouts could not be run; trying again");
                    }
                    sleep(LOOKS_EVERY.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                }
            };
            tokio::select! {
                () = inner.stopping.cancelled() => {}
                () = run => {}
            }
        });
    }
}

impl Inner {
    async fn run_if_elected(self: &Arc<Self>) -> Result<(), RolloutError> {
        if self.unfinished().await?.is_empty() {
            return Ok(());
        }
        let hold = match self.ledger.acquire(&UserId::of_the_fleet(), Duration::ZERO).await {
            Ok(hold) => hold,
            Err(LedgerError::Busy { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let lost = hold.lost();
        tokio::select! {
            // In this order: once the lock is lost, nothing more is written down.
            biased;
            () = lost => Err(ConvergeError::LockLost.into()),
            ran = self.run(hold.as_ref()) => ran,
        }
    }

    /// Runs the rollouts one after the other, until none is left.
    async fn run(self: &Arc<Self>, hold: &dyn Hold) -> Result<(), RolloutError> {
        while let Some(Rollout { id, .. }) = self.unfinished().await?.into_iter().next() {
            let journal = Journal::read(&self.ledger.journal(&id).await?);
            tracing::info!(rollout_id = id, users = journal.people.len(), "this replica runs the rollout");
            let run = Run {
                inner: self,
                hold,
                id,
                journal,
                tasks: JoinSet::new(),
                busy: BTreeSet::new(),
                looking: BTreeSet::new(),
                looked: BTreeMap::new(),
                seen: BTreeMap::new(),
                not_before: BTreeMap::new(),
                through: None,
            };
            let ran = run.run_until_over().await;
            // Only the replica that runs it reports it.
            self.metrics.no_fleet_rollout();
            ran?;
        }
        Ok(())
    }
}

impl Run<'_> {
    async fn run_until_over(mut self) -> Result<(), RolloutError> {
        loop {
            let rollout = self.inner.one(&self.id).await?;
            let is_paused = rollout.state == RolloutState::Paused;
            let pace = pace(&rollout, self.inner.clock.now());
            self.inner.metrics.fleet_rollout(&super::Figures::of(&self.journal).named(), is_paused, pace);
            if rollout.state.is_over() {
                // Another replica may have aborted it without being able to remove the mark, and has not seen what was
                // written here since.
                self.inner.unmark(&rollout).await;
                if rollout.state == RolloutState::Aborted {
                    let figures = Some(super::Figures::of(&self.journal.given_up()));
                    let counted = |rollout: &Rollout| {
                        let counts = rollout.state == RolloutState::Aborted && rollout.figures != figures;
                        Ok(counts.then(|| Rollout { figures, ..rollout.clone() }))
                    };
                    self.inner.rewrite(&self.id, counted).await?;
                }
                return Ok(());
            }
            self.hold.verify().await?;
            if rollout.is_back && !self.journal.is_back {
                self.turn_back().await?;
            }
            self.inner.mark(&rollout).await?;
            self.look();
            self.choose(&rollout).await?;
            tokio::select! {
                Some(ended) = self.tasks.join_next() => self.take_in(&rollout, ended).await?,
                () = sleep(TICK) => {}
            }
            while let Some(ended) = self.tasks.try_join_next() {
                self.take_in(&rollout, ended).await?;
            }
        }
    }

    async fn write(&mut self, events: Vec<(UserId, Event)>) -> Result<(), RolloutError> {
        if events.is_empty() {
            return Ok(());
        }
        self.inner.ledger.append(&self.id, lines(events.iter().cloned()), Some(self.hold.fence())).await?;
        for (user, event) in events {
            if let Event::Failed { code, detail } = &event {
                tracing::warn!(rollout_id = self.id, user_id = %user, code, detail, "a user of the rollout failed");
            }
            self.journal.take(Line { u: Some(user), event });
        }
        Ok(())
    }

    async fn turn_back(&mut self) -> Result<(), RolloutError> {
        let back = Line { u: None, event: Event::Back };
        let mut bytes = Vec::new();
        push(&mut bytes, &back);
        self.inner.ledger.append(&self.id, bytes, Some(self.hold.fence())).await?;
        self.journal.take(back);
        self.seen.clear();
        Ok(())
    }

    /// Starts looks at a few users who are on the way.
    fn look(&mut self) {
        let is_due = |looked: Option<&Instant>| looked.is_none_or(|looked| looked.elapsed() >= LOOKS_AT_A_USER_EVERY);
        let on_the_way = self
            .journal
            .people
            .iter()
            .filter(|(_, person)| matches!(person.stage, Stage::Sent { .. } | Stage::Ready { .. }));
        let mut due: Vec<UserId> = on_the_way
            .filter(|(user, _)| !self.busy.contains(*user) && !self.looking.contains(*user))
            .filter(|(user, _)| is_due(self.looked.get(*user)))
            .map(|(user, _)| user.clone())
            .collect();
        // Those whose last look is the oldest go first.
        due.sort_by_key(|user| self.looked.get(user).copied());
        for user in due.into_iter().take(LOOKS_AT_A_TIME.saturating_sub(self.looking.len())) {
            self.looked.insert(user.clone(), Instant::now());
            self.looking.insert(user.clone());
            let inner = Arc::clone(self.inner);
            self.tasks.spawn(async move {
                let looked = inner.reconciler.look_for_rollout(&user).await;
                Ended::Looked(user, looked)
            });
        }
    }

    async fn choose(&mut self, rollout: &Rollout) -> Result<(), RolloutError> {
        let seen = std::mem::take(&mut self.seen);
        let steps = plan::next(rollout, &self.journal, &seen, &self.busy, &self.stuck(), self.inner.clock.now());
        let mut notes = Vec::new();
        let mut rest = Vec::new();
        for step in steps {
            match step {
                Step::Note(user, event) => notes.push((user, event)),
                other => rest.push(other),
            }
        }
        self.write(notes).await?;
        for step in rest {
            match step {
                Step::Note(..) => {}
                Step::Move(user) => self.begin(user),
                Step::Return(user) => self.bring_back(rollout, user).await?,
                Step::Pause(reason) => self.pause(rollout, reason).await?,
                Step::Finish => self.finish(rollout).await?,
            }
        }
        Ok(())
    }

    fn may_try(&self, user: &UserId) -> bool {
        self.not_before.get(user).is_none_or(|(not_before, _)| Instant::now() >= *not_before)
    }

    /// Reads what the user has, before anything is sent.
    fn begin(&mut self, user: UserId) {
        if !self.may_try(&user) || !self.busy.insert(user.clone()) {
            return;
        }
        let inner = Arc::clone(self.inner);
        self.tasks.spawn(async move {
            let looked = inner.reconciler.look_for_rollout(&user).await;
            Ended::Prepared(user, looked)
        });
    }

    /// What to write for a user who was stopped when they were selected and whose container runs now: it can prove the
    /// change, so they are begun in their turn.
    fn runs_now(&self, rollout: &Rollout, user: &UserId, view: &ContainerView) -> Option<Event> {
        let person = self.journal.people.get(user)?;
        let is_new = person.is_stopped && matches!(person.stage, Stage::Waiting) && !rollout.is_back;
        (is_new && view.service.desired > 0).then_some(Event::Selected { wave: person.wave, is_stopped: false })
    }

    fn former(&self, user: &UserId) -> Option<Former> {
        self.journal.people.get(user).and_then(|person| person.former.clone())
    }

    async fn bring_back(&mut self, rollout: &Rollout, user: UserId) -> Result<(), RolloutError> {
        if !self.may_try(&user) {
            return Ok(());
        }
        match self.former(&user).as_ref().and_then(|had| taking::back(rollout, had)) {
            Some(target) => {
                self.busy.insert(user.clone());
                self.converge(rollout, user, target, Ended::Returned);
                Ok(())
            }
            None => self.write(vec![(user, Event::Returned)]).await,
        }
    }

    fn converge(
        &mut self,
        rollout: &Rollout,
        user: UserId,
        target: Target,
        ended: fn(UserId, Result<Box<Converged>, ConvergeError>) -> Ended,
    ) {
        let inner = Arc::clone(self.inner);
        let intent = Intent::new(taking::verb(&rollout.change), &Inner::caller(), user.clone(), target);
        self.tasks.spawn(async move {
            let converged = inner.reconciler.take_along(intent).await;
            ended(user, converged.map(Box::new))
        });
    }

    async fn take_in(
        &mut self,
        rollout: &Rollout,
        ended: Result<Ended, tokio::task::JoinError>,
    ) -> Result<(), RolloutError> {
        // If a task panicked, the next runner finds the user by what is written down.
        let ended = ended.map_err(|_| ConvergeError::Crashed)?;
        let user = ended.user().clone();
        let had = self.former(&user);
        match ended {
            Ended::Looked(user, looked) => {
                self.looking.remove(&user);
                match looked {
                    Ok((view, reauth)) => {
                        self.seen.insert(user, taking::seen(rollout, had.as_ref(), &view, reauth));
                    }
                    Err(error) if error.kind() == FailureKind::ContainerNotFound => {
                        self.seen.insert(user, Seen::Gone);
                    }
                    Err(error) => {
                        tracing::info!(user_id = %user, error = %with_causes(&error), "a user of the rollout could not be looked at");
                    }
                }
                Ok(())
            }
            Ended::Prepared(user, looked) => {
                self.busy.remove(&user);
                let (view, reauth) = match looked {
                    Ok(looked) => looked,
                    Err(error) => return self.failed(user, &error).await,
                };
                // Decide on the present state: the rollout may have been paused or turned back meanwhile.
                let rollout = self.inner.one(&self.id).await?;
                if rollout.state != RolloutState::Running || rollout.is_back != self.journal.is_back {
                    return Ok(());
                }
                if let Some(event) = self.runs_now(&rollout, &user, &view) {
                    return self.write(vec![(user, event)]).await;
                }
                match taking::prepare(&rollout, had.as_ref(), &view, reauth, self.inner.clock.now()) {
                    Prepared::Only(events) => self.write(of(&user, events)).await,
                    Prepared::Take(events, target) => {
                        self.write(of(&user, events)).await?;
                        self.busy.insert(user.clone());
                        self.converge(&rollout, user, *target, Ended::Taken);
                        Ok(())
                    }
                }
            }
            Ended::Taken(user, Ok(converged)) => {
                self.busy.remove(&user);
                let view = converged.view.as_ref();
                let seen = view.map(|view| taking::seen(rollout, had.as_ref(), view, false));
                let Some(event) = taking::after(converged.outcome, seen.as_ref(), self.inner.clock.now()) else {
                    self.try_again(user);
                    return Ok(());
                };
                self.looked.remove(&user);
                self.write(vec![(user, event)]).await
            }
            Ended::Returned(user, Ok(_)) => {
                self.busy.remove(&user);
                self.write(vec![(user, Event::Returned)]).await
            }
            Ended::Taken(user, Err(error)) => {
                self.busy.remove(&user);
                self.failed(user, &error).await
            }
            Ended::Returned(user, Err(error)) => {
                self.busy.remove(&user);
                match taking::refused(&error) {
                    Taken::Gone => self.write(vec![(user, Event::Returned)]).await,
                    // It remains to be done: no user silently stays on what failed.
                    Taken::Failed { .. } | Taken::Again(_) => {
                        tracing::warn!(user_id = %user, error = %with_causes(&error), "a user who failed could not be taken back; trying again");
                        self.try_again(user);
                        Ok(())
                    }
                }
            }
        }
    }

    fn try_again(&mut self, user: UserId) {
        let tries = self.not_before.get(&user).map_or(0, |(_, tries)| *tries);
        self.not_before.insert(user, (Instant::now() + TRIES_AGAIN_AFTER, tries + 1));
    }

    /// Users for whom tries have failed for a while, and who must not keep everybody else waiting.
    fn stuck(&self) -> BTreeSet<UserId> {
        let is_stuck = |(_, (_, tries)): &(&UserId, &(Instant, u32))| *tries >= STUCK_AFTER;
        self.not_before.iter().filter(is_stuck).map(|(user, _)| user.clone()).collect()
    }

    async fn failed(&mut self, user: UserId, error: &ConvergeError) -> Result<(), RolloutError> {
        match taking::refused(error) {
            Taken::Gone => self.write(vec![(user, Event::Skipped { why: "gone".to_owned() })]).await,
            Taken::Failed { code, detail } => self.write(vec![(user, Event::Failed { code, detail })]).await,
            Taken::Again(why) => {
                tracing::info!(rollout_id = self.id, user_id = %user, why, "a user of the rollout is tried again");
                self.try_again(user);
                Ok(())
            }
        }
    }

    async fn pause(&mut self, seen: &Rollout, reason: String) -> Result<(), RolloutError> {
        let paused = |rollout: &Rollout| {
            // Somebody may have resumed it, turned it back or given it up since.
            let is_as_seen = (rollout.state, rollout.is_back, rollout.accepted_failures)
                == (seen.state, seen.is_back, seen.accepted_failures);
            let reason = Some(reason.clone());
            Ok(is_as_seen.then(|| Rollout { state: RolloutState::Paused, reason, ..rollout.clone() }))
        };
        if seen.state == RolloutState::Paused {
            tracing::warn!(rollout_id = self.id, reason, "more users of the paused rollout failed");
            return self.inner.rewrite(&self.id, paused).await.map(drop);
        }
        tracing::error!(rollout_id = self.id, reason, "the rollout pauses");
        self.inner.change(&self.id, "rollout", paused).await.map(drop)
    }

    /// Ends the rollout when everybody is finished. Once the base is promoted, no new user needs to be moved.
    async fn finish(&mut self, rollout: &Rollout) -> Result<(), RolloutError> {
        let over = if rollout.is_back { RolloutState::RolledBack } else { RolloutState::Done };
        if let Change::Base(to) = &rollout.change
            && rollout.promotes
            && !rollout.is_back
        {
            if !rollout.is_at_end {
                // Written first: from then on, what somebody else promotes stays, whatever happens to this process.
                let at_end = |now: &Rollout| {
                    Ok((!now.is_at_end && !now.is_back).then(|| Rollout { is_at_end: true, ..now.clone() }))
                };
                self.inner.rewrite(&self.id, at_end).await?;
            }
            self.inner.promote(rollout, to).await?;
        }
        let is_for_all = rollout.select.is_everybody() && !rollout.is_back;
        if is_for_all && !matches!(rollout.change, Change::Restart | Change::Redeploy { .. }) {
            // From then on no new user needs to be moved; users who came just before have had the time to show.
            let through = *self.through.get_or_insert_with(Instant::now);
            if through.elapsed() < SHOWS_WITHIN {
                return Ok(());
            }
            let late = self
                .inner
                .late_comers(through.elapsed() - SHOWS_WITHIN / 2, |user| self.journal.people.contains_key(user))
                .await?;
            if !late.is_empty() {
                let wave = self.journal.people.values().map(|person| person.wave).max().map_or(0, |wave| wave + 1);
                tracing::info!(rollout_id = self.id, users = late.len(), "users have come since the rollout began");
                let selected = |(user, is_stopped)| (user, Event::Selected { wave, is_stopped });
                return self.write(late.into_iter().map(selected).collect()).await;
            }
        }
        self.inner.unmark(rollout).await;
        let figures = Some(super::Figures::of(&self.journal));
        let ended = self.inner.change(&self.id, "rollout", |now| {
            let is_same = now.is_back == rollout.is_back && !now.state.is_over();
            Ok(is_same.then(|| Rollout { state: over, reason: None, figures, ..now.clone() }))
        });
        let ended = ended.await?;
        tracing::info!(target: "audit", caller = "rollout", operation = "end_rollout", rollout_id = self.id, state = ended.state.name(), "audit");
        Ok(())
    }
}

/// How long it was expected to take, and how long it has been going on since it was started, resumed or turned back, in
/// seconds. `None` while it is paused or has a window to wait for.
fn pace(rollout: &Rollout, now: i64) -> Option<(u64, u64)> {
    let says =
        rollout.state == RolloutState::Running && rollout.strategy.window.is_none() && rollout.planned_seconds > 0;
    let elapsed = now.saturating_sub(rollout.changed_at.as_millisecond()) / 1_000;
    says.then(|| (rollout.planned_seconds, u64::try_from(elapsed).unwrap_or(0)))
}

fn of(user: &UserId, events: Vec<Event>) -> Vec<(UserId, Event)> {
    events.into_iter().map(|event| (user.clone(), event)).collect()
}
