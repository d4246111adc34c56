//! What RegisterTaskDefinition refuses.

use crate::error::ApiError;
use crate::input::Input;
use std::collections::BTreeSet;

/// A task definition may hold 64 KiB (aws-facts §1).
const MAX_BYTES: usize = 64 * 1024;

/// Checks everything that AWS checks without looking at other resources; whether an access point exists is not checked.
pub(super) fn check(input: Input<'_>) -> Result<(), ApiError> {
    let family = input.text("family").unwrap_or_default();
    if !is_name(family) {
        return Err(ApiError::client("Family contains invalid characters or is not 1 to 255 characters long."));
    }
    let bytes = serde_json::to_string(input.members()).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_BYTES {
        return Err(ApiError::client(format!("Actual length: '{bytes}'. Max allowed length is '{MAX_BYTES}' bytes.")));
    }
    let volumes = volumes(input)?;
    containers(input, &volumes)?;
    if input.texts("requiresCompatibilities").contains(&"FARGATE") {
        fargate(input)?;
    }
    Ok(())
}

/// The names of the volumes. An access point needs encryption in transit and the root as its directory (aws-facts §2).
fn volumes(input: Input<'_>) -> Result<BTreeSet<&str>, ApiError> {
    for volume in input.list("volumes") {
        let efs = &volume["efsVolumeConfiguration"];
        let authorization = &efs["authorizationConfig"];
        let encrypted = efs["transitEncryption"] == "ENABLED";
        if authorization["iam"] == "ENABLED" && !encrypted {
            return Err(ApiError::client(
                "Invalid 'transitEncryption' setting: it must be ENABLED when IAM authorization is enabled.",
            ));
        }
        if authorization["accessPointId"].is_null() {
            continue;
        }
        if !encrypted {
            return Err(ApiError::client(
                "Invalid 'transitEncryption' setting: it must be ENABLED when an access point is specified.",
            ));
        }
        if !matches!(efs["rootDirectory"].as_str(), None | Some("/")) {
            return Err(ApiError::client(
                "Invalid 'rootDirectory' setting: it must be omitted or set to '/' when an access point is specified.",
            ));
        }
    }
    Ok(input.list("volumes").iter().filter_map(|volume| volume["name"].as_str()).collect())
}

fn containers(input: Input<'_>, volumes: &BTreeSet<&str>) -> Result<(), ApiError> {
    let containers = input.list("containerDefinitions");
    if containers.is_empty() {
        return Err(ApiError::client("Container list cannot be empty."));
    }
    let mut names = BTreeSet::new();
    for container in containers {
        let name = container["name"].as_str().unwrap_or_default();
        if !is_name(name) || container["image"].as_str().is_none_or(str::is_empty) {
            return Err(ApiError::client("Container.name and Container.image should not be null or empty."));
        }
        if !names.insert(name) {
            return Err(ApiError::client(format!("Container name '{name}' is used twice.")));
        }
        for point in container["mountPoints"].as_array().into_iter().flatten() {
            let volume = point["sourceVolume"].as_str().unwrap_or_default();
            if !volumes.contains(volume) {
                return Err(ApiError::client(format!(
                    "Invalid setting for container '{name}'. Unknown volume '{volume}'."
                )));
            }
        }
    }
    match containers.iter().all(|container| container["essential"] == false) {
        true => Err(ApiError::client("At least one container must be essential.")),
        false => Ok(()),
    }
}

/// The sizes of aws-facts §5, and the network mode that Fargate needs.
fn fargate(input: Input<'_>) -> Result<(), ApiError> {
    if input.text("networkMode") != Some("awsvpc") {
        return Err(ApiError::client("Fargate only supports network mode ‘awsvpc’."));
    }
    let (cpu, memory) = (input.integer("cpu"), input.integer("memory"));
    let (Some(cpu), Some(memory)) = (cpu, memory) else {
        return Err(ApiError::client("Fargate requires that 'cpu' and 'memory' be defined at the task level."));
    };
    if !is_fargate_size(cpu, memory) {
        return Err(ApiError::client("No Fargate configuration exists for given values."));
    }
    let storage = input.get("ephemeralStorage").map(|storage| storage["sizeInGiB"].as_i64());
    match storage.is_none_or(|size| size.is_some_and(|size| (21..=200).contains(&size))) {
        true => Ok(()),
        false => Err(ApiError::client("Ephemeral storage size must be between 21 and 200 GiB.")),
    }
}

fn is_fargate_size(cpu: i64, memory: i64) -> bool {
    let steps = |from, to, step| (from..=to).contains(&memory) && (memory - from) % step == 0;
    match cpu {
        256 => [512, 1024, 2048].contains(&memory),
        512 => steps(1024, 4096, 1024),
        1024 => steps(2048, 8192, 1024),
        2048 => steps(4096, 16384, 1024),
        4096 => steps(8192, 30720, 1024),
        8192 => steps(16384, 61440, 4096),
        16384 => steps(32768, 122_880, 8192),
        32768 => [61440, 122_880, 249_856].contains(&memory),
        _ => false,
    }
}

/// Letters, digits, `-` and `_`, at most 255 of them.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=255).contains(&name.len()) && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_of_fargate() {
        let good = [(256, 512), (512, 4096), (8192, 20480), (32768, 249_856)];
        let bad = [(256, 4096), (512, 512), (8192, 17408), (300, 512)];
        assert!(good.iter().all(|(cpu, memory)| is_fargate_size(*cpu, *memory)));
        assert!(!bad.iter().any(|(cpu, memory)| is_fargate_size(*cpu, *memory)));
    }
}
