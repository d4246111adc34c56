//! Why a container does not run: ECS's words, and what they come to.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words::{class_of, hint, of_event, phrase_of, says_any};
use crate::domain::hide_access_points;
use crate::domain::service::{Health, Task, Trouble};

/// Why a container does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reason {
    /// Ours, from a closed list.
    pub code: ReasonCode,
    /// ECS's own words.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
    /// When the task stopped, RFC 3339.
    #[schema(required)]
    pub stopped_at: Option<String>,
    /// Exit code of the container.
    #[schema(required)]
    pub exit_code: Option<i32>,
}

/// The closed list of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// Somebody stopped the task, and ECS starts another.
    StoppedByUser,
    /// AWS took the machine of the task away, and ECS starts another.
    RetiredByAws,
    /// Fargate has no capacity for the task.
    NoCapacity,
    /// The account runs as many vCPUs as it may.
    VcpuQuota,
    /// ECS could not place the task, for another cause.
    Placement,
    /// The circuit breaker went back to the revision before.
    RolledBack,
    /// The circuit breaker gave up, and neither a stopped task nor an event of the service tells more.
    CircuitBreaker,
    /// ECS calls the container healthy, and its gateway does not answer.
    GatewayUnanswered,
    /// A request that was accepted turned out to be one that cannot be done.
    RequestFailed,
    /// Anything else that ECS says.
    Other,
}

impl ReasonCode {
    /// What an operator does about it, where ECS's words tell no more.
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
            Self::StoppedByUser => "nothing: somebody stopped the task in ECS, and ECS starts another",
            Self::RetiredByAws => "nothing: AWS took the task's machine away, and ECS starts another",
            Self::NoCapacity => {
                "ECS goes on trying; subnets in more Availability Zones or another size may find capacity, and a deployment that was given up needs a redeploy"
            }
            Self::VcpuQuota => {
                "have the Fargate quota \"Fargate On-Demand vCPU resource count\" (L-3032A538 in Service Quotas) raised, or stop containers, then redeploy"
            }
            Self::Placement => {
                "mend what the message names: subnets, security groups, quotas or placement constraints, then redeploy"
            }
            Self::RolledBack => "the new revision did not start; mend what the reason names and redeploy",
            Self::CircuitBreaker => "read the service events in ECS, mend what they name and redeploy",
            Self::GatewayUnanswered => {
                "give it a minute after a start; then read the container's log, and check that its security group lets this service reach the gateway's port"
            }
            Self::RequestFailed => "mend what the message names, and send the request again",
            Self::Other => "read the service events in ECS",
        }
    }
}

/// The words count too: the health of a task that has stopped can be UNKNOWN again.
pub(super) fn is_unhealthy(task: &Task) -> bool {
    task.health == Health::Unhealthy || says_any(&words(task), &["health check", "unhealthy"])
}

/// Whether its stop is nobody's failure: an operator stopped it, or AWS needed its machine.
pub(super) fn is_no_failure(task: &Task) -> bool {
    matches!(code_of(task), ReasonCode::StoppedByUser | ReasonCode::RetiredByAws)
}

fn words(task: &Task) -> String {
    let container_reason =
        task.container_reason.as_deref().filter(|said| Some(*said) != task.stopped_reason.as_deref());
    let sidecar = task.failed_sidecar.as_ref().map(|name| format!("container {name}"));
    let said = [task.stopped_reason.as_deref(), sidecar.as_deref(), container_reason];
    hide_access_points(&said.into_iter().flatten().collect::<Vec<_>>().join(": "))
}

/// What helps where a container beside OpenClaw ran out of its own memory: a resize gives OpenClaw what is added.
const SIDECAR_OUT_OF_MEMORY: &str =
    "raise the memory limit of that container in the base task definition, then redeploy; a resize is OpenClaw's alone";

/// Classifies a stopped task: by its stop code where that says all, then by the error that ECS's agent put in front (the
/// container's before the task's, and what it wraps does not count), then by how the container ended.
pub(super) fn classify(task: &Task) -> Reason {
    let (message, code) = (words(task), code_of(task));
    let hint = match (code, &task.failed_sidecar) {
        (ReasonCode::OutOfMemory, Some(_)) => SIDECAR_OUT_OF_MEMORY,
        _ => hint(code, &message, task.exit_code),
    };
    Reason { code, message, hint, stopped_at: task.stopped_at.clone(), exit_code: task.exit_code }
}

fn code_of(task: &Task) -> ReasonCode {
    let message = words(task);
    let stop_code = task.stop_code.as_deref();
    if stop_code == Some("UserInitiated") || says_any(&message, &["stopped by user"]) {
        return ReasonCode::StoppedByUser;
    }
    const RETIRED: [&str; 6] = [
        "underlying infrastructure",
        "underlying host",
        "is being retired",
        "task retirement",
        "spot task was interrupted",
        "spot interruption",
    ];
    if matches!(stop_code, Some("TerminationNotice" | "SpotInterruption" | "InfrastructureHealth"))
        || says_any(&message, &RETIRED)
    {
        return ReasonCode::RetiredByAws;
    }
    let has_run = task.exit_code.is_some();
    let said = [task.container_reason.as_deref(), task.stopped_reason.as_deref()];
    if let Some(code) = said.into_iter().flatten().find_map(|said| class_of(said, has_run)) {
        return code;
    }
    if is_unhealthy(task) {
        return ReasonCode::Unhealthy;
    }
    match task.exit_code {
        Some(137) if says_any(&message, &["memory"]) => ReasonCode::OutOfMemory,
        Some(_) => ReasonCode::ContainerExited,
        None => phrase_of(&message).unwrap_or(ReasonCode::Other),
    }
}

/// What an event of the service says.
pub(super) fn of_trouble(trouble: &Trouble) -> Reason {
    let code = of_event(&trouble.message);
    let hint = hint(code, &trouble.message, None);
    Reason { code, message: trouble.message.clone(), hint, stopped_at: None, exit_code: None }
}

pub(super) fn reason(code: ReasonCode, message: String) -> Reason {
    let hint = hint(code, &message, None);
    Reason { code, message, hint, stopped_at: None, exit_code: None }
}

/// What ECS says of the deployment, and of the task.
pub(super) fn joined(told: &str, of_task: &str) -> String {
    if told.ends_with(of_task) {
        return told.to_owned();
    }
    let said = [told.trim_end_matches('.'), of_task];
    said.into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join(": ")
}
