//! On whose behalf AWS is called: how urgent it is, and until when anybody waits for it.
//!
//! A task-local and not an argument, because an operation makes its calls through many hands, and none of them has a
//! choice to make about it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::class::Class;
use super::queue::Ticket;

/// How long a call waits for its turn when nothing else was said: as long as whoever asked is kept waiting for an answer.
const PATIENCE: Duration = Duration::from_secs(25);

tokio::task_local! {
    static SCOPE: Scope;
}

/// What an operation's AWS calls have in common.
#[derive(Debug, Clone)]
pub struct Scope {
    class: Class,
    deadline: Option<Instant>,
    /// Places that are kept for calls that the operation will come to.
    tickets: Arc<Mutex<Vec<Ticket>>>,
}

impl Scope {
    /// Calls of that class, which wait for their turn until `deadline` and no longer.
    #[must_use]
    pub fn new(class: Class, deadline: Instant) -> Self {
        Self::until(class, Some(deadline))
    }

    fn until(class: Class, deadline: Option<Instant>) -> Self {
        Self { class, deadline, tickets: Arc::default() }
    }

    /// Runs `work`, whose AWS calls are then of this scope; not those of tasks that it spawns.
    pub async fn run<F: Future>(self, work: F) -> F::Output {
        SCOPE.scope(self, work).await
    }

    /// The scope at hand, or that of somebody who waits for an answer as usual.
    pub(super) fn current() -> Self {
        SCOPE.try_with(Self::clone).unwrap_or_else(|_| Self::new(Class::Interactive, Instant::now() + PATIENCE))
    }

    /// The scope at hand with its calls in the background. Without one, as for whoever reads the fleet for no caller in
    /// particular, there is no deadline.
    pub(super) fn current_in_background() -> Self {
        let deadline = SCOPE.try_with(|scope| scope.deadline).unwrap_or(None);
        Self::until(Class::Background, deadline)
    }

    pub(super) const fn class(&self) -> Class {
        self.class
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn keep(&self, tickets: impl IntoIterator<Item = Ticket>) {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).extend(tickets);
    }

    /// Whether a place is kept, by a ticket that `is_it`.
    pub(super) fn has(&self, is_it: impl FnMut(&Ticket) -> bool) -> bool {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_it)
    }

    /// The ticket that `is_it`, which is used up.
    pub(super) fn take(&self, mut is_it: impl FnMut(&Ticket) -> bool) -> Option<Ticket> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tickets.iter().position(&mut is_it)?;
        Some(tickets.swap_remove(at))
    }

    /// Gives up all places that are kept.
    pub(super) fn clear(&self) {
        let tickets = std::mem::take(&mut *self.tickets.lock().unwrap_or_else(PoisonError::into_inner));
        drop(tickets);
    }
}
