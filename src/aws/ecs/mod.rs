//! ECS: clusters, services, tasks and task definitions, each call behind the bucket that AWS counts it in.

mod bulk;
mod clusters;
mod deployments;
mod services;
mod task_definitions;
mod tasks;

pub use bulk::{DESCRIBED_SERVICES, DESCRIBED_TASKS, ServicePage};
pub use services::{CreateService, ServiceChange};
pub use task_definitions::RegisteredDefinition;
pub use tasks::ListedTasks;

use std::sync::Arc;

use aws_config::SdkConfig;
use tokio::sync::Mutex;

use super::Limiter;
use super::attempts::Attempts;

/// ECS, as far as the service uses it.
#[derive(Debug, Clone)]
pub struct Ecs {
    client: aws_sdk_ecs::Client,
    limiter: Arc<Limiter>,
    /// One registration at a time: concurrent ones in one family fail each other, and the bucket gives one a second
    /// anyway.
    registrations: Arc<Mutex<()>>,
}

impl Ecs {
    pub(super) fn new(config: &SdkConfig, limiter: Arc<Limiter>, attempts: Attempts) -> Self {
        let config = aws_sdk_ecs::config::Builder::from(config).interceptor(attempts).build();
        Self { client: aws_sdk_ecs::Client::from_conf(config), limiter, registrations: Arc::default() }
    }
}
