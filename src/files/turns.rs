//! Whose file work is next: in order, a bounded number at a time, and few of one user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::UserId;

/// Turns that one user can have at a time. Whoever asks a thousand times for one user keeps nobody else waiting.
const OF_ONE_USER: usize = 4;

type Users = Arc<Mutex<HashMap<UserId, Arc<Semaphore>>>>;

pub(super) struct Turns {
    all: Arc<Semaphore>,
    users: Users,
}

/// A turn; dropping it lets the next one in.
pub(super) struct Turn {
    /// Declared, and so dropped, first.
    _turn: Option<OwnedSemaphorePermit>,
    _of_user: Option<OfUser>,
}

impl Turns {
    pub(super) fn new(at_a_time: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(at_a_time)), users: Users::default() }
    }

    /// Waits for a turn. A user's own come first, then everybody's, so that one user stands in the common line only as
    /// often as they can be served.
    pub(super) async fn take(&self, user: Option<&UserId>) -> Turn {
        let of_user = match user {
            Some(user) => Some(OfUser::take(&self.users, user).await),
            None => None,
        };
        // Neither semaphore is ever closed.
        Turn { _turn: Arc::clone(&self.all).acquire_owned().await.ok(), _of_user: of_user }
    }
}

/// A place among a user's own; removes the line when nobody else is in it.
struct OfUser {
    permit: Option<OwnedSemaphorePermit>,
    line: Option<Arc<Semaphore>>,
    user: UserId,
    users: Users,
}

impl OfUser {
    async fn take(users: &Users, user: &UserId) -> Self {
        let line = {
            let mut lines = users.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(lines.entry(user.clone()).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE_USER))))
        };
        // Complete before the first await: should the wait be given up, dropping it cleans up.
        let mut place =
            Self { permit: None, line: Some(Arc::clone(&line)), user: user.clone(), users: Arc::clone(users) };
        place.permit = line.acquire_owned().await.ok();
        place
    }
}

impl Drop for OfUser {
    fn drop(&mut self) {
        // Everybody takes and returns their share of a line under this lock, so the count cannot change meanwhile.
        let mut lines = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        self.permit = None;
        self.line = None;
        if lines.get(&self.user).is_some_and(|line| Arc::strong_count(line) == 1) {
            lines.remove(&self.user);
        }
    }
}

#[cfg(test)]
impl Turns {
    pub(super) fn users_in_line(&self) -> usize {
        self.users.lock().unwrap().len()
    }
}
