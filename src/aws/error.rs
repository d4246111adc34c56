//! AWS errors, sorted by what a caller can do about them.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use thiserror::Error;

use super::NotInTime;
use super::attempts::Fenced;
use crate::domain::with_causes;

/// A failed AWS call.
#[derive(Error)]
#[error("{operation} failed: {}", self.summary())]
pub struct AwsError {
    operation: &'static str,
    kind: ErrorKind,
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// AWS asks to slow down.
    Throttled,
    /// A quota of the account is used up; trying again changes nothing.
    Quota,
    /// Credentials are missing, expired or not allowed to do this.
    Denied,
    /// AWS answered with a failure of its own.
    Unavailable,
    /// No answer came: the call may or may not have taken effect.
    Unanswered,
    /// The operation's deadline came before the call's turn at the rate limit: nothing was sent.
    NotSent,
    /// AWS understood the call and refused it.
    Refused,
    /// It was not sent, or not again: the lock under which it is made has to be looked at first.
    Fenced,
}

impl AwsError {
    pub(super) fn from_sdk<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let code = error.code().map(str::to_owned);
        let message = error.message().map(str::to_owned);
        let response = error.raw_response();
        let request_id = response.and_then(request_id_in).map(str::to_owned);
        let server_fault = response.is_some_and(|response| response.status().is_server_error());
        let kind = match &error {
            _ if is_fenced(&error) => ErrorKind::Fenced,
            SdkError::ServiceError(_) => kind_of(code.as_deref(), message.as_deref(), server_fault),
            // Nothing was sent, or what was sent could not be built: mostly missing credentials.
            SdkError::ConstructionFailure(_) => ErrorKind::Denied,
            // The SDK looks for credentials as part of the dispatch, before anything is sent.
            SdkError::DispatchFailure(_) if lacks_credentials(&error) => ErrorKind::Denied,
            _ => ErrorKind::Unanswered,
        };
        Self { operation, kind, code, message, request_id, source: Some(Box::new(error)) }
    }

    /// An answer that does not hold what AWS documents.
    pub(super) fn malformed(operation: &'static str, problem: &str) -> Self {
        let message = Some(format!("the answer {problem}"));
        Self { operation, kind: ErrorKind::Unavailable, code: None, message, request_id: None, source: None }
    }

    /// AWS answered, but what it holds cannot be used, now or later.
    pub(super) fn unusable(operation: &'static str, problem: &str) -> Self {
        Self { kind: ErrorKind::Refused, ..Self::malformed(operation, problem) }
    }

    /// A call whose turn did not come in time.
    pub(super) fn not_sent(operation: &'static str, late: NotInTime) -> Self {
        let message = Some(format!("it was not sent: {late}"));
        Self { operation, kind: ErrorKind::NotSent, code: None, message, request_id: None, source: None }
    }

    /// The API action, `ecs:CreateService`.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// AWS's error code.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// AWS's request id, for a support case.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Whether the same call can succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::Unanswered
            | ErrorKind::NotSent
            | ErrorKind::Fenced => true,
            ErrorKind::Quota | ErrorKind::Denied | ErrorKind::Refused => false,
        }
    }

    pub(super) fn is(&self, code: &str) -> bool {
        self.code() == Some(code)
    }

    pub(super) fn says(&self, words: &str) -> bool {
        self.message.as_deref().is_some_and(|message| message.to_lowercase().contains(&words.to_lowercase()))
    }

    /// RegisterTaskDefinition met too many others in the same family.
    pub(super) fn is_too_many_registrations(&self) -> bool {
        self.says(TOO_MANY_REGISTRATIONS)
    }

    /// CreateService met a service of that name. The code depends on who answers (`InvalidParameterException` or
    /// `ClientException`), so the words decide.
    #[must_use]
    pub fn is_service_conflict(&self) -> bool {
        self.says("not idempotent") || self.says("already exists") || self.is_draining()
    }

    /// CreateService met a service of that name whose tasks are still stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.says("still draining")
    }

    /// The service is not there, or not any more.
    #[must_use]
    pub fn is_service_gone(&self) -> bool {
        self.is("ServiceNotFoundException") || self.is("ServiceNotActiveException")
    }

    /// There is no such task definition. AWS has no typed error for it (`ClientException`, "Unable to describe task
    /// definition."), and emulators word it their own way.
    pub(super) fn is_definition_unknown(&self) -> bool {
        self.kind == ErrorKind::Refused
            && ["unable to describe", "not exist", "not found"].iter().any(|words| self.says(words))
    }

    /// The task definition was deregistered between two calls.
    #[must_use]
    pub fn is_definition_inactive(&self) -> bool {
        self.says("inactive") && self.says("definition")
    }

    fn summary(&self) -> String {
        let message = self.message.clone().unwrap_or_default();
        match (self.kind, &self.code) {
            (ErrorKind::Fenced, _) => "it was not sent: the user's lock has to be looked at first".to_owned(),
            (ErrorKind::Unanswered, _) => "no answer came, so it may have taken effect".to_owned(),
            (_, Some(code)) => format!("{code}: {message}"),
            (ErrorKind::Denied, None) => "the request could not be signed; are there credentials and a region?".into(),
            (_, None) => message,
        }
    }
}

/// Without the source: the SDK's own error shows whole responses, and with them users' variables.
impl fmt::Debug for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, kind, code, message, request_id, source: _ } = self;
        f.debug_struct("AwsError")
            .field("operation", operation)
            .field("kind", kind)
            .field("code", code)
            .field("message", message)
            .field("request_id", request_id)
            .finish_non_exhaustive()
    }
}

/// AWS's request id, in whichever header the service puts it.
pub(super) fn request_id_in(response: &HttpResponse) -> Option<&str> {
    ["x-amzn-requestid", "x-amz-request-id"].iter().find_map(|name| response.headers().get(*name))
}

fn is_fenced(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Fenced>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn lacks_credentials(error: &(dyn StdError + 'static)) -> bool {
    let words = with_causes(error);
    words.contains("credentials") || words.contains("identity")
}

/// What ECS says to more registrations in one family at once than it takes. It comes as a plain ClientException, and it passes.
const TOO_MANY_REGISTRATIONS: &str = "Too many concurrent attempts to create a new revision";

pub(super) fn kind_of(code: Option<&str>, message: Option<&str>, server_fault: bool) -> ErrorKind {
    if message.is_some_and(|message| message.contains(TOO_MANY_REGISTRATIONS)) {
        return ErrorKind::Throttled;
    }
    match code.unwrap_or_default() {
        // Not modelled in ECS, so only the code tells.
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottledException" => ErrorKind::Throttled,
        // Permanent, although the SDK takes LimitExceededException for throttling.
        "LimitExceededException" | "AccessPointLimitExceeded" | "ServiceQuotaExceededException" => ErrorKind::Quota,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "InvalidClientTokenId"
        | "IncompleteSignature" => ErrorKind::Denied,
        "ServerException" | "InternalServerError" | "ServiceUnavailable" | "InternalFailure" => ErrorKind::Unavailable,
        _ if server_fault => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    }
}
