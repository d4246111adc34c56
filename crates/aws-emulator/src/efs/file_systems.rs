//! EFS file systems and their mount targets.

use super::name_of;
use crate::efs::Efs;
use crate::error::{ApiError, Outcome};
use crate::ids::{ACCOUNT, arn, hex};
use crate::input::{Input, last_segment};
use crate::paging::{Paging, page};
use crate::tags;
use serde_json::{Value, json};
use std::time::Duration;

/// A file system, with the members of its creation.
pub(crate) struct FileSystem {
    token: String,
    created: Duration,
    performance_mode: String,
    throughput_mode: String,
    encrypted: bool,
    pub(crate) tags: Vec<Value>,
}

/// A mount target's subnet and address.
pub(crate) struct MountTarget {
    file_system: String,
    subnet: String,
    address: String,
}

pub(crate) fn create(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let token = input.text("CreationToken").map_or_else(|| hex(32), str::to_owned);
    if let Some((id, _)) = efs.file_systems.iter().find(|(_, fs)| fs.token == token) {
        let message = format!("File system '{id}' already exists with creation token '{token}'");
        return Err(ApiError::new(409, "FileSystemAlreadyExists", message).with("FileSystemId", id));
    }
    tags::check(input.list("Tags"), "Key", "BadRequest")?;
    let id = format!("fs-0{}", hex(16));
    let mode = |name, default: &str| input.text(name).unwrap_or(default).to_owned();
    let file_system = FileSystem {
        token,
        created: efs.here.now,
        performance_mode: mode("PerformanceMode", "generalPurpose"),
        throughput_mode: mode("ThroughputMode", "bursting"),
        encrypted: input.flag("Encrypted"),
        tags: input.list("Tags").to_vec(),
    };
    let mut body = view(efs, &id, &file_system);
    body["LifeCycleState"] = json!("creating");
    efs.file_systems.insert(id, file_system);
    Ok(body)
}

pub(crate) fn describe(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let wanted = input.text("FileSystemId").map(last_segment);
    if let Some(id) = wanted.filter(|id| !efs.file_systems.contains_key(*id)) {
        return Err(not_found(id));
    }
    let token = input.text("CreationToken");
    let chosen = efs
        .file_systems
        .iter()
        .filter(|(id, fs)| wanted.is_none_or(|wanted| wanted == *id) && token.is_none_or(|token| token == fs.token));
    let items = chosen.map(|(id, fs)| (id.clone(), view(efs, id, fs))).collect();
    let size = input.integer("MaxItems").unwrap_or(100).clamp(1, 100) as usize;
    let (found, next) = page(items, &Paging { token: input.text("Marker"), size, descending: false })?;
    Ok(json!({"FileSystems": found, "NextMarker": next}))
}

/// Deletes its access points too; a file system with a mount target is not deleted.
pub(crate) fn delete(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let id = last_segment(input.required("FileSystemId")?);
    if !efs.file_systems.contains_key(id) {
        return Err(not_found(id));
    }
    if efs.mount_targets.values().any(|target| target.file_system == id) {
        return Err(ApiError::new(409, "FileSystemInUse", format!("File system '{id}' has mount targets")));
    }
    efs.file_systems.remove(id);
    efs.access_points.retain(|_, point| point.file_system != id);
    Ok(Value::Null)
}

pub(crate) fn create_mount_target(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let file_system = last_segment(input.required("FileSystemId")?).to_owned();
    let subnet = input.required("SubnetId")?.to_owned();
    if !efs.file_systems.contains_key(&file_system) {
        return Err(not_found(&file_system));
    }
    if efs.mount_targets.values().any(|t| t.file_system == file_system && t.subnet == subnet) {
        return Err(ApiError::new(409, "MountTargetConflict", "mount target already exists in this subnet"));
    }
    let address = input.text("IpAddress").map_or_else(|| format!("10.0.0.{}", fastrand::u8(10..250)), str::to_owned);
    let id = format!("fsmt-0{}", hex(16));
    let target = MountTarget { file_system, subnet, address };
    let body = mount_target_view(&id, &target);
    efs.mount_targets.insert(id, target);
    Ok(body)
}

pub(crate) fn describe_mount_targets(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let file_system = input.text("FileSystemId").map(last_segment);
    let wanted = input.text("MountTargetId");
    if let Some(id) = file_system.filter(|id| !efs.file_systems.contains_key(*id)) {
        return Err(not_found(id));
    }
    let found: Vec<Value> = efs
        .mount_targets
        .iter()
        .filter(|(id, target)| {
            file_system.is_none_or(|fs| fs == target.file_system) && wanted.is_none_or(|wanted| wanted == *id)
        })
        .map(|(id, target)| mount_target_view(id, target))
        .collect();
    Ok(json!({"MountTargets": found}))
}

pub(crate) fn not_found(id: &str) -> ApiError {
    ApiError::new(404, "FileSystemNotFound", format!("File system '{id}' does not exist."))
}

fn view(efs: &Efs, id: &str, fs: &FileSystem) -> Value {
    let targets = efs.mount_targets.values().filter(|target| target.file_system == id).count();
    let mut body = json!({
        "OwnerId": ACCOUNT, "CreationToken": fs.token, "FileSystemId": id,
        "FileSystemArn": arn("elasticfilesystem", &efs.here.name, &format!("file-system/{id}")),
        "CreationTime": efs.here.epoch(fs.created), "LifeCycleState": "available", "NumberOfMountTargets": targets,
        "SizeInBytes": {"Value": 6144, "ValueInIA": 0, "ValueInStandard": 6144},
        "PerformanceMode": fs.performance_mode, "ThroughputMode": fs.throughput_mode, "Encrypted": fs.encrypted,
        "Tags": fs.tags,
    });
    if let Some(name) = name_of(&fs.tags) {
        body["Name"] = json!(name);
    }
    body
}

fn mount_target_view(id: &str, target: &MountTarget) -> Value {
    json!({
        "OwnerId": ACCOUNT, "MountTargetId": id, "FileSystemId": target.file_system, "SubnetId": target.subnet,
        "LifeCycleState": "available", "IpAddress": target.address, "NetworkInterfaceId": "eni-00000000000000000",
        "AvailabilityZoneId": "use1-az1", "AvailabilityZoneName": "us-east-1a",
    })
}
