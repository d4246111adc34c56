//! ECS: clusters, services, tasks and task definitions. Each call waits for a token of the bucket that AWS counts it in.

mod bulk;
mod clusters;
mod deployments;
mod services;
mod task_definitions;
mod tasks;

pub use bulk::{DESCRIBED_SERVICES, DESCRIBED_TASKS, DefinitionPage, Revisions, ServicePage};
pub use services::{CreateService, ServiceChange};
use task_definitions::Newest;
pub use task_definitions::RegisteredDefinition;
pub use tasks::ListedTasks;

use std::sync::Arc;

use std::time::Duration;

use aws_config::SdkConfig;

use super::attempts::Attempts;
use super::{AwsError, Bucket, Limiter, QueueFull, RateLimits};

/// ECS, as far as the service uses it.
#[derive(Debug, Clone)]
pub struct Ecs {
    client: aws_sdk_ecs::Client,
    limiter: Arc<Limiter>,
    newest: Arc<Newest>,
}

impl Ecs {
    pub(super) fn new(config: &SdkConfig, limiter: Arc<Limiter>, attempts: Attempts) -> Self {
        let config = aws_sdk_ecs::config::Builder::from(config).interceptor(attempts).build();
        Self { client: aws_sdk_ecs::Client::from_conf(config), limiter, newest: Arc::default() }
    }

    /// Admits the current operation, which will change a service and, if it `registers`, a task definition before it;
    /// unless it would have to wait for longer than `longest`.
    ///
    /// # Errors
    /// When the wait would be too long.
    pub fn admit(&self, registers: bool, longest: Duration) -> Result<(), QueueFull> {
        let buckets = [Bucket::TaskDefinitionWrite, Bucket::ServiceWrite];
        self.limiter.admit(&buckets[usize::from(!registers)..], longest)
    }

    /// The rate limits of this process.
    #[must_use]
    pub fn limits(&self) -> &RateLimits {
        self.limiter.limits()
    }

    /// Gives up the places that were reserved for the current operation.
    pub fn give_up_places(&self) {
        self.limiter.give_up_places();
    }

    async fn turn(&self, bucket: Bucket, operation: &'static str) -> Result<(), AwsError> {
        self.limiter.acquire(bucket).await.map_err(|late| AwsError::not_sent(operation, late))
    }

    async fn turn_in_background(&self, bucket: Bucket, operation: &'static str) -> Result<(), AwsError> {
        self.limiter.acquire_in_background(bucket).await.map_err(|late| AwsError::not_sent(operation, late))
    }
}
