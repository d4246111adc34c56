//! Creating, describing and listing services.

use super::{cluster_of, definition_rules, missing, paging, service_view, strictness};
use crate::ecs::Ecs;
use crate::ecs::simulation::{Service, Status};
use crate::error::{ApiError, Outcome};
use crate::ids::arn;
use crate::input::{Input, last_segment};
use crate::paging::page;
use crate::tags;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

/// A subnet that does not exist, by convention; the emulator knows no others.
const ABSENT_SUBNET: &str = "subnet-0fffffffffffffff0";

/// Members that CreateService and UpdateService set and DescribeServices echoes.
pub(super) const ECHOED: [&str; 17] = [
    "loadBalancers",
    "serviceRegistries",
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "deploymentConfiguration",
    "placementConstraints",
    "placementStrategy",
    "networkConfiguration",
    "healthCheckGracePeriodSeconds",
    "schedulingStrategy",
    "deploymentController",
    "enableECSManagedTags",
    "propagateTags",
    "enableExecuteCommand",
    "availabilityZoneRebalancing",
    "serviceConnectConfiguration",
];

pub(super) fn create(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let cluster = cluster_of(ecs, input)?;
    let name = input.required("serviceName")?;
    if !definition_rules::is_name(name) {
        return Err(input.refuse("serviceName must be 1 to 255 letters, digits, hyphens and underscores."));
    }
    if input.text("clientToken").is_some_and(|token| token.len() > 36) {
        return Err(input.refuse("clientToken must have at most 36 characters."));
    }
    if let Some(earlier) = same_name(ecs, &cluster, name, input)? {
        return Ok(json!({"service": service_view::view(ecs, earlier, true)}));
    }
    let task_definition = ecs.active_revision(input.required("taskDefinition")?)?;
    tags::check(input.list("tags"), "key", "InvalidParameterException")?;
    let definition = ecs.definition_of(&task_definition);
    let members = definition.map(|definition| definition.members).unwrap_or_default();
    if ecs.here.conduct.strict {
        strictness::volumes(&members, input)?;
    }
    let awsvpc = members.get("networkMode") == Some(&json!("awsvpc"));
    check_network(input, awsvpc || input.text("launchType") == Some("FARGATE"))?;
    if ecs.here.conduct.fresh_account && !ecs.has_linked_role {
        ecs.has_linked_role = true;
        return Err(ApiError::parameter(
            "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
        ));
    }
    let uid = ecs.next_service;
    ecs.next_service += 1;
    let mut service = Service {
        uid,
        arn: arn("ecs", &ecs.here.name, &format!("service/{cluster}/{name}")),
        cluster: cluster.clone(),
        name: name.to_owned(),
        spec: spec(input),
        request: input.members().clone(),
        tags: input.list("tags").to_vec(),
        status: Status::Active,
        desired: desired_count(input)?.unwrap_or(0),
        task_definition,
        deployments: Vec::new(),
        live: Vec::new(),
        events: VecDeque::new(),
        created: ecs.here.now,
        failures_in_a_row: 0,
        retry_at: ecs.here.now,
        rollback_requested: None,
        inactive_at: None,
        steady: false,
    };
    service.begin_deployment(ecs.here.now);
    let body = service_view::view(ecs, &service, true);
    ecs.services.insert(uid, service);
    ecs.service_names.insert((cluster, name.to_owned()), uid);
    // The scheduler runs after the answer, so the counts in the answer are still 0.
    ecs.schedule(uid, ecs.here.now);
    Ok(json!({"service": body}))
}

/// What happens if the name is in use (aws-facts §3): the same service for the same token and request, otherwise an error.
/// An INACTIVE service frees the name.
fn same_name<'a>(ecs: &'a Ecs, cluster: &str, name: &str, input: Input<'_>) -> Result<Option<&'a Service>, ApiError> {
    let Some(service) = ecs.find_service(cluster, name) else {
        return Ok(None);
    };
    match service.status {
        Status::Inactive => Ok(None),
        Status::Draining => Err(ApiError::parameter("Unable to Start a service that is still Draining.")),
        Status::Active if input.text("clientToken").is_some() && &service.request == input.members() => {
            Ok(Some(service))
        }
        Status::Active => Err(ApiError::parameter("Creation of service was not idempotent.")),
    }
}

pub(super) fn describe(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let cluster = cluster_of(ecs, input)?;
    let names = input.texts("services");
    if names.is_empty() || names.len() > 10 {
        return Err(input.refuse("services must have 1 to 10 elements."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names.into_iter().map(last_segment) {
        match ecs.find_service(&cluster, name) {
            Some(service) => found.push(service_view::view(ecs, service, input.includes("TAGS"))),
            None => failures.push(missing(arn("ecs", &ecs.here.name, &format!("service/{cluster}/{name}")))),
        }
    }
    Ok(json!({"services": found, "failures": failures}))
}

/// Lists ACTIVE services (API reference, DeleteService: DRAINING ones are not listed), ten a page unless the caller asks
/// otherwise.
pub(super) fn list(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let cluster = cluster_of(ecs, input)?;
    let launch_type = input.text("launchType");
    let hides_draining = ecs.here.conduct.hides_draining;
    let mine = ecs.services.values().filter(|service| {
        service.cluster == cluster
            && (service.status == Status::Active || service.status == Status::Draining && !hides_draining)
            && launch_type.is_none_or(|kind| service.spec.get("launchType") == Some(&json!(kind)))
    });
    let items = mine.map(|service| (service.name.clone(), service.arn.clone())).collect();
    let (arns, next) = page(items, &paging(input, 10)?)?;
    Ok(json!({"serviceArns": arns, "nextToken": next}))
}

impl Ecs {
    /// The newest service of that name.
    pub(super) fn find_service(&self, cluster: &str, name: &str) -> Option<&Service> {
        let uid = self.service_names.get(&(cluster.to_owned(), name.to_owned()))?;
        self.services.get(uid)
    }
}

/// A Fargate service needs subnets that exist.
pub(super) fn check_network(input: Input<'_>, required: bool) -> Result<(), ApiError> {
    let network = input.object("networkConfiguration").and_then(|network| network.object("awsvpcConfiguration"));
    let Some(network) = network else {
        return match required {
            true => Err(ApiError::parameter(
                "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
            )),
            false => Ok(()),
        };
    };
    let subnets = network.texts("subnets");
    match subnets.contains(&ABSENT_SUBNET) {
        _ if subnets.is_empty() => Err(ApiError::parameter("subnets can not be empty.")),
        true => Err(ApiError::parameter(format!(
            "Error retrieving subnet information for [{ABSENT_SUBNET}]: The subnet ID '{ABSENT_SUBNET}' does not exist (ErrorCode: InvalidSubnetID.NotFound)"
        ))),
        false => Ok(()),
    }
}

pub(super) fn desired_count(input: Input<'_>) -> Result<Option<u32>, ApiError> {
    let count = input.integer("desiredCount").map(u32::try_from).transpose();
    count.map_err(|_| ApiError::parameter("Invalid desired count."))
}

/// The echoed members, with AWS's defaults for missing ones. `availabilityZoneRebalancing` is ENABLED by default
/// (aws-facts §3).
fn spec(input: Input<'_>) -> Map<String, Value> {
    let given = ECHOED.iter().filter_map(|name| Some(((*name).to_owned(), input.get(name)?.clone())));
    let mut spec: Map<String, Value> = given.collect();
    let defaults = [
        ("loadBalancers", json!([])),
        ("serviceRegistries", json!([])),
        ("placementConstraints", json!([])),
        ("placementStrategy", json!([])),
        ("schedulingStrategy", json!("REPLICA")),
        ("deploymentController", json!({"type": "ECS"})),
        ("enableECSManagedTags", json!(false)),
        ("enableExecuteCommand", json!(false)),
        ("propagateTags", json!("NONE")),
        ("availabilityZoneRebalancing", json!("ENABLED")),
        ("platformVersion", json!("LATEST")),
    ];
    for (name, value) in defaults {
        spec.entry(name).or_insert(value);
    }
    let configuration = spec.remove("deploymentConfiguration");
    spec.insert(
        "deploymentConfiguration".to_owned(),
        json!({
            "maximumPercent": 200, "minimumHealthyPercent": 100, "strategy": "ROLLING", "bakeTimeInMinutes": 0,
            "deploymentCircuitBreaker": {"enable": false, "rollback": false},
        }),
    );
    if let Some(configuration) = configuration {
        configure(&mut spec, &configuration);
    }
    spec
}

/// Merges the members of a `deploymentConfiguration` into the present ones.
pub(super) fn configure(spec: &mut Map<String, Value>, configuration: &Value) {
    let current = spec.get_mut("deploymentConfiguration").and_then(Value::as_object_mut);
    if let (Some(current), Some(new)) = (current, configuration.as_object()) {
        current.extend(new.clone());
    }
}
