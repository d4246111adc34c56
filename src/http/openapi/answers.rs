//! Answers that several handlers share: the result of a converge, and the error codes. Status, title and `Retry-After` follow
//! from the code.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::schemas;
use crate::http::code::Code;
use crate::http::error::PROBLEM_JSON;

/// Codes that every route with a token can answer.
const GUARDED: &[Code] = &[Code::Unauthorized, Code::Forbidden, Code::TooManyConnections, Code::Internal];

const OF_USER: &[Code] = &[
    Code::ContainerNotFound,
    Code::ForeignService,
    Code::FilesUnavailable,
    Code::FilesMisconfigured,
    Code::FilesUnreadable,
];

const READS: &[Code] = &[
    Code::InvalidField,
    Code::AwsThrottled,
    Code::AwsUnavailable,
    Code::AwsQuotaExceeded,
    Code::AwsAccessDenied,
    Code::AwsRefused,
    Code::DeadlineExceeded,
    Code::ShuttingDown,
];

const CHANGES: &[Code] = &[
    Code::OperationInProgress,
    Code::QueueFull,
    Code::BaseUnusable,
    Code::PromotedBaseUnusable,
    Code::ImageNotFound,
    Code::GatewayTokenNotOurs,
    Code::LockLost,
    Code::Contended,
    Code::Cancelled,
];

/// Codes of routes that concern the whole fleet.
const OF_FLEET: &[Code] =
    &[Code::PromotedBaseUnusable, Code::RolloutNotUnderstood, Code::FilesUnavailable, Code::FilesMisconfigured];

const BODIES: &[Code] = &[Code::InvalidJson, Code::UnsupportedMediaType, Code::PayloadTooLarge, Code::RequestTimeout];

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $($codes:expr),+;)+) => {$(
        $(#[$doc])*
        pub(in crate::http) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                by_status(&[$($codes),+].concat())
            }
        }
    )+};
}

refusals! {
    /// Errors of a handler that reads one user.
    Looks: GUARDED, READS, OF_USER;
    /// Errors of a handler that changes a user, without a body.
    Changes: GUARDED, READS, OF_USER, CHANGES;
    /// Errors of a handler that changes a user, with a body.
    Sends: GUARDED, READS, OF_USER, CHANGES, BODIES;
    /// Errors of a handler that waits for a user or follows one.
    Waits: GUARDED, READS, OF_USER, &[Code::TooManyWatchers];
    /// Errors of the list.
    Lists: GUARDED, READS, &[Code::FleetBeingRead];
    /// Errors of a handler that reads the whole fleet.
    OfFleet: GUARDED, READS, OF_FLEET;
    /// Errors of a handler that changes what concerns all users.
    ChangesFleet: GUARDED, READS, OF_FLEET, &[Code::BaseUnusable, Code::Contended, Code::RolloutUnderWay], BODIES;
    /// Errors of a handler that starts a rollout.
    StartsRollout: GUARDED, READS, OF_FLEET,
        &[Code::BaseUnusable, Code::Contended, Code::RolloutUnderWay, Code::RolloutPlanChanged, Code::FleetBeingRead],
        BODIES;
    /// Errors of a handler that reads a rollout.
    OfOneRollout: GUARDED, READS, OF_FLEET, &[Code::RolloutNotFound];
    /// Errors of a handler that follows a rollout.
    FollowsRollout: GUARDED, READS, OF_FLEET, &[Code::RolloutNotFound, Code::TooManyWatchers];
    /// Errors of a handler that changes a rollout.
    ChangesRollout: GUARDED, READS, OF_FLEET,
        &[Code::RolloutNotFound, Code::RolloutUnderWay, Code::RolloutOver, Code::Contended], BODIES;
    /// Errors of a handler that only needs a token.
    Guarded: GUARDED;
}

/// Answers of a handler that changes an existing container.
pub(in crate::http) struct Converges;

impl IntoResponses for Converges {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let answers = [("200", "Nothing to change"), ("202", "Accepted; on its way")];
        answers.map(|(status, words)| (status.to_owned(), RefOr::T(container(words)))).into()
    }
}

/// Answers of a handler that may create a container.
pub(in crate::http) struct Creates;

impl IntoResponses for Creates {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let made = ("201".to_owned(), RefOr::T(container("Created; starting")));
        Converges::responses().into_iter().chain([made]).collect()
    }
}

fn container(words: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Container"))).build();
    let location = HeaderBuilder::new().schema(Some(schemas::text())).description(Some("Where to look next")).build();
    ResponseBuilder::new().description(words).content("application/json", content).header("Location", location).build()
}

/// A response for each status, which names the codes with that status.
fn by_status(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut statuses: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for code in codes {
        statuses.entry(code.status().as_str().to_owned()).or_default().push(*code);
    }
    statuses.into_iter().map(|(status, codes)| (status, RefOr::T(response(&codes)))).collect()
}

fn response(codes: &[Code]) -> Response {
    let named: Vec<String> = codes.iter().map(said).collect();
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new().description(named.join("; ")).content(PROBLEM_JSON, content);
    if codes.iter().any(|code| code.retry_after_seconds().is_some()) {
        let words = "Seconds after which the same request may be sent again; present if `retryable` is true";
        let header = HeaderBuilder::new().schema(Some(schemas::seconds())).description(Some(words));
        response = response.header("Retry-After", header.build());
    }
    if codes.contains(&Code::Unauthorized) {
        let header = HeaderBuilder::new().schema(Some(schemas::text())).description(Some("`Bearer`"));
        response = response.header("WWW-Authenticate", header.build());
    }
    response.build()
}

fn said(code: &Code) -> String {
    let name = serde_json::to_value(code).unwrap_or_default();
    format!("`{}`: {}", name.as_str().unwrap_or_default(), code.title())
}
