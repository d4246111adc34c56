//! Accepted work that nobody works on: every replica looks for it, takes it up and finishes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use super::converge::Reply;
use super::error::ConvergeError;
use super::work::{EndNote, Work, WorkNote};
use super::{Caller, ConvergeOutcome, Reconciler, Verb};
use crate::aws::{Class, Scope};
use crate::domain::{State, UserId, with_causes};
use crate::ledger::{LedgerError, Listed, Noted};

/// The pause between two looks for accepted work. Jittered, so that replicas do not look in step.
const LOOKS_EVERY: Duration = Duration::from_secs(3);
/// How old the knowledge of accepted work may be, and how much of it one look reads again.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(15);
const MOST_READ_AGAIN: usize = 50;
/// How many users are worked on at a time beside those whose callers wait.
const AT_A_TIME: usize = 16;
/// The pauses between two tries of work that failed or that somebody else works on.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Shorter, because that process may have been killed.
const LONGEST_PAUSE_BESIDE_OTHERS: Duration = Duration::from_secs(8);

/// What this process knows of accepted work.
#[derive(Debug)]
pub(super) struct Pursuits {
    known: Mutex<BTreeMap<UserId, Known>>,
    /// The users that a task of this process follows.
    followed: Mutex<std::collections::BTreeSet<UserId>>,
    turns: Arc<Semaphore>,
}

/// A user with accepted work, as the last look found them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The state of a user without a service meanwhile: provisioning, stopping or deleting; failed when it has ended.
    pub state: State,
    /// Whether they are to have a container in the end, or had one.
    pub is_listed: bool,
    /// When it was accepted, or ended.
    pub since: Timestamp,
    /// Whether the work goes on.
    pub is_pending: bool,
    /// When it was read.
    read_at: Instant,
}

impl Known {
    fn of(noted: &Noted) -> Option<Self> {
        match noted {
            Noted::Pending(intent) => {
                let note = WorkNote::read(intent)?;
                let state = note.state();
                let is_listed = note.makes_container() || state == State::Deleting;
                Some(Self { state, is_listed, since: note.since, is_pending: true, read_at: Instant::now() })
            }
            Noted::Ended(why) => {
                let EndNote { ended_at, .. } = serde_json::from_value(why.clone()).ok()?;
                Some(Self {
                    state: State::Failed,
                    is_listed: true,
                    since: ended_at,
                    is_pending: false,
                    read_at: Instant::now(),
                })
            }
            Noted::NotUnderstood => None,
        }
    }
}

impl Default for Pursuits {
    fn default() -> Self {
        Self { known: Mutex::default(), followed: Mutex::default(), turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

impl Pursuits {
    fn known(&self) -> MutexGuard<'_, BTreeMap<UserId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a delete of the user was accepted and is not done, according to the last look.
    pub(super) fn is_deleting(&self, user: &UserId) -> bool {
        self.known().get(user).is_some_and(|known| known.is_pending && known.state == State::Deleting)
    }

    /// Whether the user had accepted work, according to the last look.
    pub(super) fn is_listed(&self, user: &UserId) -> bool {
        self.known().get(user).is_some_and(|known| known.is_pending)
    }

    /// The user's place among all with accepted work: 1 is the first.
    pub(super) fn position(&self, user: &UserId, since: Timestamp) -> u64 {
        let known = self.known();
        let before = known.iter().filter(|(other, known)| known.is_pending && (known.since, *other) < (since, user));
        u64::try_from(before.count()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// Notes that this process follows a user, until it is dropped.
struct Following {
    reconciler: Arc<Reconciler>,
    user: UserId,
}

impl Following {
    /// `None`: the user is followed already.
    fn begin(reconciler: &Arc<Reconciler>, user: &UserId) -> Option<Self> {
        let mut followed = reconciler.pursuits.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.insert(user.clone()).then(|| Self { reconciler: Arc::clone(reconciler), user: user.clone() })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut followed = self.reconciler.pursuits.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.remove(&self.user);
    }
}

/// The result of a try.
enum Tried {
    /// Nothing is pending any more.
    Done,
    /// Somebody else works on it.
    Elsewhere,
    /// It failed, and is tried again.
    Failed,
    /// It made way for another request.
    Yielded,
}

impl Reconciler {
    /// Looks for accepted work that nobody works on, now and every few seconds, and finishes it, until the process shuts
    /// down.
    pub fn pursue_in_background(self: &Arc<Self>) {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let look = async {
                loop {
                    this.look_for_accepted().await;
                    sleep(LOOKS_EVERY.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                }
            };
            tokio::select! {
                () = this.stopping.cancelled() => {}
                () = look => {}
            }
        });
    }

    /// Users with accepted work, as the last look found them.
    #[must_use]
    pub fn accepted(&self) -> Vec<(UserId, Known)> {
        self.pursuits.known().iter().map(|(user, known)| (user.clone(), known.clone())).collect()
    }

    async fn look_for_accepted(self: &Arc<Self>) {
        let listed = match self.ledger.list_noted().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(error = %with_causes(&error), "accepted work could not be looked for");
                return;
            }
        };
        self.know(&listed).await;
        let mut pending: Vec<&UserId> =
            listed.iter().filter(|listed| listed.is_pending).map(|listed| &listed.user).collect();
        let since = |user: &UserId| self.pursuits.known().get(user).map(|known| known.since);
        pending.sort_by_cached_key(|user| since(user));
        for user in pending {
            self.follow(user, Duration::ZERO);
        }
    }

    /// Takes in the list of accepted work. A note is read when it is new, when the work has ended, and now and then, a few
    /// at a time.
    async fn know(&self, listed: &[Listed]) {
        let (mut now, mut read_again) = (BTreeMap::new(), 0);
        for Listed { user, is_pending } in listed {
            let before = self.pursuits.known().get(user).filter(|known| known.is_pending == *is_pending).cloned();
            let is_old = before.as_ref().is_some_and(|known| known.read_at.elapsed() > READ_AGAIN_AFTER);
            read_again += usize::from(is_old);
            let known = match before {
                Some(before) if !is_old || read_again > MOST_READ_AGAIN => Some(before),
                Some(_) | None => self.ledger.noted(user).await.ok().flatten().and_then(|noted| Known::of(&noted)),
            };
            if let Some(known) = known {
                now.insert(user.clone(), known);
            }
        }
        let pending = now.values().filter(|known| known.is_pending);
        let oldest = pending.clone().map(|known| known.since).min();
        let age = oldest.and_then(|since| Timestamp::now().duration_since(since).try_into().ok());
        self.metrics.accepted(listed.iter().filter(|listed| listed.is_pending).count(), age.unwrap_or_default());
        *self.pursuits.known() = now;
    }

    /// Finishes the pending work of a user, beginning after `first`, unless this process does so already.
    pub(super) fn follow(self: &Arc<Self>, user: &UserId, first: Duration) {
        let Some(following) = Following::begin(self, user) else { return };
        tokio::spawn(async move {
            let Following { reconciler, user } = &following;
            tokio::select! {
                () = reconciler.stopping.cancelled() => {}
                () = reconciler.try_until_done(user, first) => {}
            }
        });
    }

    async fn try_until_done(self: &Arc<Self>, user: &UserId, first: Duration) {
        let (mut pause, mut failures, mut others) = (first, 0_u32, 0_u32);
        loop {
            sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            let Ok(turn) = Arc::clone(&self.pursuits.turns).acquire_owned().await else { return };
            pause = match self.try_pending(user, turn).await {
                Tried::Done => return,
                Tried::Yielded => FIRST_PAUSE * 2,
                Tried::Elsewhere => {
                    others += 1;
                    (FIRST_PAUSE * others).min(LONGEST_PAUSE_BESIDE_OTHERS)
                }
                Tried::Failed => {
                    failures += 1;
                    (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(8))).min(LONGEST_PAUSE)
                }
            };
        }
    }

    /// Takes up the pending work of a user, if nobody holds their lock.
    async fn try_pending(self: &Arc<Self>, user: &UserId, turn: OwnedSemaphorePermit) -> Tried {
        let held = match self.ledger.acquire(user, Duration::ZERO).await {
            Ok(held) => held,
            Err(LedgerError::Busy { .. }) => return Tried::Elsewhere,
            Err(error) => {
                tracing::warn!(user_id = %user, error = %with_causes(&error), "accepted work could not be taken up");
                return Tried::Failed;
            }
        };
        let (slot, is_lock_new) = (held.pending(), held.is_new());
        let was_noted = slot.is_noted();
        // The work was listed, so it is searched for: if the lock file was lost, its note of pending work was lost with it.
        let work = match slot.find().await {
            // Others who did not know of this work have changed the user since: done now, it would undo their changes.
            Ok(Some(_)) if !was_noted && !is_lock_new => {
                tracing::warn!(user_id = %user, "accepted work that nobody knew of is older than later changes; it is removed");
                return if slot.clear().await.is_ok() { Tried::Done } else { Tried::Failed };
            }
            Ok(Some(pending)) => Work::of_pending(&pending),
            Ok(None) => {
                if is_lock_new {
                    super::converge::forget(held).await;
                }
                return Tried::Done;
            }
            Err(LedgerError::NotUnderstood { .. }) => None,
            Err(error) => {
                tracing::warn!(user_id = %user, error = %with_causes(&error), "accepted work could not be read");
                return Tried::Failed;
            }
        };
        let Some(work) = work else {
            tracing::warn!(user_id = %user, "accepted work is of a later version of this service; it is left to that version");
            return Tried::Failed;
        };
        // An unknown verb is from a later version. It is reported by its effect on files, at least.
        let verb = Verb::of_name(&work.operation).unwrap_or(Verb::Credentials);
        let mut operation = self.begin(verb, &Caller::new(&work.caller), user);
        let operation_id = operation.id().to_owned();
        let span =
            tracing::error_span!(parent: None, "converge", operation = verb.name(), operation_id, user_id = %user);
        let this = Arc::clone(self);
        // In a task of its own, which reaches a point where another replica can continue before the process ends.
        let running = self.running.spawn(
            async move {
                tracing::info!("accepted work is taken up");
                // Users whose callers wait go first.
                let scope = Scope::new(Class::Rollout, Instant::now() + this.options.deadline);
                let result = scope.run(this.converge_accepted(held, work, turn, &mut operation)).await;
                operation.end(result.as_ref().map(|outcome| *outcome));
                result
            }
            .instrument(span),
        );
        match running.await {
            Ok(Ok(_)) => Tried::Done,
            Ok(Err(ConvergeError::Yielded)) => Tried::Yielded,
            Ok(Err(_)) | Err(_) => Tried::Failed,
        }
    }

    async fn converge_accepted(
        self: &Arc<Self>,
        held: Box<dyn crate::ledger::Hold>,
        work: Work,
        turn: OwnedSemaphorePermit,
        operation: &mut super::operation::Operation,
    ) -> Result<ConvergeOutcome, ConvergeError> {
        let cancellable = self.cancellations.enter(operation.user());
        let lock = super::converge::lock::Lock::Held(held);
        let answer = Reply::given(Some(turn));
        let converged = Box::pin(self.converge_held(lock, work, true, &cancellable.token, operation, &answer)).await?;
        Ok(converged.outcome)
    }
}
