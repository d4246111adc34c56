//! The closed list of error codes, and the one place that knows status codes.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::reconcile::FailureKind;

/// One row for each code, so that the compiler requires all parts: status, title, and the seconds after which the same request may
/// be sent again if it can succeed. First the codes of a failed converge, each with a [`FailureKind`] of the same name.
macro_rules! codes {
    (
        failures {
            $($(#[$of_failure:meta])* $failure:ident: $failure_status:ident, $failure_title:literal, $failure_retry:expr;)*
        }
        requests {
            $($(#[$of_request:meta])* $request:ident: $request_status:ident, $request_title:literal, $request_retry:expr;)*
        }
    ) => {
        /// What went wrong, as a closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        #[cfg_attr(test, derive(serde::Deserialize))]
        #[serde(rename_all = "snake_case")]
        pub enum Code {
            $($(#[$of_failure])* $failure,)*
            $($(#[$of_request])* $request,)*
        }

        impl Code {
            pub(super) const fn status(self) -> StatusCode {
                match self {
                    $(Self::$failure => StatusCode::$failure_status,)*
                    $(Self::$request => StatusCode::$request_status,)*
                }
            }

            pub(super) const fn title(self) -> &'static str {
                match self {
                    $(Self::$failure => $failure_title,)*
                    $(Self::$request => $request_title,)*
                }
            }

            /// Whether the same request can succeed later; and if so, after how many seconds it is worth trying.
            pub(super) const fn retry_after_seconds(self) -> Option<u32> {
                match self {
                    $(Self::$failure => $failure_retry,)*
                    $(Self::$request => $request_retry,)*
                }
            }
        }

        impl From<FailureKind> for Code {
            fn from(kind: FailureKind) -> Self {
                match kind {
                    $(FailureKind::$failure => Self::$failure,)*
                }
            }
        }
    };
}

codes! {
    failures {
        /// A field is wrong.
        InvalidField: UNPROCESSABLE_ENTITY, "A field is not valid", None;
        /// The user has no container.
        ContainerNotFound: NOT_FOUND, "The user has no container", None;
        /// Another operation on the user is under way.
        OperationInProgress: CONFLICT, "Another operation on this user is under way", Some(5);
        /// Too many operations wait before it for AWS's rate limits.
        // `Retry-After` is not these 60 s but the time until the current queue is served, see `Problem::queue_full`.
        QueueFull: TOO_MANY_REQUESTS, "Too many operations wait for AWS", Some(60);
        /// The service is not one of ours.
        ForeignService: CONFLICT, "The user's service was not made by this product", None;
        /// The image is not in its registry.
        ImageNotFound: UNPROCESSABLE_ENTITY, "The image does not exist", None;
        /// The base cannot be cloned.
        BaseUnusable: INTERNAL_SERVER_ERROR, "The base task definition cannot be used", None;
        /// The promoted base cannot be cloned.
        PromotedBaseUnusable: INTERNAL_SERVER_ERROR, "The base that is promoted cannot be used", None;
        /// The request conflicts with a rollout that is under way.
        RolloutUnderWay: CONFLICT, "A rollout is under way", None;
        /// The rollout was written by a later version, or is damaged.
        RolloutNotUnderstood: INTERNAL_SERVER_ERROR, "The rollout cannot be read by this version", None;
        /// The user's files could not be written; this may be temporary.
        FilesUnavailable: SERVICE_UNAVAILABLE, "The user's files could not be written", Some(10);
        /// The user's files cannot be written until an operator corrects the mount or the settings.
        FilesMisconfigured: INTERNAL_SERVER_ERROR, "The user's files cannot be written", None;
        /// A file that the user wrote cannot be read, and would be lost.
        FilesUnreadable: CONFLICT, "A file of the user's own cannot be read", None;
        /// This service does not manage the gateway's token.
        GatewayTokenNotOurs: CONFLICT, "The gateway's token is not kept here", None;
        /// Another replica took the user's lock.
        LockLost: SERVICE_UNAVAILABLE, "Another replica took over the user", Some(2);
        /// The user's resources kept changing.
        Contended: SERVICE_UNAVAILABLE, "The user's resources kept changing", Some(2);
        /// AWS asks to slow down.
        AwsThrottled: SERVICE_UNAVAILABLE, "AWS asks to slow down", Some(5);
        /// AWS, or the network path to it, is down.
        AwsUnavailable: SERVICE_UNAVAILABLE, "AWS did not answer", Some(5);
        /// A quota of the AWS account is used up.
        AwsQuotaExceeded: SERVICE_UNAVAILABLE, "A quota of the AWS account is used up", None;
        /// This service may not do that in AWS.
        AwsAccessDenied: INTERNAL_SERVER_ERROR, "This service lacks a permission in AWS", None;
        /// AWS refused a call.
        AwsRefused: BAD_GATEWAY, "AWS refused a call", None;
        /// The operation was cancelled.
        Cancelled: CONFLICT, "The operation was cancelled", None;
        /// It took too long.
        DeadlineExceeded: GATEWAY_TIMEOUT, "It took too long", Some(5);
        /// This replica is shutting down.
        ShuttingDown: SERVICE_UNAVAILABLE, "This replica is shutting down", Some(2);
        /// A bug.
        Internal: INTERNAL_SERVER_ERROR, "Something went wrong in this service", None;
    }
    requests {
        /// The body is not JSON.
        InvalidJson: BAD_REQUEST, "The body is not JSON", None;
        /// The `Content-Type` is not JSON.
        UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE, "The body is not announced as JSON", None;
        /// The body is too large.
        PayloadTooLarge: PAYLOAD_TOO_LARGE, "The body is too large", None;
        /// The request did not arrive whole in time.
        RequestTimeout: REQUEST_TIMEOUT, "The request did not arrive in time", Some(2);
        /// No token, or not one of ours.
        Unauthorized: UNAUTHORIZED, "A valid bearer token is needed", None;
        /// The token's scope is not enough.
        Forbidden: FORBIDDEN, "The token's scope is not enough", None;
        /// No such route.
        NoSuchRoute: NOT_FOUND, "No such route", None;
        /// The route has other methods.
        MethodNotAllowed: METHOD_NOT_ALLOWED, "The route has no such method", None;
        /// No such rollout.
        RolloutNotFound: NOT_FOUND, "There is no such rollout", None;
        /// The rollout is over.
        RolloutOver: CONFLICT, "The rollout is over", None;
        /// The rollout would no longer do what was planned.
        RolloutPlanChanged: CONFLICT, "The rollout is not what was planned any more", None;
        /// Too many callers watch containers through this replica.
        TooManyWatchers: SERVICE_UNAVAILABLE, "Too many callers watch containers", Some(5);
        /// This replica has as many connections as it can hold.
        TooManyConnections: SERVICE_UNAVAILABLE, "Too many connections", Some(5);
        /// The first list of the fleet, or a fresh one, is not ready yet.
        FleetBeingRead: SERVICE_UNAVAILABLE, "The fleet is still being read", Some(5);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// All codes, from serde's list of the enum: a new code cannot be forgotten here.
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
