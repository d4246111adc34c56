//! Status, derived from what ECS says at this moment; nothing of it is kept, so nothing can be stuck in a record.

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

/// Where a user's container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// On its way up.
    Provisioning,
    /// Up, on the revision that was asked for, and healthy as far as ECS knows.
    Running,
    /// Desired count 0, tasks still going down.
    Stopping,
    /// Desired count 0, no task left.
    Stopped,
    /// ECS has given up, or keeps failing; see the reason.
    Failed,
    /// The service is being deleted.
    Deleting,
}

impl State {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Provisioning, Self::Running, Self::Stopping, Self::Stopped, Self::Failed, Self::Deleting];

    /// Its name, as in answers.
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

/// How far a container that is being provisioned has come, in order. The first four come before there is a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was accepted, and nothing is there yet.
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
    /// A task runs and its health is not known yet.
    TaskRunning,
    /// A task runs and is healthy.
    Healthy,
}

/// A status as ECS gives it at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where the container is.
    pub state: State,
    /// How far it has come; only while provisioning or running.
    pub phase: Option<Phase>,
    /// Whether a task of the asked-for revision runs and is healthy.
    pub ready: bool,
    /// Why not.
    pub reason: Option<Reason>,
}

impl Status {
    /// Of a container that ECS calls healthy, and whose gateway does not answer.
    #[must_use]
    pub fn unanswered(self, problem: String) -> Self {
        let reason = Some(reason(ReasonCode::GatewayUnanswered, problem));
        Self { state: State::Provisioning, phase: Some(Phase::TaskRunning), ready: false, reason }
    }
}

/// Derives the status of a service from the service and its tasks (running and recently stopped ones).
/// `has_health_check` says whether the definition has a container health check: without one ECS never calls a task
/// healthy, and RUNNING has to do. `None`: the service does not exist (any more).
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
    // Only tasks of the deployment that was asked for count: the old task's health says nothing of the new one
    // (incident 15), and a task that is being stopped is no place to send anybody.
    let current =
        tasks.iter().filter(alive).filter(|task| is_current(service, task) && task.desired_status == "RUNNING");
    let phase = current.map(|task| phase_of(task, has_health_check)).max().unwrap_or(Phase::Service);
    let ready = phase == Phase::Healthy;
    let stopped = || tasks.iter().filter(|task| task.task_definition == service.task_definition);
    // ECS starts no more tasks for a deployment that it has given up (incident 16); one that is healthy all the same
    // serves its user.
    if let Some(given_up) = service.primary().filter(|primary| primary.rollout == Rollout::Failed && !ready) {
        let told = || match trouble_of(service, given_up) {
            Some(trouble) => of_trouble(trouble),
            None => reason(ReasonCode::CircuitBreaker, given_up.reason.clone().unwrap_or_default()),
        };
        return Some(failed(last_failed(stopped()).map_or_else(told, classify)));
    }
    let left = service.deployments.iter().find(|other| !other.primary && other.rollout == Rollout::Failed);
    if let Some(left) = left.filter(|left| !is_retried(service, left)) {
        // The PRIMARY deployment is a way back, not what was asked for: steady is not the same as done.
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

/// Why a container is not up yet. While there is no task, the newest of what its service's events and its last task say.
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

/// The newest trouble of a deployment that was given up: told after it began and not after it had ended. ECS says that it
/// gave up when it writes the event, so a few seconds are no difference.
fn trouble_of<'a>(service: &'a Service, given_up: &Deployment) -> Option<&'a Trouble> {
    const AT_ONCE_SECONDS: i64 = 5;
    let is_before_its_end = |trouble: &&Trouble| {
        let told_and_ended = trouble.created_at_seconds.zip(given_up.updated_at_seconds);
        told_and_ended.is_none_or(|(told, ended)| told <= ended.saturating_add(AT_ONCE_SECONDS))
    };
    let of_it = service.troubles.iter().filter(|trouble| is_since(trouble, given_up.created_at_seconds));
    of_it.filter(is_before_its_end).find(|trouble| !is_general(&trouble.message))
}

/// The status of a service that went back from `asked_for` a while ago: DescribeServices has forgotten it, and all looks
/// steady. `tasks` are stopped ones, as far as ECS still has them.
#[must_use]
pub fn rolled_back_from(asked_for: &str, deployment: &ServiceDeployment, tasks: &[Task]) -> Status {
    let told = deployment.reason.clone().unwrap_or_else(|| "the deployment was rolled back".to_owned());
    let tasks = tasks.iter().filter(|task| task.task_definition == asked_for);
    failed(rolled_back(told, last_failed(tasks), None))
}

/// The task that runs what was asked for, if one does.
#[must_use]
pub fn running_task<'a>(service: &Service, tasks: &'a [Task]) -> Option<&'a Task> {
    let runs = |task: &&Task| task.last_status == "RUNNING" && task.desired_status == "RUNNING";
    tasks.iter().filter(runs).filter(|task| is_current(service, task)).max_by_key(|task| task.created_at_seconds)
}

fn is_current(service: &Service, task: &Task) -> bool {
    service.primary().map_or(task.task_definition == service.task_definition, |primary| task.is_of(primary))
}

/// Whether the service is on its way to something else than back. ECS lists a deployment that failed until the next one
/// is steady; a retry goes to the same revision or to a newer one of its family, a way back to an older one.
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

/// The circuit breaker says only that tasks failed to start; the last of them says why, or where there was none the
/// service's events.
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

/// The last task that failed. One that an operator or AWS stopped did not, and explains no deployment that was given up.
fn last_failed<'a>(tasks: impl Iterator<Item = &'a Task>) -> Option<&'a Task> {
    last_stopped(tasks.filter(|task| !is_no_failure(task)))
}

/// The last task that stopped for anything but what the service was told to do.
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
