//! Clusters.

use super::{missing, paging};
use crate::ecs::Ecs;
use crate::ecs::simulation::Status;
use crate::error::{ApiError, Outcome};
use crate::ids::arn;
use crate::input::{Input, last_segment};
use crate::paging::page;
use crate::tags;
use serde_json::{Map, Value, json};

/// A cluster; a deleted one can still be described as INACTIVE.
pub(crate) struct Cluster {
    pub(crate) active: bool,
    members: Map<String, Value>,
    pub(crate) tags: Vec<Value>,
}

/// Creates a cluster, or returns the existing one of that name.
pub(crate) fn create(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let name = input.text("clusterName").unwrap_or("default");
    tags::check(input.list("tags"), "key", "InvalidParameterException")?;
    let known = ecs.clusters.get(name).is_some_and(|cluster| cluster.active);
    if !known {
        let echoed = [
            "settings",
            "configuration",
            "capacityProviders",
            "defaultCapacityProviderStrategy",
            "serviceConnectDefaults",
        ];
        let members = echoed.iter().filter_map(|name| Some(((*name).to_owned(), input.get(name)?.clone())));
        let cluster = Cluster { active: true, members: members.collect(), tags: input.list("tags").to_vec() };
        ecs.clusters.insert(name.to_owned(), cluster);
    }
    Ok(json!({"cluster": view(ecs, name, true)}))
}

pub(crate) fn describe(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let names = match input.texts("clusters") {
        none if none.is_empty() => vec!["default"],
        names => names,
    };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names.into_iter().map(last_segment) {
        match ecs.clusters.contains_key(name) {
            true => found.push(view(ecs, name, input.includes("TAGS"))),
            false => failures.push(missing(arn("ecs", &ecs.here.name, &format!("cluster/{name}")))),
        }
    }
    Ok(json!({"clusters": found, "failures": failures}))
}

pub(crate) fn list(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let active = ecs.clusters.iter().filter(|(_, cluster)| cluster.active);
    let items = active.map(|(name, _)| (name.clone(), arn("ecs", &ecs.here.name, &format!("cluster/{name}"))));
    let (arns, next) = page(items.collect(), &paging(input, 100)?)?;
    Ok(json!({"clusterArns": arns, "nextToken": next}))
}

pub(crate) fn delete(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let name = super::cluster_of(ecs, input)?;
    if ecs.services.values().any(|service| service.cluster == name && service.status == Status::Active) {
        let message = "The Cluster cannot be deleted while Services are active.";
        return Err(ApiError::bad("ClusterContainsServicesException", message));
    }
    let now = ecs.here.now;
    if ecs.tasks.values().any(|task| task.cluster == name && task.last_status(now) != "STOPPED") {
        let message = "The Cluster cannot be deleted while Tasks are active.";
        return Err(ApiError::bad("ClusterContainsTasksException", message));
    }
    if let Some(cluster) = ecs.clusters.get_mut(&name) {
        cluster.active = false;
    }
    Ok(json!({"cluster": view(ecs, &name, true)}))
}

fn view(ecs: &Ecs, name: &str, with_tags: bool) -> Value {
    let now = ecs.here.now;
    let tasks = || ecs.tasks.values().filter(|task| task.cluster == name);
    let services = ecs.services.values().filter(|s| s.cluster == name && s.status == Status::Active);
    let cluster = ecs.clusters.get(name);
    let mut body = json!({
        "clusterArn": arn("ecs", &ecs.here.name, &format!("cluster/{name}")),
        "clusterName": name,
        "status": if cluster.is_some_and(|cluster| cluster.active) { "ACTIVE" } else { "INACTIVE" },
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": tasks().filter(|task| task.is_running(now)).count(),
        "pendingTasksCount": tasks().filter(|task| task.is_pending(now)).count(),
        "activeServicesCount": services.count(),
        "statistics": [], "settings": [], "capacityProviders": [], "defaultCapacityProviderStrategy": [],
        "tags": cluster.filter(|_| with_tags).map_or(&[][..], |cluster| cluster.tags.as_slice()),
    });
    for (member, value) in cluster.iter().flat_map(|cluster| &cluster.members) {
        body[member] = value.clone();
    }
    body
}
