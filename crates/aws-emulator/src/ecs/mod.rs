//! ECS: clusters, task definitions, services, tasks and deployments.

pub(crate) mod clusters;
mod container_defaults;
mod definition_rules;
mod deployments;
mod service_changes;
mod service_view;
mod services;
mod strictness;
mod tagging;
pub(crate) mod task_definitions;
mod task_revisions;
mod task_view;
mod tasks;

use super::error::ApiError;
use super::input::Input;
use super::paging::Paging;
use super::state::{Action, Region};
use serde_json::{Value, json};

pub(crate) const ACTIONS: &[Action] = &[
    ("CreateCluster", clusters::create),
    ("DescribeClusters", clusters::describe),
    ("ListClusters", clusters::list),
    ("DeleteCluster", clusters::delete),
    ("RegisterTaskDefinition", task_definitions::register),
    ("DescribeTaskDefinition", task_definitions::describe),
    ("DeregisterTaskDefinition", task_definitions::deregister),
    ("DeleteTaskDefinitions", task_revisions::delete),
    ("ListTaskDefinitions", task_revisions::list),
    ("ListTaskDefinitionFamilies", task_revisions::list_families),
    ("CreateService", services::create),
    ("DescribeServices", services::describe),
    ("ListServices", services::list),
    ("UpdateService", service_changes::update),
    ("DeleteService", service_changes::delete),
    ("ListTasks", tasks::list),
    ("DescribeTasks", tasks::describe),
    ("StopTask", tasks::stop),
    ("ListServiceDeployments", deployments::list),
    ("DescribeServiceDeployments", deployments::describe),
    ("StopServiceDeployment", deployments::stop),
    ("TagResource", tagging::tag),
    ("UntagResource", tagging::untag),
    ("ListTagsForResource", tagging::list),
];

/// `nextToken` and `maxResults`, which must lie between 1 and 100.
fn paging(input: Input<'_>, default: i64) -> Result<Paging<'_>, ApiError> {
    let size = input.integer("maxResults").unwrap_or(default);
    if !(1..=100).contains(&size) {
        return Err(input.refuse("maxResults must be between 1 and 100."));
    }
    Ok(Paging { token: input.text("nextToken"), size: size as usize, descending: false })
}

/// A member of a batch that was not found.
fn missing(arn: String) -> Value {
    json!({"arn": arn, "reason": "MISSING"})
}

/// The name of the ACTIVE cluster a request is about.
fn cluster_of(region: &Region, input: Input<'_>) -> Result<String, ApiError> {
    let name = super::input::last_segment(input.text("cluster").unwrap_or("default"));
    match region.clusters.get(name).is_some_and(|cluster| cluster.active) {
        true => Ok(name.to_owned()),
        false => Err(ApiError::bad("ClusterNotFoundException", "Cluster not found.")),
    }
}
