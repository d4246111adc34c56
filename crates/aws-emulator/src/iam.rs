//! IAM, as far as roles with inline policies go: one for the account, whatever the Region. It keeps a boundary's name and does not know
//! what it allows; [`judge`] has the rest.

mod judge;

pub(crate) use judge::Verdict;

use super::clock::Clock;
use super::conduct::StaleReads;
use super::error::{ApiError, Outcome};
use super::here::Action;
use super::ids::{ACCOUNT, hex};
use super::input::Input;
use super::paging::{Paging, page};
use super::tags;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Roles of an account (IAM user guide, "IAM and AWS STS quotas").
const QUOTA: usize = 1_000;
/// Characters of a role's inline policies together, white space not counted.
const POLICY_CHARACTERS: usize = 10_240;

pub(crate) const ACTIONS: &[Action<Iam>] = &[
    ("CreateRole", create),
    ("GetRole", get),
    ("ListRoles", list),
    ("PutRolePolicy", put_policy),
    ("GetRolePolicy", get_policy),
    ("DeleteRolePolicy", delete_policy),
    ("DeleteRole", delete),
    ("GetAccountSummary", account_summary),
];

/// What an account has of IAM.
pub(crate) struct Iam {
    clock: Clock,
    now: Duration,
    late: Option<StaleReads>,
    random: fastrand::Rng,
    /// By their names in lower case: two that differ in case alone are one.
    roles: BTreeMap<String, Role>,
}

/// A role.
struct Role {
    name: String,
    id: String,
    path: String,
    trust: String,
    boundary: Option<String>,
    tags: Vec<Value>,
    created: Duration,
    /// When reads show it, and when tasks can assume it.
    seen: Duration,
    policies: BTreeMap<String, Policy>,
}

/// An inline policy, and the one that is in force until this one is seen.
struct Policy {
    document: String,
    seen: Duration,
    before: Option<String>,
}

impl Iam {
    pub(crate) fn new(clock: Clock, late: Option<StaleReads>) -> Self {
        let random = fastrand::Rng::with_seed(late.map_or(0, |late| late.seed));
        Self { clock, now: Duration::ZERO, late, random, roles: BTreeMap::new() }
    }

    pub(crate) fn advance(&mut self, now: Duration) {
        self.now = now;
    }

    /// Lets everything show that was accepted.
    pub(crate) fn settle(&mut self) {
        for role in self.roles.values_mut() {
            role.seen = Duration::ZERO;
            role.policies.values_mut().for_each(|policy| policy.seen = Duration::ZERO);
        }
    }

    /// When what is changed now is seen.
    fn seen(&mut self) -> Duration {
        let Some(late) = self.late else { return self.now };
        let longest = u64::try_from(late.up_to.as_millis()).unwrap_or(u64::MAX);
        self.now + Duration::from_millis(self.random.u64(0..=longest))
    }

    fn role(&self, input: Input<'_>) -> Result<&Role, ApiError> {
        let name = input.required("RoleName")?;
        self.roles.get(&name.to_lowercase()).ok_or_else(|| no_role(name))
    }

    fn role_mut(&mut self, input: Input<'_>) -> Result<&mut Role, ApiError> {
        let name = input.required("RoleName")?;
        self.roles.get_mut(&name.to_lowercase()).ok_or_else(|| no_role(name))
    }
}

impl Role {
    fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role{}{}", self.path, self.name)
    }

    fn view(&self, clock: Clock, is_whole: bool) -> Value {
        let created = clock.rfc3339(self.created);
        let mut body = json!({
            "Path": self.path, "RoleName": self.name, "RoleId": self.id, "Arn": self.arn(), "CreateDate": created,
            "AssumeRolePolicyDocument": escaped(&self.trust), "MaxSessionDuration": 3600,
        });
        // ListRoles leaves these out (API reference, ListRoles).
        if is_whole {
            body["Tags"] = json!(self.tags);
            if let Some(boundary) = &self.boundary {
                body["PermissionsBoundary"] =
                    json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": boundary});
            }
        }
        body
    }
}

fn create(iam: &mut Iam, input: Input<'_>) -> Outcome {
    let name = input.required("RoleName")?;
    let is_in = |text: &str, others: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b));
    if name.len() > 64 || !is_in(name, b"_+=,.@-") {
        return Err(input.refuse("The specified value for roleName is invalid."));
    }
    let path = input.text("Path").unwrap_or("/");
    if !(path.starts_with('/') && path.ends_with('/') && path.len() <= 512) {
        return Err(input.refuse("The specified value for path is invalid."));
    }
    let trust = policy_of(input, "AssumeRolePolicyDocument")?;
    tags::check(input.list("Tags"), "Key", "InvalidInput")?;
    let boundary = input.text("PermissionsBoundary").map(str::to_owned);
    if boundary.as_ref().is_some_and(|arn| !arn.contains(":policy/")) {
        return Err(ApiError::bad("InvalidInput", "The permissions boundary is not the ARN of a policy."));
    }
    if iam.roles.contains_key(&name.to_lowercase()) {
        let message = format!("Role with name {name} already exists.");
        return Err(ApiError::new(409, "EntityAlreadyExists", message));
    }
    if iam.roles.len() >= QUOTA {
        let message = format!("Cannot exceed quota for RolesPerAccount: {QUOTA}");
        return Err(ApiError::new(409, "LimitExceeded", message));
    }
    let role = Role {
        name: name.to_owned(),
        id: format!("AROA{}", hex(17).to_uppercase()),
        path: path.to_owned(),
        trust,
        boundary,
        tags: input.list("Tags").to_vec(),
        created: iam.now,
        seen: iam.seen(),
        policies: BTreeMap::new(),
    };
    let body = json!({"Role": role.view(iam.clock, true)});
    iam.roles.insert(name.to_lowercase(), role);
    Ok(body)
}

fn get(iam: &mut Iam, input: Input<'_>) -> Outcome {
    let role = iam.role(input)?;
    match role.seen <= iam.now {
        true => Ok(json!({"Role": role.view(iam.clock, true)})),
        false => Err(no_role(&role.name)),
    }
}

fn list(iam: &mut Iam, input: Input<'_>) -> Outcome {
    let prefix = input.text("PathPrefix").unwrap_or("/");
    let size = usize::try_from(input.integer("MaxItems").unwrap_or(100)).unwrap_or(0);
    if !(1..=1_000).contains(&size) {
        return Err(input.refuse("MaxItems must be between 1 and 1000."));
    }
    let shown = iam.roles.values().filter(|role| role.path.starts_with(prefix) && role.seen <= iam.now);
    let items = shown.map(|role| (role.name.clone(), role.view(iam.clock, false))).collect();
    // Fewer than asked for, as IAM may (API reference, ListRoles).
    let paging = Paging { token: input.text("Marker"), size: size.div_ceil(2), descending: false };
    let (roles, marker) = page(items, &paging)?;
    Ok(json!({"Roles": roles, "IsTruncated": marker.is_some(), "Marker": marker}))
}

fn put_policy(iam: &mut Iam, input: Input<'_>) -> Outcome {
    let name = input.required("PolicyName")?;
    let document = policy_of(input, "PolicyDocument")?;
    let seen = iam.seen();
    let role = iam.role_mut(input)?;
    let others = role.policies.iter().filter(|(other, _)| *other != name);
    let characters = |document: &str| document.chars().filter(|c| !c.is_whitespace()).count();
    let taken: usize = others.map(|(_, policy)| characters(&policy.document)).sum();
    if taken + characters(&document) > POLICY_CHARACTERS {
        let message = format!("Maximum policy size of {POLICY_CHARACTERS} bytes exceeded for role {}", role.name);
        return Err(ApiError::new(409, "LimitExceeded", message));
    }
    let before = role.policies.get(name).map(|policy| policy.document.clone());
    let seen = if before.as_deref() == Some(&document) { Duration::ZERO } else { seen };
    role.policies.insert(name.to_owned(), Policy { document, seen, before });
    Ok(json!({}))
}

fn get_policy(iam: &mut Iam, input: Input<'_>) -> Outcome {
    let (role, name) = (iam.role(input)?, input.required("PolicyName")?);
    match role.policies.get(name) {
        Some(policy) => Ok(json!({
            "RoleName": role.name, "PolicyName": name, "PolicyDocument": escaped(&policy.document),
        })),
        None => Err(no_policy(name)),
    }
}

fn delete_policy(iam: &mut Iam, input: Input<'_>) -> Outcome {
    let name = input.required("PolicyName")?;
    iam.role_mut(input)?.policies.remove(name).map(|_| json!({})).ok_or_else(|| no_policy(name))
}

fn delete(iam: &mut Iam, input: Input<'_>) -> Outcome {
    if !iam.role(input)?.policies.is_empty() {
        return Err(ApiError::new(409, "DeleteConflict", "Cannot delete entity, must delete policies first."));
    }
    iam.roles.remove(&input.required("RoleName")?.to_lowercase());
    Ok(json!({}))
}

fn account_summary(iam: &mut Iam, _: Input<'_>) -> Outcome {
    let entries = [("Roles", iam.roles.len()), ("RolesQuota", QUOTA)];
    let entries = entries.map(|(key, value)| json!({"key": key, "value": value}));
    Ok(json!({"SummaryMap": {"entry": entries}}))
}

/// A policy document, as it came; it has to be one.
fn policy_of(input: Input<'_>, member: &str) -> Result<String, ApiError> {
    let text = input.required(member)?;
    let document: Option<Map<String, Value>> = serde_json::from_str(text).ok();
    let is_policy = document.is_some_and(|document| {
        document.get("Version") == Some(&json!("2012-10-17")) && document.contains_key("Statement")
    });
    match is_policy {
        true => Ok(text.to_owned()),
        false => Err(ApiError::bad("MalformedPolicyDocument", "Syntax errors in policy.")),
    }
}

/// Percent-encoded, as IAM answers policy documents (RFC 3986).
fn escaped(text: &str) -> String {
    let byte = |b: u8| match b {
        b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn no_role(name: &str) -> ApiError {
    ApiError::new(404, "NoSuchEntity", format!("The role with name {name} cannot be found."))
}

fn no_policy(name: &str) -> ApiError {
    ApiError::new(404, "NoSuchEntity", format!("The role policy with name {name} cannot be found."))
}

#[cfg(test)]
mod tests;
