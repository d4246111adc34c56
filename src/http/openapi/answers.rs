//! Answers that several handlers share: what comes of a converge, and the codes that they refuse with, whose status, title
//! and `Retry-After` follow from the code.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::schemas;
use crate::http::code::Code;
use crate::http::error::PROBLEM_JSON;

/// Behind a token anything can come to these.
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

/// What concerns the fleet as a whole.
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
    /// Of a handler that looks at one user.
    Looks: GUARDED, READS, OF_USER;
    /// Of one that changes a user, without a body.
    Changes: GUARDED, READS, OF_USER, CHANGES;
    /// Of one that changes a user by what a body says.
    Sends: GUARDED, READS, OF_USER, CHANGES, BODIES;
    /// Of one that waits for a user or follows one.
    Waits: GUARDED, READS, OF_USER, &[Code::TooManyWatchers];
    /// Of the list.
    Lists: GUARDED, READS, &[Code::FleetBeingRead];
    /// Of one that looks at the fleet as a whole.
    OfFleet: GUARDED, READS, OF_FLEET;
    /// Of one that changes what concerns all.
    ChangesFleet: GUARDED, READS, OF_FLEET, &[Code::BaseUnusable, Code::Contended, Code::RolloutUnderWay], BODIES;
    /// Of one that starts a rollout.
    StartsRollout: GUARDED, READS, OF_FLEET,
        &[Code::BaseUnusable, Code::Contended, Code::RolloutUnderWay, Code::RolloutPlanChanged, Code::FleetBeingRead],
        BODIES;
    /// Of one that looks at a rollout.
    OfOneRollout: GUARDED, READS, OF_FLEET, &[Code::RolloutNotFound];
    /// Of one that follows a rollout.
    FollowsRollout: GUARDED, READS, OF_FLEET, &[Code::RolloutNotFound, Code::TooManyWatchers];
    /// Of one that changes a rollout.
    ChangesRollout: GUARDED, READS, OF_FLEET,
        &[Code::RolloutNotFound, Code::RolloutUnderWay, Code::RolloutOver, Code::Contended], BODIES;
    /// Of one that only needs a token.
    Guarded: GUARDED;
}

/// Of a handler that changes a container that is there.
pub(in crate::http) struct Converges;

impl IntoResponses for Converges {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let answers = [("200", "Already so"), ("202", "Accepted; on its way")];
        answers.map(|(status, words)| (status.to_owned(), RefOr::T(container(words)))).into()
    }
}

/// Of a handler that may make one.
pub(in crate::http) struct Creates;

impl IntoResponses for Creates {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let made = ("201".to_owned(), RefOr::T(container("Made; on its way up")));
        Converges::responses().into_iter().chain([made]).collect()
    }
}

fn container(words: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Container"))).build();
    let location = HeaderBuilder::new().schema(Some(schemas::text())).description(Some("Where to look next")).build();
    ResponseBuilder::new().description(words).content("application/json", content).header("Location", location).build()
}

/// A response for each status, naming the codes that have it.
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
        let words = "Seconds after which the same request may be sent again; where `retryable` is true";
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
