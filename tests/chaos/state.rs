//! The state of a user: in AWS, in their directory, and in our own files.

use std::collections::BTreeMap;
use std::path::Path;

use openclaw_provisioner::domain::{LABEL_PREVIOUS, LABEL_USER, UserId};
use serde_json::{Value, json};

use crate::harness::{CLUSTER, TestApp, USER_FAMILY};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Desired count, CPU, memory and image; `None` without an active service.
    pub service: Option<(u64, String, String, String)>,
    pub services: usize,
    /// Number of revisions and access points that neither the service nor the user's lock file names.
    pub orphans: usize,
    /// Whether there is more than one access point.
    pub has_two_access_points: bool,
    /// Each file with the refresh token in it, if there is one.
    pub files: BTreeMap<String, Option<String>>,
    /// Files of accepted work that is not done.
    pub pending: Vec<String>,
}

impl State {
    pub fn of(aws: &TestApp, root: &Path, user: &str) -> Self {
        let name = UserId::parse(user).unwrap().service_name();
        let described = aws.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [name]}));
        let services: Vec<&Value> =
            described["services"].as_array().unwrap().iter().filter(|service| service["status"] == "ACTIVE").collect();
        let service = services.first().map(|service| {
            let arn = &service["taskDefinition"];
            let found = aws.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn}));
            let definition = &found["taskDefinition"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let image = text(&definition["containerDefinitions"][0]["image"]);
            (service["desiredCount"].as_u64().unwrap(), text(&definition["cpu"]), text(&definition["memory"]), image)
        });
        let of_directory = format!("/users/{user}");
        let points =
            pages(aws, "efs", "DescribeAccessPoints", "AccessPoints", &json!({"FileSystemId": aws.file_system_id}));
        let points = points.iter().filter(|point| point["RootDirectory"]["Path"] == of_directory.as_str()).count();
        let note = std::fs::read(root.join(format!(".provisioner/locks/{user}.lock")));
        let is_noted =
            |arn: &str| note.as_ref().is_ok_and(|note| note.windows(arn.len()).any(|window| window == arn.as_bytes()));
        let named = services.first().map(|service| service["taskDefinition"].as_str().unwrap().to_owned());
        let previous = named.as_deref().and_then(|named| previous(aws, named));
        let revisions =
            pages(aws, "ecs", "ListTaskDefinitions", "taskDefinitionArns", &json!({"familyPrefix": USER_FAMILY}));
        let revisions = revisions
            .iter()
            .filter_map(Value::as_str)
            .filter(|arn| label(aws, arn, LABEL_USER).as_deref() == Some(user));
        let orphans = revisions
            .filter(|arn| Some(*arn) != named.as_deref() && Some(*arn) != previous.as_deref() && !is_noted(arn));
        let is_point_known = !services.is_empty() || note.is_ok();
        let orphans = orphans.count() + if is_point_known { 0 } else { points };
        let mut files = BTreeMap::new();
        list(&root.join("users").join(user), "", &mut files);
        Self {
            service,
            services: services.len(),
            orphans,
            has_two_access_points: points > 1,
            files,
            pending: pending(root, user),
        }
    }
}

/// A label, from the container that has it.
fn label(aws: &TestApp, arn: &str, name: &str) -> Option<String> {
    let found = aws.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn}));
    let containers = found["taskDefinition"]["containerDefinitions"].as_array().unwrap();
    containers.iter().find_map(|container| Some(container["dockerLabels"][name].as_str()?.to_owned()))
}

/// The revision before this one.
fn previous(aws: &TestApp, arn: &str) -> Option<String> {
    label(aws, arn, LABEL_PREVIOUS)
}

/// All pages of a listing.
fn pages(aws: &TestApp, service: &str, action: &str, member: &str, input: &Value) -> Vec<Value> {
    let (token, mut found, mut input) =
        (if service == "efs" { "NextToken" } else { "nextToken" }, Vec::new(), input.clone());
    loop {
        let page = aws.aws(service, action, input.clone());
        found.extend(page[member].as_array().unwrap().iter().cloned());
        match &page[token] {
            Value::Null => return found,
            next => input[token] = next.clone(),
        }
    }
}

/// Files of the user's accepted work that is not done. A request to the lock's holder is not work.
fn pending(root: &Path, user: &str) -> Vec<String> {
    let names = std::fs::read_dir(root.join(".provisioner/pending")).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let theirs = names.filter_map(|name| name.strip_prefix(user)?.strip_prefix('.').map(str::to_owned));
    theirs.filter(|name| name != "ask").collect()
}

fn list(directory: &Path, below: &str, files: &mut BTreeMap<String, Option<String>>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = format!("{below}{}", name.split(".displaced-").next().unwrap_or_default());
        let path = entry.path();
        if path.is_dir() {
            files.insert(format!("{name}/"), None);
            list(&path, &format!("{name}/"), files);
        } else {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let token = text.find("\"rt_").and_then(|at| text[at + 1..].split('"').next().map(str::to_owned));
            files.insert(name, token);
        }
    }
}
