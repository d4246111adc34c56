//! What the users' files add to what ECS reports. Nobody waits for it long, and it never makes an answer fail: no file
//! decides whether a container runs.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::with_causes;

/// Uses what was read from a file, or does without.
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
                // Logged once: a file system that fails does so for every user who is watched.
                if !self.has_failed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = %with_causes(&error), "a file that explains a status could not be used");
                }
                None
            }
        }
    }
}
