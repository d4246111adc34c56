//! The HTTP API. Handlers only translate: a request into an intent, a result into a response.

mod auth;
mod body;
mod code;
mod containers;
mod credentials;
mod docs;
mod error;
mod fleet;
mod fleet_base;
mod fleet_capacity;
mod gateway;
mod health;
mod openapi;
pub(crate) mod query;
mod request_id;
pub(crate) mod requests;
mod responses;
mod rollouts;
mod routes;
mod server_sent;
mod serving;
mod ui;
mod user;
mod watching;

pub use code::Code;
pub use error::Problem;
pub use health::Readiness;
pub use routes::{openapi_document, router};
pub use serving::{HEALTH_PATH, Limits, serve};

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use crate::capacity::Capacity;
use crate::config::Tokens;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::reconcile::Reconciler;
use crate::rollout::Rollouts;
use crate::storage::Storage;

/// The state that every handler can use. A clone, made for each request, shares the same state.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

impl From<Parts> for App {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The parts of an [`App`].
#[derive(Debug)]
pub struct Parts {
    /// Converges users' containers to their desired state.
    pub reconciler: Arc<Reconciler>,
    /// Reads the state of all containers.
    pub fleet: Fleet,
    /// The account's quotas.
    pub capacity: Capacity,
    /// The sizes of users' directories.
    pub storage: Storage,
    /// Runs rollouts.
    pub rollouts: Rollouts,
    /// The accepted tokens; they may change while the service runs.
    pub tokens: watch::Receiver<Tokens>,
    /// The state that `/readyz` checks in addition to the file system.
    pub readiness: Readiness,
    /// The metrics at `/metrics`.
    pub metrics: Metrics,
}
