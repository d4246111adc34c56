//! Watches of containers. A watch holds a slot until it is dropped; the poller reads the watched containers, and nothing
//! while there is no watch.

use std::sync::{Arc, Mutex};

use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::definitions::Definitions;
use super::poller::Poller;
use super::sights::{Report, Shared, Sight, Watched};
use crate::aws::Ecs;
use crate::domain::{Coordinates, UserId};
use crate::reconcile::Reconciler;

/// Why a container cannot be watched now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WatchRefused {
    /// Every slot is taken.
    #[error("{max} callers wait for containers or follow them through this replica, which is the most that it takes")]
    TooMany {
        /// [`Options::max_watchers`].
        max: usize,
    },
    /// The process is going down.
    #[error("this replica is shutting down; another one can be asked")]
    ShuttingDown,
}

/// All watches of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watchers(Arc<Shared>);

impl Watchers {
    pub(super) fn new(
        ecs: Ecs,
        reconciler: Arc<Reconciler>,
        coordinates: watch::Receiver<Coordinates>,
        definitions: Arc<Definitions>,
        options: Options,
    ) -> Self {
        let (stopping, arrived, registry) = (CancellationToken::new(), Notify::new(), Mutex::default());
        Self(Arc::new(Shared { ecs, reconciler, coordinates, definitions, options, stopping, arrived, registry }))
    }

    /// Watches a user's container. Dropping the watch ends it and frees its slot.
    ///
    /// # Errors
    /// When every slot is taken, or the process is going down.
    pub fn watch(&self, user: UserId) -> Result<Watch, WatchRefused> {
        if self.0.stopping.is_cancelled() {
            return Err(WatchRefused::ShuttingDown);
        }
        let mut registry = self.0.registry();
        if registry.watchers >= self.0.options.max_watchers {
            return Err(WatchRefused::TooMany { max: self.0.options.max_watchers });
        }
        registry.watchers += 1;
        let unwatched = || Watched { reports: watch::channel(None).0, watchers: 0 };
        let watched = registry.users.entry(user.clone()).or_insert_with(unwatched);
        watched.watchers += 1;
        let reports = watched.reports.subscribe();
        // A reading under way may have begun before this caller's last change: only the next one counts.
        let not_before = registry.reading + 1;
        registry.wanted.insert(user.clone());
        if !registry.is_polling {
            registry.is_polling = true;
            tokio::spawn(Poller::new(Arc::clone(&self.0)).run());
        }
        self.0.arrived.notify_one();
        Ok(Watch { shared: Arc::clone(&self.0), user, reports, not_before })
    }

    /// Number of watchers now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.registry().watchers
    }

    /// Ends every watch, and takes no more.
    pub fn shut_down(&self) {
        self.0.stopping.cancel();
    }
}

/// One watcher of one container.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    user: UserId,
    reports: watch::Receiver<Option<Report>>,
    not_before: u64,
}

impl Watch {
    /// Waits for the next reading, changed or not. The first one began after the watch did. `None` when the process is shutting
    /// down. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Sight> {
        loop {
            tokio::select! {
                () = self.shared.stopping.cancelled() => return None,
                changed = self.reports.changed() => changed.ok()?,
            }
            let report = self.reports.borrow_and_update().clone();
            if let Some(report) = report.filter(|report| report.reading >= self.not_before) {
                return Some(report.sight);
            }
        }
    }

    /// The user whose container it is.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut registry = self.shared.registry();
        registry.watchers -= 1;
        let Some(watched) = registry.users.get_mut(&self.user) else { return };
        watched.watchers -= 1;
        if watched.watchers == 0 {
            registry.users.remove(&self.user);
            registry.wanted.remove(&self.user);
        }
    }
}
