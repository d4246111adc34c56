//! Looking at many containers without asking AWS for each of them every time. Nothing here changes anything.
//!
//! [`Watchers`]: whoever waits for a container or follows it shares one poller with all the others in this process.

mod definitions;
mod known;
mod poller;
mod watchers;

pub use watchers::{Sight, Watch, WatchRefused, Watchers};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::aws::Ecs;
use crate::domain::Coordinates;
use definitions::Definitions;

/// How the fleet is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often watched containers are read.
    pub watch_every: Duration,
    /// Watchers in this process at a time. Each holds a connection and a few KiB.
    pub max_watchers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { watch_every: Duration::from_secs(2), max_watchers: 2_000 }
    }
}

/// All users' containers, from outside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Who follows a container.
    pub watchers: Watchers,
}

impl Fleet {
    /// The fleet behind these coordinates, which may change.
    #[must_use]
    pub fn new(ecs: Ecs, coordinates: watch::Receiver<Coordinates>, options: Options) -> Self {
        let definitions = Arc::new(Definitions::new(ecs.clone()));
        Self { watchers: Watchers::new(ecs, coordinates, definitions, options) }
    }

    /// Ends every watch and all reading.
    pub fn shut_down(&self) {
        self.watchers.shut_down();
    }
}
