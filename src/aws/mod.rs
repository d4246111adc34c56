//! Thin adapters over the AWS SDK: one file per API area, domain types in and out. No SDK type leaves this folder, and the
//! code here only decides how to make a call and how to read its answer.

mod attempts;
mod ecr;
mod ecs;
mod efs;
mod error;
mod iam;
mod limiter;
mod quotas;
mod raw;
mod sdk;
#[cfg(feature = "emulator")]
mod seed;
mod ssm;
mod sts;

pub use attempts::{MaySend, fenced};
pub use ecr::{Ecr, ImageLookup};
pub use ecs::{
    CreateService, DESCRIBED_SERVICES, DESCRIBED_TASKS, DefinitionPage, Ecs, ListedTasks, RegisteredDefinition,
    Revisions, ServiceChange, ServicePage,
};
pub use efs::{AccessPoint, Efs, FoundAccessPoint, PosixOwner};
pub use error::{AwsError, ErrorKind};
pub use iam::{EnsuredRole, FoundRole, Iam, Role, RoleCount};
pub use limiter::{Bucket, Class, Limiter, NotInTime, ParseLimitsError, QueueFull, RateLimits, Scope};
pub use quotas::ServiceQuotas;
pub use sdk::{Timeouts, load};
#[cfg(feature = "emulator")]
pub use sdk::{for_endpoint, in_process};
#[cfg(feature = "emulator")]
pub use seed::Seeder;
pub use ssm::{Parameter, Ssm};
pub use sts::{CallerIdentity, Sts};

use std::sync::Arc;

use aws_config::SdkConfig;

use attempts::Attempts;

use crate::metrics::Metrics;

/// Every AWS API that the service calls.
#[derive(Debug, Clone)]
pub struct Aws {
    /// Services, tasks and task definitions.
    pub ecs: Ecs,
    /// Access points.
    pub efs: Efs,
    /// Parameters in which infrastructure publishes its coordinates.
    pub ssm: Ssm,
    /// Images.
    pub ecr: Ecr,
    /// Roles of users' own.
    pub iam: Iam,
    /// How much of something this account may have.
    pub quotas: ServiceQuotas,
    /// The identity of the caller.
    pub sts: Sts,
}

impl Aws {
    /// Creates adapters that share one SDK configuration and one limiter, and count in `metrics`. Cheap to clone; clones
    /// share the limits.
    #[must_use]
    pub fn new(config: &SdkConfig, limits: &RateLimits, metrics: &Metrics) -> Self {
        let limiter = Arc::new(Limiter::new(limits, metrics.clone()));
        let attempts = Attempts::new(metrics.clone());
        Self {
            ecs: Ecs::new(config, Arc::clone(&limiter), attempts.clone()),
            iam: Iam::new(config, limiter, attempts.clone()),
            efs: Efs::new(config, attempts.clone()),
            ssm: Ssm::new(config, attempts.clone()),
            ecr: Ecr::new(config, attempts.clone()),
            quotas: ServiceQuotas::new(config, attempts),
            sts: Sts::new(config),
        }
    }
}
