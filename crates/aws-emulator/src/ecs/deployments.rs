//! Service deployments: the records of rollouts, and how to stop one.

use super::service_view::{record_arn, revision_arn};
use super::{cluster_of, missing};
use crate::ecs::Ecs;
use crate::ecs::simulation::{Deployment, Listed, Record, Rollout, Service};
use crate::error::{ApiError, Outcome};
use crate::input::{Input, last_segment};
use crate::paging::page;
use serde_json::{Value, json};

pub(super) fn list(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let cluster = cluster_of(ecs, input)?;
    let service = ecs
        .find_service(&cluster, last_segment(input.required("service")?))
        .ok_or_else(|| ApiError::bad("ServiceNotFoundException", "Service not found."))?;
    let wanted = input.texts("status");
    let chosen =
        service.deployments.iter().filter(|deployment| wanted.is_empty() || wanted.contains(&deployment.record.name()));
    let items = chosen.enumerate().map(|(index, deployment)| {
        (format!("{:020}{index:04}", deployment.created.as_millis()), brief(ecs, service, deployment))
    });
    let mut paging = super::paging(input, 100)?;
    paging.descending = true;
    let (records, next) = page(items.collect(), &paging)?;
    Ok(json!({"serviceDeployments": records, "nextToken": next}))
}

pub(super) fn describe(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let arns = input.texts("serviceDeploymentArns");
    if arns.is_empty() || arns.len() > 20 {
        return Err(input.refuse("serviceDeploymentArns must have 1 to 20 elements."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        match find(ecs, arn) {
            Some((service, deployment)) => found.push(full(ecs, service, deployment)),
            None => failures.push(missing(arn.to_owned())),
        }
    }
    Ok(json!({"serviceDeployments": found, "failures": failures}))
}

/// Goes back to the deployment that was completed before, if there is one.
pub(super) fn stop(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let arn = input.required("serviceDeploymentArn")?;
    let Some((service, deployment)) = find(ecs, arn) else {
        return Err(ApiError::bad("ServiceDeploymentNotFoundException", "Service deployment not found."));
    };
    let current = service.primary().is_some_and(|primary| primary.id == deployment.id);
    let is_moving = deployment.record != Record::InProgress || service.rollback_requested.is_some();
    if !current || deployment.rollout != Rollout::InProgress || is_moving {
        return Err(ApiError::bad(
            "ConflictException",
            "The service deployment is not in a state that can be stopped.",
        ));
    }
    let has_former = |other: &Deployment| other.rollout == Rollout::Completed && other.listed != Listed::Primary;
    let slowly = ecs.here.conduct.slow_rollbacks && service.deployments.iter().any(has_former);
    let (uid, now, id) = (service.uid, ecs.here.now, deployment.id.clone());
    if let Some(service) = ecs.services.get_mut(&uid) {
        if slowly {
            service.rollback_requested = Some((id.clone(), now));
            for deployment in service.deployments.iter_mut().filter(|deployment| deployment.id == id) {
                deployment.record = Record::RollbackRequested;
            }
        } else {
            service.fail_deployment(now, "ECS service deployment stopped: ", "stop requested by the user.", true);
        }
    }
    ecs.schedule(uid, now);
    Ok(json!({"serviceDeploymentArn": arn}))
}

fn find<'a>(ecs: &'a Ecs, arn: &str) -> Option<(&'a Service, &'a Deployment)> {
    let mut path = arn.split_once("service-deployment/")?.1.split('/');
    let (cluster, name, id) = (path.next()?, path.next()?, path.next()?);
    let mut services = ecs.services.values().filter(|service| service.cluster == cluster && service.name == name);
    services.find_map(|service| {
        let deployment = service.deployments.iter().find(|deployment| deployment.record_id == id)?;
        Some((service, deployment))
    })
}

fn brief(ecs: &Ecs, service: &Service, deployment: &Deployment) -> Value {
    let mut body = json!({
        "serviceDeploymentArn": record_arn(ecs, service, deployment),
        "serviceArn": service.arn,
        "clusterArn": crate::ids::arn("ecs", &ecs.here.name, &format!("cluster/{}", service.cluster)),
        "createdAt": ecs.here.epoch(deployment.created),
        "startedAt": ecs.here.epoch(deployment.created),
        "targetServiceRevisionArn": revision_arn(ecs, service, &deployment.id),
        "status": deployment.record.name(),
    });
    if let Some(moment) = deployment.finished {
        body["finishedAt"] = json!(ecs.here.epoch(moment));
    }
    if deployment.rollout != Rollout::InProgress {
        body["statusReason"] = json!(deployment.reason);
    }
    body
}

fn full(ecs: &Ecs, service: &Service, deployment: &Deployment) -> Value {
    let now = ecs.here.now;
    let tasks = || {
        let live = service.live.iter().filter_map(|id| ecs.tasks.get(id));
        live.filter(|task| task.deployment == deployment.id)
    };
    let (enabled, _) = service.circuit_breaker();
    let mut body = brief(ecs, service, deployment);
    if let Some(object) = body.as_object_mut() {
        object.remove("targetServiceRevisionArn");
    }
    body["targetServiceRevision"] = json!({
        "arn": revision_arn(ecs, service, &deployment.id),
        "requestedTaskCount": service.desired,
        "runningTaskCount": tasks().filter(|task| task.is_running(now)).count(),
        "pendingTaskCount": tasks().filter(|task| task.is_pending(now)).count(),
    });
    body["sourceServiceRevisions"] = json!([]);
    body["deploymentConfiguration"] = service.spec.get("deploymentConfiguration").cloned().unwrap_or_default();
    body["deploymentCircuitBreaker"] = json!({
        "status": match (enabled, deployment.rollout) {
            (false, _) => "DISABLED",
            (true, Rollout::InProgress) => "MONITORING",
            (true, Rollout::Completed) => "MONITORING_COMPLETE",
            (true, Rollout::Failed) => "TRIGGERED",
        },
        "failureCount": deployment.failed_tasks,
        "threshold": service.failure_threshold(),
    });
    if let Some((at, reason, to)) = &deployment.rollback {
        body["rollback"] = json!({
            "reason": reason, "startedAt": ecs.here.epoch(*at), "serviceRevisionArn": revision_arn(ecs, service, to),
        });
    }
    body
}
