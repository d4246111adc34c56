//! State shared by watchers and the poller: who watches which user, and the last reports.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::definitions::Definitions;
use crate::aws::{AwsError, Ecs};
use crate::domain::{Coordinates, Status, UserId};
use crate::reconcile::Reconciler;

/// The result of reading a container.
#[derive(Debug, Clone)]
pub enum Sight {
    /// Its status.
    Seen(Arc<Status>),
    /// There is no container, or no longer.
    Gone,
    /// AWS did not answer; it is asked again in the next cycle.
    Unreadable(Arc<AwsError>),
}

/// State shared by watchers and the poller.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ecs: Ecs,
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) coordinates: watch::Receiver<Coordinates>,
    pub(super) definitions: Arc<Definitions>,
    pub(super) options: Options,
    pub(super) stopping: CancellationToken,
    /// Wakes the poller for a new watcher.
    pub(super) arrived: Notify,
    pub(super) registry: Mutex<Registry>,
}

/// The watched users.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) users: HashMap<UserId, Watched>,
    /// Users with a new watcher, who needs a reading that begins after it came.
    pub(super) wanted: BTreeSet<UserId>,
    /// Number of the newest reading.
    pub(super) reading: u64,
    pub(super) is_polling: bool,
    pub(super) watchers: usize,
}

/// A watched user.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) reports: watch::Sender<Option<Report>>,
    /// Number of watchers. The channel's own count does not help: a watch leaves the channel after it has released the registry,
    /// so if two leave together, each could count the other as still watching.
    pub(super) watchers: usize,
}

/// A report of the poller to the watchers of one user.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) reading: u64,
    pub(super) sight: Sight,
}

impl Shared {
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports the result of a reading to the watchers of a user, unless a later one was reported: gateways are asked beside
    /// the readings, and may answer after the next one.
    pub(super) fn tell(&self, reading: u64, user: &UserId, sight: Sight) {
        let registry = self.registry();
        let Some(watched) = registry.users.get(user) else { return };
        watched.reports.send_if_modified(|told| {
            let is_newer = told.as_ref().is_none_or(|told| told.reading < reading);
            if is_newer {
                *told = Some(Report { reading, sight });
            }
            is_newer
        });
    }
}
