//! What ECS refuses after checking the whole definition or service.

use crate::error::ApiError;
use crate::input::Input;
use serde_json::{Map, Value};

/// Checks a task definition. Sums are checked as for Fargate, where the task's size limits its containers (developer guide,
/// task definition parameters).
pub(super) fn definition(input: Input<'_>) -> Result<(), ApiError> {
    let containers = input.list("containerDefinitions");
    for container in containers {
        let name = container["name"].as_str().unwrap_or_default();
        let image = container["image"].as_str().unwrap_or_default();
        if !container["repositoryCredentials"].is_null() && is_ecr(image) {
            return Err(ApiError::client(
                "Private repository credentials are not a supported authentication method for ECR repositories.",
            ));
        }
        let (hard, soft) = (container["memory"].as_i64(), container["memoryReservation"].as_i64());
        if let (Some(hard), Some(soft)) = (hard, soft)
            && soft > hard
        {
            return Err(ApiError::client(format!(
                "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified, and 'memory' must be greater than 'memoryReservation'."
            )));
        }
    }
    let total = |member: &str| -> i64 { containers.iter().filter_map(|container| container[member].as_i64()).sum() };
    if let Some(cpu) = input.integer("cpu").filter(|cpu| total("cpu") > *cpu) {
        let sum = total("cpu");
        return Err(ApiError::client(format!(
            "The sum of all container CPUs '{sum}' cannot be greater than the value of the task-level 'cpu' '{cpu}'."
        )));
    }
    let reserved = |container: &Value| container["memoryReservation"].as_i64().or_else(|| container["memory"].as_i64());
    let needed: i64 = containers.iter().filter_map(reserved).sum();
    let largest = containers.iter().filter_map(|container| container["memory"].as_i64()).max().unwrap_or(0);
    if let Some(memory) = input.integer("memory").filter(|memory| needed > *memory || largest > *memory) {
        return Err(ApiError::client(format!(
            "Invalid setting for container. The container memory of {needed} MiB is greater than the task memory of {memory} MiB."
        )));
    }
    Ok(())
}

/// Checks that volumes to be configured at launch are configured (API reference, CreateService.volumeConfigurations).
pub(super) fn volumes(definition: &Map<String, Value>, input: Input<'_>) -> Result<(), ApiError> {
    let volumes = definition.get("volumes").and_then(Value::as_array);
    let at_launch = volumes.into_iter().flatten().filter(|volume| volume["configuredAtLaunch"] == true);
    for name in at_launch.filter_map(|volume| volume["name"].as_str()) {
        if !input.list("volumeConfigurations").iter().any(|given| given["name"] == name) {
            return Err(ApiError::parameter(format!(
                "Volume '{name}' is configured at launch. Provide a volume configuration for it."
            )));
        }
    }
    Ok(())
}

fn is_ecr(image: &str) -> bool {
    let registry = image.split('/').next().unwrap_or_default();
    registry.contains(".dkr.ecr.") && registry.contains(".amazonaws.com")
}
