//! Why a container does not run: ECS's message, and the code and hint for it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words::{class_of, hint, of_event, phrase_of, says_any};
use crate::domain::hide_access_points;
use crate::domain::service::{Health, Task, Trouble};

/// Why a container does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reason {
    /// The provisioner's code, from a closed list.
    pub code: ReasonCode,
    /// ECS's own message.
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
    /// The task's resources could not be created: mostly the EFS mount or a secret.
    ResourceInitialization,
    /// The container was killed because it ran out of memory.
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
    /// The account already runs as many vCPUs as its quota allows.
    VcpuQuota,
    /// ECS could not place the task, for another reason.
    Placement,
    /// The circuit breaker rolled back to the previous revision.
    RolledBack,
    /// The circuit breaker gave up, and neither a stopped task nor a service event says why.
    CircuitBreaker,
    /// ECS calls the container healthy, but its gateway does not answer.
    GatewayUnanswered,
    /// A request was accepted, but cannot be carried out.
    RequestFailed,
    /// Any other reason that ECS gives.
    Other,
}

impl ReasonCode {
    /// What an operator should do, if ECS's message allows no better hint.
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
            Self::ContainerExited => "read the container's log; fix the cause, then redeploy",
            Self::Unhealthy => "read the container's log, and check the health check of the base task definition",
            Self::StoppedByUser => "nothing: somebody stopped the task in ECS, and ECS starts another",
            Self::RetiredByAws => "nothing: AWS took the task's machine away, and ECS starts another",
            Self::NoCapacity => {
                "ECS goes on trying; subnets in more Availability Zones or another size may find capacity, and a deployment that was given up needs a redeploy"
            }
            Self::VcpuQuota => {
                "raise the Fargate quota \"Fargate On-Demand vCPU resource count\" (L-3032A538 in Service Quotas), or stop containers, then redeploy"
            }
            Self::Placement => {
                "fix what the message names: subnets, security groups, quotas or placement constraints, then redeploy"
            }
            Self::RolledBack => "the new revision did not start; fix what the reason names and redeploy",
            Self::CircuitBreaker => "read the service events in ECS, fix what they name and redeploy",
            Self::GatewayUnanswered => {
                "give it a minute after a start; then read the container's log, and check that its security group lets this service reach the gateway's port"
            }
            Self::RequestFailed => "fix what the message names, and send the request again",
            Self::Other => "read the service events in ECS",
        }
    }
}

/// Whether a health check failed. ECS's message counts, too: the health of a stopped task can be UNKNOWN again.
pub(super) fn is_unhealthy(task: &Task) -> bool {
    task.health == Health::Unhealthy || says_any(&words(task), &["health check", "unhealthy"])
}

/// Whether the task stopped without a failure: an operator stopped it, or AWS needed its machine.
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

/// The hint if another container than OpenClaw's ran out of memory: a resize gives memory to OpenClaw only.
const SIDECAR_OUT_OF_MEMORY: &str = "raise the memory limit of that container in the base task definition, then redeploy; a resize changes OpenClaw's alone";

/// Classifies a stopped task: by its stop code if that is enough; then by the first error name in ECS's message (the
/// container's before the task's; wrapped errors do not count); then by how the container ended.
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

/// The reason that a service event gives.
pub(super) fn of_trouble(trouble: &Trouble) -> Reason {
    let code = of_event(&trouble.message);
    let hint = hint(code, &trouble.message, None);
    Reason { code, message: trouble.message.clone(), hint, stopped_at: None, exit_code: None }
}

pub(super) fn reason(code: ReasonCode, message: String) -> Reason {
    let hint = hint(code, &message, None);
    Reason { code, message, hint, stopped_at: None, exit_code: None }
}

/// Joins ECS's messages on the deployment and on the task.
pub(super) fn joined(told: &str, of_task: &str) -> String {
    if told.ends_with(of_task) {
        return told.to_owned();
    }
    let said = [told.trim_end_matches('.'), of_task];
    said.into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join(": ")
}
