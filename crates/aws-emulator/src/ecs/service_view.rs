//! A service as DescribeServices shows it.

use crate::ecs::Ecs;
use crate::ecs::simulation::{Deployment, Listed, Service, Task};
use crate::ids::{ACCOUNT, arn};
use serde_json::{Value, json};

/// Tags are shown only if the caller asks for them (aws-facts §3).
pub(super) fn view(ecs: &Ecs, service: &Service, with_tags: bool) -> Value {
    let now = ecs.here.now;
    let tasks = || service.live.iter().filter_map(|id| ecs.tasks.get(id));
    let mut listed: Vec<&Deployment> = service.deployments.iter().filter(|d| d.listed != Listed::Gone).collect();
    listed.sort_by_key(|deployment| (deployment.listed != Listed::Primary, std::cmp::Reverse(deployment.created)));
    let events: Vec<Value> = service
        .events
        .iter()
        .map(|(at, id, message)| json!({"id": id, "createdAt": ecs.here.epoch(*at), "message": message}))
        .collect();
    let mut body = service.spec.clone();
    let added = json!({
        "serviceArn": service.arn,
        "serviceName": service.name,
        "clusterArn": arn("ecs", &ecs.here.name, &format!("cluster/{}", service.cluster)),
        "status": service.status.name(),
        "desiredCount": service.desired,
        "runningCount": tasks().filter(|task| task.is_running(now)).count(),
        "pendingCount": tasks().filter(|task| task.is_pending(now)).count(),
        "taskDefinition": service.task_definition,
        "platformFamily": "Linux",
        "deployments": listed.iter().map(|d| deployment(ecs, service, d, &tasks().collect::<Vec<_>>())).collect::<Vec<_>>(),
        "events": events,
        "createdAt": ecs.here.epoch(service.created),
        "createdBy": format!("arn:aws:iam::{ACCOUNT}:user/emulator"),
        "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"),
    });
    body.extend(added.as_object().cloned().unwrap_or_default());
    if with_tags {
        body.insert("tags".to_owned(), json!(service.tags));
    }
    if let Some(primary) = service.primary() {
        body.insert("currentServiceDeployment".to_owned(), json!(record_arn(ecs, service, primary)));
    }
    Value::Object(body)
}

fn deployment(ecs: &Ecs, service: &Service, deployment: &Deployment, tasks: &[&Task]) -> Value {
    let now = ecs.here.now;
    let mine = || tasks.iter().filter(|task| task.deployment == deployment.id);
    let primary = deployment.listed == Listed::Primary;
    let mut body = deployment.settings.clone();
    body.remove("serviceRegistries");
    let added = json!({
        "id": deployment.name(),
        "status": deployment.listed.name(),
        "taskDefinition": deployment.task_definition,
        "desiredCount": if primary { service.desired } else { 0 },
        "runningCount": mine().filter(|task| task.is_running(now)).count(),
        "pendingCount": mine().filter(|task| task.is_pending(now)).count(),
        "failedTasks": deployment.failed_tasks,
        "createdAt": ecs.here.epoch(deployment.created),
        "updatedAt": ecs.here.epoch(deployment.updated),
        "launchType": service.spec.get("launchType"),
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "rolloutState": deployment.rollout.name(),
        "rolloutStateReason": deployment.reason,
    });
    body.extend(added.as_object().cloned().unwrap_or_default());
    Value::Object(body)
}

/// The ARN of the service deployment that records a deployment.
pub(super) fn record_arn(ecs: &Ecs, service: &Service, deployment: &Deployment) -> String {
    let path = format!("service-deployment/{}/{}/{}", service.cluster, service.name, deployment.record_id);
    arn("ecs", &ecs.here.name, &path)
}

/// The ARN of the service revision that a deployment deploys.
pub(super) fn revision_arn(ecs: &Ecs, service: &Service, deployment_id: &str) -> String {
    let path = format!("service-revision/{}/{}/{deployment_id}", service.cluster, service.name);
    arn("ecs", &ecs.here.name, &path)
}
