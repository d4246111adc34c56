//! What watchers and poller share: who watches whom, and what was seen of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::definitions::Definitions;
use crate::aws::{AwsError, Ecs};
use crate::domain::{Coordinates, Status, UserId};
use crate::reconcile::Reconciler;

/// What a reading of a container came to.
#[derive(Debug, Clone)]
pub enum Sight {
    /// There it is.
    Seen(Arc<Status>),
    /// There is none (any more).
    Gone,
    /// AWS did not tell; it is asked again in the next cycle.
    Unreadable(Arc<AwsError>),
}

/// What watchers and poller share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ecs: Ecs,
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) coordinates: watch::Receiver<Coordinates>,
    pub(super) definitions: Arc<Definitions>,
    pub(super) options: Options,
    pub(super) stopping: CancellationToken,
    /// Somebody new watches.
    pub(super) arrived: Notify,
    pub(super) registry: Mutex<Registry>,
}

/// Who watches what.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) users: HashMap<UserId, Watched>,
    /// Those for whom somebody waits for a reading that begins after they came.
    pub(super) wanted: BTreeSet<UserId>,
    /// Number of the newest reading.
    pub(super) reading: u64,
    pub(super) is_polling: bool,
    pub(super) watchers: usize,
}

/// A user whom somebody watches.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) reports: watch::Sender<Option<Report>>,
    /// Counted here and not by the channel, which a watch leaves only after it has let go of the registry: of two that
    /// leave together, each might take the other for one who stays.
    pub(super) watchers: usize,
}

/// What the poller tells the watchers of one user.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) reading: u64,
    pub(super) sight: Sight,
}

impl Shared {
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the watchers of a user what a reading came to, unless a later one has been told: gateways are asked beside the
    /// readings, and may answer after the next.
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
