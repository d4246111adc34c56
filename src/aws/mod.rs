//! Thin adapters over the AWS SDK: one file an API area, domain types in and out. No SDK type leaves this folder, and
//! nothing here decides anything but how to say a call and how to read its answer.

mod ecr;
mod ecs;
mod efs;
mod error;
mod limiter;
mod raw;
mod sdk;
#[cfg(feature = "emulator")]
mod seed;
mod ssm;

pub use ecr::{Ecr, ImageLookup};
pub use ecs::{CreateService, Ecs, ListedTasks, RegisteredDefinition, ServiceChange};
pub use efs::{AccessPoint, Efs, PosixOwner};
pub use error::{AwsError, ErrorKind};
pub use limiter::{Bucket, Limiter, ParseLimitsError, RateLimits};
pub use sdk::{Timeouts, load};
#[cfg(feature = "emulator")]
pub use sdk::{for_endpoint, in_process};
#[cfg(feature = "emulator")]
pub use seed::Seeder;
pub use ssm::Ssm;

use std::sync::Arc;

use aws_config::SdkConfig;

/// Every AWS API that the service calls.
#[derive(Debug, Clone)]
pub struct Aws {
    /// Services, tasks and task definitions.
    pub ecs: Ecs,
    /// Access points.
    pub efs: Efs,
    /// Where infrastructure publishes its coordinates.
    pub ssm: Ssm,
    /// Whether an image exists.
    pub ecr: Ecr,
}

impl Aws {
    /// Adapters that share one SDK configuration and one limiter. Cheap to clone; the limits hold across clones.
    #[must_use]
    pub fn new(config: &SdkConfig, limits: &RateLimits) -> Self {
        let limiter = Arc::new(Limiter::new(limits));
        Self { ecs: Ecs::new(config, limiter), efs: Efs::new(config), ssm: Ssm::new(config), ecr: Ecr::new(config) }
    }
}
