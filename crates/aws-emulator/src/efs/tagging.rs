//! Tags of file systems and access points.

use crate::efs::Efs;
use crate::error::{ApiError, Outcome};
use crate::input::{Input, last_segment};
use crate::tags;
use serde_json::{Value, json};

pub(super) fn tag(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let new = input.list("Tags");
    tags::check(new, "Key", "BadRequest")?;
    tags::merge(tags_of(efs, input.required("ResourceId")?)?, new, "Key");
    Ok(json!({}))
}

pub(super) fn list(efs: &mut Efs, input: Input<'_>) -> Outcome {
    let tags = tags_of(efs, input.required("ResourceId")?)?;
    Ok(json!({"Tags": tags}))
}

/// A resource may be named by its id or its ARN.
fn tags_of<'a>(efs: &'a mut Efs, reference: &str) -> Result<&'a mut Vec<Value>, ApiError> {
    let id = last_segment(reference);
    if id.starts_with("fsap-") {
        let access_point = efs.access_points.get_mut(id);
        return access_point.map(|point| &mut point.tags).ok_or_else(|| super::access_points::not_found(id));
    }
    let file_system = efs.file_systems.get_mut(id);
    file_system.map(|fs| &mut fs.tags).ok_or_else(|| super::file_systems::not_found(id))
}
