//! Listing and deleting revisions of task definitions.

use super::paging;
use super::task_definitions::{RevisionStatus, view};
use crate::ecs::Ecs;
use crate::error::Outcome;
use crate::input::Input;
use crate::paging::page;
use serde_json::json;

/// Lists revisions. `familyPrefix` is, despite its name, a whole family name.
pub(super) fn list(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let status = input.text("status").unwrap_or("ACTIVE");
    let wanted = input.text("familyPrefix");
    let mut items = Vec::new();
    for (family, revisions) in &ecs.families {
        if wanted.is_some_and(|wanted| wanted != family) {
            continue;
        }
        let chosen = revisions.revisions.iter().filter(|(_, revision)| revision.status.name() == status);
        items.extend(chosen.map(|(number, _)| (format!("{family}:{number:010}"), ecs.revision_arn(family, *number))));
    }
    let mut paging = paging(input, 100)?;
    paging.descending = input.text("sort") == Some("DESC");
    let (arns, next) = page(items, &paging)?;
    Ok(json!({"taskDefinitionArns": arns, "nextToken": next}))
}

/// Lists families. A family is ACTIVE while any of its revisions is.
pub(super) fn list_families(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let prefix = input.text("familyPrefix").unwrap_or_default();
    let status = input.text("status").unwrap_or("ALL");
    let chosen = ecs.families.iter().filter(|(name, family)| {
        let active = family.revisions.values().any(|revision| revision.status == RevisionStatus::Active);
        name.starts_with(prefix) && (status == "ALL" || (status == "ACTIVE") == active)
    });
    let items = chosen.map(|(name, _)| (name.clone(), name.clone())).collect();
    let (families, next) = page(items, &paging(input, 100)?)?;
    Ok(json!({"families": families, "nextToken": next}))
}

/// Deletes revisions, which must be deregistered before (aws-facts §3).
pub(super) fn delete(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let references = input.texts("taskDefinitions");
    if references.is_empty() || references.len() > 10 {
        return Err(input.refuse("taskDefinitions must have 1 to 10 elements."));
    }
    let now = ecs.here.now;
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for reference in references {
        let Some((family, number)) = ecs.find_revision(reference) else {
            failures.push(json!({"arn": reference, "reason": "The specified task definition does not exist."}));
            continue;
        };
        let revision = ecs.families.get_mut(&family).and_then(|family| family.revisions.get_mut(&number));
        match revision {
            Some(revision) if revision.status != RevisionStatus::Active => {
                revision.status = RevisionStatus::DeleteInProgress;
                revision.delete_requested.get_or_insert(now);
                deleted.push(view(ecs, &family, number));
            }
            _ => failures.push(json!({
                "arn": ecs.revision_arn(&family, number),
                "reason": "The specified task definition is still in ACTIVE status. Please deregister the target and try again.",
            })),
        }
    }
    Ok(json!({"taskDefinitions": deleted, "failures": failures}))
}
