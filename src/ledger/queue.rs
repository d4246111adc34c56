//! The queue for a user within this process. The lock file excludes other processes, but keeps no order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::domain::UserId;

type Turn = tokio::sync::Mutex<()>;
/// The queues that are not empty.
pub(super) type Queues = Arc<Mutex<HashMap<UserId, Arc<Turn>>>>;

/// A place in a user's queue; it is at the head when `turn` is set. Removes the queue when nobody else is in it.
#[derive(Debug)]
pub(super) struct QueueTurn {
    turn: Option<OwnedMutexGuard<()>>,
    queue: Option<Arc<Turn>>,
    pub(super) user: UserId,
    queues: Queues,
}

impl QueueTurn {
    /// Waits until this is the head of the queue.
    pub(super) async fn wait(queues: &Queues, user: &UserId) -> Self {
        let queue = queues.lock().unwrap_or_else(PoisonError::into_inner).entry(user.clone()).or_default().clone();
        // Created before the first await: if the wait is given up, dropping it cleans up.
        let mut place = Self { turn: None, queue: Some(queue.clone()), user: user.clone(), queues: queues.clone() };
        place.turn = Some(queue.lock_owned().await);
        place
    }
}

impl Drop for QueueTurn {
    fn drop(&mut self) {
        // Every reference to a queue is taken and returned under this lock, so the count cannot change meanwhile.
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn = None;
        self.queue = None;
        if queues.get(&self.user).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.user);
        }
    }
}
