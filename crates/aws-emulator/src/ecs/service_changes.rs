//! Updating and deleting services.

use super::services::{ECHOED, check_network, configure, desired_count};
use super::{cluster_of, service_view, strictness};
use crate::ecs::Ecs;
use crate::ecs::simulation::{REVISION_MEMBERS, Status};
use crate::error::{ApiError, Outcome};
use crate::input::{Input, last_segment};
use serde_json::json;

pub(super) fn update(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let uid = find(ecs, input, "service")?;
    let task_definition = input.text("taskDefinition").map(|reference| ecs.active_revision(reference)).transpose()?;
    check_network(input, false)?;
    let desired = desired_count(input)?;
    if let Some(definition) = task_definition.as_ref().and_then(|arn| ecs.definition_of(arn))
        && ecs.here.conduct.strict
    {
        strictness::volumes(&definition.members, input)?;
    }
    let now = ecs.here.now;
    let Some(service) = ecs.services.get_mut(&uid).filter(|service| service.status == Status::Active) else {
        return Err(ApiError::bad("ServiceNotActiveException", "Service was not ACTIVE."));
    };
    let mut deploys = input.flag("forceNewDeployment");
    if let Some(arn) = task_definition {
        deploys |= arn != service.task_definition;
        service.task_definition = arn;
    }
    for name in ECHOED {
        let Some(value) = input.get(name) else {
            continue;
        };
        if name == "deploymentConfiguration" {
            configure(&mut service.spec, value);
            continue;
        }
        let old = service.spec.insert(name.to_owned(), value.clone());
        deploys |= REVISION_MEMBERS.contains(&name) && old.as_ref() != Some(value);
    }
    service.desired = desired.unwrap_or(service.desired);
    if deploys {
        service.begin_deployment(now);
    }
    // After an operator's change, a new try is made at once.
    service.retry_at = now;
    ecs.schedule(uid, now);
    respond(ecs, uid)
}

/// Above a desired count of 0 only with `force`. The service drains, and is INACTIVE when its tasks are STOPPING or gone.
pub(super) fn delete(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let uid = find(ecs, input, "service")?;
    let now = ecs.here.now;
    let Some(service) = ecs.services.get_mut(&uid).filter(|service| service.status != Status::Inactive) else {
        return Err(ApiError::bad("ServiceNotFoundException", "Service not found."));
    };
    if service.status == Status::Active && service.desired > 0 && !input.flag("force") {
        return Err(ApiError::parameter("The service cannot be stopped while it is scaled above 0."));
    }
    service.desired = 0;
    service.status = Status::Draining;
    ecs.schedule(uid, now);
    respond(ecs, uid)
}

fn respond(ecs: &Ecs, uid: u64) -> Outcome {
    let service = ecs.services.get(&uid);
    Ok(json!({"service": service.map(|service| service_view::view(ecs, service, true))}))
}

fn find(ecs: &Ecs, input: Input<'_>, member: &str) -> Result<u64, ApiError> {
    let cluster = cluster_of(ecs, input)?;
    let name = last_segment(input.required(member)?);
    let service = ecs.find_service(&cluster, name).map(|service| service.uid);
    service.ok_or_else(|| ApiError::bad("ServiceNotFoundException", "Service not found."))
}
