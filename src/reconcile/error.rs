//! Why a converge did not reach its target. Nothing here knows of HTTP.

use openclaw::Invalid;
use thiserror::Error;

use super::plan::Refusal;
use crate::aws::{AwsError, ErrorKind, QueueFull};
use crate::domain::{BaseError, CurrentError, EcrImage, PromotedBaseError, RenderError};
use crate::ledger::LedgerError;
use crate::staging::{StagingError, StagingErrorKind};

/// The kind of a failure, as a closed list: for the codes of answers, and for metrics and audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// A field is wrong.
    InvalidField,
    /// The user has no container.
    ContainerNotFound,
    /// Another call for the user is running.
    OperationInProgress,
    /// Too many operations wait before it for AWS's rate limits.
    QueueFull,
    /// The service is not one of ours.
    ForeignService,
    /// The image is not in its registry.
    ImageNotFound,
    /// The base cannot be cloned.
    BaseUnusable,
    /// The promoted base cannot be cloned.
    PromotedBaseUnusable,
    /// It would contradict a rollout that is under way.
    RolloutUnderWay,
    /// This version cannot read the record of a rollout.
    RolloutNotUnderstood,
    /// The user's files could not be written; this may pass.
    FilesUnavailable,
    /// The user's files cannot be written until an operator repairs the mount or the settings.
    FilesMisconfigured,
    /// A file of the user's own cannot be read, and would be lost.
    FilesUnreadable,
    /// The gateway's token is set elsewhere, and this service cannot change it.
    GatewayTokenNotOurs,
    /// Another replica took the user's lock.
    LockLost,
    /// The user's resources kept changing.
    Contended,
    /// AWS asks to slow down.
    AwsThrottled,
    /// AWS, or the way to it, is down.
    AwsUnavailable,
    /// A quota of the AWS account is used up.
    AwsQuotaExceeded,
    /// This service has no permission for that in AWS.
    AwsAccessDenied,
    /// AWS refused a call.
    AwsRefused,
    /// The operation was cancelled.
    Cancelled,
    /// It took too long.
    DeadlineExceeded,
    /// This replica is going down.
    ShuttingDown,
    /// A bug.
    Internal,
}

impl FailureKind {
    /// The kind of failure of an AWS call that failed.
    #[must_use]
    pub const fn of_aws(error: &AwsError) -> Self {
        match error.kind() {
            ErrorKind::Throttled => Self::AwsThrottled,
            ErrorKind::Quota => Self::AwsQuotaExceeded,
            ErrorKind::Denied => Self::AwsAccessDenied,
            ErrorKind::Unavailable | ErrorKind::Unreachable | ErrorKind::Unanswered => Self::AwsUnavailable,
            ErrorKind::Refused => Self::AwsRefused,
            ErrorKind::Fenced => Self::LockLost,
            ErrorKind::NotSent => Self::DeadlineExceeded,
        }
    }

    /// Its name, which is also the `code` of the answer.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidField => "invalid_field",
            Self::ContainerNotFound => "container_not_found",
            Self::OperationInProgress => "operation_in_progress",
            Self::QueueFull => "queue_full",
            Self::ForeignService => "foreign_service",
            Self::ImageNotFound => "image_not_found",
            Self::BaseUnusable => "base_unusable",
            Self::PromotedBaseUnusable => "promoted_base_unusable",
            Self::RolloutUnderWay => "rollout_under_way",
            Self::RolloutNotUnderstood => "rollout_not_understood",
            Self::FilesUnavailable => "files_unavailable",
            Self::FilesMisconfigured => "files_misconfigured",
            Self::FilesUnreadable => "files_unreadable",
            Self::GatewayTokenNotOurs => "gateway_token_not_ours",
            Self::LockLost => "lock_lost",
            Self::Contended => "contended",
            Self::AwsThrottled => "aws_throttled",
            Self::AwsUnavailable => "aws_unavailable",
            Self::AwsQuotaExceeded => "aws_quota_exceeded",
            Self::AwsAccessDenied => "aws_access_denied",
            Self::AwsRefused => "aws_refused",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
        }
    }
}

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
    /// The promoted base cannot be rendered from.
    #[error(transparent)]
    Promoted(#[from] PromotedBaseError),
    /// A rollout goes to another base.
    #[error(
        "the rollout {id} takes users to another base; wait for its end, or abort it, before another base is promoted"
    )]
    RolloutUnderWay {
        /// Its id.
        id: String,
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
    #[error("another operation on this user is under way{}", elsewhere(.0))]
    Busy(#[source] LedgerError),
    /// The lock file could not be used.
    #[error("{}", not_locked(.0))]
    Lock(#[source] LedgerError),
    /// Another replica has taken the user's lock: what was planned here is out of date.
    #[error("the user's lock was lost to another replica; what was done until then stays done, call again")]
    LockLost,
    /// The task definition brings the gateway's token.
    #[error(
        "OPENCLAW_GATEWAY_TOKEN in the task definition brings the gateway's token: change that secret and redeploy with \
         force, or take the variable out of the base and of `secrets` and redeploy, so that it is kept in openclaw.json"
    )]
    TokenOfEnvironment,
    /// Too many wait before it. Nothing was changed.
    #[error("too many operations wait for their turn at AWS: {0}")]
    QueueFull(#[from] QueueFull),
    /// AWS refused, or did not answer.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Too many conflicts in a row.
    #[error("the user's resources kept changing while they were being converged")]
    Contended,
    /// Somebody cancelled it.
    #[error("the operation was cancelled; what it did until then stays done")]
    Cancelled,
    /// The deadline passed while the operation waited for something.
    #[error("not converged within {seconds} s")]
    Deadline {
        /// The deadline.
        seconds: u64,
    },
    /// The task that converged ended without an answer: it panicked.
    #[error("the operation ended unexpectedly; the log has the reason")]
    Crashed,
    /// It goes on, but could not be written down, so nobody may be promised that it will be done.
    #[error(
        "the operation goes on, but could not be written down while the files do not answer; send the request again"
    )]
    NotAccepted,
    /// It was accepted, and made way for another request of the same user, which includes it.
    #[error("the operation made way for another request, which includes it")]
    Yielded,
    /// The process is going down.
    #[error("the service is shutting down; nothing is lost, call again")]
    ShuttingDown,
}

impl ConvergeError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Refused(Refusal::Invalid(_) | Refusal::Render(_)) => FailureKind::InvalidField,
            Self::Refused(Refusal::NotFound) => FailureKind::ContainerNotFound,
            Self::Refused(Refusal::NoBase) | Self::Base(_) | Self::BaseMissing { .. } => FailureKind::BaseUnusable,
            Self::Promoted(_) => FailureKind::PromotedBaseUnusable,
            Self::RolloutUnderWay { .. } => FailureKind::RolloutUnderWay,
            Self::Current(_) => FailureKind::ForeignService,
            Self::ImageMissing { .. } => FailureKind::ImageNotFound,
            Self::LockLost | Self::Staging(StagingError::LockLost { .. }) => FailureKind::LockLost,
            Self::Staging(error)
            | Self::Lock(
                LedgerError::Unusable { source: error, .. } | LedgerError::Unlisted(error) | LedgerError::Fleet(error),
            ) => match error.kind() {
                StagingErrorKind::Tenant => FailureKind::FilesUnreadable,
                StagingErrorKind::Operator => FailureKind::FilesMisconfigured,
                StagingErrorKind::Retryable => FailureKind::FilesUnavailable,
            },
            Self::Lock(LedgerError::Busy { .. } | LedgerError::NotUnderstood { .. }) => {
                FailureKind::OperationInProgress
            }
            Self::Lock(LedgerError::Lost { .. }) => FailureKind::LockLost,
            // This record says which base is promoted.
            Self::Lock(LedgerError::FleetNotUnderstood { .. }) => FailureKind::PromotedBaseUnusable,
            Self::Lock(LedgerError::RolloutNotUnderstood { .. }) => FailureKind::RolloutNotUnderstood,
            Self::Busy(_) | Self::Yielded => FailureKind::OperationInProgress,
            Self::NotAccepted => FailureKind::FilesUnavailable,
            Self::QueueFull(_) => FailureKind::QueueFull,
            Self::TokenOfEnvironment => FailureKind::GatewayTokenNotOurs,
            Self::Contended => FailureKind::Contended,
            Self::Cancelled => FailureKind::Cancelled,
            Self::Deadline { .. } => FailureKind::DeadlineExceeded,
            Self::ShuttingDown => FailureKind::ShuttingDown,
            Self::Crashed => FailureKind::Internal,
            Self::Aws(aws) => FailureKind::of_aws(aws),
        }
    }

    /// Whether only another request can fix it. Everything else passes or is repaired by an operator, and the same request
    /// is tried again.
    #[must_use]
    pub fn needs_another_request(&self) -> bool {
        match self.kind() {
            FailureKind::InvalidField
            | FailureKind::ContainerNotFound
            | FailureKind::ForeignService
            | FailureKind::ImageNotFound
            | FailureKind::FilesUnreadable
            | FailureKind::GatewayTokenNotOurs => true,
            FailureKind::OperationInProgress
            | FailureKind::QueueFull
            | FailureKind::BaseUnusable
            | FailureKind::PromotedBaseUnusable
            | FailureKind::RolloutUnderWay
            | FailureKind::RolloutNotUnderstood
            | FailureKind::FilesUnavailable
            | FailureKind::FilesMisconfigured
            | FailureKind::LockLost
            | FailureKind::Contended
            | FailureKind::AwsThrottled
            | FailureKind::AwsUnavailable
            | FailureKind::AwsQuotaExceeded
            | FailureKind::AwsAccessDenied
            | FailureKind::AwsRefused
            | FailureKind::Cancelled
            | FailureKind::DeadlineExceeded
            | FailureKind::ShuttingDown
            | FailureKind::Internal => false,
        }
    }

    /// The AWS error, if an AWS call failed.
    #[must_use]
    pub const fn aws(&self) -> Option<&AwsError> {
        if let Self::Aws(error) = self { Some(error) } else { None }
    }

    /// The invalid field, if there is one.
    #[must_use]
    pub const fn invalid(&self) -> Option<&Invalid> {
        if let Self::Refused(Refusal::Invalid(invalid) | Refusal::Render(RenderError::Field(invalid))) = self {
            Some(invalid)
        } else {
            None
        }
    }
}

fn not_locked(error: &LedgerError) -> String {
    match error {
        LedgerError::Fleet(_) => "the files that say which base is promoted could not be used".to_owned(),
        LedgerError::FleetNotUnderstood { .. } | LedgerError::RolloutNotUnderstood { .. } => error.to_string(),
        LedgerError::Busy { .. }
        | LedgerError::Lost { .. }
        | LedgerError::NotUnderstood { .. }
        | LedgerError::Unusable { .. }
        | LedgerError::Unlisted(_) => "the user's lock could not be taken".to_owned(),
    }
}

/// Says whether another replica has the user, because the cancel has to reach that one.
const fn elsewhere(error: &LedgerError) -> &'static str {
    match error {
        LedgerError::Busy { elsewhere: true, .. } => ", in another replica",
        LedgerError::Busy { elsewhere: false, .. }
        | LedgerError::Lost { .. }
        | LedgerError::NotUnderstood { .. }
        | LedgerError::Unusable { .. }
        | LedgerError::Unlisted(_)
        | LedgerError::Fleet(_)
        | LedgerError::FleetNotUnderstood { .. }
        | LedgerError::RolloutNotUnderstood { .. } => "",
    }
}

fn missing_image(image: &EcrImage, repository_exists: bool) -> String {
    let (problem, fix) = image.missing(repository_exists);
    format!("{problem}: {fix}")
}

impl From<LedgerError> for ConvergeError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Busy { .. } | LedgerError::NotUnderstood { .. } => Self::Busy(error),
            LedgerError::Lost { .. } => Self::LockLost,
            LedgerError::Unusable { .. }
            | LedgerError::Unlisted(_)
            | LedgerError::Fleet(_)
            | LedgerError::FleetNotUnderstood { .. }
            | LedgerError::RolloutNotUnderstood { .. } => Self::Lock(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn kinds(path: &str, errno: i32) -> [&'static str; 2] {
        let io = || StagingError::Io { action: "open", path: path.into(), source: io::Error::from_raw_os_error(errno) };
        let user_id = crate::domain::UserId::parse("alice").unwrap();
        let lock = ConvergeError::from(LedgerError::Unusable { user_id, source: io() });
        [ConvergeError::from(io()).kind().name(), lock.kind().name()]
    }

    /// This holds for whichever call fails first: the lock is the first file that is written for a user.
    #[test]
    fn a_read_only_mount_is_for_the_operator_to_fix_and_a_tenants_file_for_the_user() {
        let (eio, erofs, name_too_long) = (5, 30, if cfg!(target_os = "linux") { 36 } else { 63 });
        assert_eq!(kinds(".provisioner/locks/alice.lock", erofs), ["files_misconfigured"; 2]);
        assert_eq!(kinds("users/alice/codex", erofs), ["files_misconfigured"; 2]);
        assert_eq!(kinds(".provisioner/locks/alice.lock", eio), ["files_unavailable"; 2]);
        assert_eq!(kinds("users/alice/codex/auth.json", name_too_long), ["files_unreadable"; 2]);
    }
}
