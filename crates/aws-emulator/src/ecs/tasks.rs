//! Listing, describing and stopping tasks.

use super::{cluster_of, missing, paging, task_view};
use crate::ecs::Ecs;
use crate::error::{ApiError, Outcome};
use crate::ids::arn;
use crate::input::{Input, last_segment};
use crate::paging::page;
use serde_json::json;

/// Hides stopping and stopped tasks unless asked for them, and refuses `startedBy` with `serviceName` (aws-facts §3).
pub(super) fn list(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let cluster = cluster_of(ecs, input)?;
    let service = input.text("serviceName").map(last_segment);
    let (family, started_by) = (input.text("family"), input.text("startedBy"));
    if started_by.is_some() && (service.is_some() || family.is_some()) {
        return Err(input.refuse("startedBy can not be combined with serviceName or family."));
    }
    if service.is_some_and(|name| ecs.find_service(&cluster, name).is_none()) {
        return Err(ApiError::bad("ServiceNotFoundException", "Service not found."));
    }
    let status = input.text("desiredStatus").unwrap_or("RUNNING");
    let now = ecs.here.now;
    let chosen = ecs.tasks.values().filter(|task| {
        task.cluster == cluster
            && service.is_none_or(|name| name == task.service_name)
            && family.is_none_or(|family| family == task.family)
            && started_by.is_none_or(|by| by.strip_prefix("ecs-svc/") == Some(&task.deployment))
            && task.desired_status() == status
            && task.is_visible(now)
    });
    let items =
        chosen.map(|task| (task.id.clone(), arn("ecs", &ecs.here.name, &format!("task/{cluster}/{}", task.id))));
    let (arns, next) = page(items.collect(), &paging(input, 100)?)?;
    Ok(json!({"taskArns": arns, "nextToken": next}))
}

pub(super) fn describe(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let cluster = cluster_of(ecs, input)?;
    let references = input.texts("tasks");
    if references.is_empty() || references.len() > 100 {
        return Err(input.refuse("tasks must have 1 to 100 elements."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for id in references.into_iter().map(last_segment) {
        let task = ecs.tasks.get(id).filter(|task| task.cluster == cluster && task.is_visible(ecs.here.now));
        match task {
            Some(task) => found.push(task_view::view(ecs, task, input.includes("TAGS"))),
            None => failures.push(missing(arn("ecs", &ecs.here.name, &format!("task/{cluster}/{id}")))),
        }
    }
    Ok(json!({"tasks": found, "failures": failures}))
}

/// Stops a task. The service starts another one; the circuit breaker does not count it.
pub(super) fn stop(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let cluster = cluster_of(ecs, input)?;
    let id = last_segment(input.required("task")?);
    let (now, pace) = (ecs.here.now, ecs.here.pace);
    let task = ecs.tasks.get_mut(id).filter(|task| task.cluster == cluster && task.is_visible(now));
    let Some(task) = task else {
        return Err(input.refuse("The referenced task was not found."));
    };
    task.stop(now, &pace, "UserInitiated", input.text("reason").unwrap_or("Task stopped by user"));
    let service = task.service;
    ecs.schedule(service, now);
    Ok(json!({"task": ecs.tasks.get(id).map(|task| task_view::view(ecs, task, false))}))
}
