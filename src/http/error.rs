//! Every error becomes an RFC 9457 problem document here.

use std::any::Any;

use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use openclaw::Invalid;
use serde::Serialize;
use utoipa::ToSchema;

use super::code::Code;
use crate::aws::{AwsError, QueueFull};
use crate::domain::with_causes;
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
    /// Whether the same request may be sent again, after `Retry-After` seconds.
    retryable: bool,
    /// Also in `X-Request-Id` and in every log line of the request.
    request_id: String,
    /// The field that caused the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// How to correct it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// With `queue_full`: the place that the operation would have had in the queue; 1 is the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    /// The value of the `Retry-After` header.
    #[serde(skip)]
    retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A problem with its own detail.
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
            position: None,
            retry_after_seconds: code.retry_after_seconds(),
        }))
    }

    /// A problem that names the field and the fix.
    pub(super) fn of_field(code: Code, field: &str, problem: &str, fix: &str) -> Self {
        let detail = if field.is_empty() { problem.to_owned() } else { format!("{field}: {problem}") };
        let mut document = Self::new(code, detail);
        document.0.field = Some(field.to_owned());
        document.0.fix = Some(fix.to_owned());
        document
    }

    /// The problem of an operation that was refused, with the place that it would have had. The caller may try again when all
    /// operations that wait now have had their turn.
    fn queue_full(full: &QueueFull, detail: String) -> Self {
        let mut document = Self::new(Code::QueueFull, detail);
        document.0.position = Some(full.position);
        // Rounded up: a caller that comes too early is refused again.
        let seconds = full.wait.as_secs() + u64::from(full.wait.subsec_nanos() > 0);
        document.0.retry_after_seconds = Some(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
        document
    }

    pub(super) fn with_request_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.0.request_id);
        self
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// Removes `prefix` from the field: for a request whose whole body is the value that other requests have in that member.
    pub(super) fn without_field_prefix(mut self, prefix: &str) -> Self {
        if let Some(field) = self.0.field.as_mut().filter(|field| field.starts_with(prefix)) {
            field.drain(..prefix.len());
            self.0.detail = self.0.detail.strip_prefix(prefix).unwrap_or(&self.0.detail).to_owned();
        }
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.code.status(), self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.code == Code::RequestTimeout {
            // The rest of the request may still arrive, and must not be read as a new one.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
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

impl From<ConvergeError> for Problem {
    fn from(error: ConvergeError) -> Self {
        if let Some(invalid) = error.invalid() {
            return invalid.clone().into();
        }
        let code = Code::from(error.kind());
        if code.status().is_server_error() {
            tracing::error!(error = %with_causes(&error), "request failed");
        }
        match error {
            ConvergeError::QueueFull(full) => Self::queue_full(&full, error.to_string()),
            // The causes name the file and its fault: the user has to repair it.
            ConvergeError::Staging(unreadable) if code == Code::FilesUnreadable => {
                Self::new(code, with_causes(&unreadable))
            }
            ConvergeError::Promoted(unusable) => {
                let mut document = Self::new(code, unusable.to_string());
                document.0.fix = Some(unusable.fix().to_owned());
                document
            }
            // An operator has to repair this, so the answer has all causes, with path and system error.
            error if code == Code::FilesMisconfigured => Self::new(code, with_causes(&error)),
            error => Self::new(code, error.to_string()),
        }
    }
}

impl From<&AwsError> for Problem {
    /// Logs nothing: the error was logged where it occurred, once for all callers that wait for the same call.
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
    // The panic hook has logged the panic's message, which is not for callers.
    Problem::new(Code::Internal, "a bug in this service; the log has it under this request id").into_response()
}
