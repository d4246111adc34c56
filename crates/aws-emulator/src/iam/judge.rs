//! What a task's role lets it do: whether ECS can assume it, and whether it mounts a file system through an access point.

use super::Iam;
use crate::ids::ACCOUNT;
use serde_json::Value;
use std::time::Duration;

/// What is said of a task that wants to start with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may start, and mount.
    Allowed,
    /// ECS cannot assume the role.
    CannotAssume,
    /// The file system refuses the mount.
    CannotMount,
}

/// What a mount that can be written to needs.
const NEEDED: [&str; 2] = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"];
const ACCESS_POINT: &str = "elasticfilesystem:AccessPointArn";

impl Iam {
    /// Judges a task definition. A role without a path of its own is one that the account has by other means, and may do what it likes;
    /// one with a path has to be here. That a file system has a policy, so that mounts need a permission, is taken for granted.
    pub(crate) fn judge(&self, now: Duration, region: &str, role_arn: Option<&str>, volumes: &[Value]) -> Verdict {
        let Some((_, resource)) = role_arn.and_then(|arn| arn.split_once(":role/")) else { return Verdict::Allowed };
        let name = resource.rsplit('/').next().unwrap_or(resource);
        let role = self.roles.get(&name.to_lowercase()).filter(|role| Some(role.arn().as_str()) == role_arn);
        let Some(role) = role else {
            return if resource.contains('/') { Verdict::CannotAssume } else { Verdict::Allowed };
        };
        if role.seen > now || !trusts_tasks(&role.trust) {
            return Verdict::CannotAssume;
        }
        let in_force = role.policies.values().filter_map(|policy| match policy.seen <= now {
            true => Some(policy.document.as_str()),
            false => policy.before.as_deref(),
        });
        let statements: Vec<Value> = in_force.flat_map(statements_of).collect();
        let is_refused = volumes.iter().any(|volume| {
            let efs = &volume["efsVolumeConfiguration"];
            let by_iam = efs["authorizationConfig"]["iam"] == "ENABLED";
            by_iam && !NEEDED.iter().all(|action| allows(&statements, action, region, efs))
        });
        if is_refused { Verdict::CannotMount } else { Verdict::Allowed }
    }
}

fn trusts_tasks(trust: &str) -> bool {
    statements_of(trust).iter().any(|statement| {
        let service = &statement["Principal"]["Service"];
        let is_tasks = *service == "ecs-tasks.amazonaws.com"
            || service.as_array().is_some_and(|all| all.iter().any(|one| one == "ecs-tasks.amazonaws.com"));
        statement["Effect"] == "Allow" && is_tasks && listed(&statement["Action"]).contains(&"sts:AssumeRole")
    })
}

fn statements_of(document: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    match &document["Statement"] {
        Value::Array(all) => all.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

/// Whether an action is allowed by one statement and denied by none.
fn allows(statements: &[Value], action: &str, region: &str, efs: &Value) -> bool {
    let arn = |kind: &str, id: &str| format!("arn:aws:elasticfilesystem:{region}:{ACCOUNT}:{kind}/{id}");
    let file_system = arn("file-system", efs["fileSystemId"].as_str().unwrap_or_default());
    let access_point = efs["authorizationConfig"]["accessPointId"].as_str().map(|id| arn("access-point", id));
    let applies = |statement: &&Value| {
        let is_about = |member: &str, what: &str| listed(&statement[member]).iter().any(|pattern| fits(pattern, what));
        is_about("Action", action) && is_about("Resource", &file_system)
    };
    let applying: Vec<&Value> = statements.iter().filter(applies).collect();
    let of = |effect: &'static str| applying.iter().filter(move |statement| statement["Effect"] == effect);
    // A condition that is not understood here denies whatever it is asked.
    let is_denied = of("Deny").any(|statement| holds(statement, access_point.as_deref()) != Some(false));
    !is_denied && of("Allow").any(|statement| holds(statement, access_point.as_deref()) == Some(true))
}

/// Whether a statement's conditions hold; `None`: they are not understood here.
fn holds(statement: &Value, access_point: Option<&str>) -> Option<bool> {
    let Some(conditions) = statement["Condition"].as_object() else { return Some(true) };
    let mut hold = true;
    for (operator, tests) in conditions {
        for (key, values) in tests.as_object()? {
            if key != ACCESS_POINT {
                return None;
            }
            let matches = |value: &&str| match operator.as_str() {
                "ArnEquals" | "ArnLike" | "StringLike" => Some(access_point.is_some_and(|arn| fits(value, arn))),
                "StringEquals" => Some(access_point == Some(*value)),
                _ => None,
            };
            let found: Option<Vec<bool>> = listed(values).iter().map(matches).collect();
            hold &= found?.contains(&true);
        }
    }
    Some(hold)
}

fn listed(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// Whether a text fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| fits(rest, &text[at..]))
}
