//! Status, derived from what ECS says at this moment; nothing of it is kept, so nothing can be stuck in a record.

use serde::Serialize;

use super::service::{Deployment, Health, Rollout, Service, ServiceStatus, Task};

/// Where a user's container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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

/// How far a container that is being provisioned has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

/// Why a container does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Ours, from a closed list.
    pub code: ReasonCode,
    /// ECS's own words.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
    /// When the task stopped, RFC 3339.
    pub stopped_at: Option<String>,
    /// Exit code of the container.
    pub exit_code: Option<i32>,
}

/// The closed list of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// The image cannot be pulled.
    ImagePull,
    /// The task's resources could not be made: mostly the EFS mount or a secret.
    ResourceInitialization,
    /// Killed for want of memory.
    OutOfMemory,
    /// The container could not be started.
    CannotStart,
    /// The container's process ended.
    ContainerExited,
    /// The container's health check failed.
    Unhealthy,
    /// The circuit breaker went back to the revision before.
    RolledBack,
    /// The circuit breaker gave up, and no stopped task tells more.
    CircuitBreaker,
    /// Anything else that ECS says.
    Other,
}

impl ReasonCode {
    /// What an operator does about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::ImagePull => {
                "check that the image and its tag exist and that the execution role may pull it, then redeploy"
            }
            Self::ResourceInitialization => {
                "check the EFS mount targets, the task role's ClientMount and ClientWrite, and the ARNs in `secrets`, then redeploy"
            }
            Self::OutOfMemory => "resize to more memory_mib",
            Self::CannotStart => "check the command and the user of the base task definition",
            Self::ContainerExited => "read the container's log; redeploy once it is mended",
            Self::Unhealthy => "read the container's log, and check the health check of the base task definition",
            Self::RolledBack => "the new revision did not start; mend what the reason names and redeploy",
            Self::CircuitBreaker => "read the service events in ECS, mend what they name and redeploy",
            Self::Other => "read the service events in ECS",
        }
    }
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
        return Some(failed(rolled_back(left, tasks)));
    }
    Some(Status {
        state: if ready { State::Running } else { State::Provisioning },
        phase: Some(phase),
        ready,
        reason: if ready { None } else { stopped.map(classify) },
    })
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
    fn revision(deployment: &Deployment) -> Option<(&str, u64)> {
        let (family, number) = deployment.task_definition.rsplit_once(':')?;
        Some((family, number.parse().ok()?))
    }
    match (service.primary().and_then(revision), revision(failed)) {
        (Some((to, newer)), Some((from, older))) => to == from && newer >= older,
        (None, _) | (_, None) => false,
    }
}

fn plain(state: State) -> Status {
    Status { state, phase: None, ready: false, reason: None }
}

fn failed(reason: Reason) -> Status {
    Status { state: State::Failed, phase: None, ready: false, reason: Some(reason) }
}

/// The circuit breaker says only that tasks failed to start; the last of them says why.
fn rolled_back(deployment: &Deployment, tasks: &[Task]) -> Reason {
    let told = deployment.reason.clone().unwrap_or_default();
    let Some(task) = last_failed(tasks.iter().filter(|task| task.is_of(deployment))) else {
        return reason(ReasonCode::RolledBack, told);
    };
    let of_task = classify(task);
    let said = [told.trim_end_matches('.'), &of_task.message];
    let message = said.into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join(": ");
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

/// The words count too: the health of a task that has stopped can be UNKNOWN again.
fn is_unhealthy(task: &Task) -> bool {
    task.health == Health::Unhealthy || words(task).contains("health check")
}

fn words(task: &Task) -> String {
    let container_reason =
        task.container_reason.as_deref().filter(|said| Some(*said) != task.stopped_reason.as_deref());
    let said = [task.stopped_reason.as_deref(), container_reason];
    said.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// Classifies a stopped task by the prefixes that ECS documents for stoppedReason and container reason.
fn classify(task: &Task) -> Reason {
    let message = words(task);
    let says = |prefix: &str| message.contains(prefix);
    let code = if says("CannotPullContainer") || says("CannotPullImage") {
        ReasonCode::ImagePull
    } else if says("ResourceInitializationError") {
        ReasonCode::ResourceInitialization
    } else if says("OutOfMemory") || task.exit_code == Some(137) && says("memory") {
        ReasonCode::OutOfMemory
    } else if says("CannotStartContainer") || says("CannotCreateContainer") {
        ReasonCode::CannotStart
    } else if is_unhealthy(task) {
        ReasonCode::Unhealthy
    } else if task.exit_code.is_some() {
        ReasonCode::ContainerExited
    } else {
        ReasonCode::Other
    };
    Reason { stopped_at: task.stopped_at.clone(), exit_code: task.exit_code, ..reason(code, message) }
}

fn reason(code: ReasonCode, message: String) -> Reason {
    Reason { code, message, hint: code.hint(), stopped_at: None, exit_code: None }
}

#[cfg(test)]
mod tests;
