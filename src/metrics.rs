//! What the service counts and times, for `/metrics`. Callers say what happened; names, labels and buckets are known
//! here alone. No label holds a user id, a token or anything else that a caller chooses: a fleet of ten thousand users
//! would be ten thousand series, and a scrape is read by more people than the API.

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

/// What every metric's name begins with.
const PREFIX: &str = "openclaw_provisioner";

/// Media type of [`Metrics::encode`]'s answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds. A step is an AWS call or a few, so from one round trip to the deadline of an AWS call; a
/// call waits as long for the limiter at worst as for a burst of registrations at one a second.
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
    // Families without labels, because a family shows nothing before it is set: an age of 0, or of half a century,
    // would be a lie.
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
                "Operations on users that came to an end, by kind, outcome and reason of a failure",
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
                "Sign-ins that were sent, removed or repaired, by what came of them",
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
                "AWS calls that wait for the rate limiter at this moment, by bucket",
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
                "Work on users' files that was not done, by why: the mount does not answer (stuck), did not in time (overdue), or \
                 too much was asked of it (crowded)",
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
                "Users for whom work was accepted that is not done, as this replica last saw",
                Gauge::default(),
            ),
            oldest_pending: add(
                &mut registry,
                "oldest_accepted_age_seconds",
                "How long ago the oldest of that work was accepted; 0 where there is none",
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
                "Deployments that users' services are going to, by ECS's rollout state, in the last snapshot of the fleet",
                Family::default(),
            ),
            fleet_rollout_users: add(
                &mut registry,
                "fleet_rollout_users",
                "Users of the rollout over the fleet that this replica runs, by how far they are",
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
                "What is used of a quota of the account, where it is known what is left",
                Family::default(),
            ),
            quota_limit: add(
                &mut registry,
                "quota_limit",
                "How much of it there is, in force or by AWS's documentation",
                Family::default(),
            ),
            directories_bytes: add(
                &mut registry,
                "directories_bytes",
                "Bytes that users' directories hold together, as far as they were measured",
                Family::default(),
            ),
            directories_measured: add(
                &mut registry,
                "directories_measured",
                "Users' directories that were measured, whole or in part",
                Family::default(),
            ),
            directories_above: add(
                &mut registry,
                "directories_above_soft_limit",
                "Of these, the ones that hold more than the soft limit",
                Family::default(),
            ),
            directories_largest: add(
                &mut registry,
                "directories_largest_bytes",
                "Bytes that the largest ten of them hold, by rank",
                Family::default(),
            ),
            fleet_rollout_planned: add(
                &mut registry,
                "fleet_rollout_planned_seconds",
                "How long the rollout over the fleet that this replica runs was expected to take; not where it waits for a window",
                Family::default(),
            ),
            fleet_rollout_elapsed: add(
                &mut registry,
                "fleet_rollout_elapsed_seconds",
                "How long it has been going on since it was started or resumed",
                Family::default(),
            ),
            oldest_transition: add(
                &mut registry,
                "oldest_transition_age_seconds",
                "How long the longest has been provisioning, stopping or deleting, in the last snapshot of the fleet",
                Family::default(),
            ),
            snapshot_taken: add(
                &mut registry,
                "fleet_snapshot_timestamp_seconds",
                "When the last snapshot of the fleet was taken; its age is time() less this",
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
    /// An operation on a user ended: its kind, `created`, `changed`, `unchanged`, `failed` or the like, and why it
    /// failed (`none` if it did not).
    pub fn operation(&self, kind: &'static str, outcome: &'static str, reason: &'static str) {
        self.0.operations.get_or_create(&Operation { kind, outcome, reason }).inc();
    }

    /// A step was taken, or tried.
    pub fn step(&self, step: &'static str, took: Duration) {
        self.0.steps.get_or_create(&StepLabel { step }).observe(took.as_secs_f64());
    }

    /// A container that was provisioned that long ago was found running and healthy.
    pub fn provisioned_and_running(&self, after: Duration) {
        self.0.starts.observe(after.as_secs_f64());
    }

    /// A sign-in was sent, removed or repaired.
    pub fn credentials(&self, outcome: &'static str) {
        self.0.credentials.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A request was sent to AWS; `action` as IAM writes it (`ecs:CreateService`), `code` AWS's error code, `OK` or
    /// `no_answer`.
    pub fn aws_call(&self, action: &str, code: &str, throttled: bool) {
        self.0.aws_calls.get_or_create(&AwsCall { action: action.to_owned(), code: code.to_owned() }).inc();
        if throttled {
            self.0.aws_throttles.get_or_create(&Action { action: action.to_owned() }).inc();
        }
    }

    /// An AWS call waits for the limiter, for as long as the answer lives.
    #[must_use]
    pub fn queued(&self, bucket: &'static str) -> Queued {
        let gauge = self.0.queued.get_or_create_owned(&Bucket { bucket });
        gauge.inc();
        Queued(gauge)
    }

    /// An AWS call waited that long for the limiter.
    pub fn waited(&self, bucket: &'static str, took: Duration) {
        self.0.waits.get_or_create(&Bucket { bucket }).observe(took.as_secs_f64());
    }

    /// Work on files was not done.
    pub fn files_unavailable(&self, why: &'static str) {
        self.0.files_unavailable.get_or_create(&Why { why }).inc();
    }

    /// Whether the file system answers at present.
    pub fn files_stuck(&self, stuck: bool) {
        self.0.files_stuck.set(i64::from(stuck));
    }

    /// An operation noticed that it no longer had its user's lock.
    pub fn lock_lost(&self) {
        self.0.locks_lost.inc();
    }

    /// How many users have work that was accepted and is not done, and how old the oldest of it is.
    pub fn accepted(&self, users: usize, oldest: Duration) {
        self.0.pending.set(i64::try_from(users).unwrap_or(i64::MAX));
        self.0.oldest_pending.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
    }

    /// The rollout over the fleet that this replica runs: users by how far they are.
    /// `pace`: how long it was expected to take and has been going on, in seconds, where that says anything.
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

    /// This replica runs no rollout over the fleet.
    pub fn no_fleet_rollout(&self) {
        self.0.fleet_rollout_users.clear();
        self.0.fleet_rollout_paused.set(0);
        self.no_pace();
    }

    /// What is used of quotas. One of which it is not known what is left shows nothing, not what was known before.
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

    /// What users' directories hold, how many are above the soft limit, and the largest of them, the largest first. Nothing is
    /// shown before one was measured.
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

    /// A snapshot of the fleet: the state of every container and of its rollout, how long the longest has been in a
    /// transitional state (`None`: none is), and when that was.
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
        // A state that nobody is in any more is set to 0, or it would stay as it was.
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

    /// Everything as OpenMetrics text, see [`CONTENT_TYPE`].
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

/// One waiting AWS call. Also a caller that gives up waiting drops it.
#[derive(Debug)]
pub struct Queued(Gauge);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.dec();
    }
}
