//! Task definitions: families of revisions, which never change.

use super::{container_defaults, definition_rules, strictness};
use crate::ecs::Ecs;
use crate::error::{ApiError, Outcome};
use crate::ids::{ACCOUNT, arn};
use crate::input::Input;
use crate::tags;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The revisions of a family; `latest` only grows, so that no number is used twice.
#[derive(Default)]
pub(crate) struct Family {
    latest: u32,
    pub(crate) revisions: BTreeMap<u32, Revision>,
}

/// One registered revision.
pub(crate) struct Revision {
    pub(crate) members: Arc<Map<String, Value>>,
    pub(crate) tags: Vec<Value>,
    pub(crate) status: RevisionStatus,
    registered: Duration,
    deregistered: Option<Duration>,
    pub(crate) delete_requested: Option<Duration>,
}

/// The parts of a revision that a task needs.
pub(crate) struct Definition {
    pub(crate) family: String,
    pub(crate) members: Arc<Map<String, Value>>,
    pub(crate) tags: Vec<Value>,
}

/// A revision's `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RevisionStatus {
    Active,
    Inactive,
    DeleteInProgress,
}

impl RevisionStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
        }
    }
}

pub(crate) fn register(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    definition_rules::check(input)?;
    if ecs.here.conduct.strict {
        strictness::definition(input)?;
    }
    tags::check(input.list("tags"), "key", "InvalidParameterException")?;
    // Stored as sent: members that are newer than this emulator are kept like the others. Tags are stored separately.
    let mut members: Map<String, Value> = input.members().clone();
    members.remove("tags");
    container_defaults::fill(&mut members);
    let name = input.required("family")?;
    let revision = Revision {
        members: Arc::new(members),
        tags: input.list("tags").to_vec(),
        status: RevisionStatus::Active,
        registered: ecs.here.now,
        deregistered: None,
        delete_requested: None,
    };
    let family = ecs.families.entry(name.to_owned()).or_default();
    family.latest += 1;
    let number = family.latest;
    family.revisions.insert(number, revision);
    Ok(json!({"taskDefinition": view(ecs, name, number), "tags": input.list("tags")}))
}

pub(crate) fn describe(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let (family, number) = ecs
        .find_revision(input.required("taskDefinition")?)
        .ok_or_else(|| ApiError::client("Unable to describe task definition."))?;
    let mut body = json!({"taskDefinition": view(ecs, &family, number)});
    if input.includes("TAGS") {
        body["tags"] = json!(ecs.revision(&family, number).map_or(&[][..], |revision| &revision.tags));
    }
    Ok(body)
}

/// Needs `family:revision` or an ARN. Services that use the revision continue to start tasks of it.
pub(crate) fn deregister(ecs: &mut Ecs, input: Input<'_>) -> Outcome {
    let reference = input.required("taskDefinition")?;
    if split(reference).1.is_none() {
        return Err(ApiError::client("Invalid revision number. Number: null"));
    }
    let now = ecs.here.now;
    let (family, number) = ecs
        .find_revision(reference)
        .ok_or_else(|| ApiError::client("The specified task definition does not exist."))?;
    let revision = ecs.families.get_mut(&family).and_then(|family| family.revisions.get_mut(&number));
    if let Some(revision) = revision.filter(|revision| revision.status == RevisionStatus::Active) {
        revision.status = RevisionStatus::Inactive;
        revision.deregistered = Some(now);
    }
    Ok(json!({"taskDefinition": view(ecs, &family, number)}))
}

impl Ecs {
    pub(crate) fn revision(&self, family: &str, number: u32) -> Option<&Revision> {
        self.families.get(family)?.revisions.get(&number)
    }

    /// The family and number that a family, `family:revision` or ARN means; a bare family means its latest ACTIVE revision.
    pub(crate) fn find_revision(&self, reference: &str) -> Option<(String, u32)> {
        let (name, number) = split(reference);
        let family = self.families.get(name)?;
        let latest = || {
            let mut newest_first = family.revisions.iter().rev();
            newest_first.find(|(_, revision)| revision.status == RevisionStatus::Active).map(|(number, _)| *number)
        };
        let number = match number {
            Some(number) => family.revisions.contains_key(&number).then_some(number),
            None => latest(),
        }?;
        Some((name.to_owned(), number))
    }

    /// The ARN of a revision that a service may use: an ACTIVE one.
    pub(crate) fn active_revision(&self, reference: &str) -> Result<String, ApiError> {
        let (family, number) =
            self.find_revision(reference).ok_or_else(|| ApiError::client("TaskDefinition not found."))?;
        let status = self.revision(&family, number).map(|revision| revision.status);
        match status {
            Some(RevisionStatus::Active) => Ok(self.revision_arn(&family, number)),
            _ => Err(ApiError::client("TaskDefinition is inactive")),
        }
    }

    pub(crate) fn revision_arn(&self, family: &str, number: u32) -> String {
        arn("ecs", &self.here.name, &format!("task-definition/{family}:{number}"))
    }

    /// The definition from which a task is made; the revision may be ACTIVE or not.
    pub(crate) fn definition_of(&self, arn: &str) -> Option<Definition> {
        let (family, number) = self.find_revision(arn)?;
        let revision = self.revision(&family, number)?;
        Some(Definition { family, members: revision.members.clone(), tags: revision.tags.clone() })
    }
}

/// The family and revision in a family, `family:revision` or ARN.
pub(super) fn split(reference: &str) -> (&str, Option<u32>) {
    let short = reference.rsplit('/').next().unwrap_or(reference);
    match short.split_once(':') {
        Some((family, number)) => (family, Some(number.parse().unwrap_or(0))),
        None => (short, None),
    }
}

/// The registered members with those that AWS adds (the nine that a clone must drop, aws-facts §4).
pub(super) fn view(ecs: &Ecs, family: &str, number: u32) -> Value {
    let Some(revision) = ecs.revision(family, number) else {
        return Value::Null;
    };
    let mut body = (*revision.members).clone();
    let mut compatibilities = vec!["EC2"];
    if revision.members.get("networkMode") == Some(&json!("awsvpc")) {
        compatibilities.push("FARGATE");
    }
    let added = [
        ("taskDefinitionArn", json!(ecs.revision_arn(family, number))),
        ("revision", json!(number)),
        ("status", json!(revision.status.name())),
        ("compatibilities", json!(compatibilities)),
        ("requiresAttributes", json!([{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}])),
        ("registeredAt", json!(ecs.here.epoch(revision.registered))),
        ("registeredBy", json!(format!("arn:aws:iam::{ACCOUNT}:user/emulator"))),
    ];
    body.extend(added.map(|(name, value)| (name.to_owned(), value)));
    if let Some(moment) = revision.deregistered {
        body.insert("deregisteredAt".to_owned(), json!(ecs.here.epoch(moment)));
    }
    if let Some(moment) = revision.delete_requested {
        body.insert("deleteRequestedAt".to_owned(), json!(ecs.here.epoch(moment)));
    }
    Value::Object(body)
}
