//! The one render: provision, resize and redeploy all come through here, so nothing can be set in one and lost in
//! another (incidents 3, 4, 5).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::base::ENTRY_SCRIPT;
use super::environment::merge_into;
use super::{
    BaseDefinition, LABEL_ACCESS_POINT, LABEL_BASE, LABEL_DIGEST, LABEL_PREVIOUS, LABEL_SPEC, LABEL_USER,
    OUTPUT_MEMBERS, sha256_of, user_family,
};
use crate::domain::credential_plan::{AUTH_PROFILE_SECRET_KEY, LABEL_OPENCLAW_VERSION, Named, Release};
use crate::domain::spec::CODEX_HOME;
use crate::domain::{ImageRef, Invalid, Spec, UserId};

/// ECS's limit for one task definition (service quotas): 64 KiB.
const MAX_BYTES: usize = 64 * 1024;

/// Tag keys that AWS keeps for itself; a registration that carries one is refused.
const RESERVED_TAG_PREFIX: &str = "aws:";

/// The tag that names the user on revision, service and tasks.
pub const TAG_USER: &str = "openclaw:user-id";

/// A user's definition, ready to register.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The whole RegisterTaskDefinition request.
    pub request: Value,
    /// Digest of what was rendered; equal digests mean that there is nothing to register.
    pub digest: String,
    /// The image of the first container.
    pub image: String,
    /// The spec it was rendered from.
    pub spec: Spec,
}

impl Rendered {
    /// The image, when it is a reference that can be looked up in a registry.
    #[must_use]
    pub fn image_ref(&self) -> Option<ImageRef> {
        ImageRef::parse(&self.image, "image").ok()
    }
}

/// Why the spec does not go with the base.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// More than ECS takes.
    #[error(
        "the rendered task definition has {bytes} bytes, ECS takes {MAX_BYTES}: send fewer or shorter variables and labels"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The release is too old.
    #[error(transparent)]
    Release(#[from] Invalid),
}

/// Renders the definition of one user from the live base. `previous` is the user's current revision, if any: it is
/// only named in a label, never read from.
///
/// # Errors
/// When the result is larger than ECS takes, or the release too old for any plan.
pub fn render(
    base: &BaseDefinition,
    user: &UserId,
    spec: &Spec,
    access_point_id: &str,
    previous: Option<&str>,
) -> Result<Rendered, RenderError> {
    let mut request = base.document().as_object().cloned().unwrap_or_default();
    request.retain(|member, _| !OUTPUT_MEMBERS.contains(&member.as_str()));
    request.insert("family".into(), json!(user_family(base.family())));
    request.insert("tags".into(), Value::Array(tags(base, user)));
    if let Some(volumes) = request.get_mut("volumes").and_then(Value::as_array_mut) {
        for volume in volumes.iter_mut().filter(|volume| super::text(volume, "name") == Some(base.volume())) {
            mount_through(volume, access_point_id);
        }
    }
    let old_memory = number(request.get("memory"));
    let old_cpu = number(request.get("cpu"));
    if let Some(size) = spec.size {
        request.insert("cpu".into(), json!(size.cpu().to_string()));
        request.insert("memory".into(), json!(size.memory_mib().to_string()));
    }

    let mut image = base.image().to_owned();
    let first = request.get_mut("containerDefinitions").and_then(|containers| containers.get_mut(0));
    if let Some(container) = first.and_then(Value::as_object_mut) {
        if let Some(pin) = &spec.image {
            image = pin.to_string();
            container.insert("image".into(), json!(image));
        }
        if let Some(size) = spec.size {
            scale(container, "memory", old_memory, size.memory_mib());
            scale(container, "memoryReservation", old_memory, size.memory_mib());
            scale(container, "cpu", old_cpu, size.cpu());
        }
        merge_environment(container, spec, &base.codex_home());
        merge_labels(container, user, spec, access_point_id);
    }
    let named = Named {
        is_pinned: spec.image.is_some(),
        by_spec: spec.openclaw_version,
        by_settings: base.defaults().openclaw_version,
    };
    let mut definition = Value::Object(request);
    let release = Release::resolve(&definition, named)?;
    if let Some(container) = definition.pointer_mut("/containerDefinitions/0").and_then(Value::as_object_mut) {
        fit_to_release(container, base, &release);
    }
    let mut request = match definition {
        Value::Object(request) => request,
        _ => Map::new(),
    };

    // Base, previous and the resolved release stay out of the digest: a base that was registered again unchanged is no reason to restart
    // anybody's container.
    let digest = sha256_of(&Value::Object(request.clone()));
    let first = request.get_mut("containerDefinitions").and_then(|containers| containers.get_mut(0));
    if let Some(labels) = first.and_then(|container| container.get_mut("dockerLabels")).and_then(Value::as_object_mut) {
        labels.insert(LABEL_DIGEST.into(), json!(digest));
        labels.insert(LABEL_BASE.into(), json!(base.arn()));
        if let Some(version) = release.version() {
            labels.insert(LABEL_OPENCLAW_VERSION.into(), json!(version.to_string()));
        }
        if let Some(previous) = previous {
            labels.insert(LABEL_PREVIOUS.into(), json!(previous));
        }
    }
    let request = Value::Object(request);
    let bytes = request.to_string().len();
    if bytes > MAX_BYTES {
        return Err(RenderError::TooLarge { bytes });
    }
    Ok(Rendered { request, digest, image, spec: spec.clone() })
}

/// What the release's plan asks of the container, beside `CODEX_HOME`.
fn fit_to_release(container: &mut Map<String, Value>, base: &BaseDefinition, release: &Release) {
    let plan = release.plan();
    if plan.needs_entry {
        run_entry_first(container, &base.entry_script());
    }
    let key = base.defaults().auth_profile_secret_arn.as_deref();
    if let Some(key) = key.filter(|_| plan.needs_profile_secret_key && !release.has_secret_key()) {
        let ours = BTreeMap::from([(AUTH_PROFILE_SECRET_KEY, key)]);
        merge_into(container, "secrets", "valueFrom", &ours, &BTreeMap::new());
    }
}

/// Puts the entry script before whatever the base runs: it ends with `exec` of its arguments, so it does not matter how
/// the base's command is written. A base that names no command runs the image's own; the script knows upstream's.
fn run_entry_first(container: &mut Map<String, Value>, script: &str) {
    let words = |member: &str| container.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
    let command = [words("entryPoint"), words("command")].concat();
    if command.iter().any(|word| word.as_str().is_some_and(|word| word.ends_with(ENTRY_SCRIPT))) {
        return;
    }
    container.insert("entryPoint".into(), json!(["/bin/sh", script]));
    match command.is_empty() {
        true => container.remove("command"),
        false => container.insert("command".into(), Value::Array(command)),
    };
}

/// The base's tags without the reserved ones, and the user's; by key, because AWS promises no order, and another order
/// is no change.
fn tags(base: &BaseDefinition, user: &UserId) -> Vec<Value> {
    let kept = base.tags().iter().filter(|tag| {
        super::text(tag, "key").is_some_and(|key| !key.starts_with(RESERVED_TAG_PREFIX) && key != TAG_USER)
    });
    let mut tags: Vec<Value> = kept.cloned().chain([json!({"key": TAG_USER, "value": user.as_str()})]).collect();
    tags.sort_by(|one, other| super::text(one, "key").cmp(&super::text(other, "key")));
    tags
}

/// Mounts the volume through the user's access point. ECS then wants transit encryption, and no root directory but
/// "/": the access point has its own (API reference, EFSVolumeConfiguration).
fn mount_through(volume: &mut Value, access_point_id: &str) {
    let Some(efs) = volume.get_mut("efsVolumeConfiguration").and_then(Value::as_object_mut) else { return };
    efs.insert("transitEncryption".into(), json!("ENABLED"));
    efs.insert("rootDirectory".into(), json!("/"));
    let authorization = efs.entry("authorizationConfig").or_insert_with(|| json!({}));
    if !authorization.is_object() {
        *authorization = json!({});
    }
    authorization["accessPointId"] = json!(access_point_id);
}

/// A container limit that was the whole task's follows the task; any other is the base's own choice, cut down to
/// what the task has, because ECS refuses a container that is larger than its task.
fn scale(container: &mut Map<String, Value>, member: &str, old_task: Option<u64>, new_task: u32) {
    let Some(limit) = container.get(member).and_then(Value::as_u64).filter(|&limit| limit > 0) else { return };
    let new_task = u64::from(new_task);
    let scaled = if Some(limit) == old_task { new_task } else { limit.min(new_task) };
    container.insert(member.to_owned(), json!(scaled));
}

fn merge_environment(container: &mut Map<String, Value>, spec: &Spec, codex_home: &str) {
    let mut variables: BTreeMap<&str, &str> = spec.variables.iter().collect();
    variables.insert(CODEX_HOME, codex_home);
    let secrets: BTreeMap<&str, &str> = spec.secrets.iter().collect();
    merge_into(container, "environment", "value", &variables, &secrets);
    merge_into(container, "secrets", "valueFrom", &secrets, &variables);
}

fn merge_labels(container: &mut Map<String, Value>, user: &UserId, spec: &Spec, access_point_id: &str) {
    let mut labels = container.get("dockerLabels").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in spec.labels.iter() {
        labels.insert(name.to_owned(), json!(value));
    }
    labels.insert(LABEL_USER.into(), json!(user.as_str()));
    labels.insert(LABEL_ACCESS_POINT.into(), json!(access_point_id));
    labels.insert(LABEL_SPEC.into(), json!(serde_json::to_value(spec).unwrap_or_default().to_string()));
    container.insert("dockerLabels".into(), Value::Object(labels));
}

fn number(value: Option<&Value>) -> Option<u64> {
    value.and_then(Value::as_str).and_then(|digits| digits.parse().ok())
}

#[cfg(test)]
mod tests;
