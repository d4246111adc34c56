//! The render against a base with every member and nested field of the ECS model set.

use serde_json::{Map, Value, json};

use super::*;
use crate::domain::spec::{Labels, Secrets, SpecPatch, Variables};
use crate::domain::{CurrentDefinition, Size, size::RawSize};

const BASE_ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:42";
const USER_ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev-user:7";
const KEY_ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai-AbCdEf";

/// RegisterTaskDefinition with every member that botocore's model has, generated from it.
fn every_member() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/every-member.json")).unwrap()
}

/// What DescribeTaskDefinition would answer for it: the output-only members on top, tags beside.
fn base_from(mut request: Value) -> BaseDefinition {
    let tags = request["tags"].as_array().cloned().unwrap_or_default();
    let members = request.as_object_mut().unwrap();
    members.remove("tags");
    for (name, value) in [
        ("taskDefinitionArn", json!(BASE_ARN)),
        ("revision", json!(42)),
        ("status", json!("ACTIVE")),
        ("requiresAttributes", json!([{"name": "ecs.capability.efs"}])),
        ("compatibilities", json!(["FARGATE"])),
        ("registeredAt", json!(1_770_000_000.5)),
        ("deregisteredAt", json!(1_770_000_001.5)),
        ("deleteRequestedAt", json!(1_770_000_002.5)),
        ("registeredBy", json!("arn:aws:iam::123456789012:role/deploy")),
    ] {
        members.insert(name.into(), value);
    }
    BaseDefinition::parse(request, tags, "openclaw-dev", "fs-1").unwrap()
}

fn user() -> UserId {
    UserId::parse("user_2abc").unwrap()
}

fn rendered(base: Value, spec: &Spec, previous: Option<&str>) -> Rendered {
    render(&base_from(base), &user(), spec, "fsap-1", previous).unwrap()
}

fn full_spec() -> Spec {
    let map = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let patch = SpecPatch {
        has_auth: true,
        size: Some(Size::parse(RawSize { cpu: 1024, memory_mib: 4096 }, "size").unwrap()),
        image: Some(Some(ImageRef::parse("ghcr.io/openclaw/openclaw:2026.4.20", "image").unwrap())),
        variables: Some(Variables::parse(map("TZ", "Europe/Berlin")).unwrap()),
        secrets: Some(Secrets::parse(map("OPENAI_API_KEY", KEY_ARN)).unwrap()),
        labels: Some(Labels::parse(map("team", "blue")).unwrap()),
        ..SpecPatch::default()
    };
    Spec::of_new_user(&patch).unwrap()
}

/// The members of the first container that the render is expected to touch, taken out.
fn take_touched(request: &mut Value) -> Map<String, Value> {
    let container = request["containerDefinitions"][0].as_object_mut().unwrap();
    let touched = ["dockerLabels", "environment", "secrets", "image"].into_iter();
    touched.filter_map(|name| container.remove(name).map(|value| (name.to_owned(), value))).collect()
}

#[test]
fn a_clone_keeps_every_member_and_every_nested_field() {
    let mut base = every_member();
    assert!(base.as_object().unwrap().len() >= 18);
    // Members that AWS adds after this was written are kept as well.
    base["topLevelMemberOfTheFuture"] = json!("kept");
    base["containerDefinitions"][0]["memberOfTheFuture"] = json!({"nested": [1, {"deep": true}]});
    let mut got = rendered(base.clone(), &Spec::default(), None).request;

    let mut wanted = base;
    wanted["family"] = json!("openclaw-dev-user");
    wanted["tags"].as_array_mut().unwrap().push(json!({"key": TAG_USER, "value": "user_2abc"}));
    wanted["volumes"][0]["efsVolumeConfiguration"]["transitEncryption"] = json!("ENABLED");
    wanted["volumes"][0]["efsVolumeConfiguration"]["rootDirectory"] = json!("/");
    wanted["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"]["accessPointId"] = json!("fsap-1");
    let (before, after) = (take_touched(&mut wanted), take_touched(&mut got));
    assert_eq!(got, wanted);

    assert_eq!(after["image"], before["image"]);
    assert_eq!(after["secrets"], before["secrets"]);
    let environment = [before["environment"].as_array().unwrap().as_slice(), &[codex_home()]].concat();
    assert_eq!(after["environment"], Value::Array(environment));
    for (name, value) in before["dockerLabels"].as_object().unwrap() {
        assert_eq!(&after["dockerLabels"][name], value);
    }
}

fn codex_home() -> Value {
    json!({"name": "CODEX_HOME", "value": "/home/node/.openclaw/codex"})
}

#[test]
fn a_minimal_base_gets_no_member_that_it_does_not_need() {
    let base = json!({
        "family": "openclaw-dev",
        "containerDefinitions": [{
            "name": "openclaw", "image": "openclaw:2026.4.21",
            "mountPoints": [{"sourceVolume": "v", "containerPath": "/data"}]
        }],
        "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}, {"name": "scratch"}]
    });
    insta::assert_json_snapshot!(rendered(base, &Spec::default(), None).request);
}

#[test]
fn everything_that_a_spec_can_say_is_rendered() {
    let mut got = rendered(every_member(), &full_spec(), Some(USER_ARN)).request;
    let container = got["containerDefinitions"][0].as_object_mut().unwrap();
    container.retain(|name, _| {
        ["cpu", "memory", "memoryReservation", "image", "environment", "secrets", "dockerLabels"]
            .contains(&name.as_str())
    });
    insta::assert_json_snapshot!(json!({
        "family": got["family"], "cpu": got["cpu"], "memory": got["memory"], "tags": got["tags"],
        "volumes": got["volumes"], "container": got["containerDefinitions"][0],
    }));
}

/// Incidents 3, 4 and 5: a resize cloned the previous revision and perpetuated its drift, lost CODEX_HOME and the
/// provider secrets, and reset the image pin.
#[test]
fn what_was_rendered_can_be_read_back_and_renders_to_the_same_again() {
    let first = rendered(every_member(), &full_spec(), None);
    let mut registered = first.request.clone();
    registered["taskDefinitionArn"] = json!(USER_ARN);
    let current = CurrentDefinition::parse(&registered, &user()).unwrap();
    assert_eq!(current.spec, full_spec());
    assert_eq!((current.digest.as_str(), current.base.as_deref()), (first.digest.as_str(), Some(BASE_ARN)));
    assert_eq!(current.access_point_id.as_deref(), Some("fsap-1"));
    assert_eq!((current.cpu, current.memory_mib), (Some(1024), Some(4096)));
    let again = rendered(every_member(), &current.spec, Some(&current.arn));
    assert_eq!(again.digest, first.digest, "naming the previous revision is no change");
}

#[test]
fn the_digest_changes_with_everything_that_a_container_would_notice() {
    let digest = |base: Value, spec: &Spec| rendered(base, spec, None).digest;
    let plain = digest(every_member(), &Spec::default());
    assert_ne!(digest(every_member(), &full_spec()), plain);
    for pointer in
        ["/containerDefinitions/0/image", "/taskRoleArn", "/volumes/0/efsVolumeConfiguration/authorizationConfig/iam"]
    {
        let mut base = every_member();
        *base.pointer_mut(pointer).unwrap() = json!("other");
        assert_ne!(digest(base, &Spec::default()), plain, "{pointer}");
    }
}

#[test]
fn reserved_tags_of_the_base_are_left_behind() {
    let mut base = every_member();
    base["tags"] = json!([{"key": "aws:cloudformation:stack-name", "value": "x"}, {"key": "team", "value": "a"}]);
    let got = rendered(base, &Spec::default(), None).request;
    assert_eq!(got["tags"], json!([{"key": TAG_USER, "value": "user_2abc"}, {"key": "team", "value": "a"}]));
}

/// A container limit that was the whole task's grows with the task; one that would not fit is cut down.
#[test]
fn container_limits_follow_a_resize() {
    let got = rendered(every_member(), &full_spec(), None).request;
    let container = &got["containerDefinitions"][0];
    assert_eq!((&container["memory"], &container["cpu"]), (&json!(4096), &json!(256)));
    let mut smaller = full_spec();
    smaller.size = Some(Size::parse(RawSize { cpu: 256, memory_mib: 1024 }, "size").unwrap());
    let got = rendered(every_member(), &smaller, None).request;
    assert_eq!(got["containerDefinitions"][0]["memoryReservation"], json!(1024));
}

#[test]
fn a_definition_that_ecs_would_refuse_for_its_size_is_refused_here() {
    let mut base = every_member();
    base["containerDefinitions"][0]["command"] = json!(["x".repeat(MAX_BYTES)]);
    let error = render(&base_from(base), &user(), &Spec::default(), "fsap-1", None).unwrap_err();
    assert!(matches!(error, RenderError::TooLarge { bytes } if bytes > MAX_BYTES), "{error}");
}
