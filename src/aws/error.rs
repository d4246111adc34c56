//! AWS errors, sorted by what a caller can do.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use thiserror::Error;

use super::NotInTime;
use crate::domain::{hide_access_points, with_causes};

/// The error of an attempt that was not sent, because its lock is not verified.
#[derive(Debug, Error)]
#[error("the lock under which the call is made must be verified first")]
pub(super) struct Fenced;

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

/// Kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// AWS asks to slow down.
    Throttled,
    /// A quota of the account is used up; trying again changes nothing.
    Quota,
    /// Credentials are missing, expired or not allowed to do this.
    Denied,
    /// AWS answered with an internal failure, or the source of the credentials failed.
    Unavailable,
    /// No connection could be opened: the request was not sent, at least not by the last attempt.
    Unreachable,
    /// No answer came: the call may or may not have taken effect.
    Unanswered,
    /// The operation's deadline came before the call's turn at the rate limit: nothing was sent.
    NotSent,
    /// AWS understood the call and refused it.
    Refused,
    /// The call was not sent, or not again: its lock must be verified first.
    Fenced,
}

impl AwsError {
    pub(super) fn from_sdk<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let code = error.code().map(str::to_owned);
        let response = error.raw_response();
        let request_id = response.and_then(request_id_in).map(str::to_owned);
        let status = response.map(|response| response.status().as_u16());
        let server_fault = response.is_some_and(|response| response.status().is_server_error());
        let mut message = error.message().filter(|message| !message.is_empty()).map(str::to_owned);
        let kind = match &error {
            _ if is_fenced(&error) => ErrorKind::Fenced,
            SdkError::ServiceError(_) | SdkError::ResponseError(_) if response.is_some_and(is_unimplemented) => {
                let told = message.unwrap_or_else(|| format!("HTTP {}", status.unwrap_or_default()));
                message = Some(format!("{NOT_IMPLEMENTED} ({told})"));
                ErrorKind::Refused
            }
            // An answer came, but its content, and whether the call took effect, are unknown.
            SdkError::ServiceError(_) | SdkError::ResponseError(_)
                if response.is_none_or(|response| response.status().is_success()) =>
            {
                message = Some(format!("the answer (HTTP {}) could not be understood", status.unwrap_or_default()));
                ErrorKind::Unavailable
            }
            SdkError::ServiceError(_) | SdkError::ResponseError(_) => {
                if code.is_none() && message.is_none() {
                    // Most often the answer of a proxy.
                    let status = status.unwrap_or_default();
                    message = Some(format!("the answer was HTTP {status}, with no error of AWS in it"));
                }
                kind_of(code.as_deref(), message.as_deref(), server_fault)
            }
            // The SDK looks for credentials as part of the dispatch, before anything is sent.
            SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) | SdkError::TimeoutError(_)
                if is_without_credentials(&error, CREDENTIALS_FAILED) =>
            {
                message = Some("the credentials could not be fetched, so nothing was sent".to_owned());
                ErrorKind::Unavailable
            }
            // Nothing was sent, or the request could not be built: mostly missing credentials.
            SdkError::ConstructionFailure(_) => ErrorKind::Denied,
            SdkError::DispatchFailure(_) if is_without_credentials(&error, &["credentials", "identity"]) => {
                ErrorKind::Denied
            }
            SdkError::DispatchFailure(_) if is_unconnected(&error) => ErrorKind::Unreachable,
            _ => ErrorKind::Unanswered,
        };
        // Refusals quote ARNs.
        let message = message.map(|message| hide_access_points(&message));
        Self { operation, kind, code, message, request_id, source: Some(Box::new(error)) }
    }

    /// The error for an answer that lacks something that AWS documents.
    pub(super) fn malformed(operation: &'static str, problem: &str) -> Self {
        let message = Some(format!("the answer {problem}"));
        Self { operation, kind: ErrorKind::Unavailable, code: None, message, request_id: None, source: None }
    }

    /// The error for an answer that cannot be used, now or later.
    pub(super) fn unusable(operation: &'static str, problem: &str) -> Self {
        Self { kind: ErrorKind::Refused, ..Self::malformed(operation, problem) }
    }

    /// The error of a call whose turn did not come in time.
    pub(super) fn not_sent(operation: &'static str, late: NotInTime) -> Self {
        let message = Some(format!("it was not sent: {late}"));
        Self { operation, kind: ErrorKind::NotSent, code: None, message, request_id: None, source: None }
    }

    /// The API action, `ecs:CreateService`.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// The kind of failure.
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
            | ErrorKind::Unreachable
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

    /// Whether RegisterTaskDefinition was refused because of too many concurrent ones in the same family.
    pub(super) fn is_too_many_registrations(&self) -> bool {
        self.says(TOO_MANY_REGISTRATIONS)
    }

    /// Whether CreateService found an existing service of that name. The code is not always the same
    /// (`InvalidParameterException` or `ClientException`), so the message decides.
    #[must_use]
    pub fn is_service_conflict(&self) -> bool {
        self.says("not idempotent") || self.says("already exists") || self.is_draining()
    }

    /// Whether CreateService found a service of that name whose tasks are still stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.says("still draining")
    }

    /// Whether the service does not exist, or no longer.
    #[must_use]
    pub fn is_service_gone(&self) -> bool {
        self.is("ServiceNotFoundException") || self.is("ServiceNotActiveException")
    }

    /// Whether the endpoint lacks the action: an emulator, or a Region that does not have it yet. Trying again changes nothing.
    #[must_use]
    pub fn is_not_implemented(&self) -> bool {
        self.says(NOT_IMPLEMENTED)
    }

    /// Whether the access point that the token finds is still being deleted; it will soon be gone.
    #[must_use]
    pub fn is_being_deleted(&self) -> bool {
        self.says(STILL_BEING_DELETED)
    }

    /// Whether ECS's service-linked role cannot be assumed yet: the first service of an account creates it.
    #[must_use]
    pub fn is_linked_role_missing(&self) -> bool {
        self.says("service linked role") || self.says("service-linked role")
    }

    /// ECS does not see the task role yet, or not what it may do: IAM is eventually consistent (aws-facts §8). ECS has no code for it.
    #[must_use]
    pub fn is_role_not_seen(&self) -> bool {
        !self.is_linked_role_missing() && (self.says("unable to assume") || self.says("role is not valid"))
    }

    /// There is no such task definition. AWS has no typed error for it (`ClientException`, "Unable to describe task
    /// definition."), and emulators word it their own way.
    pub(super) fn is_definition_unknown(&self) -> bool {
        self.kind == ErrorKind::Refused
            && ["unable to describe", "not exist", "not found"].iter().any(|words| self.says(words))
    }

    /// Whether the task definition was deregistered between two calls.
    #[must_use]
    pub fn is_definition_inactive(&self) -> bool {
        self.says("inactive") && self.says("definition")
    }

    fn summary(&self) -> String {
        let message = self.message.clone().unwrap_or_default();
        match (self.kind, &self.code) {
            (ErrorKind::Fenced, _) => "it was not sent: the user's lock must be verified first".to_owned(),
            (ErrorKind::Unanswered, _) => "no answer came, so it may have taken effect".to_owned(),
            (ErrorKind::Unreachable, _) => "no connection to AWS could be opened".to_owned(),
            (_, Some(code)) => format!("{code}: {message}"),
            (ErrorKind::Denied, None) => "the request could not be signed; are there credentials and a region?".into(),
            (_, None) => message,
        }
    }
}

/// Debug output without the source: the SDK's own error shows whole responses, which contain users' variables.
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

/// AWS's request id, from the header that the service uses.
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

/// The message of [`super::Efs`] for an access point that is `deleting`.
pub(super) const STILL_BEING_DELETED: &str = "shows an access point that is still being deleted, or not seen yet";

/// The message for an endpoint that lacks the action.
const NOT_IMPLEMENTED: &str = "this endpoint does not implement it";

/// Whether the endpoint lacks the action. AWS and each emulator say it in their own way; moto answers 500 with an HTML page.
fn is_unimplemented(response: &HttpResponse) -> bool {
    const WORDS: [&str; 5] = [
        "NotImplemented",
        "not been implemented",
        "not implemented",
        "UnknownOperationException",
        "not yet implemented",
    ];
    let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    response.status().as_u16() == 501 || !response.status().is_success() && WORDS.iter().any(|word| body.contains(word))
}

/// The SDK's messages for a source of credentials that exists but failed; for a missing source it has others
/// (aws-credential-types, `CredentialsError`).
const CREDENTIALS_FAILED: &[&str] =
    &["an error occurred while loading credentials", "credentials provider timed out", "unexpected credentials error"];

fn is_without_credentials(error: &(dyn StdError + 'static), words: &[&str]) -> bool {
    let told = with_causes(error);
    words.iter().any(|words| told.contains(words))
}

/// Whether no connection could be opened. The SDK has no type for it; its causes have.
fn is_unconnected(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind as Io;
    let refused = |cause: &(dyn StdError + 'static)| {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        matches!(
            kind,
            Some(Io::ConnectionRefused | Io::HostUnreachable | Io::NetworkUnreachable | Io::AddrNotAvailable)
        )
    };
    let mut next = error.source();
    while let Some(cause) = next {
        if refused(cause) {
            return true;
        }
        next = cause.source();
    }
    const WORDS: [&str; 4] = ["tcp connect error", "dns error", "connect timeout", "(Connect)"];
    is_without_credentials(error, &WORDS)
}

/// ECS's message for too many registrations in one family at the same time. It comes as a plain ClientException, and passes.
const TOO_MANY_REGISTRATIONS: &str = "Too many concurrent attempts to create a new revision";

pub(super) fn kind_of(code: Option<&str>, message: Option<&str>, server_fault: bool) -> ErrorKind {
    if message.is_some_and(|message| message.contains(TOO_MANY_REGISTRATIONS)) {
        return ErrorKind::Throttled;
    }
    match code.unwrap_or_default() {
        // ECS's model does not have these errors, so the code decides.
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottledException" => ErrorKind::Throttled,
        // Permanent, although the SDK takes LimitExceededException for throttling.
        "LimitExceededException" | "LimitExceeded" | "AccessPointLimitExceeded" | "ServiceQuotaExceededException" => {
            ErrorKind::Quota
        }
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "InvalidClientTokenId"
        | "IncompleteSignature" => ErrorKind::Denied,
        // IAM, of two changes of one role at once: it passes.
        "ConcurrentModification" => ErrorKind::Unavailable,
        "ServerException" | "InternalServerError" | "ServiceUnavailable" | "InternalFailure" => ErrorKind::Unavailable,
        _ if server_fault => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    }
}
