//! EFS: file systems, mount targets and access points.

pub(crate) mod access_points;
pub(crate) mod file_systems;
pub(crate) mod routes;
mod tagging;

use super::here::{Action, Here};
use access_points::AccessPoint;
use file_systems::{FileSystem, MountTarget};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const ACTIONS: &[Action<Efs>] = &[
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

/// A region's state of EFS.
pub(crate) struct Efs {
    here: Here,
    file_systems: BTreeMap<String, FileSystem>,
    mount_targets: BTreeMap<String, MountTarget>,
    access_points: BTreeMap<String, AccessPoint>,
}

impl Efs {
    pub(crate) fn new(here: Here) -> Self {
        let (file_systems, mount_targets, access_points) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { here, file_systems, mount_targets, access_points }
    }

    /// Brings it up to `now`: access points that were `deleting` long enough are removed.
    pub(crate) fn advance(&mut self, now: Duration) {
        self.here.now = now;
        self.access_points.retain(|_, point| point.deleting_until.is_none_or(|until| until > now));
    }

    /// Whether a task could mount the access point.
    pub(crate) fn has_access_point(&self, id: &str) -> bool {
        self.access_points.get(id).is_some_and(|point| point.deleting_until.is_none())
    }
}

/// The `Name` member of EFS answers is the value of the tag `Name`.
fn name_of(tags: &[serde_json::Value]) -> Option<&str> {
    tags.iter().find(|tag| tag["Key"] == "Name").and_then(|tag| tag["Value"].as_str())
}
