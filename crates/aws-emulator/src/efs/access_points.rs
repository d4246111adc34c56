//! EFS access points, which never change after their creation (aws-facts §2).

use super::{file_systems, name_of};
use crate::efs::Efs;
use crate::error::{ApiError, Outcome};
use crate::ids::{ACCOUNT, arn, hex};
use crate::input::{Input, last_segment};
use crate::paging::{Paging, page};
use crate::tags;
use serde_json::{Value, json};
use std::time::Duration;

/// Access points per file system (aws-facts §2).
const LIMIT: usize = 10_000;

/// An access point, with the members of its creation.
pub(crate) struct AccessPoint {
    pub(crate) file_system: String,
    token: String,
    posix_user: Option<Value>,
    root_directory: Value,
    pub(crate) tags: Vec<Value>,
    /// Until when it is `deleting`, if it is.
    pub(crate) deleting_until: Option<Duration>,
}

/// A token in use is answered with 409 and the id, for which aws-facts §2 wants clients to be ready.
pub(crate) fn create(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let token = input.required("ClientToken")?;
    if token.len() > 64 {
        return Err(input.refuse("ClientToken must have 1 to 64 characters"));
    }
    let file_system = last_segment(input.required("FileSystemId")?);
    if !efs.file_systems.contains_key(file_system) {
        return Err(file_systems::not_found(file_system));
    }
    if let Some((id, _)) = efs.access_points.iter().find(|(_, point)| point.token == token) {
        let message = format!("Access point already exists with client token {token}");
        return Err(ApiError::new(409, "AccessPointAlreadyExists", message).with("AccessPointId", id));
    }
    if efs.access_points.values().filter(|point| point.file_system == file_system).count() >= LIMIT {
        let message = format!("File system '{file_system}' has {LIMIT} access points");
        return Err(ApiError::new(403, "AccessPointLimitExceeded", message));
    }
    tags::check(input.list("Tags"), "Key", "BadRequest")?;
    check_posix_user(input)?;
    let point = AccessPoint {
        file_system: file_system.to_owned(),
        token: token.to_owned(),
        posix_user: input.get("PosixUser").cloned(),
        root_directory: root_directory(input)?,
        tags: input.list("Tags").to_vec(),
        deleting_until: None,
    };
    let id = format!("fsap-0{}", hex(16));
    let mut body = view(efs, &id, &point);
    body["LifeCycleState"] = json!("creating");
    efs.access_points.insert(id, point);
    Ok(body)
}

/// Selected by access point or by file system, not by both.
pub(crate) fn describe(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let wanted = input.text("AccessPointId").map(last_segment);
    let file_system = input.text("FileSystemId").map(last_segment);
    if wanted.is_some() && file_system.is_some() {
        return Err(input.refuse("Only one of AccessPointId and FileSystemId may be given"));
    }
    if let Some(id) = wanted.filter(|id| !efs.access_points.contains_key(*id)) {
        return Err(not_found(id));
    }
    if let Some(id) = file_system.filter(|id| !efs.file_systems.contains_key(*id)) {
        return Err(file_systems::not_found(id));
    }
    let chosen = efs.access_points.iter().filter(|(id, point)| {
        wanted.is_none_or(|wanted| wanted == *id) && file_system.is_none_or(|fs| fs == point.file_system)
    });
    let items = chosen.map(|(id, point)| (id.clone(), view(efs, id, point))).collect();
    let size = input.integer("MaxResults").unwrap_or(100).max(1) as usize;
    let (found, next) = page(items, &Paging { token: input.text("NextToken"), size, descending: false })?;
    Ok(json!({"AccessPoints": found, "NextToken": next}))
}

pub(crate) fn delete(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let id = last_segment(input.required("AccessPointId")?);
    let until = efs.here.now + efs.here.pace.deleting;
    if !efs.here.conduct.slow_deletions {
        return efs.access_points.remove(id).map(|_| Value::Null).ok_or_else(|| not_found(id));
    }
    let point = efs.access_points.get_mut(id).ok_or_else(|| not_found(id))?;
    point.deleting_until.get_or_insert(until);
    Ok(Value::Null)
}

pub(crate) fn not_found(id: &str) -> ApiError {
    ApiError::new(404, "AccessPointNotFound", format!("AccessPoint {id} does not exist."))
}

fn check_posix_user(input: Input<'_>) -> Result<(), ApiError> {
    let Some(user) = input.object("PosixUser") else {
        return Ok(());
    };
    let valid = |name| user.integer(name).is_some_and(is_posix_id);
    match valid("Uid") && valid("Gid") {
        true => Ok(()),
        false => Err(input.refuse("PosixUser needs Uid and Gid between 0 and 4294967295")),
    }
}

/// At most 100 characters, four levels, and no component that starts with a dot (aws-facts §2).
fn root_directory(input: Input<'_>) -> Result<Value, ApiError> {
    let root = input.object("RootDirectory");
    let path = root.and_then(|root| root.text("Path")).unwrap_or("/");
    let components: Vec<&str> = path.split('/').skip(1).collect();
    let well_formed = path == "/"
        || (path.starts_with('/') && components.iter().all(|part| !part.is_empty() && !part.starts_with('.')));
    if !well_formed || path.len() > 100 || components.len() > 4 {
        return Err(input.refuse(format!(
            "invalid RootDirectory Path '{path}': 100 characters, 4 levels, no component that starts with '.'"
        )));
    }
    let mut body = json!({"Path": path});
    if let Some(info) = root.and_then(|root| root.object("CreationInfo")) {
        let ids = ["OwnerUid", "OwnerGid"].iter().all(|name| info.integer(name).is_some_and(is_posix_id));
        let mode = info.text("Permissions").unwrap_or_default();
        let octal = (3..=4).contains(&mode.len()) && mode.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        if !ids || !octal {
            return Err(input.refuse("CreationInfo needs OwnerUid, OwnerGid and Permissions of 3 or 4 octal digits"));
        }
        body["CreationInfo"] = Value::Object(info.members().clone());
    }
    Ok(body)
}

fn is_posix_id(id: i64) -> bool {
    (0..=i64::from(u32::MAX)).contains(&id)
}

fn view(efs: &Efs, id: &str, point: &AccessPoint) -> Value {
    let mut body = json!({
        "ClientToken": point.token, "Tags": point.tags, "AccessPointId": id, "FileSystemId": point.file_system,
        "AccessPointArn": arn("elasticfilesystem", &efs.here.name, &format!("access-point/{id}")),
        "RootDirectory": point.root_directory, "OwnerId": ACCOUNT,
        "LifeCycleState": if point.deleting_until.is_some() { "deleting" } else { "available" },
    });
    if let Some(name) = name_of(&point.tags) {
        body["Name"] = json!(name);
    }
    if let Some(user) = &point.posix_user {
        body["PosixUser"] = user.clone();
    }
    body
}
