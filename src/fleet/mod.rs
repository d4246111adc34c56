//! Reads the state of many containers without an AWS call for each of them every time. It changes nothing.
//!
//! [`Watchers`]: all callers that wait for a container or follow it share one poller in this process.
//! [`Roster`]: the list of all containers, from a snapshot.

mod definitions;
mod known;
mod poller;
mod refining;
mod roster;
mod sights;
mod snapshot;
mod watchers;

pub use definitions::Facts;
pub use roster::{ListRefused, Roster};
pub use sights::Sight;
pub use snapshot::{Listed, OnBases, Page, Query};
pub use watchers::{Watch, WatchRefused, Watchers};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::aws::Ecs;
use crate::domain::Coordinates;
use crate::metrics::Metrics;
use crate::reconcile::Reconciler;
use definitions::Definitions;

/// How the fleet is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often watched containers are read.
    pub watch_every: Duration,
    /// Watchers in this process at a time. Each holds a connection and about 30 KiB.
    pub max_watchers: usize,
    /// How often the whole fleet is read in the background.
    pub list_every: Duration,
    /// How old a fresh snapshot may be: no caller can make this process read the fleet more often.
    pub fresh_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            watch_every: Duration::from_secs(2),
            max_watchers: 2_000,
            list_every: Duration::from_secs(300),
            fresh_within: Duration::from_secs(30),
        }
    }
}

/// The state of all users' containers, without their files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The callers that follow a container.
    pub watchers: Watchers,
    /// The list of all containers.
    pub roster: Roster,
}

impl Fleet {
    /// The fleet at these coordinates, which may change; every snapshot updates `metrics`.
    #[must_use]
    pub fn new(
        ecs: Ecs,
        reconciler: Arc<Reconciler>,
        coordinates: watch::Receiver<Coordinates>,
        options: Options,
        metrics: Metrics,
    ) -> Self {
        let definitions = Arc::new(Definitions::new(ecs.clone()));
        let (of_watchers, at) = (Arc::clone(&reconciler), coordinates.clone());
        let watchers = Watchers::new(ecs.clone(), of_watchers, at, Arc::clone(&definitions), options);
        Self { watchers, roster: Roster::new(ecs, reconciler, coordinates, definitions, options, metrics) }
    }

    /// Ends every watch and all reading.
    pub fn shut_down(&self) {
        self.watchers.shut_down();
        self.roster.shut_down();
    }
}
