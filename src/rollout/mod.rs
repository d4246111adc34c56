//! Rollouts: one change for many users, in waves, which pauses by itself.
//!
//! - [`words`]: a rollout and its journal. What it does and whether it goes on is one small file, written whole. Its users
//!   are in an append-only journal beside it; what a user had is written there before anything is sent for them.
//! - [`plan`] is pure and makes every choice; `runner` takes the steps. One replica has the runner, elected by a lock like a
//!   user's. If it is killed, another one takes over and finds in the journal and in ECS what is left to do.
//! - A user is moved by the same converge as a redeploy, behind everybody who waits for an answer.

mod following;
mod forecast;
mod journal;
mod marking;
pub mod plan;
mod preview;
mod runner;
mod starting;
mod taking;
mod window;
pub mod words;

use std::sync::Arc;

use jiff::Timestamp;
use openclaw::Invalid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::UserId;
use crate::fleet::{ListRefused, Roster};
use crate::ledger::{Ledger, LedgerError};
use crate::metrics::Metrics;
use crate::reconcile::{Caller, ConvergeError, Reconciler};
pub use following::{Follower, Glance};
pub use preview::{Effect, Preview};
pub use starting::{PlannedRollout, Wanted};
use words::{Journal, PAUSED_BY, Rollout, RolloutState, Stage};

/// How often a change is tried again when another one was faster.
const TRIES: u32 = 5;

/// Why a rollout was not started, changed or shown.
#[derive(Debug, Error)]
pub enum RolloutError {
    /// There is no rollout of that id.
    #[error("there is no rollout {id}")]
    NotFound {
        /// The id.
        id: String,
    },
    /// It was written by a later version, or is damaged.
    #[error(
        "the rollout {id} cannot be read by this version of the service: ask a replica of the version that wrote it, or, if it is \
         damaged, move .provisioner/rollouts/rollout-{id}.json away"
    )]
    NotUnderstood {
        /// Its id.
        id: String,
    },
    /// Another rollout is not over.
    #[error("the rollout {id} is not over; wait for its end, or abort it")]
    UnderWay {
        /// Its id.
        id: String,
    },
    /// Its state does not allow the action.
    #[error("the rollout {id} is {}, and {what}", state.name())]
    NotNow {
        /// Its id.
        id: String,
        /// Its state.
        state: RolloutState,
        /// What its state does not allow.
        what: &'static str,
    },
    /// What it would do has changed since it was planned.
    #[error("what it would do now is not what was planned: users, their definitions or the base have changed since")]
    PlanChanged,
    /// A field is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The fleet could not be listed.
    #[error(transparent)]
    List(#[from] ListRefused),
    /// AWS or the files failed.
    #[error(transparent)]
    Converge(#[from] ConvergeError),
}

impl From<LedgerError> for RolloutError {
    fn from(error: LedgerError) -> Self {
        Self::Converge(error.into())
    }
}

/// The rollouts on file.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Those that this version can read.
    pub understood: Vec<Rollout>,
    /// Those that it cannot read.
    pub not_understood: Vec<NotUnderstood>,
}

/// A rollout that a later version wrote, or that is damaged: it is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUnderstood {
    /// Its id.
    pub id: String,
    /// Whether its file says that it is over.
    pub is_over: bool,
}

fn read(written: Value) -> Option<Rollout> {
    serde_json::from_value(written).ok()
}

/// What a caller can do with a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Begin with no more users.
    Pause,
    /// Go on; earlier failures no longer count.
    Resume,
    /// Give it up: moved users stay where they are.
    Abort,
    /// Take moved users back to what they had.
    Rollback,
}

/// All rollouts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rollouts(Arc<Inner>);

/// Milliseconds of the Unix epoch, comparable with those of other replicas. It advances with this process's steady clock, so
/// that setting the system's clock changes no soak and no deadline.
#[derive(Debug)]
struct Clock {
    began: Instant,
    began_at: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { began: Instant::now(), began_at: Timestamp::now().as_millisecond() }
    }
}

impl Clock {
    fn now(&self) -> i64 {
        self.began_at.saturating_add(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

#[derive(Debug)]
struct Inner {
    reconciler: Arc<Reconciler>,
    roster: Roster,
    ledger: Arc<dyn Ledger>,
    metrics: Metrics,
    stopping: CancellationToken,
    clock: Clock,
    following: following::Following,
}

impl Rollouts {
    /// Rollouts over the fleet that `roster` lists, kept in `ledger`.
    #[must_use]
    pub fn new(reconciler: Arc<Reconciler>, roster: Roster, ledger: Arc<dyn Ledger>, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            reconciler,
            roster,
            ledger,
            metrics,
            stopping: CancellationToken::new(),
            clock: Clock::default(),
            following: following::Following::default(),
        }))
    }

    /// Ends the runner of this process. The converges that it began end with all others.
    pub fn shut_down(&self) {
        self.0.stopping.cancel();
    }

    /// All rollouts on file, the newest first; those that go on have figures too.
    ///
    /// # Errors
    /// When the files do not answer.
    pub async fn list(&self) -> Result<Kept, RolloutError> {
        let mut kept = self.0.kept().await?;
        for rollout in kept.understood.iter_mut().filter(|rollout| !rollout.state.is_over()) {
            let journal = Journal::read(&self.0.ledger.journal(&rollout.id).await?);
            rollout.figures = Some(Figures::of(&journal));
        }
        kept.understood.sort_by(|one, other| other.id.cmp(&one.id));
        kept.not_understood.sort_by(|one, other| other.id.cmp(&one.id));
        Ok(kept)
    }

    /// The present, as rollouts count it, in milliseconds of the Unix epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.0.clock.now()
    }

    /// One rollout, with its users.
    ///
    /// # Errors
    /// When there is none, or the files do not answer.
    pub async fn get(&self, id: &str) -> Result<(Rollout, Journal), RolloutError> {
        let rollout = self.0.one(id).await?;
        let journal = Journal::read(&self.0.ledger.journal(id).await?);
        let is_given_up = rollout.state == RolloutState::Aborted;
        Ok((rollout, if is_given_up { journal.given_up() } else { journal }))
    }

    /// Performs an action on a rollout, on behalf of `by`.
    ///
    /// # Errors
    /// Its state does not allow the action.
    pub async fn act(&self, by: &Caller, id: &str, action: Action) -> Result<Rollout, RolloutError> {
        let journal = match action {
            Action::Resume | Action::Abort => self.get(id).await?.1,
            Action::Pause | Action::Rollback => Journal::default(),
        };
        let failures = failures(&journal);
        let given_up = Figures::of(&journal.given_up());
        if action == Action::Rollback {
            let other = self.0.unfinished().await?.into_iter().find(|other| other.id != id);
            if let Some(other) = other {
                return Err(RolloutError::UnderWay { id: other.id });
            }
        }
        let changed = self.0.change(id, by.name(), |rollout| {
            use RolloutState::{Aborted, Done, Paused, RolledBack, Running};
            let not_now = |what| Err(RolloutError::NotNow { id: id.to_owned(), state: rollout.state, what });
            let mut after = rollout.clone();
            match (action, rollout.state) {
                (Action::Pause, Running) => {
                    (after.state, after.reason) = (Paused, Some(format!("{PAUSED_BY}{}", by.name())))
                }
                (Action::Pause, Paused) | (Action::Resume, Running) | (Action::Abort, Aborted) => return Ok(None),
                (Action::Resume, Paused) => {
                    (after.state, after.reason) = (Running, None);
                    after.accepted_failures = after.accepted_failures.max(failures);
                }
                (Action::Abort, Running | Paused) => {
                    (after.state, after.reason, after.figures) = (Aborted, None, Some(given_up));
                }
                (Action::Rollback, RolledBack) => return Ok(None),
                (Action::Rollback, Running | Paused) if rollout.is_back => return Ok(None),
                (Action::Rollback, Running | Paused | Done | Aborted) => {
                    (after.state, after.reason, after.is_back) = (Running, None, true);
                    (after.accepted_failures, after.figures) = (0, None);
                }
                (Action::Pause | Action::Resume | Action::Abort, Done | RolledBack | Aborted) => {
                    return not_now("it has ended already");
                }
            }
            Ok(Some(after))
        });
        let rollout = changed.await?;
        let (operation, state) = (action.name(), rollout.state.name());
        tracing::info!(target: "audit", caller = by.name(), operation, rollout_id = id, state, "audit");
        if rollout.state.is_over() {
            self.0.unmark(&rollout).await;
        }
        Ok(rollout)
    }
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause_rollout",
            Self::Resume => "resume_rollout",
            Self::Abort => "abort_rollout",
            Self::Rollback => "roll_back_rollout",
        }
    }
}

fn failures(journal: &Journal) -> u32 {
    let failed = journal.people.values().filter(|person| matches!(person.stage, Stage::Failed { .. }));
    u32::try_from(failed.count()).unwrap_or(u32::MAX)
}

impl Inner {
    async fn kept(&self) -> Result<Kept, LedgerError> {
        let mut kept = Kept::default();
        for (id, written) in self.ledger.rollouts().await? {
            let state = written.as_ref().and_then(|written| written["state"].as_str().map(str::to_owned));
            match written.and_then(read) {
                Some(rollout) => kept.understood.push(rollout),
                None => {
                    let is_over = state.is_some_and(|state| RolloutState::OVER.iter().any(|over| over.name() == state));
                    kept.not_understood.push(NotUnderstood { id, is_over });
                }
            }
        }
        Ok(kept)
    }

    async fn unfinished(&self) -> Result<Vec<Rollout>, LedgerError> {
        let mut all = self.kept().await?.understood;
        all.retain(|rollout| !rollout.state.is_over());
        all.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(all)
    }

    async fn one(&self, id: &str) -> Result<Rollout, RolloutError> {
        let written = self.written(id).await?;
        read(written).ok_or_else(|| RolloutError::NotUnderstood { id: id.to_owned() })
    }

    async fn written(&self, id: &str) -> Result<Value, RolloutError> {
        match self.ledger.rollout(id).await {
            Ok(written) => written.ok_or_else(|| RolloutError::NotFound { id: id.to_owned() }),
            Err(LedgerError::RolloutNotUnderstood { .. }) => Err(RolloutError::NotUnderstood { id: id.to_owned() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a rollout by compare and set, on behalf of `by`. If `change` returns `None`, nothing is written.
    async fn change(
        &self,
        id: &str,
        by: &str,
        change: impl Fn(&Rollout) -> Result<Option<Rollout>, RolloutError>,
    ) -> Result<Rollout, RolloutError> {
        let stamped = |after: Rollout| Rollout { changed_by: by.to_owned(), changed_at: Timestamp::now(), ..after };
        self.rewrite(id, |rollout| Ok(change(rollout)?.map(stamped))).await
    }

    /// As [`Self::change`], for what does not change its state.
    async fn rewrite(
        &self,
        id: &str,
        change: impl Fn(&Rollout) -> Result<Option<Rollout>, RolloutError>,
    ) -> Result<Rollout, RolloutError> {
        for _ in 0..TRIES {
            let written = self.written(id).await?;
            let before = read(written.clone()).ok_or_else(|| RolloutError::NotUnderstood { id: id.to_owned() })?;
            let Some(after) = change(&before)? else { return Ok(before) };
            let value = serde_json::to_value(&after).unwrap_or_default();
            if self.ledger.put_rollout(id, Some(written), Some(value)).await? {
                return Ok(after);
            }
        }
        Err(ConvergeError::Contended.into())
    }

    /// The caller in the audit log for users who are moved.
    fn caller() -> Caller {
        Caller::new("rollout")
    }
}

/// Users of a rollout, counted by stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// All of them.
    pub all: usize,
    /// Not begun yet.
    pub waiting: usize,
    /// Begun, and not ready.
    pub on_the_way: usize,
    /// Ready, and soaking.
    pub soaking: usize,
    /// Moved.
    pub done: usize,
    /// Failed.
    pub failed: usize,
    /// Left out.
    pub skipped: usize,
}

impl Figures {
    /// Counts the users of a journal.
    #[must_use]
    pub fn of(journal: &Journal) -> Self {
        let mut figures = Self { all: journal.people.len(), ..Self::default() };
        for person in journal.people.values() {
            match person.stage {
                Stage::Waiting => figures.waiting += 1,
                Stage::Begun | Stage::Sent { .. } => figures.on_the_way += 1,
                Stage::Ready { .. } => figures.soaking += 1,
                Stage::Done => figures.done += 1,
                Stage::Failed { .. } => figures.failed += 1,
                Stage::Skipped { .. } => figures.skipped += 1,
            }
        }
        figures
    }

    /// The counts with their names in metrics.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, usize); 6] {
        [
            ("waiting", self.waiting),
            ("on_the_way", self.on_the_way),
            ("soaking", self.soaking),
            ("done", self.done),
            ("failed", self.failed),
            ("skipped", self.skipped),
        ]
    }
}

/// A few user names for a message.
fn named(users: &[&UserId]) -> String {
    let first: Vec<&str> = users.iter().take(3).map(|user| user.as_str()).collect();
    let more = users.len().saturating_sub(first.len());
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}
