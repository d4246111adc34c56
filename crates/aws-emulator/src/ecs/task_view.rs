//! A task as DescribeTasks shows it.

use crate::ecs::Ecs;
use crate::ecs::simulation::{Task, is_checked};
use crate::ids::arn;
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(super) fn view(ecs: &Ecs, task: &Task, with_tags: bool) -> Value {
    let now = ecs.here.now;
    let task_arn = arn("ecs", &ecs.here.name, &format!("task/{}/{}", task.cluster, task.id));
    let definition = |name: &str| task.definition.get(name).cloned().unwrap_or_default();
    let containers = definition("containerDefinitions");
    let containers = containers.as_array().into_iter().flatten().enumerate();
    let mut body = json!({
        "taskArn": task_arn,
        "clusterArn": arn("ecs", &ecs.here.name, &format!("cluster/{}", task.cluster)),
        "taskDefinitionArn": task.task_definition,
        "group": format!("service:{}", task.service_name),
        "startedBy": format!("ecs-svc/{}", task.deployment),
        "lastStatus": task.last_status(now),
        "desiredStatus": task.desired_status(),
        "healthStatus": task.health(now),
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "availabilityZone": format!("{}a", ecs.here.name),
        "cpu": definition("cpu"),
        "memory": definition("memory"),
        "ephemeralStorage": task.definition.get("ephemeralStorage").cloned().unwrap_or(json!({"sizeInGiB": 20})),
        "enableExecuteCommand": task.enable_execute_command,
        "attributes": [],
        "overrides": {"containerOverrides": [], "inferenceAcceleratorOverrides": []},
        "attachments": [interface(ecs, task)],
        "containers": containers.map(|(index, c)| container(ecs, task, &task_arn, index, c)).collect::<Vec<_>>(),
        "tags": if with_tags { task.tags.as_slice() } else { &[] },
        "version": 1 + moments(task).iter().filter(|(_, at)| at.is_some_and(|at| at <= now)).count(),
    });
    for (name, at) in moments(task) {
        if let Some(at) = at.filter(|at| *at <= now) {
            body[name] = json!(ecs.here.epoch(at));
        }
    }
    if task.pending <= now && task.ending.is_none() {
        body["connectivity"] = json!("CONNECTED");
    }
    if let Some(ending) = &task.ending {
        body["stopCode"] = json!(ending.code);
        body["stoppedReason"] = json!(ending.reason);
    }
    body
}

/// The timestamps of a task and when each is due.
fn moments(task: &Task) -> [(&'static str, Option<Duration>); 8] {
    let ending = task.ending.as_ref();
    let until_end = |at: Option<Duration>| at.filter(|at| ending.is_none_or(|ending| *at <= ending.at));
    let ran = until_end(task.running);
    [
        ("createdAt", Some(task.created)),
        ("connectivityAt", until_end(Some(task.pending))),
        ("pullStartedAt", until_end(Some(task.pending))),
        ("pullStoppedAt", ran),
        ("startedAt", ran),
        ("stoppingAt", ending.map(|ending| ending.at)),
        ("executionStoppedAt", ending.map(|ending| ending.at + (ending.stopped - ending.at) / 3)),
        ("stoppedAt", ending.map(|ending| ending.stopped)),
    ]
}

/// The address shows once the task has left PROVISIONING.
fn interface(ecs: &Ecs, task: &Task) -> Value {
    let stopped = task.last_status(ecs.here.now) == "STOPPED";
    let attached = task.pending <= ecs.here.now;
    let mut details = vec![json!({"name": "subnetId", "value": task.subnet})];
    if attached {
        let short = |length: usize| task.id.get(..length).unwrap_or_default();
        let host = task.address.to_string().replace('.', "-");
        let mac: Vec<&str> = [2, 4, 6, 8, 10].iter().filter_map(|end| task.id.get(end - 2..*end)).collect();
        details.extend([
            json!({"name": "networkInterfaceId", "value": format!("eni-0{}", short(16))}),
            json!({"name": "macAddress", "value": format!("0a:{}", mac.join(":"))}),
            json!({"name": "privateDnsName", "value": format!("ip-{host}.ec2.internal")}),
            json!({"name": "privateIPv4Address", "value": task.address}),
        ]);
    }
    json!({
        "id": part_id(task, 0),
        "type": "ElasticNetworkInterface",
        "status": match (stopped, attached) {
            (true, _) => "DELETED",
            (false, true) => "ATTACHED",
            (false, false) => "PRECREATED",
        },
        "details": details,
    })
}

fn container(ecs: &Ecs, task: &Task, task_arn: &str, index: usize, definition: &Value) -> Value {
    let now = ecs.here.now;
    let checked = is_checked(definition);
    // A container that was ordered to stop still runs while the task deactivates; one that ended by itself does not.
    let ended_by_itself = task.ending.as_ref().is_some_and(|ending| ending.code == "EssentialContainerExited");
    let last_status = match task.last_status(now) {
        "PROVISIONING" | "PENDING" | "ACTIVATING" => "PENDING",
        "RUNNING" | "DEACTIVATING" | "STOPPING" if !ended_by_itself => "RUNNING",
        _ => "STOPPED",
    };
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    let path = format!("container/{}/{}/{}", task.cluster, task.id, part_id(task, index + 1));
    put("containerArn", json!(arn("ecs", &ecs.here.name, &path)));
    put("taskArn", json!(task_arn));
    put("name", definition["name"].clone());
    put("image", definition["image"].clone());
    put("lastStatus", json!(last_status));
    put("healthStatus", json!(if checked { task.health(now) } else { "UNKNOWN" }));
    put("cpu", json!(definition["cpu"].as_i64().unwrap_or(0).to_string()));
    put("networkBindings", json!([]));
    if task.pending <= now {
        put("networkInterfaces", json!([{"attachmentId": part_id(task, 0), "privateIpv4Address": task.address}]));
    }
    if task.is_running(now) {
        put("runtimeId", json!(format!("{}-{}", task.id, 2_531_612_879u64 + index as u64)));
    }
    if let Some(ending) = task.ending.as_ref().filter(|_| last_status == "STOPPED") {
        // One container fails; the others are ordered to stop.
        let fails = index == failing(task);
        let exit_code = if fails { ending.exit_code } else { ending.exit_code.map(|_| 143) };
        if let Some(code) = exit_code {
            put("exitCode", json!(code));
        }
        if let Some(reason) = ending.container_reason.as_ref().filter(|_| fails) {
            put("reason", json!(reason));
        }
    }
    Value::Object(body)
}

/// The container that ends the task: the first essential one that mounts something, because a service's main container does
/// so, or else the first.
fn failing(task: &Task) -> usize {
    let containers = task.definition.get("containerDefinitions").and_then(Value::as_array);
    let mounts = |container: &Value| {
        container["essential"] != false && container["mountPoints"].as_array().is_some_and(|points| !points.is_empty())
    };
    containers.and_then(|containers| containers.iter().position(mounts)).unwrap_or(0)
}

/// A stable UUID-like id of a part of the task.
fn part_id(task: &Task, index: usize) -> String {
    let part = |from: usize, to: usize| task.id.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{:04x}{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), index, part(20, 28))
}
