//! How a request waits for another one of the same user, and how work is accepted and concluded.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{sleep, sleep_until};

use super::Reply;
use crate::domain::{UserId, with_causes};
use crate::ledger::{Ask, Hold, LedgerError, Noted, Record};
use crate::reconcile::accepting::Accepting;
use crate::reconcile::error::ConvergeError;
use crate::reconcile::plan::Refusal;
use crate::reconcile::work::{Work, WorkNote};
use crate::reconcile::{Converged, Reconciler};

/// How often a request that waits for a user asks the user's holder for something.
const ASKS_EVERY: Duration = Duration::from_secs(1);
/// How long a step of accepted work may continue when the process shuts down.
const STEP_ENDS_WITHIN: Duration = Duration::from_secs(3);
/// How long accepted work may wait before another request asks it to make way. Most work has ended by then, and the other
/// request is answered with the result.
const YIELDS_AFTER: Duration = Duration::from_secs(5);

impl Reconciler {
    /// Waits for the user. It asks the holder to make way if accepted work only waits; a forced delete asks it to stop.
    pub(super) async fn take_in(&self, user: &UserId, request: &Work) -> Result<Box<dyn Hold>, LedgerError> {
        // A revision is registered for a new user. Noting that together with the lock costs no write of its own.
        let registering = (!request.is_delete_alone()).then(|| Timestamp::now().as_millisecond());
        tokio::select! {
            held = self.ledger.acquire_with(user, self.options.lock_timeout, Record::of_new(registering)) => held,
            never = self.keep_asking(user, request) => match never {},
        }
    }

    async fn keep_asking(&self, user: &UserId, request: &Work) -> Infallible {
        let ask = if request.is_forced() { Ask::Cancel } else { Ask::Yield };
        sleep(if request.is_forced() { Duration::ZERO } else { YIELDS_AFTER }).await;
        loop {
            sleep(ASKS_EVERY).await;
            // A request that is already accepted need not be taken in.
            if ask == Ask::Yield && self.is_accepted_already(user, request).await {
                continue;
            }
            if let Err(error) = self.ledger.ask(user, ask).await {
                tracing::debug!(user_id = %user, error = %with_causes(&error), "the holder of the user's lock could not be asked to make way");
            }
        }
    }

    /// Whether everything that the request asks for was accepted before and is not done yet.
    pub(super) async fn is_accepted_already(&self, user: &UserId, request: &Work) -> bool {
        match self.ledger.noted(user).await {
            Ok(Some(Noted::Pending(intent))) => {
                WorkNote::read(&intent).is_some_and(|note| Work::includes(note, request))
            }
            Ok(Some(Noted::Ended(_) | Noted::NotUnderstood) | None) | Err(_) => false,
        }
    }

    /// Answers a caller who has waited long enough that the work goes on, once that is certain.
    pub(super) async fn answer_late(&self, answer: &Reply, accepting: &Arc<Accepting>) {
        if answer.is_given() {
            return;
        }
        sleep_until(answer.due).await;
        if answer.is_given() {
            return;
        }
        answer.send(accepting.accept().await.map(|()| Converged::waiting()));
    }

    /// Completes when this process, shutting down, has to give up accepted work. A step gets a moment to finish; one that
    /// waits for AWS's rate limits, or for an answer that does not come, is left to another replica.
    pub(super) async fn hand_over(&self, accepting: &Accepting) {
        self.stopping.cancelled().await;
        sleep(STEP_ENDS_WITHIN).await;
        while !accepting.is_accepted().await {
            sleep(STEP_ENDS_WITHIN).await;
        }
    }

    /// Settles or gives up accepted work when its converge has ended; also returns whether it goes on.
    pub(super) async fn conclude(
        &self,
        result: Result<Converged, ConvergeError>,
        accepting: &Arc<Accepting>,
        is_accepted_delete: bool,
    ) -> (Result<Converged, ConvergeError>, bool) {
        match result {
            Ok(converged) => match accepting.settle().await {
                Ok(()) => (Ok(converged), false),
                Err(error) => {
                    tracing::warn!(error = %with_causes(&error), "accepted work is done, but could not be removed");
                    (Err(error.into()), true)
                }
            },
            // An earlier process did it and was killed before it wrote that down.
            Err(ConvergeError::Refused(Refusal::NotFound)) if is_accepted_delete => {
                let settled = accepting.settle().await;
                (Err(Refusal::NotFound.into()), settled.is_err())
            }
            Err(error) => {
                accepting.keep_what_began(&error).await;
                let goes_on = accepting.give_up(&error).await;
                (Err(error), goes_on)
            }
        }
    }
}
