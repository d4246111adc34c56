//! The scope of AWS calls: their priority and their deadline.
//!
//! It is a task-local and not an argument, because an operation makes its calls through many functions, and none of them
//! decides anything about it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::class::Class;
use super::queue::Ticket;

/// How long a call waits for its turn without a scope: as long as a caller of the API waits for an answer.
const PATIENCE: Duration = Duration::from_secs(25);

tokio::task_local! {
    static SCOPE: Scope;
}

/// The common properties of an operation's AWS calls.
#[derive(Debug, Clone)]
pub struct Scope {
    class: Class,
    deadline: Option<Instant>,
    /// Places that are reserved for later calls of the operation.
    tickets: Arc<Mutex<Vec<Ticket>>>,
}

impl Scope {
    /// A scope for calls of that class, which wait for their turn at most until `deadline`.
    #[must_use]
    pub fn new(class: Class, deadline: Instant) -> Self {
        Self::until(class, Some(deadline))
    }

    fn until(class: Class, deadline: Option<Instant>) -> Self {
        Self { class, deadline, tickets: Arc::default() }
    }

    /// Runs `work` with this scope for its AWS calls, but not for those of tasks that it spawns.
    pub async fn run<F: Future>(self, work: F) -> F::Output {
        SCOPE.scope(self, work).await
    }

    /// The current scope; without one, that of an ordinary caller who waits for an answer.
    pub(super) fn current() -> Self {
        SCOPE.try_with(Self::clone).unwrap_or_else(|_| Self::new(Class::Interactive, Instant::now() + PATIENCE))
    }

    /// The current scope, but for background calls. Without one there is no deadline, for example when the fleet is read for
    /// no particular caller.
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

    /// Whether a ticket that matches `is_it` is kept.
    pub(super) fn has(&self, is_it: impl FnMut(&Ticket) -> bool) -> bool {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_it)
    }

    /// Removes and returns the ticket that matches `is_it`.
    pub(super) fn take(&self, mut is_it: impl FnMut(&Ticket) -> bool) -> Option<Ticket> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tickets.iter().position(&mut is_it)?;
        Some(tickets.swap_remove(at))
    }

    /// Gives up all reserved places.
    pub(super) fn clear(&self) {
        let tickets = std::mem::take(&mut *self.tickets.lock().unwrap_or_else(PoisonError::into_inner));
        drop(tickets);
    }
}
