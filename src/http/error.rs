//! The one place that knows status codes: every error becomes an RFC 9457 problem document here.

use std::any::Any;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::aws::AwsError;
use crate::domain::Invalid;
use crate::fleet::{ListRefused, WatchRefused};
use crate::reconcile::{ConvergeError, FailureKind};

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(Box<Document>);

/// Media type of a problem document.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong, after RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document {
    /// Always `about:blank`: the code tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The code in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time.
    detail: String,
    code: Code,
    /// Whether the very same request may be sent again, after `Retry-After` seconds.
    retryable: bool,
    /// Also in `X-Request-Id` and in every log line of the request.
    request_id: String,
    /// The field that is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What to write there.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// What went wrong, as a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
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
    /// The service is not one of ours.
    ForeignService,
    /// The image is not in its registry.
    ImageNotFound,
    /// The base cannot be cloned.
    BaseUnusable,
    /// The user's files could not be written; it may pass.
    FilesUnavailable,
    /// The user's files cannot be written until an operator mends the mount or the settings.
    FilesMisconfigured,
    /// A file of the user's own cannot be read, and would be lost.
    FilesUnreadable,
    /// The gateway's token is not this service's to change.
    GatewayTokenNotOurs,
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
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NoSuchRoute | Self::ContainerNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::OperationInProgress
            | Self::ForeignService
            | Self::FilesUnreadable
            | Self::GatewayTokenNotOurs
            | Self::Cancelled => StatusCode::CONFLICT,
            Self::FilesUnavailable
            | Self::Contended
            | Self::AwsThrottled
            | Self::AwsUnavailable
            | Self::AwsQuotaExceeded
            | Self::TooManyWatchers
            | Self::FleetBeingRead
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::AwsRefused => StatusCode::BAD_GATEWAY,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::FilesMisconfigured | Self::BaseUnusable | Self::AwsAccessDenied | Self::Internal => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::InvalidJson => "The body is not JSON",
            Self::InvalidField => "A field is not valid",
            Self::UnsupportedMediaType => "The body is not announced as JSON",
            Self::PayloadTooLarge => "The body is too large",
            Self::Unauthorized => "A valid bearer token is needed",
            Self::Forbidden => "The token's scope is not enough",
            Self::NoSuchRoute => "No such route",
            Self::MethodNotAllowed => "The route has no such method",
            Self::ContainerNotFound => "The user has no container",
            Self::OperationInProgress => "Another operation on this user is under way",
            Self::ForeignService => "The user's service was not made by this product",
            Self::ImageNotFound => "The image does not exist",
            Self::BaseUnusable => "The base task definition cannot be used",
            Self::FilesUnavailable => "The user's files could not be written",
            Self::FilesMisconfigured => "The user's files cannot be written",
            Self::FilesUnreadable => "A file of the user's own cannot be read",
            Self::GatewayTokenNotOurs => "The gateway's token is not kept here",
            Self::Contended => "The user's resources kept changing",
            Self::AwsThrottled => "AWS asks to slow down",
            Self::AwsUnavailable => "AWS did not answer",
            Self::AwsQuotaExceeded => "A quota of the AWS account is used up",
            Self::AwsAccessDenied => "This service lacks a permission in AWS",
            Self::AwsRefused => "AWS refused a call",
            Self::Cancelled => "The operation was cancelled",
            Self::TooManyWatchers => "Too many callers watch containers",
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
            | Self::FleetBeingRead
            | Self::DeadlineExceeded => Some(5),
            Self::FilesUnavailable => Some(10),
            Self::Contended | Self::ShuttingDown => Some(2),
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
            | Self::AwsQuotaExceeded
            | Self::AwsAccessDenied
            | Self::AwsRefused
            | Self::Internal => None,
        }
    }
}

impl Problem {
    /// A problem with a detail of its own.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Document {
            kind: "about:blank",
            title: code.title(),
            status: code.status().as_u16(),
            detail: detail.into(),
            code,
            retryable: code.retry_after_seconds().is_some(),
            request_id: String::new(),
            field: None,
            fix: None,
        }))
    }

    /// Names the field and the fix.
    pub(super) fn of_field(code: Code, field: &str, problem: &str, fix: &str) -> Self {
        let detail = if field.is_empty() { problem.to_owned() } else { format!("{field}: {problem}") };
        let mut document = Self::new(code, detail);
        document.0.field = Some(field.to_owned());
        document.0.fix = Some(fix.to_owned());
        document
    }

    pub(super) fn with_request_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.0.request_id);
        self
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.code.status(), self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.0.code.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::of_field(Code::InvalidField, invalid.field(), invalid.problem(), invalid.fix())
    }
}

impl From<FailureKind> for Code {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::InvalidField => Self::InvalidField,
            FailureKind::ContainerNotFound => Self::ContainerNotFound,
            FailureKind::OperationInProgress => Self::OperationInProgress,
            FailureKind::ForeignService => Self::ForeignService,
            FailureKind::ImageNotFound => Self::ImageNotFound,
            FailureKind::BaseUnusable => Self::BaseUnusable,
            FailureKind::FilesUnavailable => Self::FilesUnavailable,
            FailureKind::FilesMisconfigured => Self::FilesMisconfigured,
            FailureKind::FilesUnreadable => Self::FilesUnreadable,
            FailureKind::GatewayTokenNotOurs => Self::GatewayTokenNotOurs,
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

impl From<ConvergeError> for Problem {
    fn from(error: ConvergeError) -> Self {
        if let Some(invalid) = error.invalid() {
            return invalid.clone().into();
        }
        let code = Code::from(error.kind());
        if code.status().is_server_error() {
            tracing::error!(%error, "request failed");
        }
        match error {
            // It names the file, which is what the user has to mend.
            ConvergeError::Staging(unreadable) if code == Code::FilesUnreadable => {
                Self::new(code, unreadable.to_string())
            }
            error => Self::new(code, error.to_string()),
        }
    }
}

impl From<&AwsError> for Problem {
    /// Of an error that was logged where it came up, once for all who wait for the same call.
    fn from(error: &AwsError) -> Self {
        Self::new(FailureKind::of_aws(error).into(), error.to_string())
    }
}

impl From<WatchRefused> for Problem {
    fn from(refused: WatchRefused) -> Self {
        let code = match refused {
            WatchRefused::TooMany { .. } => Code::TooManyWatchers,
            WatchRefused::ShuttingDown => Code::ShuttingDown,
        };
        Self::new(code, refused.to_string())
    }
}

impl From<ListRefused> for Problem {
    fn from(refused: ListRefused) -> Self {
        let code = match &refused {
            ListRefused::Aws(error) => return error.as_ref().into(),
            ListRefused::Reading => Code::FleetBeingRead,
            ListRefused::ShuttingDown => Code::ShuttingDown,
        };
        Self::new(code, refused.to_string())
    }
}

pub(super) async fn no_such_route() -> Problem {
    there_is_no_such_route()
}

pub(super) fn there_is_no_such_route() -> Problem {
    Problem::new(Code::NoSuchRoute, "there is no such route; /openapi.json has them all")
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the route is there, but not with this method; /openapi.json has them all")
}

pub(super) fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    // The panic's own words are in the log by the panic hook; they are not for callers.
    Problem::new(Code::Internal, "a bug in this service; the log has it under this request id").into_response()
}
