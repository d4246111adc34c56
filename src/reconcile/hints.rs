//! What the users' files add to what ECS says. It is never waited for long: on a wedged NFS mount every read hangs for good
//! and takes a thread with it (incident 22), and whether a container runs is nothing that a file decides.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::domain::with_causes;

/// How long a file may take. EFS answers in milliseconds.
const WITHIN: Duration = Duration::from_secs(2);
/// Reads at a time, and so threads that a wedged mount can take: of the 512 that tokio has for everybody, name
/// resolution for AWS among them.
const AT_A_TIME: usize = 16;

/// Reads of files that may as well fail. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Hints {
    turns: Arc<Semaphore>,
    is_stuck: Arc<AtomicBool>,
    has_failed: Arc<AtomicBool>,
}

impl Default for Hints {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_A_TIME)), is_stuck: Arc::default(), has_failed: Arc::default() }
    }
}

impl Hints {
    /// What `read` comes to, if it does in time. Once it did not, nobody waits until a read has ended again.
    pub(super) async fn ask<T, E>(&self, read: impl Future<Output = Result<T, E>> + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
        E: Error + Send + 'static,
    {
        let patience = if self.is_stuck.load(Ordering::Relaxed) { Duration::ZERO } else { WITHIN };
        let deadline = Instant::now() + patience;
        let Ok(Ok(turn)) = timeout_at(deadline, Arc::clone(&self.turns).acquire_owned()).await else {
            self.tell(true);
            return None;
        };
        let this = self.clone();
        let reading = tokio::spawn(
            async move {
                let read = read.await;
                this.tell(false);
                drop(turn);
                read
            }
            .in_current_span(),
        );
        match timeout_at(deadline, reading).await {
            Ok(Ok(Ok(found))) => {
                self.has_failed.store(false, Ordering::Relaxed);
                Some(found)
            }
            Ok(Ok(Err(error))) => {
                // Once: a file system that refuses does so for every user whom anybody watches.
                if !self.has_failed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = %with_causes(&error), "a file that explains a status could not be used");
                }
                None
            }
            // Nothing in a read panics; were it to, the panic hook has told.
            Ok(Err(_)) => None,
            Err(_) => {
                self.tell(true);
                None
            }
        }
    }

    /// Says when the files stop answering and when they answer again, and nothing in between.
    fn tell(&self, is_stuck: bool) {
        let was_stuck = self.is_stuck.swap(is_stuck, Ordering::Relaxed);
        match (was_stuck, is_stuck) {
            (false, true) => {
                tracing::warn!(
                    within_seconds = WITHIN.as_secs(),
                    "the file system does not answer; a status goes without what it explains"
                )
            }
            (true, false) => tracing::info!("the file system answers again"),
            (true, true) | (false, false) => {}
        }
    }
}
