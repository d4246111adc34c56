//! Clusters.

use super::{missing, paging};
use crate::error::{ApiError, Outcome};
use crate::ids::arn;
use crate::input::{Input, last_segment};
use crate::paging::page;
use crate::simulation::Status;
use crate::state::Region;
use crate::tags;
use serde_json::{Map, Value, json};

/// A cluster; a deleted one stays describable as INACTIVE.
pub(crate) struct Cluster {
    pub(crate) active: bool,
    members: Map<String, Value>,
    pub(crate) tags: Vec<Value>,
}

/// Creating one that exists answers with the one that exists.
pub(crate) fn create(region: &mut Region, input: Input<'_>) -> Outcome {
    let name = input.text("clusterName").unwrap_or("default");
    tags::check(input.list("tags"), "key", "InvalidParameterException")?;
    let known = region.clusters.get(name).is_some_and(|cluster| cluster.active);
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
        region.clusters.insert(name.to_owned(), cluster);
    }
    Ok(json!({"cluster": view(region, name, true)}))
}

pub(crate) fn describe(region: &mut Region, input: Input<'_>) -> Outcome {
    let names = match input.texts("clusters") {
        none if none.is_empty() => vec!["default"],
        names => names,
    };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names.into_iter().map(last_segment) {
        match region.clusters.contains_key(name) {
            true => found.push(view(region, name, input.includes("TAGS"))),
            false => failures.push(missing(arn("ecs", &region.name, &format!("cluster/{name}")))),
        }
    }
    Ok(json!({"clusters": found, "failures": failures}))
}

pub(crate) fn list(region: &mut Region, input: Input<'_>) -> Outcome {
    let active = region.clusters.iter().filter(|(_, cluster)| cluster.active);
    let items = active.map(|(name, _)| (name.clone(), arn("ecs", &region.name, &format!("cluster/{name}"))));
    let (arns, next) = page(items.collect(), &paging(input, 100)?)?;
    Ok(json!({"clusterArns": arns, "nextToken": next}))
}

pub(crate) fn delete(region: &mut Region, input: Input<'_>) -> Outcome {
    let name = super::cluster_of(region, input)?;
    if region.services.values().any(|service| service.cluster == name && service.status == Status::Active) {
        let message = "The Cluster cannot be deleted while Services are active.";
        return Err(ApiError::bad("ClusterContainsServicesException", message));
    }
    let now = region.now;
    if region.tasks.values().any(|task| task.cluster == name && task.last_status(now) != "STOPPED") {
        let message = "The Cluster cannot be deleted while Tasks are active.";
        return Err(ApiError::bad("ClusterContainsTasksException", message));
    }
    if let Some(cluster) = region.clusters.get_mut(&name) {
        cluster.active = false;
    }
    Ok(json!({"cluster": view(region, &name, true)}))
}

fn view(region: &Region, name: &str, with_tags: bool) -> Value {
    let now = region.now;
    let tasks = || region.tasks.values().filter(|task| task.cluster == name);
    let services = region.services.values().filter(|s| s.cluster == name && s.status == Status::Active);
    let cluster = region.clusters.get(name);
    let mut body = json!({
        "clusterArn": arn("ecs", &region.name, &format!("cluster/{name}")),
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
