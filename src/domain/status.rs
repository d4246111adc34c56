//! Status, derived each time from what ECS reports now. It is stored nowhere, so it cannot become outdated.

mod last_stop;
mod reason;
mod words;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use last_stop::LastStop;
pub use reason::{Reason, ReasonCode};

use jiff::Timestamp;
use reason::{classify, is_no_failure, is_unhealthy, joined, of_trouble, reason};
use words::is_general;

use super::service::{
    Deployment, Health, Rollout, Service, ServiceDeployment, ServiceStatus, Task, Trouble, is_newer_revision,
};

/// State of a user's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Starting.
    Provisioning,
    /// Running the requested revision, and healthy as far as ECS knows.
    Running,
    /// Desired count 0, tasks still stopping.
    Stopping,
    /// Desired count 0, no task left.
    Stopped,
    /// ECS has given up, or its tasks keep failing; see the reason.
    Failed,
    /// The service is being deleted.
    Deleting,
}

impl State {
    /// All states, in order.
    pub const ALL: [Self; 6] =
        [Self::Provisioning, Self::Running, Self::Stopping, Self::Stopped, Self::Failed, Self::Deleting];

    /// Its name in API answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }
}

/// Progress of a container that is being provisioned, in order. In the first four phases the service does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The request was accepted, and nothing exists yet.
    Queued,
    /// The access point exists.
    AccessPoint,
    /// The revision is registered.
    TaskDefinition,
    /// The sign-in is in the user directory.
    FilesStaged,
    /// The service exists; no task has been seen yet.
    Service,
    /// A task waits for its network interface, its volume or its image.
    TaskPending,
    /// A task runs and its health is unknown so far.
    TaskRunning,
    /// A task runs and is healthy.
    Healthy,
}

/// Status of a container, as ECS reports it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The container's state.
    pub state: State,
    /// Its progress; only while provisioning or running.
    pub phase: Option<Phase>,
    /// Whether a task of the requested revision runs and is healthy.
    pub ready: bool,
    /// Why it is not ready.
    pub reason: Option<Reason>,
}

impl Status {
    /// The status of a container that ECS calls healthy but whose gateway does not answer.
    #[must_use]
    pub fn unanswered(self, problem: String) -> Self {
        let reason = Some(reason(ReasonCode::GatewayUnanswered, problem));
        Self { state: State::Provisioning, phase: Some(Phase::TaskRunning), ready: false, reason }
    }
}

/// Derives the status of a service from the service and its tasks (running and recently stopped ones).
/// `has_health_check` says whether the definition has a container health check. Without one, ECS never calls a task
/// healthy, so RUNNING counts as healthy. `None`: the service does not exist (any more).
#[must_use]
pub fn derive(service: &Service, tasks: &[Task], has_health_check: bool) -> Option<Status> {
    match service.status {
        ServiceStatus::Inactive => return None,
        ServiceStatus::Draining => return Some(plain(State::Deleting)),
        ServiceStatus::Active => {}
    }
    let alive = |task: &&Task| task.last_status != "STOPPED";
    if service.desired == 0 {
        let busy = service.running > 0 || service.pending > 0 || tasks.iter().any(|task| alive(&task));
        return Some(plain(if busy { State::Stopping } else { State::Stopped }));
    }
    // Only tasks of the requested deployment count: the old task's health says nothing about the new one
    // (incident 15), and no user should be sent to a task that is stopping.
    let current =
        tasks.iter().filter(alive).filter(|task| is_current(service, task) && task.desired_status == "RUNNING");
    let phase = current.map(|task| phase_of(task, has_health_check)).max().unwrap_or(Phase::Service);
    let ready = phase == Phase::Healthy;
    let stopped = || tasks.iter().filter(|task| task.task_definition == service.task_definition);
    // ECS starts no more tasks for a deployment that it has given up (incident 16). If a task is healthy nevertheless,
    // it serves its user.
    if let Some(given_up) = service.primary().filter(|primary| primary.rollout == Rollout::Failed && !ready) {
        let told = || match trouble_of(service, given_up) {
            Some(trouble) => of_trouble(trouble),
            None => reason(ReasonCode::CircuitBreaker, given_up.reason.clone().unwrap_or_default()),
        };
        return Some(failed(last_failed(stopped()).map_or_else(told, classify)));
    }
    let left = service.deployments.iter().find(|other| !other.primary && other.rollout == Rollout::Failed);
    if let Some(left) = left.filter(|left| !is_retried(service, left)) {
        // The PRIMARY deployment is a rollback, not the requested one: the service may be steady, but the request failed.
        let told = left.reason.clone().unwrap_or_default();
        let task = last_failed(tasks.iter().filter(|task| task.is_of(left)));
        return Some(failed(rolled_back(told, task, trouble_of(service, left))));
    }
    Some(Status {
        state: if ready { State::Running } else { State::Provisioning },
        phase: Some(phase),
        ready,
        reason: if ready { None } else { on_its_way(service, phase, last_stopped(stopped())) },
    })
}

/// Why a container is not ready yet. While there is no task: the newest reason among its service's events and its last task.
fn on_its_way(service: &Service, phase: Phase, stopped: Option<&Task>) -> Option<Reason> {
    let since = service.primary().and_then(|primary| primary.created_at_seconds);
    let is_current = |trouble: &&Trouble| !trouble.is_over && is_since(trouble, since);
    let trouble = service.troubles.iter().find(is_current).filter(|_| phase == Phase::Service);
    match (trouble, stopped) {
        (Some(trouble), None) => Some(of_trouble(trouble)),
        (Some(trouble), Some(task)) if !is_general(&trouble.message) && is_since(trouble, stopped_at_seconds(task)) => {
            Some(of_trouble(trouble))
        }
        (_, stopped) => stopped.map(classify),
    }
}

fn is_since(trouble: &Trouble, seconds: Option<i64>) -> bool {
    trouble.created_at_seconds.zip(seconds).is_none_or(|(told, seconds)| told >= seconds)
}

fn stopped_at_seconds(task: &Task) -> Option<i64> {
    task.stopped_at.as_ref()?.parse().ok().map(Timestamp::as_second)
}

/// The newest trouble of a deployment that ECS gave up: written after it began and not after it ended. ECS writes the event
/// and the end of the deployment at about the same time, so a few seconds of difference are allowed.
fn trouble_of<'a>(service: &'a Service, given_up: &Deployment) -> Option<&'a Trouble> {
    const AT_ONCE_SECONDS: i64 = 5;
    let is_before_its_end = |trouble: &&Trouble| {
        let told_and_ended = trouble.created_at_seconds.zip(given_up.updated_at_seconds);
        told_and_ended.is_none_or(|(told, ended)| told <= ended.saturating_add(AT_ONCE_SECONDS))
    };
    let of_it = service.troubles.iter().filter(|trouble| is_since(trouble, given_up.created_at_seconds));
    of_it.filter(is_before_its_end).find(|trouble| !is_general(&trouble.message))
}

/// The status of a service that rolled back from `asked_for` some time ago: DescribeServices no longer lists that deployment,
/// and everything looks steady. `tasks` are the stopped ones that ECS still lists.
#[must_use]
pub fn rolled_back_from(asked_for: &str, deployment: &ServiceDeployment, tasks: &[Task]) -> Status {
    let told = deployment.reason.clone().unwrap_or_else(|| "the deployment was rolled back".to_owned());
    let tasks = tasks.iter().filter(|task| task.task_definition == asked_for);
    failed(rolled_back(told, last_failed(tasks), None))
}

/// The running task of the requested deployment, if there is one.
#[must_use]
pub fn running_task<'a>(service: &Service, tasks: &'a [Task]) -> Option<&'a Task> {
    let runs = |task: &&Task| task.last_status == "RUNNING" && task.desired_status == "RUNNING";
    tasks.iter().filter(runs).filter(|task| is_current(service, task)).max_by_key(|task| task.created_at_seconds)
}

fn is_current(service: &Service, task: &Task) -> bool {
    service.primary().map_or(task.task_definition == service.task_definition, |primary| task.is_of(primary))
}

/// Whether the service retries, and does not roll back. ECS lists a failed deployment until the next one is steady. A retry
/// goes to the same revision or to a newer one of its family; a rollback goes to an older one.
fn is_retried(service: &Service, failed: &Deployment) -> bool {
    let same_or_newer = |to: &Deployment| {
        to.task_definition == failed.task_definition || is_newer_revision(&to.task_definition, &failed.task_definition)
    };
    service.primary().is_some_and(same_or_newer)
}

fn plain(state: State) -> Status {
    Status { state, phase: None, ready: false, reason: None }
}

fn failed(reason: Reason) -> Status {
    Status { state: State::Failed, phase: None, ready: false, reason: Some(reason) }
}

/// The reason of a rollback. The circuit breaker says only that tasks failed to start; the last failed task says why, or,
/// if there was none, the service's events.
fn rolled_back(told: String, task: Option<&Task>, trouble: Option<&Trouble>) -> Reason {
    let Some(task) = task else {
        let message = trouble.map_or_else(|| told.clone(), |trouble| joined(&told, &trouble.message));
        return reason(ReasonCode::RolledBack, message);
    };
    let of_task = classify(task);
    let message = joined(&told, &of_task.message);
    Reason { stopped_at: of_task.stopped_at, exit_code: of_task.exit_code, ..reason(ReasonCode::RolledBack, message) }
}

fn phase_of(task: &Task, has_health_check: bool) -> Phase {
    match (task.last_status.as_str(), task.health, has_health_check) {
        ("RUNNING", Health::Healthy, _) | ("RUNNING", Health::Unknown, false) => Phase::Healthy,
        ("RUNNING", Health::Unhealthy, _) | ("RUNNING", Health::Unknown, true) => Phase::TaskRunning,
        _ => Phase::TaskPending,
    }
}

/// The last task that failed. A task that an operator or AWS stopped did not fail, so it does not explain a failed deployment.
fn last_failed<'a>(tasks: impl Iterator<Item = &'a Task>) -> Option<&'a Task> {
    last_stopped(tasks.filter(|task| !is_no_failure(task)))
}

/// The last task that stopped by anything other than a request to the service.
fn last_stopped<'a>(tasks: impl Iterator<Item = &'a Task>) -> Option<&'a Task> {
    tasks
        .filter(|task| task.last_status == "STOPPED")
        // A task that the service stopped for a deployment or for scaling did not fail.
        .filter(|task| task.stop_code.as_deref() != Some("ServiceSchedulerInitiated") || is_unhealthy(task))
        .max_by_key(|task| task.created_at_seconds)
}

#[cfg(test)]
mod sentences;
#[cfg(test)]
mod tests;
