//! Why a converge did not reach its target. Nothing here knows of HTTP.

use thiserror::Error;

use super::plan::Refusal;
use crate::aws::AwsError;
use crate::domain::{BaseError, CurrentError, EcrImage};
use crate::staging::{LockError, StagingError};

/// Why a converge, or a look at a user, failed.
#[derive(Debug, Error)]
pub enum ConvergeError {
    /// The planner refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The base cannot be cloned.
    #[error("the base task definition cannot be cloned: {0}")]
    Base(#[from] BaseError),
    /// The service runs something that is not ours.
    #[error("the user's service cannot be taken over: {0}")]
    Current(#[from] CurrentError),
    /// The base family does not exist.
    #[error(
        "the base family {family} has no ACTIVE revision; deploy the infrastructure, or mend PROVISIONER_BASE_FAMILY"
    )]
    BaseMissing {
        /// The configured family.
        family: String,
    },
    /// The image is not in its registry.
    #[error("{}", missing_image(image, *repository_exists))]
    ImageMissing {
        /// The image.
        image: EcrImage,
        /// Whether at least the repository is there.
        repository_exists: bool,
    },
    /// The user's files could not be written.
    #[error("the user's files could not be staged")]
    Staging(#[from] StagingError),
    /// Another call for the same user is at work.
    #[error("another operation on this user is under way")]
    Busy(#[source] LockError),
    /// The lock file could not be used.
    #[error("the user's lock could not be taken")]
    Lock(#[source] LockError),
    /// The task definition brings the gateway's token.
    #[error(
        "OPENCLAW_GATEWAY_TOKEN in the task definition brings the gateway's token: change that secret and redeploy with \
         force, or take the variable out of the base and of `secrets` and redeploy, so that it is kept in openclaw.json"
    )]
    TokenOfEnvironment,
    /// AWS said no, or nothing.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Conflict after conflict.
    #[error("the user's resources kept changing while they were being converged")]
    Contended,
    /// The deadline passed while something was waited for.
    #[error("not converged within {seconds} s")]
    Deadline {
        /// The deadline.
        seconds: u64,
    },
    /// The task that converged ended without an answer: it panicked.
    #[error("the operation ended unexpectedly; the log has the reason")]
    Crashed,
    /// The process is going down.
    #[error("the service is shutting down; nothing is lost, call again")]
    ShuttingDown,
}

fn missing_image(image: &EcrImage, repository_exists: bool) -> String {
    let EcrImage { registry_id, region, repository, reference } = image;
    let what = match reference {
        crate::domain::EcrReference::Tag(tag) => format!("tag {tag}"),
        crate::domain::EcrReference::Digest(digest) => digest.clone(),
    };
    if repository_exists {
        format!(
            "ECR repository {repository} of account {registry_id} in {region} has no {what}: push it, or name another image"
        )
    } else {
        format!(
            "account {registry_id} has no ECR repository {repository} in {region}: create it and push {what}, or name another image"
        )
    }
}

impl From<LockError> for ConvergeError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Busy { .. } => Self::Busy(error),
            LockError::Io { .. } => Self::Lock(error),
        }
    }
}
