//! The service's metrics, for `/metrics`. Callers report events; only this module knows names, labels and buckets. No label
//! contains a user id, a token or anything else that a caller chooses: a fleet of ten thousand users would make ten
//! thousand series, and more people can read a scrape than the API.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::domain::service::Rollout;
use crate::domain::{DirectorySizes, QuotaUse, State};

/// Prefix of every metric's name.
const PREFIX: &str = "openclaw_provisioner";

/// Media type of [`Metrics::encode`]'s answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds. A step is one AWS call or a few, so they go from one round trip to the deadline of a call. The
/// longest wait for the limiter is that for a burst of registrations at one a second.
const CALL_SECONDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds in seconds, around the minute or two that Fargate takes to pull an image.
const START_SECONDS: [f64; 10] = [5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 600.0];

type NoLabels = [(&'static str, &'static str); 0];
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics of one process. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    operations: Family<Operation, Counter>,
    steps: Histograms<StepLabel>,
    starts: Histogram,
    credentials: Family<OutcomeLabel, Counter>,
    aws_calls: Family<AwsCall, Counter>,
    aws_throttles: Family<Action, Counter>,
    queued: Family<Bucket, Gauge>,
    waits: Histograms<Bucket>,
    files_unavailable: Family<Why, Counter>,
    files_stuck: Gauge,
    locks_lost: Counter,
    pending: Gauge,
    oldest_pending: Gauge,
    containers: Family<InState, Gauge>,
    rollouts: Family<InState, Gauge>,
    fleet_rollout_users: Family<InState, Gauge>,
    fleet_rollout_paused: Gauge,
    quota_used: Family<OfQuota, Gauge<f64, AtomicU64>>,
    quota_limit: Family<OfQuota, Gauge<f64, AtomicU64>>,
    directories_bytes: Family<NoLabels, Gauge>,
    directories_measured: Family<Extent, Gauge>,
    directories_above: Family<NoLabels, Gauge>,
    directories_largest: Family<Rank, Gauge>,
    fleet_rollout_planned: Family<NoLabels, Gauge>,
    fleet_rollout_elapsed: Family<NoLabels, Gauge>,
    // Families without labels, because a family shows nothing before it is set: an age of 0, or of half a century, would
    // be wrong.
    oldest_transition: Family<NoLabels, Gauge>,
    snapshot_taken: Family<NoLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    kind: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AwsCall {
    action: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Action {
    action: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bucket {
    bucket: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQuota {
    quota: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Extent {
    extent: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rank {
    rank: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let calls: fn() -> Histogram = || Histogram::new(CALL_SECONDS);
        let inner = Inner {
            operations: add(
                &mut registry,
                "operations",
                "Operations on users that ended, by kind, outcome and reason of a failure",
                Family::default(),
            ),
            steps: add(
                &mut registry,
                "step_seconds",
                "Time that one step of an operation took, waits for the rate limiter included",
                Histograms::new_with_constructor(calls),
            ),
            starts: add(
                &mut registry,
                "provision_to_running_seconds",
                "Time from a provision to a container that runs and is healthy",
                Histogram::new(START_SECONDS),
            ),
            credentials: add(
                &mut registry,
                "credentials",
                "Sign-ins that were sent, removed or repaired, by outcome",
                Family::default(),
            ),
            aws_calls: add(
                &mut registry,
                "aws_calls",
                "Requests sent to AWS, repeated ones included, by action and by AWS's error code (OK, or no_answer)",
                Family::default(),
            ),
            aws_throttles: add(
                &mut registry,
                "aws_throttles",
                "Requests that AWS answered with a request to slow down, by action",
                Family::default(),
            ),
            queued: add(
                &mut registry,
                "limiter_queue_depth",
                "AWS calls that are waiting for the rate limiter now, by bucket",
                Family::default(),
            ),
            waits: add(
                &mut registry,
                "limiter_wait_seconds",
                "Time that an AWS call waited for the rate limiter, by bucket",
                Histograms::new_with_constructor(calls),
            ),
            files_unavailable: add(
                &mut registry,
                "files_unavailable",
                "Work on users' files that was not done, by reason: the mount does not answer (stuck), did not answer in time \
                 (overdue), or had too many calls (crowded)",
                Family::default(),
            ),
            files_stuck: add(
                &mut registry,
                "files_stuck",
                "1 while the file system does not answer and work on files fails at once, otherwise 0",
                Gauge::default(),
            ),
            locks_lost: add(
                &mut registry,
                "locks_lost",
                "Operations that stopped because another replica had taken their user's lock",
                Counter::default(),
            ),
            pending: add(
                &mut registry,
                "accepted_users",
                "Users with accepted work that is not done, as this replica last saw",
                Gauge::default(),
            ),
            oldest_pending: add(
                &mut registry,
                "oldest_accepted_age_seconds",
                "Age of the oldest accepted work that is not done; 0 if there is none",
                Gauge::default(),
            ),
            containers: add(
                &mut registry,
                "containers",
                "Users' containers by state, in the last snapshot of the fleet",
                Family::default(),
            ),
            rollouts: add(
                &mut registry,
                "rollouts",
                "PRIMARY deployments of users' services, by ECS's rollout state, in the last snapshot of the fleet",
                Family::default(),
            ),
            fleet_rollout_users: add(
                &mut registry,
                "fleet_rollout_users",
                "Users of the rollout over the fleet that this replica runs, by state",
                Family::default(),
            ),
            fleet_rollout_paused: add(
                &mut registry,
                "fleet_rollout_paused",
                "1 while the rollout over the fleet that this replica runs is paused, otherwise 0",
                Gauge::default(),
            ),
            quota_used: add(
                &mut registry,
                "quota_used",
                "Amount used of a quota of the account, if the amount left is known",
                Family::default(),
            ),
            quota_limit: add(
                &mut registry,
                "quota_limit",
                "Limit of a quota of the account, in force or from AWS's documentation",
                Family::default(),
            ),
            directories_bytes: add(
                &mut registry,
                "directories_bytes",
                "Total bytes of users' directories, as far as they were measured",
                Family::default(),
            ),
            directories_measured: add(
                &mut registry,
                "directories_measured",
                "Users' directories that were measured, completely (whole) or in part",
                Family::default(),
            ),
            directories_above: add(
                &mut registry,
                "directories_above_soft_limit",
                "Measured directories that are larger than the soft limit",
                Family::default(),
            ),
            directories_largest: add(
                &mut registry,
                "directories_largest_bytes",
                "Bytes of the ten largest measured directories, by rank",
                Family::default(),
            ),
            fleet_rollout_planned: add(
                &mut registry,
                "fleet_rollout_planned_seconds",
                "Expected duration of the rollout over the fleet that this replica runs; not shown if it waits for a window",
                Family::default(),
            ),
            fleet_rollout_elapsed: add(
                &mut registry,
                "fleet_rollout_elapsed_seconds",
                "Time since the rollout over the fleet that this replica runs was started or resumed",
                Family::default(),
            ),
            oldest_transition: add(
                &mut registry,
                "oldest_transition_age_seconds",
                "Longest time that a container has been provisioning, stopping or deleting, in the last snapshot of the fleet",
                Family::default(),
            ),
            snapshot_taken: add(
                &mut registry,
                "fleet_snapshot_timestamp_seconds",
                "When the last snapshot of the fleet was taken; its age is time() minus this",
                Family::default(),
            ),
            registry,
        };
        Self(Arc::new(inner))
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Counts an operation on a user that ended: its kind, outcome (such as `created`, `changed`, `unchanged`, `failed`), and
    /// why it failed (`none` if it did not).
    pub fn operation(&self, kind: &'static str, outcome: &'static str, reason: &'static str) {
        self.0.operations.get_or_create(&Operation { kind, outcome, reason }).inc();
    }

    /// Records the time of a step that was taken, or tried.
    pub fn step(&self, step: &'static str, took: Duration) {
        self.0.steps.get_or_create(&StepLabel { step }).observe(took.as_secs_f64());
    }

    /// Records that a container was found running and healthy this long after its provision.
    pub fn provisioned_and_running(&self, after: Duration) {
        self.0.starts.observe(after.as_secs_f64());
    }

    /// Counts a sign-in that was sent, removed or repaired.
    pub fn credentials(&self, outcome: &'static str) {
        self.0.credentials.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a request to AWS; `action` in IAM's form (`ecs:CreateService`), `code` is AWS's error code, `OK` or
    /// `no_answer`.
    pub fn aws_call(&self, action: &str, code: &str, throttled: bool) {
        self.0.aws_calls.get_or_create(&AwsCall { action: action.to_owned(), code: code.to_owned() }).inc();
        if throttled {
            self.0.aws_throttles.get_or_create(&Action { action: action.to_owned() }).inc();
        }
    }

    /// Counts an AWS call that waits for the limiter, until the returned value is dropped.
    #[must_use]
    pub fn queued(&self, bucket: &'static str) -> Queued {
        let gauge = self.0.queued.get_or_create_owned(&Bucket { bucket });
        gauge.inc();
        Queued(gauge)
    }

    /// Records how long an AWS call waited for the limiter.
    pub fn waited(&self, bucket: &'static str, took: Duration) {
        self.0.waits.get_or_create(&Bucket { bucket }).observe(took.as_secs_f64());
    }

    /// Counts work on files that was not done.
    pub fn files_unavailable(&self, why: &'static str) {
        self.0.files_unavailable.get_or_create(&Why { why }).inc();
    }

    /// Sets whether the file system does not answer now.
    pub fn files_stuck(&self, stuck: bool) {
        self.0.files_stuck.set(i64::from(stuck));
    }

    /// Counts an operation that noticed that it had lost its user's lock.
    pub fn lock_lost(&self) {
        self.0.locks_lost.inc();
    }

    /// Sets the number of users with accepted work that is not done, and the age of the oldest.
    pub fn accepted(&self, users: usize, oldest: Duration) {
        self.0.pending.set(i64::try_from(users).unwrap_or(i64::MAX));
        self.0.oldest_pending.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
    }

    /// Sets the metrics of the rollout over the fleet that this replica runs: users by state.
    /// `pace`: its expected duration and the time since its start, in seconds, if they are meaningful.
    pub fn fleet_rollout(&self, users: &[(&'static str, usize)], is_paused: bool, pace: Option<(u64, u64)>) {
        for (state, users) in users {
            self.0.fleet_rollout_users.get_or_create(&InState { state }).set(i64::try_from(*users).unwrap_or(i64::MAX));
        }
        self.0.fleet_rollout_paused.set(i64::from(is_paused));
        match pace {
            Some((planned, elapsed)) => {
                let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
                self.0.fleet_rollout_planned.get_or_create(&[]).set(seconds(planned));
                self.0.fleet_rollout_elapsed.get_or_create(&[]).set(seconds(elapsed));
            }
            None => self.no_pace(),
        }
    }

    fn no_pace(&self) {
        self.0.fleet_rollout_planned.clear();
        self.0.fleet_rollout_elapsed.clear();
    }

    /// Clears the metrics of a rollout: this replica runs none.
    pub fn no_fleet_rollout(&self) {
        self.0.fleet_rollout_users.clear();
        self.0.fleet_rollout_paused.set(0);
        self.no_pace();
    }

    /// Sets the use of quotas. A quota whose amount left is unknown shows nothing, not an old value.
    pub fn quotas(&self, quotas: &[QuotaUse]) {
        for of in quotas {
            let label = OfQuota { quota: of.quota.name() };
            match of.used.filter(|_| of.left().is_some()) {
                Some(used) => {
                    self.0.quota_used.get_or_create(&label).set(used);
                    self.0.quota_limit.get_or_create(&label).set(of.limit);
                }
                None => {
                    self.0.quota_used.remove(&label);
                    self.0.quota_limit.remove(&label);
                }
            }
        }
    }

    /// Sets the total size of users' directories, the number above the soft limit, and the sizes of the largest, in descending
    /// order. Nothing is shown before one was measured.
    pub fn directories(&self, all: DirectorySizes, above: usize, largest: &[u64]) {
        self.0.directories_largest.clear();
        if all.users == 0 {
            self.0.directories_bytes.clear();
            self.0.directories_measured.clear();
            self.0.directories_above.clear();
            return;
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.0.directories_bytes.get_or_create(&[]).set(number(all.bytes));
        let measured = |extent| self.0.directories_measured.get_or_create_owned(&Extent { extent });
        measured("whole").set(number(all.users - all.incomplete));
        measured("part").set(number(all.incomplete));
        self.0.directories_above.get_or_create(&[]).set(i64::try_from(above).unwrap_or(i64::MAX));
        for (rank, bytes) in (1..).zip(largest) {
            self.0.directories_largest.get_or_create(&Rank { rank }).set(number(*bytes));
        }
    }

    /// Sets the metrics of a snapshot of the fleet: the state of every container and of its rollout, the longest time in a
    /// transitional state (`None`: no container is in one), and the time of the snapshot.
    pub fn fleet(
        &self,
        containers: impl IntoIterator<Item = (State, Option<Rollout>)>,
        oldest: Option<Duration>,
        taken_at: Timestamp,
    ) {
        let (mut states, mut rollouts) = (State::ALL.map(|_| 0_i64), Rollout::ALL.map(|_| 0_i64));
        for (state, rollout) in containers {
            states[state as usize] += 1;
            if let Some(rollout) = rollout {
                rollouts[rollout as usize] += 1;
            }
        }
        // A state without containers is set to 0; otherwise it would keep its old value.
        for state in State::ALL {
            self.0.containers.get_or_create(&InState { state: state.name() }).set(states[state as usize]);
        }
        for rollout in Rollout::ALL {
            self.0.rollouts.get_or_create(&InState { state: rollout.name() }).set(rollouts[rollout as usize]);
        }
        let seconds = oldest.unwrap_or_default().as_secs();
        self.0.oldest_transition.get_or_create(&[]).set(i64::try_from(seconds).unwrap_or(i64::MAX));
        self.0.snapshot_taken.get_or_create(&[]).set(taken_at.as_second());
    }

    /// All metrics as OpenMetrics text, see [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut answer = String::new();
        // Writing to a String does not fail.
        let _infallible = text::encode(&mut answer, &self.0.registry);
        answer
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// One waiting AWS call. A caller that gives up waiting drops it, too.
#[derive(Debug)]
pub struct Queued(Gauge);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.dec();
    }
}
