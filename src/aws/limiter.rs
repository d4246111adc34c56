//! Client-side rate limits: one token bucket for each of the API categories that AWS throttles together.
//!
//! Staying below the account's limits costs less than being throttled: a throttled call has already spent its round
//! trip, and every other client of the account pays too.

use std::str::FromStr;
use std::time::Duration;

use leaky_bucket::RateLimiter;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::metrics::Metrics;

/// How long a bulk reader waits for spare capacity before it takes its turn.
const YIELDS_FOR: Duration = Duration::from_secs(2);

/// A category that AWS throttles as one (ECS API reference, "Request throttling").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// RegisterTaskDefinition and DeregisterTaskDefinition.
    TaskDefinitionWrite,
    /// DescribeTaskDefinition.
    TaskDefinitionRead,
    /// CreateService, UpdateService, DeleteService.
    ServiceWrite,
    /// DescribeServices.
    ServiceRead,
    /// ListTasks, DescribeTasks.
    TaskRead,
    /// ListServiceDeployments.
    ServiceDeploymentRead,
}

impl Bucket {
    const ALL: [Self; 6] = [
        Self::TaskDefinitionWrite,
        Self::TaskDefinitionRead,
        Self::ServiceWrite,
        Self::ServiceRead,
        Self::TaskRead,
        Self::ServiceDeploymentRead,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::TaskDefinitionWrite => "task-definition-write",
            Self::TaskDefinitionRead => "task-definition-read",
            Self::ServiceWrite => "service-write",
            Self::ServiceRead => "service-read",
            Self::TaskRead => "task-read",
            Self::ServiceDeploymentRead => "service-deployment-read",
        }
    }

    /// AWS's documented default.
    fn documented(self) -> Rate {
        match self {
            Self::TaskDefinitionWrite => Rate::new(20, 1.0),
            Self::TaskDefinitionRead | Self::ServiceDeploymentRead => Rate::new(50, 20.0),
            Self::ServiceWrite => Rate::new(50, 5.0),
            Self::ServiceRead | Self::TaskRead => Rate::new(100, 20.0),
        }
    }
}

/// The size of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    burst: u32,
    /// Between two tokens.
    interval: Duration,
}

impl Rate {
    fn new(burst: u32, per_second: f64) -> Self {
        // The bucket's clock counts milliseconds. Up: a rate that does not divide a second must not become a faster one.
        let interval = Duration::from_secs_f64((1_000.0 / per_second).ceil() / 1_000.0);
        Self { burst, interval }
    }
}

/// The sizes of all buckets: AWS's documented ones unless the operator says otherwise, because the account shares
/// them with everything else that runs in it, other replicas of this service included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimits([Rate; Bucket::ALL.len()]);

impl Default for RateLimits {
    fn default() -> Self {
        Self(Bucket::ALL.map(Bucket::documented))
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

    /// `service-write=25/2,task-definition-write=10/0.5`; what is not named keeps AWS's documented rate.
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

/// The buckets of one process.
#[derive(Debug)]
pub struct Limiter {
    buckets: [RateLimiter; Bucket::ALL.len()],
    metrics: Metrics,
}

impl Limiter {
    /// Full buckets of the given sizes.
    #[must_use]
    pub fn new(limits: &RateLimits, metrics: Metrics) -> Self {
        let buckets = limits.0.map(|rate| {
            let burst = rate.burst as usize;
            RateLimiter::builder().initial(burst).max(burst).refill(1).interval(rate.interval).fair(true).build()
        });
        Self { buckets, metrics }
    }

    /// Waits for a token. Callers are served in order.
    pub async fn acquire(&self, bucket: Bucket) {
        let queued = self.metrics.queued(bucket.name());
        let started = Instant::now();
        self.of(bucket).acquire_one().await;
        drop(queued);
        self.metrics.waited(bucket.name(), started.elapsed());
    }

    /// Waits for a token that is left over: bulk readers let everybody else go first while less than half the bucket
    /// is left. After 2 s they take their turn all the same: they may be slowed down, but never stopped.
    pub async fn acquire_spare(&self, bucket: Bucket) {
        let spare = async {
            while !self.try_acquire_spare(bucket) {
                sleep(self.of(bucket).interval()).await;
            }
        };
        if timeout(YIELDS_FOR, spare).await.is_err() {
            self.acquire(bucket).await;
        }
    }

    /// Takes a token only when at least half the bucket is left: for work that may as well be done later.
    #[must_use]
    pub fn try_acquire_spare(&self, bucket: Bucket) -> bool {
        let limiter = self.of(bucket);
        // The balance is brought up to date only by one who wants more than there is; nobody can have this much.
        let _refused = limiter.try_acquire(limiter.max() + 1);
        limiter.balance() * 2 >= limiter.max() && limiter.try_acquire(1)
    }

    fn of(&self, bucket: Bucket) -> &RateLimiter {
        &self.buckets[bucket as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_then_each_call_waits_for_its_refill() {
        let limiter = Limiter::new(&RateLimits::default(), Metrics::default());
        let start = Instant::now();
        for _ in 0..20 {
            limiter.acquire(Bucket::TaskDefinitionWrite).await;
        }
        assert_eq!(start.elapsed().as_secs(), 0);
        for _ in 0..5 {
            limiter.acquire(Bucket::TaskDefinitionWrite).await;
        }
        assert!((4..=6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        // Another category is not slowed down by it.
        limiter.acquire(Bucket::TaskDefinitionRead).await;
        assert!(!limiter.try_acquire_spare(Bucket::TaskDefinitionWrite));
        assert!(limiter.try_acquire_spare(Bucket::ServiceWrite));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_call_is_in_the_queue_until_it_has_its_token_or_gives_up() {
        let metrics = Metrics::default();
        let limiter = Arc::new(Limiter::new(&"service-write=1/1".parse().unwrap(), metrics.clone()));
        limiter.acquire(Bucket::ServiceWrite).await;
        let queue = |calls| format!("limiter_queue_depth{{bucket=\"service-write\"}} {calls}\n");
        let waiting = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire(Bucket::ServiceWrite).await }
        });
        tokio::task::yield_now().await;
        assert!(metrics.encode().contains(&queue(1)), "{}", metrics.encode());
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert!(metrics.encode().contains(&queue(0)), "{}", metrics.encode());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bulk_reader_leaves_half_the_bucket_and_is_slowed_down_but_never_stopped() {
        let limiter = Limiter::new(&RateLimits::default(), Metrics::default());
        let start = Instant::now();
        for _ in 0..150 {
            limiter.acquire_spare(Bucket::ServiceRead).await;
        }
        // 50 at once, and the others as fast as the bucket is refilled: 20 a second.
        assert!((4..=6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        let others = Instant::now();
        for _ in 0..49 {
            limiter.acquire(Bucket::ServiceRead).await;
        }
        assert_eq!(others.elapsed().as_secs(), 0);
        // With everybody else at it without a pause, one token every two seconds is left.
        let limiter = Arc::new(limiter);
        let busy = limiter.clone();
        let others = tokio::spawn(async move {
            loop {
                busy.acquire(Bucket::ServiceRead).await;
            }
        });
        let start = Instant::now();
        for _ in 0..5 {
            limiter.acquire_spare(Bucket::ServiceRead).await;
        }
        assert!((10..=11).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        others.abort();
        // Capacity that has come back while nobody asked counts.
        sleep(Duration::from_secs(10)).await;
        assert!(limiter.try_acquire_spare(Bucket::ServiceRead));
    }

    #[test]
    fn limits_are_read_by_bucket_name_and_the_rest_keeps_the_documented_rate() {
        let limits: RateLimits = "service-write=25/2, task-definition-write=10/0.5".parse().unwrap();
        assert_eq!(limits.0[Bucket::ServiceWrite as usize], Rate::new(25, 2.0));
        // Half of AWS's own, as one of two replicas needs it.
        let half = Rate { burst: 10, interval: Duration::from_secs(2) };
        assert_eq!(limits.0[Bucket::TaskDefinitionWrite as usize], half);
        // Never faster than what was written: a third of a second has no whole number of milliseconds.
        let third = "task-read=1/3".parse::<RateLimits>().unwrap().0[Bucket::TaskRead as usize];
        assert_eq!(third.interval, Duration::from_millis(334));
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
