//! The work of one converge, and whether it is accepted: once a caller was told that it goes on, it is written down, and is done
//! whatever becomes of this process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use super::error::{ConvergeError, FailureKind};
use super::work::{EndNote, Work};
use crate::aws::ServiceChange;
use crate::domain::{Phase, with_causes};
use crate::ledger::{LedgerError, PendingSlot};

/// What is left to be done for a user who is held.
#[derive(Debug)]
pub(super) struct Accepting {
    /// `None` without the user's lock: nothing can be accepted then.
    slot: Option<Arc<dyn PendingSlot>>,
    work: Mutex<Work>,
    /// Whether the container may have been changed already.
    has_begun: AtomicBool,
    /// Held while it is written.
    written: tokio::sync::Mutex<Written>,
    /// A change of the service that was sent, until the lock is known to have been held when it was answered.
    in_flight: Mutex<Option<ServiceChange>>,
}

/// Whether what is on disk is this work.
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

    /// From now on this change is on its way to ECS; `None`: none is.
    pub(super) fn send(&self, change: Option<ServiceChange>) {
        *self.in_flight.lock().unwrap_or_else(PoisonError::into_inner) = change;
    }

    /// The change that may still arrive at ECS, or have arrived after the lock was lost.
    pub(super) fn in_flight(&self) -> Option<ServiceChange> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A change of the container is about to be asked for. Answers whether one was before.
    pub(super) fn begin(&self) -> bool {
        self.has_begun.swap(true, Ordering::AcqRel)
    }

    /// It had no effect, and neither had another one before it.
    pub(super) fn had_no_effect(&self) {
        self.has_begun.store(false, Ordering::Release);
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Work {
        self.work().clone()
    }

    /// Writes the work down, so that whoever is told now that it goes on is told the truth.
    ///
    /// # Errors
    /// When it cannot be written: then nobody may be told so.
    pub(super) async fn accept(self: &Arc<Self>) -> Result<(), ConvergeError> {
        self.write(true).await
    }

    /// The work has come further. What is accepted says so, for other replicas to tell and to go on from.
    pub(super) async fn advance(self: &Arc<Self>, change: impl FnOnce(&mut Work)) {
        change(&mut self.work());
        if let Err(error) = self.write(false).await {
            // Whoever takes it up does some of it again.
            tracing::warn!(error = %with_causes(&error), "how far accepted work is could not be written down");
        }
    }

    pub(super) async fn reach(self: &Arc<Self>, phase: Phase) {
        if self.work().phase < phase {
            self.advance(|work| work.phase = phase).await;
        }
    }

    /// In a task of its own: a write that was begun is waited for, also when nobody wants it any more.
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

    /// Whether it is accepted.
    pub(super) async fn is_accepted(&self) -> bool {
        *self.written.lock().await == Written::Yes
    }

    /// The work is done: nothing of it is pending any more, nor of what it took in. It has to succeed before anybody is told that
    /// it is done, or what was pending before would be done after it.
    pub(super) async fn settle(&self) -> Result<(), LedgerError> {
        let mut written = self.written.lock().await;
        *written = Written::Over;
        match &self.slot {
            Some(slot) => slot.clear().await,
            None => Ok(()),
        }
    }

    /// Work that failed when the container may have been changed is not left half done: it goes on by itself, as if it had been
    /// accepted, whatever its caller makes of the error.
    pub(super) async fn keep_what_began(self: &Arc<Self>, error: &ConvergeError) {
        let is_left = match error.kind() {
            // Taken back, or another holder's.
            FailureKind::Cancelled | FailureKind::LockLost => false,
            _ => !error.needs_another_request(),
        };
        if !is_left || self.slot.is_none() || !self.has_begun.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.accept().await {
            tracing::error!(error = %with_causes(&error), "what had begun could not be written down, and is left to the next request");
        }
    }

    /// The work was given up here, and stays as it is written down, unless only another request can mend what is wrong with it.
    /// Answers whether it goes on.
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
            tracing::warn!(error = %with_causes(error), "how accepted work ended could not be written down; it is tried again");
        }
        ended.is_err()
    }
}
