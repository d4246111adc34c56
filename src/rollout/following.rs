//! Followers of a rollout: all of them in this process share one reading a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::words::{Journal, Rollout};
use super::{RolloutError, Rollouts};

/// Followers in this process at a time; each holds a connection.
const MOST_FOLLOWERS: usize = 100;
/// For how long a reading is used again.
const COUNTS_FOR: Duration = Duration::from_millis(900);

/// A rollout and its users, as they were read.
pub type Glance = Arc<(Rollout, Journal)>;

/// The last reading, and the places of followers.
#[derive(Debug)]
pub(super) struct Following {
    places: Arc<Semaphore>,
    last: Mutex<Option<(Instant, Glance)>>,
}

impl Default for Following {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MOST_FOLLOWERS)), last: Mutex::default() }
    }
}

/// A follower's place; dropping it frees the place.
#[derive(Debug)]
pub struct Follower {
    _place: OwnedSemaphorePermit,
}

impl Rollouts {
    /// Takes a place among the followers of a rollout in this process.
    ///
    /// # Errors
    /// All places are taken; the error is their number.
    pub fn follow(&self) -> Result<Follower, usize> {
        let place = Arc::clone(&self.0.following.places).try_acquire_owned();
        place.map(|place| Follower { _place: place }).map_err(|_| MOST_FOLLOWERS)
    }

    /// As [`Self::get`], at most a second old.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn glance(&self, id: &str) -> Result<Glance, RolloutError> {
        let mut last = self.0.following.last.lock().await;
        if let Some((at, glance)) = last.as_ref()
            && glance.0.id == id
            && at.elapsed() < COUNTS_FOR
        {
            return Ok(Arc::clone(glance));
        }
        let at = Instant::now();
        let glance = Arc::new(self.get(id).await?);
        *last = Some((at, Arc::clone(&glance)));
        Ok(glance)
    }

    /// Completes when this process shuts down.
    pub async fn stopped(&self) {
        self.0.stopping.cancelled().await;
    }
}
