//! Rendering a base in which every member and nested field of the ECS model is set.

use serde_json::{Map, Value, json};

use super::*;
use crate::domain::user_spec::{Labels, Secrets, SpecPatch, Variables};
use crate::domain::{CurrentDefinition, Size, size::RawSize};

const BASE_ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:42";
const USER_ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev-user:7";
const KEY_ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai-AbCdEf";

/// RegisterTaskDefinition with every member that botocore's model has, generated from it.
fn every_member() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/every-member.json")).unwrap()
}

/// The base that DescribeTaskDefinition would return: with the output-only members, and tags beside it.
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

/// Removes and returns the members of the container that the render should change.
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
    wanted["tags"].as_array_mut().unwrap().extend(our_tags());
    wanted["volumes"][0]["efsVolumeConfiguration"]["transitEncryption"] = json!("ENABLED");
    wanted["volumes"][0]["efsVolumeConfiguration"]["rootDirectory"] = json!("/");
    wanted["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"]["accessPointId"] = json!("fsap-1");
    let (before, after) = (take_touched(&mut wanted), take_touched(&mut got));
    assert_eq!(got, wanted);

    assert_eq!(after["image"], before["image"]);
    assert_eq!(after["secrets"], before["secrets"]);
    let environment = [before["environment"].as_array().unwrap().as_slice(), &places()].concat();
    assert_eq!(after["environment"], Value::Array(environment));
    for (name, value) in before["dockerLabels"].as_object().unwrap() {
        assert_eq!(&after["dockerLabels"][name], value);
    }
}

fn places() -> [Value; 2] {
    [
        json!({"name": "CODEX_HOME", "value": "/home/node/.openclaw/codex"}),
        json!({"name": "OPENCLAW_STATE_DIR", "value": "/home/node/.openclaw"}),
    ]
}

fn our_tags() -> [Value; 2] {
    [json!({"key": TAG_BASE_FAMILY, "value": "openclaw-dev"}), json!({"key": TAG_USER, "value": "user_2abc"})]
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

/// Incidents 3, 4 and 5: a resize cloned the previous revision and kept its drift, lost CODEX_HOME and the
/// provider secrets, and reset the image pin.
#[test]
fn a_rendered_definition_can_be_read_back_and_rendered_to_the_same_again() {
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
    let [family, user] = our_tags();
    assert_eq!(got["tags"], json!([family, user, {"key": "team", "value": "a"}]));
}

/// OpenClaw's limits grow by as much as the task; a limit that would not fit is reduced.
#[test]
fn container_limits_follow_a_resize() {
    let got = rendered(every_member(), &full_spec(), None).request;
    let container = &got["containerDefinitions"][0];
    assert_eq!((&container["memory"], &container["cpu"]), (&json!(4096), &json!(256 + 512)));
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

/// A base of two containers: a log router, and OpenClaw with these members.
fn beside_a_router(openclaw: Value) -> Value {
    let mut container = json!({
        "name": "openclaw", "image": "ghcr.io/openclaw/openclaw:2026.9.6",
        "mountPoints": [{"sourceVolume": "v", "containerPath": "/data"}],
    });
    for (name, value) in openclaw.as_object().unwrap() {
        container[name] = value.clone();
    }
    json!({
        "family": "openclaw-dev", "cpu": "1024", "memory": "4096",
        "containerDefinitions": [{"name": "router", "image": "router:1", "cpu": 128, "memory": 256}, container],
        "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
    })
}

fn variables(pairs: &[(&str, &str)]) -> Spec {
    let map = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Spec { variables: Variables::parse(map).unwrap(), ..Spec::default() }
}

fn refused(base: Value, spec: &Spec) -> Invalid {
    match render(&base_from(base), &user(), spec, "fsap-1", None).unwrap_err() {
        RenderError::Field(invalid) => invalid,
        RenderError::TooLarge { bytes } => panic!("{bytes} bytes"),
    }
}

#[test]
fn everything_goes_to_the_container_that_runs_openclaw_at_any_position() {
    let base = beside_a_router(json!({"cpu": 896, "memory": 3840}));
    let router = base["containerDefinitions"][0].clone();
    let spec = Spec { size: full_spec().size, image: full_spec().image, ..variables(&[("TZ", "UTC")]) };
    let rendered = rendered(base, &spec, Some(USER_ARN));
    assert_eq!(rendered.request["containerDefinitions"][0], router);
    let openclaw = &rendered.request["containerDefinitions"][1];
    assert_eq!(openclaw["image"], "ghcr.io/openclaw/openclaw:2026.4.20");
    assert_eq!((&openclaw["cpu"], &openclaw["memory"]), (&json!(896), &json!(3840)));
    let environment = json!([
        {"name": "CODEX_HOME", "value": "/data/codex"}, {"name": "OPENCLAW_STATE_DIR", "value": "/data"},
        {"name": "TZ", "value": "UTC"},
    ]);
    assert_eq!(openclaw["environment"], environment);
    let mut registered = rendered.request.clone();
    registered["taskDefinitionArn"] = json!(USER_ARN);
    let current = CurrentDefinition::parse(&registered, &user()).unwrap();
    assert_eq!((current.container.as_str(), &current.spec, &current.digest), ("openclaw", &spec, &rendered.digest));
    assert_eq!((current.image.as_str(), current.state_dir.as_deref()), (rendered.image.as_str(), Some("/data")));
}

/// Older revisions have no OPENCLAW_STATE_DIR, and their labels are on the first container.
#[test]
fn a_revision_of_an_earlier_build_is_still_read() {
    let mut registered = rendered(every_member(), &full_spec(), None).request;
    registered["taskDefinitionArn"] = json!(USER_ARN);
    let container = &mut registered["containerDefinitions"][0];
    container["environment"].as_array_mut().unwrap().retain(|entry| entry["name"] != "OPENCLAW_STATE_DIR");
    let sidecar = json!({"name": "sidecar"});
    registered["containerDefinitions"].as_array_mut().unwrap().push(sidecar);
    let current = CurrentDefinition::parse(&registered, &user()).unwrap();
    assert_eq!((current.spec, current.state_dir), (full_spec(), None));
}

#[test]
fn the_entry_script_leaves_the_images_own_entry_point_in_place() {
    let script = "/data/.provisioner/entry.sh";
    let starts = |openclaw: Value| {
        let request = rendered(beside_a_router(openclaw), &Spec::default(), None).request;
        let container = &request["containerDefinitions"][1];
        (container["entryPoint"].clone(), container["command"].clone())
    };
    let gateway = ["node", "openclaw.mjs", "gateway"];
    let none = Value::Null;
    assert_eq!(starts(json!({})), (none.clone(), json!(["/bin/sh", script])));
    assert_eq!(
        starts(json!({"command": gateway})),
        (none.clone(), json!(["/bin/sh", script, "node", "openclaw.mjs", "gateway"]))
    );
    let own = json!({"entryPoint": ["tini", "--"], "command": gateway});
    let both = json!(["tini", "--", "node", "openclaw.mjs", "gateway"]);
    assert_eq!(starts(own), (json!(["/bin/sh", script]), both));
    // Only an entry point that is OpenClaw itself accepts these.
    for words in [json!(["gateway", "--port", "18789"]), json!(["--verbose"])] {
        assert_eq!(starts(json!({"command": words})), (json!(["/bin/sh", script]), words));
    }
    let again = json!({"entryPoint": ["/bin/sh", script], "command": gateway});
    assert_eq!(starts(again), (json!(["/bin/sh", script]), json!(gateway)));
    // Nothing to import, nothing to change.
    assert_eq!(starts(json!({"image": "ghcr.io/openclaw/openclaw:2026.5.7"})), (none.clone(), none));
}

#[test]
fn a_callers_variables_that_point_elsewhere_are_refused_by_name_with_both_paths() {
    let base = || beside_a_router(json!({"environment": [{"name": "OPENCLAW_GATEWAY_PORT", "value": "3000"}]}));
    for (name, value, paths) in [
        ("OPENCLAW_STATE_DIR", "/tmp/x", ["/tmp/x", "/data"]),
        ("OPENCLAW_CONFIG_PATH", "/etc/o.json", ["/etc/o.json", "/data/openclaw.json"]),
        ("OPENCLAW_HOME", "/tmp/y", ["/tmp/y/.openclaw", "/data"]),
        ("HOME", "/tmp/y", ["/tmp/y/.openclaw", "/data"]),
        ("OPENCLAW_GATEWAY_PORT", "8080", ["3000", "the base says"]),
    ] {
        let error = refused(base(), &variables(&[("TZ", "UTC"), (name, value)]));
        assert_eq!(error.field(), format!("variables.{name}"));
        assert!(paths.iter().all(|path| error.problem().contains(path)), "{error}");
        let secret = [(name.to_owned(), KEY_ARN.to_owned())].into();
        let secrets = Spec { secrets: Secrets::parse(secret).unwrap(), ..Spec::default() };
        assert_eq!(refused(base(), &secrets).field(), format!("secrets.{name}"));
    }
    let same = variables(&[("OPENCLAW_STATE_DIR", "/data/"), ("OPENCLAW_GATEWAY_PORT", "3000")]);
    let got = rendered(base(), &same, None).request;
    let names = got["containerDefinitions"][1]["environment"].as_array().unwrap().iter();
    let named = names.filter(|entry| entry["name"] == "OPENCLAW_STATE_DIR").map(|entry| &entry["value"]);
    assert_eq!(named.collect::<Vec<_>>(), ["/data"]);
}

#[test]
fn registry_credentials_are_never_sent_to_another_registry_or_to_ecr() {
    let kept = |from: &str, pin: Option<&str>| {
        let credentials =
            json!({"credentialsParameter": "arn:aws:secretsmanager:us-east-1:123456789012:secret:registry"});
        let image = pin.map(|pin| ImageRef::parse(pin, "image").unwrap());
        let base = beside_a_router(json!({"image": from, "repositoryCredentials": credentials}));
        let request = rendered(base, &Spec { image, ..Spec::default() }, None).request;
        !request["containerDefinitions"][1]["repositoryCredentials"].is_null()
    };
    let (own, ecr) =
        ("registry.example.com/openclaw:2026.9.6", "123456789012.dkr.ecr.us-east-1.amazonaws.com/o:2026.9.6");
    assert!(kept(own, None) && kept(own, Some("registry.example.com/other:2026.9.5")));
    assert!(!kept(own, Some("ghcr.io/openclaw/openclaw:2026.9.6")) && !kept(own, Some(ecr)));
    assert!(!kept(ecr, None) && kept("openclaw:2026.9.6", Some("team/openclaw:2026.9.6")));
}

#[test]
fn a_spec_that_is_too_large_for_a_label_is_refused_and_its_largest_part_named() {
    let value = "x".repeat(2000);
    let most = variables(&[("A", &value), ("B", &"x".repeat(1950))]);
    let label =
        rendered(every_member(), &most, None).request["containerDefinitions"][0]["dockerLabels"][LABEL_SPEC].clone();
    assert!(label.as_str().unwrap().len() + LABEL_SPEC.len() <= MAX_LABEL_BYTES);
    let error = refused(every_member(), &variables(&[("A", &value), ("B", &value), ("C", &value)]));
    assert_eq!(error.field(), "variables");
    assert!(error.problem().contains("6") && !error.to_string().contains("xxx"), "{error}");
}

#[test]
fn a_size_that_does_not_fit_beside_the_sidecars_is_refused() {
    let large = Size::parse(RawSize { cpu: 256, memory_mib: 512 }, "size").unwrap();
    let error = refused(beside_a_router(json!({})), &Spec { size: Some(large), ..Spec::default() });
    assert_eq!(error.field(), "size.memory_mib");
    assert_eq!(error.fix(), "the smallest size that fits is cpu 256 with memory_mib 1024");
}
