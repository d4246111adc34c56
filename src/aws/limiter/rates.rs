//! The API categories that AWS throttles together, and their rates.

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// An API category that AWS throttles as one (ECS API reference, "Request throttling").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// RegisterTaskDefinition and DeregisterTaskDefinition.
    TaskDefinitionWrite,
    /// DescribeTaskDefinition, ListTaskDefinitions.
    TaskDefinitionRead,
    /// DeleteTaskDefinitions.
    TaskDefinitionDelete,
    /// CreateService, UpdateService, DeleteService.
    ServiceWrite,
    /// DescribeServices.
    ServiceRead,
    /// ListTasks, DescribeTasks.
    TaskRead,
    /// ListServiceDeployments.
    ServiceDeploymentRead,
    /// CreateRole, PutRolePolicy, DeleteRolePolicy, DeleteRole, in all Regions together.
    RoleWrite,
    /// GetRole, ListRoles, GetAccountSummary, in all Regions together.
    RoleRead,
}

impl Bucket {
    pub(super) const ALL: [Self; 9] = [
        Self::TaskDefinitionWrite,
        Self::TaskDefinitionRead,
        Self::TaskDefinitionDelete,
        Self::ServiceWrite,
        Self::ServiceRead,
        Self::TaskRead,
        Self::ServiceDeploymentRead,
        Self::RoleWrite,
        Self::RoleRead,
    ];

    /// The name in settings and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TaskDefinitionWrite => "task-definition-write",
            Self::TaskDefinitionRead => "task-definition-read",
            Self::TaskDefinitionDelete => "task-definition-delete",
            Self::ServiceWrite => "service-write",
            Self::ServiceRead => "service-read",
            Self::TaskRead => "task-read",
            Self::ServiceDeploymentRead => "service-deployment-read",
            Self::RoleWrite => "role-write",
            Self::RoleRead => "role-read",
        }
    }

    /// AWS's documented default. IAM documents none, for all of an account: these are guesses on the low side.
    fn documented(self) -> Rate {
        match self {
            Self::TaskDefinitionWrite => Rate::new(20, 1.0),
            Self::TaskDefinitionDelete => Rate::new(5, 1.0),
            Self::TaskDefinitionRead | Self::ServiceDeploymentRead => Rate::new(50, 20.0),
            Self::ServiceWrite => Rate::new(50, 5.0),
            Self::ServiceRead | Self::TaskRead => Rate::new(100, 20.0),
            Self::RoleWrite => Rate::new(10, 2.0),
            Self::RoleRead => Rate::new(20, 5.0),
        }
    }
}

/// The size of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// Tokens in a full bucket, at least 1.
    pub(super) burst: u32,
    /// Time between two tokens, at least a nanosecond.
    pub(super) interval: Duration,
}

impl Rate {
    pub(super) fn new(burst: u32, per_second: f64) -> Self {
        // Rounded up: a rate that does not divide a second must not become faster.
        let interval = Duration::from_secs_f64((1e9 / per_second).ceil() / 1e9);
        Self { burst, interval }
    }
}

/// The sizes of all buckets: AWS's documented ones unless the operator sets others, because everything in the account
/// shares them, including other replicas of this service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimits(pub(super) [Rate; Bucket::ALL.len()]);

impl Default for RateLimits {
    fn default() -> Self {
        Self(Bucket::ALL.map(Bucket::documented))
    }
}

impl RateLimits {
    /// Tokens in a full bucket, and the time between two of them.
    #[must_use]
    pub const fn of(&self, bucket: Bucket) -> (u32, Duration) {
        let Rate { burst, interval } = self.0[bucket as usize];
        (burst, interval)
    }

    /// The share of one of this many replicas, which together stay within these limits. A bucket has at least one token; with
    /// more replicas than tokens that is more than its share, but the rate is never more.
    #[must_use]
    pub fn shared_by(&self, replicas: u32) -> Self {
        let replicas = replicas.max(1);
        Self(self.0.map(|Rate { burst, interval }| Rate {
            burst: (burst / replicas).max(1),
            interval: interval.saturating_mul(replicas),
        }))
    }
}

/// A rate that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{entry:?} is not a rate limit: write <bucket>=<burst>/<per second>, the burst from 1 to 1000, the rate from 0.01 to 1000; buckets: {}",
    names()
)]
pub struct ParseLimitsError {
    entry: String,
}

fn names() -> String {
    Bucket::ALL.map(Bucket::name).join(", ")
}

impl FromStr for RateLimits {
    type Err = ParseLimitsError;

    /// Parses `service-write=25/2,task-definition-write=10/0.5`; other buckets keep AWS's documented rate.
    fn from_str(text: &str) -> Result<Self, ParseLimitsError> {
        let mut limits = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let error = || ParseLimitsError { entry: entry.to_owned() };
            let (name, rate) = entry.split_once('=').ok_or_else(error)?;
            let (burst, per_second) = rate.split_once('/').ok_or_else(error)?;
            let burst = burst.trim().parse().ok().filter(|burst| (1..=1_000).contains(burst)).ok_or_else(error)?;
            let rate: f64 =
                per_second.trim().parse().ok().filter(|rate| (0.01..=1_000.0).contains(rate)).ok_or_else(error)?;
            let at = Bucket::ALL.iter().position(|bucket| bucket.name() == name.trim()).ok_or_else(error)?;
            limits.0[at] = Rate::new(burst, rate);
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_together_stay_within_the_limits() {
        let whole: RateLimits = "task-definition-write=20/1,service-write=2/0.5".parse().unwrap();
        assert_eq!(whole.shared_by(1), whole);
        assert_eq!(whole.shared_by(0), whole);
        for replicas in 1..=100 {
            for (part, whole) in whole.shared_by(replicas).0.into_iter().zip(whole.0) {
                assert!(part.burst == 1 || part.burst * replicas <= whole.burst, "{replicas}: {part:?}");
                assert_eq!(part.interval, whole.interval * replicas);
            }
        }
        let third = whole.shared_by(3).0;
        assert_eq!(third[Bucket::TaskDefinitionWrite as usize].burst, 6);
        assert_eq!(third[Bucket::ServiceWrite as usize].burst, 1);
    }

    #[test]
    fn limits_are_read_by_bucket_name_and_other_buckets_keep_the_documented_rate() {
        let limits: RateLimits = "service-write=25/2, task-definition-write=10/0.5".parse().unwrap();
        assert_eq!(limits.0[Bucket::ServiceWrite as usize], Rate::new(25, 2.0));
        // Half of AWS's rate, for one of two replicas.
        let half = Rate { burst: 10, interval: Duration::from_secs(2) };
        assert_eq!(limits.0[Bucket::TaskDefinitionWrite as usize], half);
        // Never faster than the setting: a third of a second is not a whole number of nanoseconds.
        let third = "task-read=1/3".parse::<RateLimits>().unwrap().0[Bucket::TaskRead as usize];
        assert_eq!(third.interval, Duration::from_nanos(333_333_334));
        assert_eq!(limits.0[Bucket::TaskRead as usize], Bucket::TaskRead.documented());
        for bad in [
            "service-write",
            "nope=1/1",
            "service-write=0/1",
            "service-write=1",
            "task-read=a/b",
            "task-read=5000/5",
            "task-read=5/5000",
            "task-read=5/0",
            "task-read=5/NaN",
            "task-read=5/-1",
        ] {
            assert!(bad.parse::<RateLimits>().unwrap_err().to_string().contains("task-definition-write"), "{bad}");
        }
    }
}
