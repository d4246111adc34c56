//! The closed list of what goes wrong, and the one place that knows status codes.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::reconcile::FailureKind;

/// What went wrong, as a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The body is not JSON.
    InvalidJson,
    /// A field is wrong.
    InvalidField,
    /// The body is not announced as JSON.
    UnsupportedMediaType,
    /// The body is too large.
    PayloadTooLarge,
    /// The request did not arrive whole in time.
    RequestTimeout,
    /// No token, or not one of ours.
    Unauthorized,
    /// The token's scope is not enough.
    Forbidden,
    /// No such route.
    NoSuchRoute,
    /// The route has other methods.
    MethodNotAllowed,
    /// The user has no container.
    ContainerNotFound,
    /// Another call for the user is at work.
    OperationInProgress,
    /// Too many operations wait before it for AWS's rate limits.
    QueueFull,
    /// The service is not one of ours.
    ForeignService,
    /// The image is not in its registry.
    ImageNotFound,
    /// The base cannot be cloned.
    BaseUnusable,
    /// The base that is promoted cannot be cloned.
    PromotedBaseUnusable,
    /// A rollout is under way that it would contradict.
    RolloutUnderWay,
    /// No such rollout.
    RolloutNotFound,
    /// The rollout is over.
    RolloutOver,
    /// The rollout was written by a later version, or is damaged.
    RolloutNotUnderstood,
    /// The rollout would not do what was planned.
    RolloutPlanChanged,
    /// The user's files could not be written; it may pass.
    FilesUnavailable,
    /// The user's files cannot be written until an operator mends the mount or the settings.
    FilesMisconfigured,
    /// A file of the user's own cannot be read, and would be lost.
    FilesUnreadable,
    /// The gateway's token is not this service's to change.
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
    /// This service may not do that in AWS.
    AwsAccessDenied,
    /// AWS refused a call.
    AwsRefused,
    /// The operation was cancelled.
    Cancelled,
    /// Too many callers watch containers through this replica.
    TooManyWatchers,
    /// This replica has as many connections as it can hold.
    TooManyConnections,
    /// The first list of the fleet is not there yet, or a fresh one.
    FleetBeingRead,
    /// It took too long.
    DeadlineExceeded,
    /// This replica is going down.
    ShuttingDown,
    /// A bug.
    Internal,
}

impl Code {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson => StatusCode::BAD_REQUEST,
            Self::InvalidField | Self::ImageNotFound => StatusCode::UNPROCESSABLE_ENTITY,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NoSuchRoute | Self::ContainerNotFound | Self::RolloutNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::OperationInProgress
            | Self::ForeignService
            | Self::FilesUnreadable
            | Self::GatewayTokenNotOurs
            | Self::RolloutUnderWay
            | Self::RolloutOver
            | Self::RolloutPlanChanged
            | Self::Cancelled => StatusCode::CONFLICT,
            Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::FilesUnavailable
            | Self::LockLost
            | Self::Contended
            | Self::AwsThrottled
            | Self::AwsUnavailable
            | Self::AwsQuotaExceeded
            | Self::TooManyWatchers
            | Self::TooManyConnections
            | Self::FleetBeingRead
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::AwsRefused => StatusCode::BAD_GATEWAY,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::FilesMisconfigured
            | Self::BaseUnusable
            | Self::PromotedBaseUnusable
            | Self::RolloutNotUnderstood
            | Self::AwsAccessDenied
            | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::InvalidJson => "The body is not JSON",
            Self::InvalidField => "A field is not valid",
            Self::UnsupportedMediaType => "The body is not announced as JSON",
            Self::PayloadTooLarge => "The body is too large",
            Self::RequestTimeout => "The request did not arrive in time",
            Self::Unauthorized => "A valid bearer token is needed",
            Self::Forbidden => "The token's scope is not enough",
            Self::NoSuchRoute => "No such route",
            Self::MethodNotAllowed => "The route has no such method",
            Self::ContainerNotFound => "The user has no container",
            Self::OperationInProgress => "Another operation on this user is under way",
            Self::QueueFull => "Too many operations wait for AWS",
            Self::ForeignService => "The user's service was not made by this product",
            Self::ImageNotFound => "The image does not exist",
            Self::BaseUnusable => "The base task definition cannot be used",
            Self::PromotedBaseUnusable => "The base that is promoted cannot be used",
            Self::RolloutUnderWay => "A rollout is under way",
            Self::RolloutNotFound => "There is no such rollout",
            Self::RolloutOver => "The rollout is over",
            Self::RolloutNotUnderstood => "The rollout cannot be read by this version",
            Self::RolloutPlanChanged => "The rollout is not what was planned any more",
            Self::FilesUnavailable => "The user's files could not be written",
            Self::FilesMisconfigured => "The user's files cannot be written",
            Self::FilesUnreadable => "A file of the user's own cannot be read",
            Self::GatewayTokenNotOurs => "The gateway's token is not kept here",
            Self::LockLost => "Another replica took over the user",
            Self::Contended => "The user's resources kept changing",
            Self::AwsThrottled => "AWS asks to slow down",
            Self::AwsUnavailable => "AWS did not answer",
            Self::AwsQuotaExceeded => "A quota of the AWS account is used up",
            Self::AwsAccessDenied => "This service lacks a permission in AWS",
            Self::AwsRefused => "AWS refused a call",
            Self::Cancelled => "The operation was cancelled",
            Self::TooManyWatchers => "Too many callers watch containers",
            Self::TooManyConnections => "Too many connections",
            Self::FleetBeingRead => "The fleet is still being read",
            Self::DeadlineExceeded => "It took too long",
            Self::ShuttingDown => "This replica is shutting down",
            Self::Internal => "Something went wrong in this service",
        }
    }

    /// Whether the same request can succeed later; and if so, after how many seconds it is worth trying.
    pub(super) const fn retry_after_seconds(self) -> Option<u32> {
        match self {
            Self::OperationInProgress
            | Self::AwsThrottled
            | Self::AwsUnavailable
            | Self::TooManyWatchers
            | Self::TooManyConnections
            | Self::FleetBeingRead
            | Self::DeadlineExceeded => Some(5),
            Self::FilesUnavailable => Some(10),
            // What is said is when the queue of the moment is served, see `Problem::queue_full`.
            Self::QueueFull => Some(60),
            Self::LockLost | Self::Contended | Self::RequestTimeout | Self::ShuttingDown => Some(2),
            Self::InvalidJson
            | Self::InvalidField
            | Self::UnsupportedMediaType
            | Self::PayloadTooLarge
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NoSuchRoute
            | Self::MethodNotAllowed
            | Self::ContainerNotFound
            | Self::ForeignService
            | Self::ImageNotFound
            | Self::FilesMisconfigured
            | Self::FilesUnreadable
            | Self::GatewayTokenNotOurs
            | Self::Cancelled
            | Self::BaseUnusable
            | Self::PromotedBaseUnusable
            | Self::RolloutUnderWay
            | Self::RolloutNotFound
            | Self::RolloutNotUnderstood
            | Self::RolloutOver
            | Self::RolloutPlanChanged
            | Self::AwsQuotaExceeded
            | Self::AwsAccessDenied
            | Self::AwsRefused
            | Self::Internal => None,
        }
    }
}

impl From<FailureKind> for Code {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::InvalidField => Self::InvalidField,
            FailureKind::ContainerNotFound => Self::ContainerNotFound,
            FailureKind::OperationInProgress => Self::OperationInProgress,
            FailureKind::QueueFull => Self::QueueFull,
            FailureKind::ForeignService => Self::ForeignService,
            FailureKind::ImageNotFound => Self::ImageNotFound,
            FailureKind::BaseUnusable => Self::BaseUnusable,
            FailureKind::PromotedBaseUnusable => Self::PromotedBaseUnusable,
            FailureKind::RolloutUnderWay => Self::RolloutUnderWay,
            FailureKind::RolloutNotUnderstood => Self::RolloutNotUnderstood,
            FailureKind::FilesUnavailable => Self::FilesUnavailable,
            FailureKind::FilesMisconfigured => Self::FilesMisconfigured,
            FailureKind::FilesUnreadable => Self::FilesUnreadable,
            FailureKind::GatewayTokenNotOurs => Self::GatewayTokenNotOurs,
            FailureKind::LockLost => Self::LockLost,
            FailureKind::Contended => Self::Contended,
            FailureKind::AwsThrottled => Self::AwsThrottled,
            FailureKind::AwsUnavailable => Self::AwsUnavailable,
            FailureKind::AwsQuotaExceeded => Self::AwsQuotaExceeded,
            FailureKind::AwsAccessDenied => Self::AwsAccessDenied,
            FailureKind::AwsRefused => Self::AwsRefused,
            FailureKind::Cancelled => Self::Cancelled,
            FailureKind::DeadlineExceeded => Self::DeadlineExceeded,
            FailureKind::ShuttingDown => Self::ShuttingDown,
            FailureKind::Internal => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// All codes, from the list that serde makes of the enum: one that is added cannot be forgotten here.
    fn all() -> BTreeMap<String, Code> {
        let refusal = serde_json::from_str::<Code>("\"no such code\"").unwrap_err().to_string();
        let (_, expected) = refusal.split_once("expected one of").unwrap();
        let names = expected.split('`').skip(1).step_by(2);
        names.map(|name| (name.to_owned(), serde_json::from_value(name.into()).unwrap())).collect()
    }

    #[test]
    fn the_table_in_docs_api_has_each_code_with_its_status_and_when_to_retry() {
        let (_, table) =
            include_str!("../../docs/api.md").split_once("| code | status | retryable | when |\n").unwrap();
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
        let documented: BTreeMap<String, (String, String)> = cells
            .map(|cells| (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), cells[2].to_owned())))
            .collect();
        let retryable = |code: Code| match (code, code.retry_after_seconds()) {
            (Code::QueueFull, _) => "after `Retry-After`".to_owned(),
            (_, Some(seconds)) => format!("after {seconds} s"),
            (_, None) => "no".to_owned(),
        };
        let written =
            all().into_iter().map(|(name, code)| (name, (code.status().as_str().to_owned(), retryable(code))));
        assert_eq!(documented, written.collect());
    }
}
