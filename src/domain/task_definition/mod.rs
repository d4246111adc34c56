//! Task definitions as JSON documents, in the shape of the ECS API.
//!
//! They have no Rust type with one field per member, on purpose: a clone must keep every member, also one that AWS adds
//! later, and a type that knows 45 container members drops the 46th.

mod base;
mod base_error;
pub(super) mod container;
mod current;
mod difference;
mod environment;
mod isolation;
mod judgement;
mod lookout;
mod port;
mod release;
mod render;
mod scale;

pub use base::BaseDefinition;
pub use base_error::BaseError;
pub use container::{OpenClawContainer, ToldBy};
pub use current::{CurrentDefinition, CurrentError};
pub use difference::difference;
pub use isolation::{Isolation, LABEL_ISOLATION, LABEL_SETPRIV, WITH_ROLE, WITHOUT_ROLE};
pub use judgement::{BaseFinding, BaseJudgement, Expected, Severity};
pub use port::NamedPort;
pub use release::release_of;
pub use render::{RenderError, Rendered, render};

use serde_json::{Map, Value};

use super::user_spec::LABEL_PREFIX;
use sha2::{Digest, Sha256};

/// The tag that names the user on revision, service and tasks.
pub const TAG_USER: &str = "openclaw:user-id";
/// The tag that names the environment a resource belongs to.
pub const TAG_BASE_FAMILY: &str = "openclaw:base-family";
/// The tags that a revision gets in addition to the base's.
const OUR_TAGS: [&str; 2] = [TAG_USER, TAG_BASE_FAMILY];
/// Prefix of tag keys that are reserved for AWS; ECS refuses a registration with one.
const RESERVED_TAG_PREFIX: &str = "aws:";

/// The docker label with which a base says which container is OpenClaw; its value is [`ROLE_OPENCLAW`].
pub const LABEL_ROLE: &str = "openclaw.provisioner.role";
/// The value of [`LABEL_ROLE`] on the container that runs OpenClaw.
pub const ROLE_OPENCLAW: &str = "openclaw";
/// The spec as JSON.
pub const LABEL_SPEC: &str = "openclaw.provisioner.spec";
/// The user id.
pub const LABEL_USER: &str = "openclaw.provisioner.user-id";
/// ARN of the base revision that this one was rendered from.
pub const LABEL_BASE: &str = "openclaw.provisioner.base";
/// SHA-256 of the rendered definition, without the labels for base, previous and digest.
pub const LABEL_DIGEST: &str = "openclaw.provisioner.digest";
/// Id of the access point that the user directory is mounted through.
pub const LABEL_ACCESS_POINT: &str = "openclaw.provisioner.access-point";
/// ARN of the user's previous revision: a rollback of a rollout may run it again.
pub const LABEL_PREVIOUS: &str = "openclaw.provisioner.previous";

/// Members of an answer that a request does not have: a clone drops exactly these. It keeps all others, not only the 18
/// input members that AWS once had, so it also keeps the 19th (`trustedExecutionConfiguration` came after this was
/// designed).
pub const OUTPUT_MEMBERS: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "deregisteredAt",
    "deleteRequestedAt",
    "registeredBy",
];

/// The user family of a base family.
#[must_use]
pub fn user_family(base_family: &str) -> String {
    format!("{base_family}-user")
}

/// The family in a task definition ARN or `family:revision`.
#[must_use]
pub(super) fn family_of(arn: &str) -> &str {
    let name = arn.rsplit_once('/').map_or(arn, |(_, name)| name);
    name.split_once(':').map_or(name, |(family, _)| family)
}

/// SHA-256 in hex over canonical JSON (members sorted by name, no white space).
fn sha256_of(document: &Map<String, Value>) -> String {
    hex::encode(Sha256::digest(serde_json::to_vec(document).unwrap_or_default()))
}

fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}

fn items<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether ECS checks the health of a container. The command `NONE` switches a check off (Docker's HealthConfig, which ECS
/// passes on), and then ECS never calls the container healthy.
fn has_health_check(container: &Value) -> bool {
    let command = container.get("healthCheck").map_or(&[][..], |check| items(check, "command"));
    command.first().is_some_and(|first| first != "NONE")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_members() {
        let one: Map<String, Value> = serde_json::from_str(r#"{"b":1,"a":[{"y":2,"x":3}]}"#).unwrap();
        let other: Map<String, Value> = serde_json::from_str(r#"{"a":[{"x":3,"y":2}],"b":1}"#).unwrap();
        assert_eq!(sha256_of(&one), sha256_of(&other));
        assert_ne!(sha256_of(&one), sha256_of(&Map::from_iter([("b".to_owned(), json!(1))])));
    }

    #[test]
    fn the_family_is_read_from_arns_and_short_names() {
        let arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev-user:7";
        assert_eq!(family_of(arn), "openclaw-dev-user");
        assert_eq!(family_of("openclaw-dev:42"), "openclaw-dev");
        assert_eq!(family_of("openclaw-dev"), "openclaw-dev");
    }
}
