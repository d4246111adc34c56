//! Client-side rate limits: one token bucket for each API category that AWS throttles together, and a queue with
//! three classes for each bucket.
//!
//! Staying below the account's limits costs less than being throttled: a throttled call has already cost a round
//! trip, and it slows down every other client of the account.
//!
//! - Calls that somebody waits for go before rollouts, and those before background calls ([`Class`]); within a class, first
//!   come, first served. A class that got no token for ten intervals of its bucket (at least 2 s) gets the next token: so
//!   the two lower classes always get some tokens, at most a tenth each.
//! - A wait lasts at most until the operation's deadline ([`Scope`]).
//! - Registrations also need a place in a window that adapts to the number that ECS accepts at the same time. They wait for
//!   both in one queue, so that nobody who holds a place waits behind somebody who needs one.
//! - An operation that would wait too long can be refused before it begins ([`Limiter::admit`]).

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
    /// The rate limit.
    pub bucket: Bucket,
}

/// An operation was refused, because too many wait before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "it would be number {position} in the queue for AWS's rate limit {}, a wait of about {} s; the longest wait is {} s",
    bucket.name(),
    wait.as_secs_f64().ceil(),
    longest.as_secs()
)]
pub struct QueueFull {
    /// The rate limit with the longest wait.
    pub bucket: Bucket,
    /// The operation's place in its queue; 1 is the next.
    pub position: u64,
    /// The wait at that place.
    pub wait: Duration,
    /// The longest allowed wait.
    pub longest: Duration,
}

/// The place of a registration in the queue, which it keeps when it is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueuePosition(u64);

impl Limiter {
    /// Creates full buckets of the given sizes.
    #[must_use]
    pub fn new(limits: &RateLimits, metrics: Metrics) -> Self {
        Self { queues: limits.0.map(Queue::new), limits: limits.clone(), metrics }
    }

    /// The sizes of the buckets.
    #[must_use]
    pub const fn limits(&self) -> &RateLimits {
        &self.limits
    }

    /// Waits for a token, in the class and until the deadline of the current [`Scope`].
    ///
    /// # Errors
    /// When the deadline comes first.
    pub async fn acquire(&self, bucket: Bucket) -> Result<(), NotInTime> {
        self.turn(&Scope::current(), bucket, None, false).await.map(Token::spend)
    }

    /// Waits for a spare token, until the deadline of the current scope; for ever without one.
    ///
    /// # Errors
    /// When the deadline comes first.
    pub async fn acquire_in_background(&self, bucket: Bucket) -> Result<(), NotInTime> {
        self.turn(&Scope::current_in_background(), bucket, None, false).await.map(Token::spend)
    }

    /// Takes a token only if nobody waits and at least half the bucket is left; for work that can be done later.
    #[must_use]
    pub fn try_acquire_spare(&self, bucket: Bucket) -> bool {
        self.queue(bucket).take_at_once(Class::Background).map(Token::spend).is_some()
    }

    /// The place in the queue of a registration and its repetitions.
    pub(super) fn place_of_registration(&self) -> QueuePosition {
        QueuePosition(self.queue(Bucket::TaskDefinitionWrite).place())
    }

    /// Waits for a token and for a place in the window of registrations; dropping the result frees the place.
    pub(super) async fn acquire_registration(&self, place: QueuePosition) -> Result<Registration, NotInTime> {
        let scope = Scope::current();
        let turn = self.turn(&scope, Bucket::TaskDefinitionWrite, Some(place), true).await;
        turn.map(Token::spend_on_registration)
    }

    /// Admits the current operation, which will need each of these buckets, and reserves its places there; unless it
    /// would wait for longer than `longest` at one of them. Only people's operations are counted and refused.
    ///
    /// # Errors
    /// When a wait would be too long; then nothing is reserved.
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

    /// Gives up the places that [`Self::admit`] reserved for the current operation.
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
        // From here on it waits itself, so its reserved place is given up.
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
