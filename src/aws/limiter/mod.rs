//! Client-side rate limits: one token bucket for each of the API categories that AWS throttles together, and a queue of
//! three classes before each.
//!
//! Staying below the account's limits costs less than being throttled: a throttled call has already spent its round
//! trip, and every other client of the account pays too.
//!
//! - Whoever waits for an answer goes before a rollout, and that before the background ([`Class`]); within a class, first
//!   come, first served. A class that was passed over for ten intervals of its bucket (2 s at least) has the next token all
//!   the same: the two behind get a tenth each at most in this way, and never nothing.
//! - A wait ends with the operation's deadline ([`Scope`]).
//! - Registrations also need a place in a window that adapts itself to what ECS takes at once. They wait for both in
//!   one queue, so that nobody who holds a place waits behind somebody who needs one.
//! - An operation can be turned away before it begins ([`Limiter::admit`]), when it would wait too long.

mod class;
mod queue;
mod rates;
mod scope;
#[cfg(test)]
mod tests;
mod tokens;
mod turns;
mod window;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::metrics::Metrics;
pub use class::Class;
pub(super) use queue::Registration;
use queue::{Queue, Ticket, Token};
pub use rates::{Bucket, ParseLimitsError, RateLimits};
pub use scope::Scope;
use turns::Wait;

/// The buckets of one process.
#[derive(Debug)]
pub struct Limiter {
    queues: [Arc<Queue>; Bucket::ALL.len()],
    limits: RateLimits,
    metrics: Metrics,
}

/// The turn of a call did not come before its operation's deadline. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("its turn at the rate limit {} did not come in time", bucket.name())]
pub struct NotInTime {
    /// Which rate limit.
    pub bucket: Bucket,
}

/// An operation was turned away, because too many wait before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "it would be number {position} in the queue for AWS's rate limit {}, which is about {} s away; at most {} s are waited",
    bucket.name(),
    wait.as_secs_f64().ceil(),
    longest.as_secs()
)]
pub struct QueueFull {
    /// The rate limit with the longest wait.
    pub bucket: Bucket,
    /// The place in its queue that the operation would have had, 1 being the next.
    pub position: u64,
    /// How long that place is away.
    pub wait: Duration,
    /// How long it may be away.
    pub longest: Duration,
}

/// The place in line of a registration, which it keeps when it has to be tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueuePosition(u64);

impl Limiter {
    /// Full buckets of the given sizes.
    #[must_use]
    pub fn new(limits: &RateLimits, metrics: Metrics) -> Self {
        Self { queues: limits.0.map(Queue::new), limits: limits.clone(), metrics }
    }

    /// The sizes of the buckets.
    #[must_use]
    pub const fn limits(&self) -> &RateLimits {
        &self.limits
    }

    /// Waits for a token, in the class and until the deadline of the [`Scope`] at hand.
    ///
    /// # Errors
    /// When the deadline is first.
    pub async fn acquire(&self, bucket: Bucket) -> Result<(), NotInTime> {
        self.turn(&Scope::current(), bucket, None, false).await.map(Token::spend)
    }

    /// Waits for a token that is left over, until the deadline of the scope at hand; for ever without one.
    ///
    /// # Errors
    /// When the deadline is first.
    pub async fn acquire_in_background(&self, bucket: Bucket) -> Result<(), NotInTime> {
        self.turn(&Scope::current_in_background(), bucket, None, false).await.map(Token::spend)
    }

    /// Takes a token only when nobody waits and at least half the bucket is left: for work that may as well be done later.
    #[must_use]
    pub fn try_acquire_spare(&self, bucket: Bucket) -> bool {
        self.queue(bucket).take_at_once(Class::Background).map(Token::spend).is_some()
    }

    /// The place in line that a registration and its repetitions have.
    pub(super) fn place_of_registration(&self) -> QueuePosition {
        QueuePosition(self.queue(Bucket::TaskDefinitionWrite).place())
    }

    /// Waits for a token and for a place in the window of registrations; it is left when the answer is dropped.
    pub(super) async fn acquire_registration(&self, place: QueuePosition) -> Result<Registration, NotInTime> {
        let scope = Scope::current();
        let turn = self.turn(&scope, Bucket::TaskDefinitionWrite, Some(place), true).await;
        turn.map(Token::spend_on_registration)
    }

    /// Lets the operation at hand in, which will come to each of these buckets, and keeps its places there; unless it
    /// would wait for longer than `longest` at one of them. Only people's operations are counted and turned away.
    ///
    /// # Errors
    /// Where the wait is too long, before anything is kept.
    pub fn admit(&self, buckets: &[Bucket], longest: Duration) -> Result<(), QueueFull> {
        let scope = Scope::current();
        if scope.class() != Class::Interactive {
            return Ok(());
        }
        let mut tickets: Vec<Ticket> = Vec::new();
        for &bucket in buckets {
            let queue = self.queue(bucket);
            if scope.has(|ticket| ticket.is_for(queue)) {
                continue;
            }
            let full = |Wait { position, time }| QueueFull { bucket, position, wait: time, longest };
            tickets.push(queue.expect(longest).map_err(full)?);
        }
        scope.keep(tickets);
        Ok(())
    }

    /// Gives up the places that [`Self::admit`] keeps for the operation at hand: it has no need of them.
    pub fn give_up_places(&self) {
        Scope::current().clear();
    }

    async fn turn(
        &self,
        scope: &Scope,
        bucket: Bucket,
        place: Option<QueuePosition>,
        registers: bool,
    ) -> Result<Token, NotInTime> {
        let (queue, started, deadline) = (self.queue(bucket), Instant::now(), scope.deadline());
        if deadline.is_some_and(|deadline| started >= deadline) {
            return Err(NotInTime { bucket });
        }
        let queued = self.metrics.queued(bucket.name());
        // From here on it waits, and is not expected any more.
        let ticket = scope.take(|ticket| ticket.is_for(queue));
        let waiting = queue.line_up(scope.class(), place.map(|QueuePosition(place)| place), registers);
        drop(ticket);
        let turn = match deadline {
            Some(deadline) => timeout_at(deadline, waiting.turn()).await.ok().flatten(),
            None => waiting.turn().await,
        };
        drop(queued);
        self.metrics.waited(bucket.name(), started.elapsed());
        turn.ok_or(NotInTime { bucket })
    }

    fn queue(&self, bucket: Bucket) -> &Arc<Queue> {
        &self.queues[bucket as usize]
    }
}
