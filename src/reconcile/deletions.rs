//! The users that this process is deleting. ECS shows a delete only once the service itself is deleted, which is after its
//! tasks have stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::UserId;

/// The deletes under way, by user.
#[derive(Debug, Clone, Default)]
pub(super) struct Deletions(Arc<Mutex<HashMap<UserId, usize>>>);

/// A delete under way; dropping it removes it from the list.
pub(super) struct Deletion {
    all: Deletions,
    user: UserId,
}

impl Deletions {
    pub(super) fn enter(&self, user: &UserId) -> Deletion {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(user.clone()).or_default() += 1;
        Deletion { all: self.clone(), user: user.clone() }
    }

    pub(super) fn has(&self, user: &UserId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(user)
    }
}

impl Drop for Deletion {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.user);
            }
        }
    }
}
