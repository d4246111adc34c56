//! EFS: file systems, mount targets and access points.

pub(crate) mod access_points;
pub(crate) mod file_systems;
pub(crate) mod routes;
mod tagging;

use super::state::Action;

pub(crate) const ACTIONS: &[Action] = &[
    ("CreateFileSystem", file_systems::create),
    ("DescribeFileSystems", file_systems::describe),
    ("DeleteFileSystem", file_systems::delete),
    ("CreateMountTarget", file_systems::create_mount_target),
    ("DescribeMountTargets", file_systems::describe_mount_targets),
    ("CreateAccessPoint", access_points::create),
    ("DescribeAccessPoints", access_points::describe),
    ("DeleteAccessPoint", access_points::delete),
    ("TagResource", tagging::tag),
    ("ListTagsForResource", tagging::list),
];

/// The `Name` member of EFS answers is the value of the tag `Name`.
fn name_of(tags: &[serde_json::Value]) -> Option<&str> {
    tags.iter().find(|tag| tag["Key"] == "Name").and_then(|tag| tag["Value"].as_str())
}
