//! The work of one converge, and whether it is accepted. Before a caller hears that the work goes on, it is written down;
//! from then on it is done whatever happens to this process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use super::error::{ConvergeError, FailureKind};
use super::work::{EndNote, Work};
use crate::aws::ServiceChange;
use crate::domain::{Phase, with_causes};
use crate::ledger::{LedgerError, PendingSlot};

/// The work that is left for a user whose lock is held.
#[derive(Debug)]
pub(super) struct Accepting {
    /// `None` without the user's lock: then nothing can be accepted.
    slot: Option<Arc<dyn PendingSlot>>,
    work: Mutex<Work>,
    /// Whether the container may have been changed already.
    has_begun: AtomicBool,
    /// Held during a write.
    written: tokio::sync::Mutex<Written>,
    /// A change of the service that was sent. Kept until the lock is known to have been held when ECS answered.
    in_flight: Mutex<Option<ServiceChange>>,
}

/// Whether this work is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    No,
    Yes,
    /// The converge has ended: nothing is written any more.
    Over,
}

impl Accepting {
    pub(super) fn new(slot: Option<Arc<dyn PendingSlot>>, work: Work, is_accepted: bool) -> Arc<Self> {
        let written = if is_accepted { Written::Yes } else { Written::No };
        Arc::new(Self {
            slot,
            work: Mutex::new(work),
            has_begun: AtomicBool::new(false),
            written: tokio::sync::Mutex::new(written),
            in_flight: Mutex::default(),
        })
    }

    /// Notes that this change is on its way to ECS; `None`: no change is.
    pub(super) fn send(&self, change: Option<ServiceChange>) {
        *self.in_flight.lock().unwrap_or_else(PoisonError::into_inner) = change;
    }

    /// The change that may still reach ECS, or may have reached it after the lock was lost.
    pub(super) fn in_flight(&self) -> Option<ServiceChange> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a change of the container is about to be sent. Returns whether one was sent before.
    pub(super) fn begin(&self) -> bool {
        self.has_begun.swap(true, Ordering::AcqRel)
    }

    /// Notes that the change had no effect, and that no other change was sent before it.
    pub(super) fn had_no_effect(&self) {
        self.has_begun.store(false, Ordering::Release);
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Work {
        self.work().clone()
    }

    /// Writes the work down, so that a caller may be promised that it goes on.
    ///
    /// # Errors
    /// The work cannot be written: then nobody may be promised that.
    pub(super) async fn accept(self: &Arc<Self>) -> Result<(), ConvergeError> {
        self.write(true).await
    }

    /// Notes progress. If the work is accepted, the note on disk says so, for other replicas to report and to continue from.
    pub(super) async fn advance(self: &Arc<Self>, change: impl FnOnce(&mut Work)) {
        change(&mut self.work());
        if let Err(error) = self.write(false).await {
            // A replica that continues from the old note repeats some of the work.
            tracing::warn!(error = %with_causes(&error), "the progress of accepted work could not be written down");
        }
    }

    pub(super) async fn reach(self: &Arc<Self>, phase: Phase) {
        if self.work().phase < phase {
            self.advance(|work| work.phase = phase).await;
        }
    }

    /// Writes in a task of its own: a write that has begun is finished even when nobody waits for it any more.
    async fn write(self: &Arc<Self>, accepts: bool) -> Result<(), ConvergeError> {
        let this = Arc::clone(self);
        let writing = tokio::spawn(async move {
            let mut written = this.written.lock().await;
            match (&this.slot, *written) {
                (None, _) => return if accepts { Err(ConvergeError::NotAccepted) } else { Ok(()) },
                (Some(_), Written::Over) => return Ok(()),
                (Some(_), Written::No) if !accepts => return Ok(()),
                (Some(slot), Written::No | Written::Yes) => slot.write(&this.snapshot().to_pending()).await?,
            }
            *written = Written::Yes;
            Ok(())
        });
        writing.await.unwrap_or(Err(ConvergeError::Crashed))
    }

    /// Whether the work is accepted.
    pub(super) async fn is_accepted(&self) -> bool {
        *self.written.lock().await == Written::Yes
    }

    /// Removes the note of work that is done, with earlier work that it includes. This must succeed before a caller hears
    /// that it is done; otherwise earlier pending work would be done after it.
    pub(super) async fn settle(&self) -> Result<(), LedgerError> {
        let mut written = self.written.lock().await;
        *written = Written::Over;
        match &self.slot {
            Some(slot) => slot.clear().await,
            None => Ok(()),
        }
    }

    /// Accepts work that failed after it may have changed the container, so that it is not left half done. It goes on by
    /// itself, whatever its caller does about the error.
    pub(super) async fn keep_what_began(self: &Arc<Self>, error: &ConvergeError) {
        let is_left = match error.kind() {
            // It was taken back, or belongs to another holder.
            FailureKind::Cancelled | FailureKind::LockLost => false,
            _ => !error.needs_another_request(),
        };
        if !is_left || self.slot.is_none() || !self.has_begun.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.accept().await {
            tracing::error!(error = %with_causes(&error), "work that had begun could not be written down; the next request has to finish it");
        }
    }

    /// Gives the work up here. It stays written down, unless only another request can fix it. Returns whether it goes on.
    pub(super) async fn give_up(&self, error: &ConvergeError) -> bool {
        let mut written = self.written.lock().await;
        let was_accepted = std::mem::replace(&mut *written, Written::Over) == Written::Yes;
        let Some(slot) = self.slot.as_ref().filter(|slot| slot.is_noted()) else { return false };
        if !was_accepted || !error.needs_another_request() {
            return true;
        }
        let operation = self.work().operation.clone();
        let (code, detail) = (error.kind().name().to_owned(), error.to_string());
        let note = EndNote { operation, ended_at: Timestamp::now(), code, detail };
        let ended = slot.end(serde_json::to_value(note).unwrap_or(Value::Null)).await;
        if let Err(error) = &ended {
            tracing::warn!(error = %with_causes(error), "the end of accepted work could not be written down; the work is tried again");
        }
        ended.is_err()
    }
}
