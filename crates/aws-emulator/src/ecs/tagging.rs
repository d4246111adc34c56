//! Tags of ECS resources, found by ARN.

use crate::ecs::Ecs;
use crate::error::{ApiError, Outcome};
use crate::input::Input;
use crate::tags;
use serde_json::{Value, json};

pub(super) fn tag(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let new = input.list("tags");
    tags::check(new, "key", "InvalidParameterException")?;
    let tags = tags_of(ecs, input.required("resourceArn")?)?;
    tags::merge(tags, new, "key");
    Ok(json!({}))
}

pub(super) fn untag(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let keys = input.texts("tagKeys");
    let tags = tags_of(ecs, input.required("resourceArn")?)?;
    tags.retain(|tag| !tag["key"].as_str().is_some_and(|key| keys.contains(&key)));
    Ok(json!({}))
}

pub(super) fn list(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let tags = tags_of(ecs, input.required("resourceArn")?)?;
    Ok(json!({"tags": tags}))
}

fn tags_of<'a>(ecs: &'a mut Ecs, arn: &str) -> Result<&'a mut Vec<Value>, ApiError> {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let parts: Vec<&str> = resource.split('/').collect();
    let found = match parts.as_slice() {
        ["cluster", name] => ecs.clusters.get_mut(*name).map(|cluster| &mut cluster.tags),
        ["task-definition", _] => ecs.find_revision(arn).and_then(|(family, number)| {
            let revision = ecs.families.get_mut(&family)?.revisions.get_mut(&number)?;
            Some(&mut revision.tags)
        }),
        ["service", cluster, name] => {
            let uid = ecs.find_service(cluster, name).map(|service| service.uid);
            uid.and_then(|uid| ecs.services.get_mut(&uid)).map(|service| &mut service.tags)
        }
        ["task", _, id] => ecs.tasks.get_mut(*id).map(|task| &mut task.tags),
        _ => {
            return Err(ApiError::parameter("Invalid identifier: the ARN is not of a resource that can be tagged."));
        }
    };
    found.ok_or_else(|| ApiError::parameter("The specified resource was not found."))
}
