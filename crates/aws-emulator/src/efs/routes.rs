//! EFS uses REST: method and path name the action, path and query have members.

use crate::error::ApiError;
use crate::http::{Request, members, unescape};
use serde_json::{Map, Value, json};

/// The action and members of a request below `/2015-02-01/`.
pub(crate) fn decode(request: &Request, path: &str) -> (String, Result<Map<String, Value>, ApiError>) {
    let (collection, id) = path.trim_end_matches('/').split_once('/').unwrap_or((path, ""));
    let (action, id_member) = match (request.method.as_str(), collection.trim_end_matches('/'), id.is_empty()) {
        ("POST", "file-systems", true) => ("CreateFileSystem", ""),
        ("GET", "file-systems", true) => ("DescribeFileSystems", ""),
        ("DELETE", "file-systems", false) => ("DeleteFileSystem", "FileSystemId"),
        ("POST", "mount-targets", true) => ("CreateMountTarget", ""),
        ("GET", "mount-targets", true) => ("DescribeMountTargets", ""),
        ("POST", "access-points", true) => ("CreateAccessPoint", ""),
        ("GET", "access-points", true) => ("DescribeAccessPoints", ""),
        ("DELETE", "access-points", false) => ("DeleteAccessPoint", "AccessPointId"),
        ("POST", "resource-tags", false) => ("TagResource", "ResourceId"),
        ("GET", "resource-tags", false) => ("ListTagsForResource", "ResourceId"),
        (method, _, _) => return (format!("{method} /2015-02-01/{path}"), Ok(Map::new())),
    };
    let input = members(&request.body).map(|mut input| {
        for (name, value) in request.query() {
            input.insert(name, json!(value));
        }
        if !id_member.is_empty() {
            input.insert(id_member.to_owned(), json!(unescape(id)));
        }
        input
    });
    (action.to_owned(), input)
}

/// The status of a success with a body.
pub(crate) fn success_status(action: &str) -> u16 {
    match action {
        "CreateFileSystem" => 201,
        _ => 200,
    }
}
