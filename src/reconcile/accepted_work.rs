//! What is reported of accepted work while AWS shows nothing of it yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jiff::Timestamp;

use super::Reconciler;
use super::accepting::Accepting;
use super::work::{EndNote, WorkNote};
use crate::domain::{Phase, Reason, ReasonCode, State, Status, UserId};
use crate::ledger::Noted;

/// Work on a user that was accepted, or that is under way in this replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedWork {
    /// What was asked for last: `provision`, `delete` and so on.
    pub operation: String,
    /// When its first request arrived, or when it ended.
    pub since: Timestamp,
    /// The state of a user without a service while it goes on; failed when it has ended.
    pub state: State,
    /// The phase that it has reached on the way to a service.
    pub phase: Phase,
    /// Its place among all users with accepted work, the oldest being 1; only while nothing is done yet.
    pub position: Option<u64>,
    /// Whether the user is to have a container in the end.
    pub makes_container: bool,
    /// Why it ended without being done: only another request can fix that.
    pub ended: Option<Ended>,
}

/// Why accepted work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The code that the request would have been answered with.
    pub code: String,
    /// The reason in words.
    pub detail: String,
}

impl AcceptedWork {
    /// Whether the user is being deleted, whatever comes after that.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.state == State::Deleting && self.ended.is_none()
    }

    /// The status of a user who has no service. `None` where there is nothing to report.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let (state, phase) = (self.state, (self.state == State::Provisioning).then_some(self.phase));
        let reason = self.ended.as_ref().map(|Ended { code, detail }| Reason::of_request(code, detail));
        let is_told = self.makes_container || self.ended.is_some() || state == State::Deleting;
        is_told.then_some(Status { state, phase, ready: false, reason })
    }
}

impl Reason {
    /// The reason for a request that was accepted and cannot be done.
    fn of_request(code: &str, detail: &str) -> Self {
        let (code, message) = (ReasonCode::RequestFailed, format!("{code}: {detail}"));
        Self { code, message, hint: code.hint(), stopped_at: None, exit_code: None }
    }
}

impl Reconciler {
    /// The user's work that is accepted or under way here, or how the last of it ended if it was not done. A hint: `None`
    /// also while the files do not answer.
    pub async fn accepted_work(&self, user: &UserId) -> Option<AcceptedWork> {
        if let Some(accepting) = self.under_way.get(user) {
            let work = accepting.snapshot();
            return Some(self.told(user, work.to_note()));
        }
        match self.hints.take(self.ledger.noted(user).await)?? {
            Noted::Pending(intent) => WorkNote::read(&intent).map(|note| self.told(user, note)),
            Noted::Ended(why) => {
                let EndNote { operation, ended_at, code, detail } = serde_json::from_value(why).ok()?;
                Some(AcceptedWork {
                    operation,
                    since: ended_at,
                    state: State::Failed,
                    phase: Phase::Queued,
                    position: None,
                    makes_container: false,
                    ended: Some(Ended { code, detail }),
                })
            }
            Noted::NotUnderstood => None,
        }
    }

    /// Whether a delete of the user was accepted and is not done. Reads the files only if the last look found such a delete.
    pub(super) async fn is_being_deleted(&self, user: &UserId) -> bool {
        self.pursuits.is_deleting(user) && self.accepted_work(user).await.is_some_and(|work| work.is_deleting())
    }

    fn told(&self, user: &UserId, note: WorkNote) -> AcceptedWork {
        let position = (note.phase == Phase::Queued).then(|| self.pursuits.position(user, note.since));
        AcceptedWork {
            state: note.state(),
            makes_container: note.makes_container(),
            phase: note.phase,
            position,
            since: note.since,
            operation: note.operation,
            ended: None,
        }
    }
}

type All = Arc<Mutex<HashMap<UserId, Weak<Accepting>>>>;

/// The work under way in this process, by user.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderWay(All);

/// Work under way; dropping it removes it from the list.
pub(super) struct Entered {
    user: UserId,
    all: All,
}

impl UnderWay {
    /// Adds work; a user has one at a time, because it needs their lock.
    pub(super) fn enter(&self, user: &UserId, accepting: &Arc<Accepting>) -> Entered {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(user.clone(), Arc::downgrade(accepting));
        Entered { user: user.clone(), all: Arc::clone(&self.0) }
    }

    fn get(&self, user: &UserId) -> Option<Arc<Accepting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(user)?.upgrade()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.user);
    }
}
