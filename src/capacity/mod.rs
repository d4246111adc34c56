//! Capacity of the account: quotas, how much of them is used, and how much is left. Nothing here changes anything.
//!
//! Everything is counted where AWS counts it, and not from the list of containers, because other services in the cluster count, too.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};

use crate::aws::{Aws, AwsError, Class, Scope};
use crate::domain::{Coordinates, LimitSource, Quota, QuotaUse, user_family};
use crate::metrics::Metrics;

/// How long a result is reused: a page that asks repeatedly must not cause thousands of tasks to be described each time.
const BELIEVED_FOR: Duration = Duration::from_secs(60);
/// How often the metrics are updated. The first update is after a minute, because a starting replica has more urgent work.
const METRICS_EVERY: Duration = Duration::from_secs(300);
const METRICS_AFTER: Duration = Duration::from_secs(60);
/// How long a caller waits: 5,000 tasks take a hundred calls, which need about ten seconds at background priority.
const ANSWERS_WITHIN: Duration = Duration::from_secs(25);

/// The resources whose quotas are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityScope {
    /// Cluster name or ARN.
    pub cluster: String,
    /// The family of users' task definitions.
    pub user_family: String,
    /// EFS file system id.
    pub file_system_id: String,
    /// Whether users have roles of their own.
    pub has_user_roles: bool,
}

impl CapacityScope {
    /// The resources that these coordinates name.
    #[must_use]
    pub fn of(at: &Coordinates) -> Self {
        Self {
            cluster: at.cluster.clone(),
            user_family: user_family(at.base_family.as_str()),
            file_system_id: at.file_system_id.clone(),
            has_user_roles: at.release.user_roles.is_some(),
        }
    }
}

/// All quotas, read at one time.
#[derive(Debug, Clone)]
pub struct Look {
    /// When the reading began.
    pub taken_at: Timestamp,
    taken: Instant,
    of: CapacityScope,
    /// In the order of [`Quota::ALL`].
    pub quotas: Vec<QuotaUse>,
}

impl Look {
    /// Time since the reading began.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.taken.elapsed()
    }
}

/// The quotas for repeated calls: one reading at a time, and none within 60 s after the last. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Capacity {
    aws: Aws,
    coordinates: watch::Receiver<Coordinates>,
    last: Arc<Mutex<Option<Arc<Look>>>>,
    metrics: Metrics,
}

impl Capacity {
    /// If `coordinates` change, the quotas are read again. Every reading updates `metrics`.
    #[must_use]
    pub fn new(aws: Aws, coordinates: watch::Receiver<Coordinates>, metrics: Metrics) -> Self {
        Self { aws, coordinates, last: Arc::default(), metrics }
    }

    /// Reads the quotas from time to time, for metrics, until it is aborted.
    pub fn refresh_in_background(&self) -> JoinHandle<()> {
        let capacity = self.clone();
        tokio::spawn(async move {
            sleep(METRICS_AFTER).await;
            loop {
                drop(capacity.look().await);
                sleep(METRICS_EVERY).await;
            }
        })
    }

    /// The quotas, at most 60 s old.
    pub async fn look(&self) -> Arc<Look> {
        let mut last = self.last.lock().await;
        let place = CapacityScope::of(&self.coordinates.borrow());
        if let Some(look) = last.as_ref().filter(|look| look.of == place && look.age() < BELIEVED_FOR) {
            return Arc::clone(look);
        }
        let (taken_at, taken) = (Timestamp::now(), Instant::now());
        let quotas = read(&self.aws, &place, ANSWERS_WITHIN).await;
        self.metrics.quotas(&quotas);
        let look = Arc::new(Look { taken_at, taken, of: place, quotas });
        *last = Some(Arc::clone(&look));
        look
    }
}

/// Reads all quotas, each within that time, with lower priority than calls that people wait for.
pub async fn read(aws: &Aws, place: &CapacityScope, within: Duration) -> Vec<QuotaUse> {
    // Boxed: each contains several calls of the SDK, whose futures are large, and all of them run at the same time.
    let read = |quota| Box::pin(read_one(aws, place, quota, within));
    let counts = |quota: &Quota| *quota != Quota::Roles || place.has_user_roles;
    join_all(Quota::ALL.into_iter().filter(counts).map(read)).await
}

async fn read_one(aws: &Aws, place: &CapacityScope, quota: Quota, within: Duration) -> QuotaUse {
    let in_background = |deadline| Scope::new(Class::Background, deadline);
    let deadline = Instant::now() + within;
    let (counted, limit) = tokio::join!(
        timeout(within, in_background(deadline).run(count(aws, place, quota))),
        timeout(within, limit(aws, quota)),
    );
    let mut problems = Vec::new();
    let used = known(quota, within, counted, &mut problems);
    let in_force = known(quota, within, limit, &mut problems).flatten();
    let (limit, limit_from) = match in_force {
        Some(limit) => (limit, LimitSource::InForce),
        None => (quota.documented_default(), LimitSource::DocumentedDefault),
    };
    QuotaUse { quota, used, limit, limit_from, problems }
}

/// The answer, if it came in time; otherwise the reason is added to `problems`.
fn known<T>(
    quota: Quota,
    within: Duration,
    answer: Result<Result<T, AwsError>, Elapsed>,
    problems: &mut Vec<String>,
) -> Option<T> {
    let problem = match answer {
        Ok(Ok(known)) => return Some(known),
        Ok(Err(error)) => error.to_string(),
        Err(Elapsed { .. }) => format!("{}: no answer within {} s", quota.what(), within.as_secs()),
    };
    problems.push(problem);
    None
}

async fn count(aws: &Aws, place: &CapacityScope, quota: Quota) -> Result<f64, AwsError> {
    match quota {
        Quota::FargateVcpu => aws.ecs.vcpu_in_use(&place.cluster).await,
        Quota::NetworkInterfaces => aws.ecs.tasks_in(&place.cluster).await.map(f64::from),
        Quota::Services => aws.ecs.services_in(&place.cluster).await.map(f64::from),
        Quota::AccessPoints => aws.efs.count_access_points(&place.file_system_id).await.map(f64::from),
        Quota::TaskDefinitionRevisions => aws.ecs.newest_number(&place.user_family).await.map(f64::from),
        Quota::Roles => aws.iam.count_roles().await.map(|roles| roles.used.into()),
    }
}

async fn limit(aws: &Aws, quota: Quota) -> Result<Option<f64>, AwsError> {
    match quota.codes() {
        // Service Quotas knows it in one Region alone, and IAM wherever it is asked.
        Some(_) if quota == Quota::Roles => aws.iam.count_roles().await.map(|roles| Some(roles.limit.into())),
        Some((service, code)) => aws.quotas.in_force(service, code).await,
        None => Ok(None),
    }
}
