//! How a request comes in where another one of the same user is under way, and how work is accepted and concluded.

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

/// How often whoever waits for a user asks their holder for something.
const ASKS_EVERY: Duration = Duration::from_secs(1);
/// How long a step of accepted work may go on when the process goes down.
const STEP_ENDS_WITHIN: Duration = Duration::from_secs(3);
/// How long accepted work may wait for the last of it before another request asks it to make way: most has ended by then, and
/// the other request is answered with what it came to.
const YIELDS_AFTER: Duration = Duration::from_secs(5);

impl Reconciler {
    /// Waits for the user. Whoever holds them is asked to make way where accepted work only waits, and by a forced delete to stop.
    pub(super) async fn take_in(&self, user: &UserId, request: &Work) -> Result<Box<dyn Hold>, LedgerError> {
        // A revision is registered for who is new: said with the lock, it costs no write of its own.
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
            // What is accepted already need not be taken in.
            if ask == Ask::Yield && self.is_accepted_already(user, request).await {
                continue;
            }
            if let Err(error) = self.ledger.ask(user, ask).await {
                tracing::debug!(user_id = %user, error = %with_causes(&error), "the user's holder could not be asked to make way");
            }
        }
    }

    /// Whether all that is asked for was accepted before, and is not done yet.
    pub(super) async fn is_accepted_already(&self, user: &UserId, request: &Work) -> bool {
        match self.ledger.noted(user).await {
            Ok(Some(Noted::Pending(intent))) => {
                WorkNote::read(&intent).is_some_and(|note| Work::includes(note, request))
            }
            Ok(Some(Noted::Ended(_) | Noted::NotUnderstood) | None) | Err(_) => false,
        }
    }

    /// Answers a caller who has waited for long enough that the work goes on, once that is certain.
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

    /// Completes when accepted work is to be let go because the process goes down: a step has a moment to come to its end, and one
    /// that waits for AWS's rate limits, or for an answer that does not come, is left to another replica.
    pub(super) async fn hand_over(&self, accepting: &Accepting) {
        self.stopping.cancelled().await;
        sleep(STEP_ENDS_WITHIN).await;
        while !accepting.is_accepted().await {
            sleep(STEP_ENDS_WITHIN).await;
        }
    }

    /// What becomes of accepted work when its converge has ended, and whether it goes on.
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
                    tracing::warn!(error = %with_causes(&error), "accepted work is done, and could not be crossed off");
                    (Err(error.into()), true)
                }
            },
            // It was done before, by somebody who was killed before that was written down.
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
