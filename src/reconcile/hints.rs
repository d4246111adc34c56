//! What the users' files add to what ECS says. It is never waited for long, and never makes an answer fail: whether a
//! container runs is nothing that a file decides.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::with_causes;

/// Takes what was read of a file, or goes without.
#[derive(Debug, Default)]
pub(super) struct Hints {
    has_failed: AtomicBool,
}

impl Hints {
    pub(super) fn take<T>(&self, read: Result<T, impl Error + 'static>) -> Option<T> {
        match read {
            Ok(found) => {
                self.has_failed.store(false, Ordering::Relaxed);
                Some(found)
            }
            Err(error) => {
                // Once: a file system that refuses does so for every user whom anybody watches.
                if !self.has_failed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = %with_causes(&error), "a file that explains a status could not be used");
                }
                None
            }
        }
    }
}
