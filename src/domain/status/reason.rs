//! Why a container does not run: ECS's words, and what they come to.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::service::{Health, Task};

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
    /// The circuit breaker went back to the revision before.
    RolledBack,
    /// The circuit breaker gave up, and no stopped task tells more.
    CircuitBreaker,
    /// ECS calls the container healthy, and its gateway does not answer.
    GatewayUnanswered,
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
            Self::GatewayUnanswered => {
                "give it a minute after a start; then read the container's log, and check that its security group lets this service reach the gateway's port"
            }
            Self::Other => "read the service events in ECS",
        }
    }
}

/// The words count too: the health of a task that has stopped can be UNKNOWN again.
pub(super) fn is_unhealthy(task: &Task) -> bool {
    task.health == Health::Unhealthy || words(task).contains("health check")
}

fn words(task: &Task) -> String {
    let container_reason =
        task.container_reason.as_deref().filter(|said| Some(*said) != task.stopped_reason.as_deref());
    let said = [task.stopped_reason.as_deref(), container_reason];
    said.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// Classifies a stopped task by the prefixes that ECS documents for stoppedReason and container reason.
pub(super) fn classify(task: &Task) -> Reason {
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

pub(super) fn reason(code: ReasonCode, message: String) -> Reason {
    Reason { code, message, hint: code.hint(), stopped_at: None, exit_code: None }
}

/// What ECS says of the deployment, and of the task.
pub(super) fn joined(told: &str, of_task: &str) -> String {
    if told.ends_with(of_task) {
        return told.to_owned();
    }
    let said = [told.trim_end_matches('.'), of_task];
    said.into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join(": ")
}
