//! Updating and deleting services.

use super::services::{ECHOED, check_network, configure, desired_count};
use super::{cluster_of, service_view, strictness};
use crate::error::{ApiError, Outcome};
use crate::input::{Input, last_segment};
use crate::simulation::{REVISION_MEMBERS, Status};
use crate::state::Region;
use serde_json::json;

pub(super) fn update(region: &mut Region, input: Input<'_>) -> Outcome {
    let uid = find(region, input, "service")?;
    let task_definition =
        input.text("taskDefinition").map(|reference| region.active_revision(reference)).transpose()?;
    check_network(input, false)?;
    let desired = desired_count(input)?;
    if let Some(definition) = task_definition.as_ref().and_then(|arn| region.definition_of(arn))
        && region.conduct.strict
    {
        strictness::volumes(&definition.members, input)?;
    }
    let now = region.now;
    let Some(service) = region.services.get_mut(&uid).filter(|service| service.status == Status::Active) else {
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
    // A change that an operator makes is worth another try at once.
    service.retry_at = now;
    region.schedule(uid, now);
    respond(region, uid)
}

/// Above a desired count of 0 only with `force`; the service drains, and is INACTIVE when its tasks are STOPPING or gone.
pub(super) fn delete(region: &mut Region, input: Input<'_>) -> Outcome {
    let uid = find(region, input, "service")?;
    let now = region.now;
    let Some(service) = region.services.get_mut(&uid).filter(|service| service.status != Status::Inactive) else {
        return Err(ApiError::bad("ServiceNotFoundException", "Service not found."));
    };
    if service.status == Status::Active && service.desired > 0 && !input.flag("force") {
        return Err(ApiError::parameter("The service cannot be stopped while it is scaled above 0."));
    }
    service.desired = 0;
    service.status = Status::Draining;
    region.schedule(uid, now);
    respond(region, uid)
}

fn respond(region: &Region, uid: u64) -> Outcome {
    let service = region.services.get(&uid);
    Ok(json!({"service": service.map(|service| service_view::view(region, service, true))}))
}

fn find(region: &Region, input: Input<'_>, member: &str) -> Result<u64, ApiError> {
    let cluster = cluster_of(region, input)?;
    let name = last_segment(input.required(member)?);
    let service = region.find_service(&cluster, name).map(|service| service.uid);
    service.ok_or_else(|| ApiError::bad("ServiceNotFoundException", "Service not found."))
}
