//! The HTTP API. Handlers translate: a request into an intent, a result into a response.

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

/// What every handler has at hand. A clone is a handle to the same one, made for each request.
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

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Makes users' containers what they should be.
    pub reconciler: Arc<Reconciler>,
    /// Looks at all of them.
    pub fleet: Fleet,
    /// What the account has room for.
    pub capacity: Capacity,
    /// What their directories hold.
    pub storage: Storage,
    /// Takes all of them along.
    pub rollouts: Rollouts,
    /// Who may call; may change while the service runs.
    pub tokens: watch::Receiver<Tokens>,
    /// What `/readyz` looks at beside the file system.
    pub readiness: Readiness,
    /// What `/metrics` shows.
    pub metrics: Metrics,
}
