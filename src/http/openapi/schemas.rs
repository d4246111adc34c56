//! Schemas that are stricter than a Rust type: exactly what the domain's parsers accept.

use openclaw::Authority;
use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AdditionalProperties, AllOf, ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType,
    Type,
};
use utoipa::openapi::{OpenApi, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{CPU_UNITS, ReasonCode, Size};
use crate::rollout::words::DAYS;

/// A user's id.
pub(in crate::http) fn user_id() -> Object {
    string().pattern(Some("^[A-Za-z0-9_-]{1,64}$")).examples(["alice"]).build()
}

/// A request's id.
pub(super) fn request_id() -> Object {
    string().max_length(Some(128)).build()
}

/// A JSON Patch.
pub(in crate::http) fn json_patch() -> Schema {
    let operation = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("op", string().enum_values(Some(["add", "remove", "replace", "test"])))
        .property("path", string())
        .property("value", Schema::from(AllOf::new()))
        .required("op")
        .required("path");
    ArrayBuilder::new().items(operation).into()
}

/// A rollout's id.
pub(super) fn rollout_id() -> Object {
    string().pattern(Some("^[A-Za-z0-9-]{1,64}$")).examples(["20261127-150405-1a2b"]).build()
}

/// The state of a rollout.
pub(in crate::http) fn rollout_state() -> Object {
    names(&["planned", "running", "paused", "done", "aborted", "rolled_back"])
}

/// Names of days, or null.
pub(in crate::http) fn days() -> Schema {
    let days = string().enum_values(Some(DAYS));
    let days = ArrayBuilder::new().items(days).min_items(Some(1)).max_items(Some(7));
    OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::Null)).item(days).into()
}

/// The one thing that a rollout changes.
pub(in crate::http) struct RolloutChange;

impl PartialSchema for RolloutChange {
    fn schema() -> RefOr<Schema> {
        let one = |name: &str, words: &str, schema: RefOr<Schema>| {
            closed_object().property(name, schema).required(name).description(Some(words)).build()
        };
        let base = string().pattern(Some("^(newest|([A-Za-z0-9_-]+:)?[1-9][0-9]{0,8})$")).build();
        let name =
            string().pattern(Some("^(?!(CODEX_HOME|OPENAI_API_KEY|ANTHROPIC_API_KEY)$)[A-Za-z_][A-Za-z0-9_]{0,254}$"));
        let value = nullable_string().pattern(Some("^[^\\u0000]*$"));
        let variable = closed_object().property("name", name).property("value", value).required("name").build();
        let restart = ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build();
        let redeploy = RefOr::Ref(Ref::from_schema_name("RedeployRequest"));
        OneOfBuilder::new()
            .description(Some("What to change for each user: one of these"))
            .item(one("base_revision", "Moves to a revision of the base family, such as `42` or `newest`", base.into()))
            .item(one("image", "Pins an image; null removes the pin", image().into()))
            .item(one("size", "Changes to a Fargate size", size().into()))
            .item(one("variable", "Sets one variable; without a value, or with null, removes it", variable.into()))
            .item(one("restart", "Replaces the task, and changes nothing else", restart.into()))
            .item(one("redeploy", "As a redeploy of one user: the promoted base, or the newest", redeploy))
            .into()
    }
}

impl ToSchema for RolloutChange {}

/// The progress of a user in a rollout.
pub(in crate::http) fn rollout_outcome() -> Object {
    names(&["waiting", "on_the_way", "soaking", "done", "failed", "skipped"])
}

/// A number of users, or a share of them, or null.
pub(in crate::http) fn share() -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(100_000));
    let percent = string().pattern(Some("^(100|[1-9]?[0-9])%$")).examples(["25%"]);
    let null = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new().item(null).item(number).item(percent).into()
}

/// Waves of a rollout, or null.
pub(in crate::http) fn shares() -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(100_000));
    let percent = string().pattern(Some("^(100|[1-9][0-9]?)%$"));
    let items = OneOfBuilder::new().item(number).item(percent);
    let shares = ArrayBuilder::new().items(items).max_items(Some(100));
    OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::Null)).item(shares).into()
}

/// Any text.
pub(super) fn text() -> Object {
    string().build()
}

/// A duration.
pub(super) fn seconds() -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).build()
}

/// A Fargate size: the memory sizes that each CPU size allows.
pub(in crate::http) fn size() -> Schema {
    sizes(|size| size)
}

fn sizes(with: impl Fn(ObjectBuilder) -> ObjectBuilder) -> Schema {
    let of_cpu = |cpu: &u32| {
        let memory: Vec<u32> = Size::all().filter(|size| size.cpu() == *cpu).map(Size::memory_mib).collect();
        let memory_words = "Memory in MiB";
        with(closed_object())
            .property("cpu", number().enum_values(Some([*cpu])).description(Some("CPU units; 1024 are one vCPU")))
            .property("memory_mib", number().enum_values(Some(memory)).description(Some(memory_words)))
            .required("cpu")
            .required("memory_mib")
    };
    let words = "A Fargate task size (ECS developer guide, \"Task CPU and memory\")";
    let sizes = OneOfBuilder::new().description(Some(words));
    CPU_UNITS.iter().map(of_cpu).fold(sizes, OneOfBuilder::item).into()
}

/// The body of a resize.
pub(in crate::http) struct ResizeRequest;

impl PartialSchema for ResizeRequest {
    fn schema() -> RefOr<Schema> {
        let words = "How the task is replaced; left out or null: as the service is configured";
        let order = nullable_string()
            .enum_values(Some([Some("stop_first"), Some("strict"), None]))
            .description(Some(words))
            .build();
        sizes(|size| size.property("rollout_order", order.clone())).into()
    }
}

impl ToSchema for ResizeRequest {}

/// A server-sent event with this name, or `done`.
fn event(name: &str, words: &str) -> RefOr<Schema> {
    let data = string().content_media_type("application/json").description(Some(words));
    closed_object()
        .property("event", string().enum_values(Some([name, "done"])))
        .property("id", string())
        .property("data", data)
        .required("event")
        .required("id")
        .required("data")
        .into()
}

/// A server-sent event.
pub(in crate::http) struct Event;

impl PartialSchema for Event {
    fn schema() -> RefOr<Schema> {
        event("status", "JSON: a `ContainerStatus`, or `{\"user_id\", \"state\"}` with `done`")
    }
}

impl ToSchema for Event {}

/// A server-sent event of a rollout.
pub(in crate::http) struct RolloutEvent;

impl PartialSchema for RolloutEvent {
    fn schema() -> RefOr<Schema> {
        event("rollout", "JSON: a `Rollout`, or `{\"id\", \"state\"}` with `done`")
    }
}

impl ToSchema for RolloutEvent {}

/// A Fargate size, or null.
pub(in crate::http) fn optional_size() -> Schema {
    match size() {
        Schema::OneOf(mut sizes) => {
            sizes.items.insert(0, ObjectBuilder::new().schema_type(Type::Null).into());
            sizes.into()
        }
        other => other,
    }
}

/// An image with a tag or a digest, or null.
pub(in crate::http) fn image() -> Object {
    nullable_string()
        .max_length(Some(255))
        .pattern(Some(
            "^[A-Za-z0-9._-]+(:[0-9]+)?(/[A-Za-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?@sha256:[0-9a-fA-F]{64})$",
        ))
        .examples(["ghcr.io/openclaw/openclaw:2026.9.6"])
        .build()
}

/// A release from 2026.4.7 on, or null.
pub(in crate::http) fn release() -> Object {
    nullable_string()
        .pattern(Some(
            "^v?(2026\\.4\\.([7-9]|[1-9][0-9]{1,3})|2026\\.([5-9]|1[0-2])\\.(0|[1-9][0-9]{0,3})|(202[7-9]|20[3-9][0-9])\\.([1-9]|1[0-2])\\.(0|[1-9][0-9]{0,3}))(-[A-Za-z0-9._-]*)?$",
        ))
        .examples(["2026.9.6"])
        .build()
}

/// Environment variables by name, or null.
pub(in crate::http) fn variables() -> Object {
    let names = "^(?!(CODEX_HOME|OPENAI_API_KEY|ANTHROPIC_API_KEY)$)[A-Za-z_][A-Za-z0-9_]{0,254}$";
    let values = string().pattern(Some("^[^\\u0000]*$"));
    map(names, values).examples([json!({"TZ": "Europe/Berlin"})]).build()
}

/// ARNs of secrets by name, or null.
pub(in crate::http) fn secrets() -> Object {
    let names = "^(?!CODEX_HOME$)[A-Za-z_][A-Za-z0-9_]{0,254}$";
    let arn = "^arn:aws[a-z-]*:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[!-~]+|ssm:[a-z0-9-]+:[0-9]{12}:parameter/[!-~]+)$";
    let values = string().pattern(Some(arn)).max_length(Some(2048));
    let example = json!({"OPENAI_API_KEY": "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai-AbCdEf"});
    map(names, values).examples([example]).build()
}

/// Docker labels by name, or null.
pub(in crate::http) fn labels() -> Object {
    let values = string().pattern(Some("^[^\\u0000-\\u001f\\u007f-\\u009f]*$")).max_length(Some(1024));
    map("^(?!openclaw\\.provisioner\\.)[!-~]{1,128}$", values).examples([json!({"team": "support"})]).build()
}

/// A ChatGPT sign-in as the Codex CLI writes it.
pub(in crate::http) fn auth() -> Object {
    let token = |words: &str| {
        let token = string().format(Some(SchemaFormat::Custom("chatgpt-token".to_owned())));
        token.write_only(true).max_length(Some(16 * 1024)).description(Some(words))
    };
    let account = nullable_string()
        .pattern(Some("^[!-~]{1,256}$"))
        .description(Some("The ChatGPT account; needed if no token has the claim `chatgpt_account_id`"));
    let tokens = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("access_token", token("A JWT"))
        .property("refresh_token", token("Used once; the container rotates it"))
        .property("id_token", token("A JWT; may be left out if the access token is one").schema_type(nullable()))
        .property("account_id", account)
        .required("access_token")
        .required("refresh_token");
    let last_refresh = nullable_string().description(Some(
        "When the tokens were issued, in RFC 3339 or a looser form that Codex reads; needed if the access token does \
         not say it",
    ));
    let no_key = ObjectBuilder::new().schema_type(Type::Null);
    let mode = nullable_string().enum_values(Some([json!("chatgpt"), Value::Null]));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("auth_mode", mode.description(Some("Left out or null: ChatGPT, as the Codex CLI reads it")))
        .property("tokens", tokens)
        .property("last_refresh", last_refresh)
        .property("OPENAI_API_KEY", no_key)
        .required("tokens")
        .description(Some(
            "A ChatGPT sign-in: `auth.json` as any release of the Codex CLI writes it, unchanged. Other members are not \
             staged, and a warning names them",
        ))
        .build()
}

/// A ChatGPT sign-in, or null.
pub(in crate::http) fn optional_auth() -> Object {
    let mut auth = auth();
    auth.schema_type = SchemaType::from_iter([Type::Object, Type::Null]);
    auth
}

/// The result of sending a sign-in, or the state of the one that is there.
pub(in crate::http) fn credentials() -> Object {
    names(&["written", "kept_fresher", "present", "access_token_only", "missing", "not_needed"])
}

/// The kind of place where the release keeps its sign-in.
pub(in crate::http) fn authority() -> Object {
    let all = [Authority::CodexHome, Authority::AuthProfiles, Authority::Store, Authority::CodexPlugin];
    names(&all.map(Authority::name))
}

/// Where the gateway's token is.
pub(in crate::http) fn token_source() -> Object {
    names(&["openclaw_json", "environment", "reference"])
}

/// What a cancel did with the deployment.
pub(in crate::http) fn cancelled_deployment() -> Object {
    names(&["rolled_back", "scaled_to_zero"])
}

/// One of these, or null.
fn names(names: &[&str]) -> Object {
    let values: Vec<Value> = names.iter().map(|name| json!(name)).chain([Value::Null]).collect();
    nullable_string().enum_values(Some(values)).build()
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn nullable_string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(nullable())
}

fn nullable() -> SchemaType {
    SchemaType::from_iter([Type::String, Type::Null])
}

fn number() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

fn closed_object() -> ObjectBuilder {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
}

fn map(names: &str, values: ObjectBuilder) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .property_names(Some(string().pattern(Some(names))))
        .additional_properties(Some(values))
}

/// Describes each reason code, with its hint.
pub(super) fn explain_reason_codes(document: &mut OpenApi) {
    let schemas = document.components.as_mut().map(|components| &mut components.schemas);
    let Some(RefOr::T(Schema::Object(codes))) = schemas.and_then(|schemas| schemas.get_mut("ReasonCode")) else {
        return;
    };
    let hint = |value: &Value| {
        let code: ReasonCode = serde_json::from_value(value.clone()).ok()?;
        Some(format!("\n- `{}`: {}", value.as_str()?, code.hint()))
    };
    let hints: String = codes.enum_values.iter().flatten().filter_map(hint).collect();
    codes.description =
        Some(format!("Why a container does not run, as a closed list, and what to do about it:\n{hints}"));
}
