//! The OpenAPI document. Paths, parameters and bodies come from the handlers and from the types that they read and write;
//! this module adds what is the same for all of them.

mod answers;
pub(super) mod schemas;

use axum::http::StatusCode;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, Info, License, OpenApi, OpenApiBuilder, RefOr, Required, Schema};
use utoipa::{IntoParams, openapi};

use super::auth;
use super::code::Code;
use super::error::Document;
use crate::config::Scope;

pub(super) use answers::{
    Changes, ChangesFleet, ChangesRollout, Converges, Creates, FollowsRollout, Guarded, Lists, Looks, OfFleet,
    OfOneRollout, Sends, StartsRollout, Waits,
};

/// Name of the security scheme.
const TOKEN: &str = "token";

const ABOUT: &str = "Gives every user of a web app a private, always-on OpenClaw container on AWS ECS Fargate: one service, \
     one access point and one directory for each.\n\n\
     Every error is an RFC 9457 problem document with a `code` from a closed list. One with `\"retryable\": true` carries \
     `Retry-After`: the same request may be sent again then, and creates nothing twice. Every answer carries \
     `X-Request-Id`, the caller's own if it sent one, and so does every log line.";

/// The tags, in the order in which the document shows them.
const TAGS: [(&str, &str); 6] = [
    ("containers", "A user's container: provision, show, change, delete"),
    ("watching", "Wait for a container, follow it, and list all containers"),
    ("credentials", "A user's sign-in; no answer contains a token"),
    ("gateway", "Address and token of the gateway in a user's container, for a web app"),
    ("fleet", "All users: the promoted base, and rollouts"),
    ("operations", "Health and metrics of this service"),
];

/// The parameter that names the user, in every path that has one.
pub(super) struct OfUser;

impl IntoParams for OfUser {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<openapi::path::Parameter> {
        let parameter = ParameterBuilder::new()
            .name("user_id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The user, by the caller's own id"))
            .schema(Some(schemas::user_id()));
        vec![parameter.build()]
    }
}

/// The parameter that names a rollout.
pub(super) struct OfRollout;

impl IntoParams for OfRollout {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<openapi::path::Parameter> {
        let parameter = ParameterBuilder::new()
            .name("rollout_id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The rollout"))
            .schema(Some(schemas::rollout_id()));
        vec![parameter.build()]
    }
}

/// Joins the parts from the handlers: `guarded` needs a token whose scope follows from the method, `secret` one with the
/// scope `provision`, `admin` one with the scope `admin`, `open` none.
pub(super) fn document(mut guarded: OpenApi, mut secret: OpenApi, mut admin: OpenApi, mut open: OpenApi) -> OpenApi {
    for (reads, operation) in operations(&mut guarded) {
        require(operation, auth::needed(reads));
    }
    for (_, operation) in operations(&mut secret) {
        require(operation, Scope::Provision);
    }
    for (_, operation) in operations(&mut admin) {
        require(operation, Scope::Admin);
    }
    for (_, operation) in operations(&mut open) {
        // Keep a handler's own `security`: a part of its answer may need a token that may read.
        operation.security.get_or_insert_default();
        every_token_reads(operation);
    }
    let mut document = OpenApiBuilder::new().info(info()).components(Some(components())).tags(Some(tags())).build();
    for part in [guarded, secret, admin, open] {
        document.merge(part);
    }
    for (_, operation) in operations(&mut document) {
        no_null_body(operation);
        for response in operation.responses.responses.values_mut() {
            if let RefOr::T(response) = response {
                let header =
                    HeaderBuilder::new().schema(Some(schemas::request_id())).description(Some("Names the request"));
                response.headers.insert("X-Request-Id".to_owned(), RefOr::T(header.build()));
            }
        }
    }
    schemas::explain_reason_codes(&mut document);
    document
}

/// Each operation, and whether it only reads.
fn operations(document: &mut OpenApi) -> impl Iterator<Item = (bool, &mut Operation)> {
    document.paths.paths.values_mut().flat_map(|item| {
        let reads = [item.get.as_mut()].into_iter().flatten().map(|operation| (true, operation));
        let changes = [item.put.as_mut(), item.post.as_mut(), item.delete.as_mut()];
        reads.chain(changes.into_iter().flatten().map(|operation| (false, operation)))
    })
}

/// An optional body must still be an object; utoipa would allow null, too.
fn no_null_body(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content
            && let Some(RefOr::T(Schema::OneOf(either))) = &mut content.schema
            && let Some(object) = either.items.iter().find(|item| matches!(item, RefOr::Ref(_)))
        {
            content.schema = Some(object.clone());
        }
    }
}

fn require(operation: &mut Operation, scope: Scope) {
    operation.security = Some(vec![SecurityRequirement::new(TOKEN, [auth::scope_name(scope)])]);
    if scope == Scope::Read {
        every_token_reads(operation);
    }
}

/// Removes the answer 403: each scope includes reading, so every valid token may read.
fn every_token_reads(operation: &mut Operation) {
    operation.responses.responses.remove(StatusCode::FORBIDDEN.as_str());
}

fn info() -> Info {
    let mut info = Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    let mut license = License::new(env!("CARGO_PKG_LICENSE"));
    license.identifier = Some(license.name.clone());
    info.license = Some(license);
    info
}

fn components() -> openapi::Components {
    let words = "A token of the tokens file. Its scope is `read`, `provision` or `admin`; each includes the ones before it. \
                 Each operation names the scope that it needs.";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(words)).build();
    ComponentsBuilder::new()
        .security_scheme(TOKEN, SecurityScheme::Http(bearer))
        .schema_from::<Document>()
        .schema_from::<Code>()
        .build()
}

fn tags() -> Vec<openapi::Tag> {
    let tag = |(name, words)| TagBuilder::new().name(name).description(Some(words)).build();
    TAGS.into_iter().map(tag).collect()
}
