//! The order of file work: first come, first served, with a limit in total and a lower one per user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::UserId;

/// Turns that one user can have at the same time. A thousand calls for one user do not make other users wait.
const OF_ONE_USER: usize = 4;

type Users = Arc<Mutex<HashMap<UserId, Arc<Semaphore>>>>;

pub(super) struct Turns {
    all: Arc<Semaphore>,
    users: Users,
}

/// A turn; dropping it lets the next one in.
pub(super) struct Turn {
    /// Declared first, and so dropped first.
    _turn: Option<OwnedSemaphorePermit>,
    _of_user: Option<OfUser>,
}

impl Turns {
    pub(super) fn new(at_a_time: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(at_a_time)), users: Users::default() }
    }

    /// Waits for a turn: first for one of the user's, then for one of all. So one user is in the common line only as often as
    /// they can be served.
    pub(super) async fn take(&self, user: Option<&UserId>) -> Turn {
        let of_user = match user {
            Some(user) => Some(OfUser::take(&self.users, user).await),
            None => None,
        };
        // Neither semaphore is ever closed.
        Turn { _turn: Arc::clone(&self.all).acquire_owned().await.ok(), _of_user: of_user }
    }
}

/// A place in a user's line; removes the line when nobody else is in it.
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
        // Created before the first await: if the wait is given up, dropping it cleans up.
        let mut place =
            Self { permit: None, line: Some(Arc::clone(&line)), user: user.clone(), users: Arc::clone(users) };
        place.permit = line.acquire_owned().await.ok();
        place
    }
}

impl Drop for OfUser {
    fn drop(&mut self) {
        // Every reference to a line is taken and returned under this lock, so the count cannot change meanwhile.
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
