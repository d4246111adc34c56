//! Reads that are older than the last accepted change (API reference, "Eventual consistency"). The answers from right before
//! each accepted change are kept for as long as they may still be given.
//!
//! Each read draws its own age, even on one connection: nothing guarantees that two reads in a row see the same.
//!
//! Only accepted changes are seen late. Other events (a task that becomes healthy) are seen when they happen.

use super::conduct::StaleReads;
use super::error::{ApiError, Outcome};
use super::ids::arn;
use super::input::last_segment;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often changes that every read shows are forgotten.
const SWEPT_EVERY: Duration = Duration::from_secs(60);

/// The resource that a change concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Resource {
    /// Cluster and name.
    Service(String, String),
    /// The newest revision of a family.
    Family(String),
    /// The tasks of a service: cluster and name.
    Tasks(String, String),
    /// By id.
    Task(String),
    /// By id.
    AccessPoint(String),
}

/// When a change was accepted, and what there was before; `None`: nothing.
struct Change {
    at: Duration,
    before: Option<Value>,
}

/// How late a read sees. It is not the moment itself, because right after the clock began there is no earlier moment.
#[derive(Clone, Copy)]
struct Seen {
    now: Duration,
    late: Duration,
}

/// The recent accepted changes.
pub(super) struct History {
    options: StaleReads,
    random: fastrand::Rng,
    /// When changes that every read shows were last forgotten.
    swept: Duration,
    changes: BTreeMap<(String, Resource), Vec<Change>>,
}

/// Reads the present state: service, action and members.
pub(super) type Ask<'a> = dyn FnMut(&str, &str, &Map<String, Value>) -> Outcome + 'a;

impl History {
    pub(super) fn new(options: StaleReads) -> Self {
        let random = fastrand::Rng::with_seed(options.seed);
        Self { options, random, swept: Duration::ZERO, changes: BTreeMap::new() }
    }

    /// Makes every read show the present state.
    pub(super) fn settle(&mut self) {
        self.changes.clear();
    }

    /// Performs an action: a change is remembered, and a read is answered as of a moment ago.
    pub(super) fn perform(
        &mut self,
        region: &str,
        now: Duration,
        (service, action): (&str, &str),
        members: &Map<String, Value>,
        ask: &mut Ask<'_>,
    ) -> Outcome {
        let mut changes: Vec<(Resource, Option<Value>)> = Vec::new();
        for resource in changed(service, action, members) {
            let before = before(&resource, ask);
            changes.push((resource, before));
        }
        let outcome = ask(service, action, members)?;
        if let Some(id) = outcome["AccessPointId"].as_str().filter(|_| action == "CreateAccessPoint") {
            changes.push((Resource::AccessPoint(id.to_owned()), None));
        }
        if !changes.is_empty() {
            let up_to = self.options.up_to;
            if self.swept + SWEPT_EVERY < now {
                self.changes.retain(|_, of| of.iter().any(|change| change.at + up_to > now));
                self.swept = now;
            }
            for (resource, before) in changes {
                let of = self.changes.entry((region.to_owned(), resource)).or_default();
                of.retain(|change| change.at + up_to > now);
                of.push(Change { at: now, before });
            }
            return Ok(outcome);
        }
        let longest = u64::try_from(self.options.up_to.as_millis()).unwrap_or(u64::MAX);
        let late = Duration::from_millis(self.random.u64(0..=longest));
        self.as_of(region, Seen { now, late }, action, members, outcome)
    }

    /// The state of a resource that this read sees; the outer `None`: the present state.
    fn then(&self, region: &str, resource: Resource, seen: Seen) -> Option<Option<&Value>> {
        let changes = self.changes.get(&(region.to_owned(), resource))?;
        changes.iter().find(|change| change.at + seen.late > seen.now).map(|change| change.before.as_ref())
    }

    fn as_of(
        &self,
        region: &str,
        seen: Seen,
        action: &str,
        members: &Map<String, Value>,
        mut outcome: Value,
    ) -> Outcome {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let cluster = last_segment(text("cluster").unwrap_or("default")).to_owned();
        match action {
            "DescribeServices" => {
                let tagged = members.get("include").is_some_and(|include| include.to_string().contains("TAGS"));
                let names = members.get("services").and_then(Value::as_array).cloned().unwrap_or_default();
                for name in names.iter().filter_map(Value::as_str).map(last_segment) {
                    let Some(then) = self.then(region, Resource::Service(cluster.clone(), name.to_owned()), seen)
                    else {
                        continue;
                    };
                    take(&mut outcome["services"], |service| service["serviceName"] == name);
                    let service_arn = arn("ecs", region, &format!("service/{cluster}/{name}"));
                    take(&mut outcome["failures"], |failure| failure["arn"] == service_arn.as_str());
                    match then.cloned() {
                        Some(mut service) => {
                            if let Some(members) = service.as_object_mut().filter(|_| !tagged) {
                                members.remove("tags");
                            }
                            push(&mut outcome["services"], service);
                        }
                        None => push(&mut outcome["failures"], json!({"arn": service_arn, "reason": "MISSING"})),
                    }
                }
            }
            "ListServices" => {
                let is_last = outcome["nextToken"].is_null();
                for (of, resource) in self.changes.keys().filter(|(of, _)| of == region) {
                    let Resource::Service(of_cluster, name) = resource else { continue };
                    let Some(then) = self.then(of, resource.clone(), seen).filter(|_| *of_cluster == cluster) else {
                        continue;
                    };
                    let service_arn = arn("ecs", region, &format!("service/{cluster}/{name}"));
                    let was_listed = take(&mut outcome["serviceArns"], |listed| *listed == service_arn.as_str());
                    if then.is_some_and(|service| service["status"] == "ACTIVE") && (was_listed || is_last) {
                        push(&mut outcome["serviceArns"], json!(service_arn));
                    }
                }
            }
            "DescribeTaskDefinition" => {
                let family = text("taskDefinition").unwrap_or_default();
                match self.then(region, Resource::Family(family.to_owned()), seen) {
                    Some(Some(then)) => outcome = then.clone(),
                    Some(None) => return Err(ApiError::client("Unable to describe task definition.")),
                    None => {}
                }
            }
            "ListTasks" => {
                let service = last_segment(text("serviceName").unwrap_or_default()).to_owned();
                if let Some(then) = self.then(region, Resource::Tasks(cluster, service), seen) {
                    let status = text("desiredStatus").unwrap_or("RUNNING");
                    let listed = then.map_or_else(|| json!([]), |then| then[status].clone());
                    outcome = json!({"taskArns": listed});
                }
            }
            "DescribeTasks" => {
                for (of, resource) in self.changes.keys().filter(|(of, _)| of == region) {
                    let Resource::Task(id) = resource else { continue };
                    let Some(Some(then)) = self.then(of, resource.clone(), seen) else { continue };
                    let is_it = |task: &Value| task["taskArn"].as_str().is_some_and(|arn| arn.ends_with(id.as_str()));
                    if take(&mut outcome["tasks"], is_it) {
                        push(&mut outcome["tasks"], then.clone());
                    }
                }
            }
            "DescribeAccessPoints" => {
                let wanted = text("AccessPointId").map(last_segment);
                for (of, resource) in self.changes.keys().filter(|(of, _)| of == region) {
                    let Resource::AccessPoint(id) = resource else { continue };
                    let Some(then) = self.then(of, resource.clone(), seen) else { continue };
                    let was_there = take(&mut outcome["AccessPoints"], |point| point["AccessPointId"] == id.as_str());
                    match then {
                        Some(then) if was_there => push(&mut outcome["AccessPoints"], then.clone()),
                        None if wanted == Some(id) => return Err(super::efs::access_points::not_found(id)),
                        Some(_) | None => {}
                    }
                }
            }
            _ => {}
        }
        Ok(outcome)
    }
}

/// Whether an action makes a change that reads may show late.
pub(super) fn is_change(service: &str, action: &str, members: &Map<String, Value>) -> bool {
    action == "CreateAccessPoint" || !changed(service, action, members).is_empty()
}

/// The resources that an action changes, as far as its members show.
fn changed(service: &str, action: &str, members: &Map<String, Value>) -> Vec<Resource> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let cluster = || last_segment(text("cluster").unwrap_or("default")).to_owned();
    let id = |name: &str| text(name).map(|id| last_segment(id).to_owned());
    let service_of = |name: &str| match id(name) {
        Some(name) => vec![Resource::Service(cluster(), name.clone()), Resource::Tasks(cluster(), name)],
        None => Vec::new(),
    };
    let one = |resource: Option<Resource>| resource.into_iter().collect();
    match (service, action) {
        ("ecs", "CreateService") => service_of("serviceName"),
        ("ecs", "UpdateService" | "DeleteService") => service_of("service"),
        ("ecs", "StopServiceDeployment") => {
            let arn = text("serviceDeploymentArn").unwrap_or_default();
            let parts: Vec<&str> = arn.split('/').collect();
            one(match parts.as_slice() {
                [_, cluster, name, _] => Some(Resource::Service((*cluster).to_owned(), (*name).to_owned())),
                _ => None,
            })
        }
        ("ecs", "StopTask") => one(id("task").map(Resource::Task)),
        ("ecs", "RegisterTaskDefinition") => one(text("family").map(|family| Resource::Family(family.to_owned()))),
        ("ecs", "DeregisterTaskDefinition") => {
            let short = text("taskDefinition").and_then(|reference| reference.rsplit('/').next());
            let family = short.and_then(|short| short.split(':').next());
            one(family.map(|family| Resource::Family(family.to_owned())))
        }
        ("efs", "DeleteAccessPoint") => one(id("AccessPointId").map(Resource::AccessPoint)),
        _ => Vec::new(),
    }
}

/// What a read shows of the resource right before the change.
fn before(resource: &Resource, ask: &mut Ask<'_>) -> Option<Value> {
    let mut ask = |service: &str, action: &str, members: Value| ask(service, action, members.as_object()?).ok();
    match resource {
        Resource::Service(cluster, name) => {
            let members = json!({"cluster": cluster, "services": [name], "include": ["TAGS"]});
            ask("ecs", "DescribeServices", members)?["services"].get(0).cloned()
        }
        Resource::Family(family) => {
            ask("ecs", "DescribeTaskDefinition", json!({"taskDefinition": family, "include": ["TAGS"]}))
        }
        Resource::Tasks(cluster, name) => {
            let mut listed = |status: &str| {
                let members = json!({"cluster": cluster, "serviceName": name, "desiredStatus": status});
                Some(ask("ecs", "ListTasks", members)?["taskArns"].clone())
            };
            Some(json!({"RUNNING": listed("RUNNING")?, "STOPPED": listed("STOPPED")?}))
        }
        Resource::Task(id) => {
            // The task's cluster is unknown here, and tasks of another cluster are not stopped.
            let clusters = ask("ecs", "ListClusters", json!({}))?["clusterArns"].as_array()?.clone();
            clusters.iter().find_map(|cluster| {
                let found =
                    ask("ecs", "DescribeTasks", json!({"cluster": cluster, "tasks": [id], "include": ["TAGS"]}))?;
                found["tasks"].get(0).cloned()
            })
        }
        Resource::AccessPoint(id) => {
            ask("efs", "DescribeAccessPoints", json!({"AccessPointId": id}))?["AccessPoints"].get(0).cloned()
        }
    }
}

/// Removes matching items from a list, and returns whether there was any.
fn take(list: &mut Value, fits: impl Fn(&Value) -> bool) -> bool {
    let Some(list) = list.as_array_mut() else { return false };
    let before = list.len();
    list.retain(|item| !fits(item));
    list.len() < before
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}
