//! Status, derived from what ECS says at this moment; nothing of it is kept, so nothing can be stuck in a record.

mod last_stop;
mod reason;

use serde::Serialize;
use utoipa::ToSchema;

pub use last_stop::LastStop;
pub use reason::{Reason, ReasonCode};

use reason::{classify, is_unhealthy, joined, reason};

use super::service::{Deployment, Health, Rollout, Service, ServiceDeployment, ServiceStatus, Task, is_newer_revision};

/// Where a user's container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
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

/// How far a container that is being provisioned has come. `files_staged`, `access_point` and `task_definition` come before
/// there is a service, while `GET` still answers 404: they are names of steps that no status is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The sign-in is in the user directory.
    FilesStaged,
    /// The access point exists.
    AccessPoint,
    /// The revision is registered.
    TaskDefinition,
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
    let stopped = last_failed(tasks.iter().filter(|task| task.task_definition == service.task_definition));
    // ECS starts no more tasks for a deployment that it has given up (incident 16); one that is healthy all the same
    // serves its user.
    if let Some(given_up) = service.primary().filter(|primary| primary.rollout == Rollout::Failed && !ready) {
        let told = || reason(ReasonCode::CircuitBreaker, given_up.reason.clone().unwrap_or_default());
        return Some(failed(stopped.map_or_else(told, classify)));
    }
    let left = service.deployments.iter().find(|other| !other.primary && other.rollout == Rollout::Failed);
    if let Some(left) = left.filter(|left| !is_retried(service, left)) {
        // The PRIMARY deployment is a way back, not what was asked for: steady is not the same as done.
        let told = left.reason.clone().unwrap_or_default();
        return Some(failed(rolled_back(told, last_failed(tasks.iter().filter(|task| task.is_of(left))))));
    }
    Some(Status {
        state: if ready { State::Running } else { State::Provisioning },
        phase: Some(phase),
        ready,
        reason: if ready { None } else { stopped.map(classify) },
    })
}

/// The status of a service that went back from `asked_for` a while ago: DescribeServices has forgotten it, and all looks
/// steady. `tasks` are stopped ones, as far as ECS still has them.
#[must_use]
pub fn rolled_back_from(asked_for: &str, deployment: &ServiceDeployment, tasks: &[Task]) -> Status {
    let told = deployment.reason.clone().unwrap_or_else(|| "the deployment was rolled back".to_owned());
    let tasks = tasks.iter().filter(|task| task.task_definition == asked_for);
    failed(rolled_back(told, last_failed(tasks)))
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

/// The circuit breaker says only that tasks failed to start; the last of them says why.
fn rolled_back(told: String, task: Option<&Task>) -> Reason {
    let Some(task) = task else {
        return reason(ReasonCode::RolledBack, told);
    };
    let of_task = classify(task);
    let message = joined(&told, &of_task.message);
    Reason { stopped_at: of_task.stopped_at, exit_code: of_task.exit_code, ..reason(ReasonCode::RolledBack, message) }
}

fn phase_of(task: &Task, has_health_check: bool) -> Phase {
    match (task.last_status.as_str(), task.health, has_health_check) {
        ("RUNNING", Health::Healthy, _) | ("RUNNING", _, false) => Phase::Healthy,
        ("RUNNING", Health::Unhealthy | Health::Unknown, true) => Phase::TaskRunning,
        _ => Phase::TaskPending,
    }
}

fn last_failed<'a>(tasks: impl Iterator<Item = &'a Task>) -> Option<&'a Task> {
    tasks
        .filter(|task| task.last_status == "STOPPED")
        // A task that the service stopped for a deployment or for scaling did not fail.
        .filter(|task| task.stop_code.as_deref() != Some("ServiceSchedulerInitiated") || is_unhealthy(task))
        .max_by_key(|task| task.created_at_seconds)
}

#[cfg(test)]
mod tests;
