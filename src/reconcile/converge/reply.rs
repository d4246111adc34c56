//! The answer to a caller.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::reconcile::Converged;
use crate::reconcile::error::ConvergeError;

/// The caller's answer: sent once, when only waiting is left, when it is due, or at the end.
pub(in crate::reconcile) struct Reply {
    sender: Mutex<Option<oneshot::Sender<Result<Converged, ConvergeError>>>>,
    pub(super) due: Instant,
    /// The turn of work that nobody waits for. Only a little of such work runs at a time.
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Reply {
    pub(in crate::reconcile) fn new(sender: oneshot::Sender<Result<Converged, ConvergeError>>, due: Instant) -> Self {
        Self { sender: Mutex::new(Some(sender)), due, turn: Mutex::default() }
    }

    /// A reply that nobody waits for.
    pub(in crate::reconcile) fn given(turn: Option<OwnedSemaphorePermit>) -> Self {
        Self { sender: Mutex::default(), due: Instant::now(), turn: Mutex::new(turn) }
    }

    /// Gives up the turn: only waiting is left, which must not hold up others.
    pub(super) fn give_up_turn(&self) {
        drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(super) fn send(&self, result: Result<Converged, ConvergeError>) {
        if let Some(sender) = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A caller that went away wants no answer; the work goes on.
            drop(sender.send(result));
        }
    }

    /// Whether the caller has an answer, or has stopped waiting for one.
    pub(super) fn is_given(&self) -> bool {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    pub(in crate::reconcile) fn finish(&self, result: Result<Converged, ConvergeError>) {
        self.send(result);
    }
}
