//! ECS: clusters, task definitions, services, tasks and deployments.

pub(crate) mod clusters;
mod container_defaults;
mod definition_rules;
mod deployments;
mod service_changes;
mod service_view;
mod services;
mod simulation;
mod strictness;
mod tagging;
pub(crate) mod task_definitions;
mod task_revisions;
mod task_view;
mod tasks;

use super::ecr::Ecr;
use super::efs::Efs;
use super::error::ApiError;
use super::here::{Action, Here};
use super::iam::Iam;
use super::input::Input;
use super::paging::Paging;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clusters::Cluster;
pub use simulation::Behaviour;
use simulation::{Service, Task};
use task_definitions::Family;

pub(crate) const ACTIONS: &[Action<Ecs>] = &[
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

/// A region's state of ECS, and its simulated tasks.
pub(crate) struct Ecs {
    here: Here,
    pub(crate) behaviours: BTreeMap<String, Behaviour>,
    clusters: BTreeMap<String, Cluster>,
    families: BTreeMap<String, Family>,
    /// INACTIVE services too, which can be described for a while.
    services: BTreeMap<u64, Service>,
    /// (cluster, name) → the newest service of that name.
    service_names: BTreeMap<(String, String), u64>,
    next_service: u64,
    /// Whether the first CreateService has made the service-linked role.
    has_linked_role: bool,
    tasks: BTreeMap<String, Task>,
    /// When each service has something to do next.
    agenda: BTreeSet<(Duration, u64)>,
    purged: Duration,
}

impl Ecs {
    pub(crate) fn new(here: Here, behaviours: BTreeMap<String, Behaviour>) -> Self {
        Self {
            here,
            behaviours,
            clusters: BTreeMap::new(),
            families: BTreeMap::new(),
            services: BTreeMap::new(),
            service_names: BTreeMap::new(),
            next_service: 1,
            has_linked_role: false,
            tasks: BTreeMap::new(),
            agenda: BTreeSet::new(),
            purged: Duration::ZERO,
        }
    }
}

/// What a starting task needs from other services.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) efs: &'a Efs,
    pub(crate) ecr: &'a Ecr,
    pub(crate) iam: &'a Iam,
}

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

/// The name of the ACTIVE cluster that a request means.
fn cluster_of(ecs: &Ecs, input: Input<'_>) -> Result<String, ApiError> {
    let name = super::input::last_segment(input.text("cluster").unwrap_or("default"));
    match ecs.clusters.get(name).is_some_and(|cluster| cluster.active) {
        true => Ok(name.to_owned()),
        false => Err(ApiError::bad("ClusterNotFoundException", "Cluster not found.")),
    }
}
