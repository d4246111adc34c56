//! The only render function: provision, resize and redeploy all use it, so nothing can be set by one and lost by another
//! (incidents 3, 4, 5).

use std::collections::BTreeMap;

use openclaw::entry::UPSTREAM_COMMAND;
use openclaw::openclaw_json::GATEWAY_PORT;
use openclaw::{AUTH_PROFILE_SECRET_KEY, Invalid, Release};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::base::ENTRY_SCRIPT;
use super::container::{STATE_DIR, is_for_openclaw};
use super::environment::merge_into;
use super::lookout::{self, Elsewhere, GATEWAY_PORT_VARIABLE};
use super::release::{LABEL_OPENCLAW_VERSION, Named, resolve_release};
use super::scale::scale;
use super::{
    BaseDefinition, LABEL_ACCESS_POINT, LABEL_BASE, LABEL_DIGEST, LABEL_PREVIOUS, LABEL_SPEC, LABEL_USER, OUR_TAGS,
    OUTPUT_MEMBERS, RESERVED_TAG_PREFIX, TAG_BASE_FAMILY, TAG_USER, port, sha256_of, user_family,
};
use crate::domain::image::registry_of;
use crate::domain::user_spec::CODEX_HOME;
use crate::domain::{ImageRef, Spec, UserId};

/// ECS's limit for one task definition (service quotas): 64 KiB.
const MAX_BYTES: usize = 64 * 1024;

/// Containerd's limit for a label, name and value together.
const MAX_LABEL_BYTES: usize = 4096;

/// A user's definition, ready to register.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The whole RegisterTaskDefinition request.
    pub request: Value,
    /// Digest of the definition; equal digests mean that there is nothing to register.
    pub digest: String,
    /// The image of the container that runs OpenClaw.
    pub image: String,
    /// The spec it was rendered from.
    pub spec: Spec,
}

impl Rendered {
    /// The image, if it is a reference that a registry can be asked for.
    #[must_use]
    pub fn image_ref(&self) -> Option<ImageRef> {
        ImageRef::parse(&self.image, "image").ok()
    }
}

/// Why the spec cannot be combined with the base.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// The definition is larger than ECS accepts.
    #[error(
        "the rendered task definition has {bytes} bytes, ECS accepts {MAX_BYTES}: send fewer or shorter variables and labels"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A field of the spec cannot be combined with the base.
    #[error(transparent)]
    Field(#[from] Invalid),
}

/// Renders the definition of one user from the live base. `previous` is the user's current revision, if any: a label
/// names it, but nothing is read from it.
///
/// # Errors
/// When the result is larger than ECS accepts, the release is too old for any plan, a variable points OpenClaw away from the
/// staged files, the base's other containers leave OpenClaw too little of the size, or the spec does not fit into a label.
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
            mount_through(volume, access_point_id, base.user_roles().is_some());
        }
    }
    if let Some(roles) = base.user_roles() {
        request.insert("taskRoleArn".into(), json!(roles.arn(user, base.file_system_id())));
    }
    refuse_what_points_elsewhere(base, spec)?;
    base.isolation().map_or(Ok(()), |isolation| isolation.refuse(spec))?;
    let index = base.openclaw().index;
    if let Some(size) = spec.size {
        scale(&mut request, index, size)?;
    }

    let mut image = base.image().to_owned();
    let spec_label = label_of(spec)?;
    let chosen = request.get_mut("containerDefinitions").and_then(|containers| containers.get_mut(index));
    let Some(container) = chosen.and_then(Value::as_object_mut) else {
        // Cannot happen: the base was parsed with this container.
        return Err(Invalid::new("base", "has no container", "define the container that runs OpenClaw").into());
    };
    if let Some(pin) = &spec.image {
        image = pin.to_string();
        container.insert("image".into(), json!(image));
    }
    keep_credentials_of(container, base.image(), &image);
    merge_environment(container, base, spec);
    merge_labels(container, user, spec, access_point_id, spec_label);
    let named = Named {
        is_pinned: spec.image.is_some(),
        by_spec: spec.openclaw_version,
        by_settings: base.defaults().openclaw_version,
    };
    let release = resolve_release(&Value::Object(container.clone()), named)?;
    fit_to_release(container, base, &release);
    // Last, so that nothing comes before the drop.
    if let Some(isolation) = base.isolation() {
        isolation.apply(container, UPSTREAM_COMMAND);
    }

    // Base, previous and the resolved release are not part of the digest: registering the same base again is no reason to restart
    // anybody's container.
    let digest = sha256_of(&request);
    let chosen = request.get_mut("containerDefinitions").and_then(|containers| containers.get_mut(index));
    if let Some(labels) = chosen.and_then(|container| container.get_mut("dockerLabels")).and_then(Value::as_object_mut)
    {
        labels.insert(LABEL_DIGEST.into(), json!(digest));
        labels.insert(LABEL_BASE.into(), json!(base.arn()));
        if let Some(version) = release.version() {
            labels.insert(LABEL_OPENCLAW_VERSION.into(), json!(version.to_string()));
        }
        if let Some(previous) = previous {
            labels.insert(LABEL_PREVIOUS.into(), json!(previous));
        }
    }
    let bytes = serde_json::to_vec(&request).unwrap_or_default().len();
    if bytes > MAX_BYTES {
        return Err(RenderError::TooLarge { bytes });
    }
    Ok(Rendered { request: Value::Object(request), digest, image, spec: spec.clone() })
}

/// Changes the container as the release's plan requires, apart from `CODEX_HOME`.
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

/// Refuses a caller's variables and secrets that make OpenClaw look or listen elsewhere than the base does.
fn refuse_what_points_elsewhere(base: &BaseDefinition, spec: &Spec) -> Result<(), Invalid> {
    if let Some((name, _)) = spec.secrets.iter().find(|(name, _)| lookout::decides(name)) {
        return Err(Invalid::new(
            format!("secrets.{name}"),
            "decides where OpenClaw looks or listens, but the value of a secret is unknown here",
            LEAVE_IT_OUT,
        ));
    }
    if let Some(Elsewhere { variable, looks_at, staged_at }) =
        lookout::misdirected_by(spec.variables.iter(), base.container(), base.state_dir())
    {
        let looks_at = openclaw::shown(&looks_at.unwrap_or_default());
        let problem = format!("makes OpenClaw look at {looks_at}, but the user's files are staged at {staged_at}");
        return Err(Invalid::new(format!("variables.{variable}"), problem, LEAVE_IT_OUT));
    }
    let wanted = spec.variables.iter().find(|(name, _)| *name == GATEWAY_PORT_VARIABLE);
    let port = base.named_port().map_or(GATEWAY_PORT, |named| named.port);
    match wanted {
        Some((name, value)) if port::parse(value) != Some(port) => {
            let problem =
                format!("the gateway listens on {port}, the port that the base says and that its network allows");
            Err(Invalid::new(format!("variables.{name}"), problem, LEAVE_IT_OUT))
        }
        Some(_) | None => Ok(()),
    }
}

const LEAVE_IT_OUT: &str = "leave it out: only the base may set it";

/// Removes the credentials of a registry that the image is not in: ECS would send them to the image's registry. ECS also
/// refuses them for an image in ECR, where the execution role is used.
fn keep_credentials_of(container: &mut Map<String, Value>, base_image: &str, image: &str) {
    let is_in_ecr = registry_of(image).contains(".dkr.ecr");
    if is_in_ecr || registry_of(image) != registry_of(base_image) {
        container.remove("repositoryCredentials");
    }
}

/// Puts the entry script before the base's command. The script ends with `exec` of its arguments, so any form of command
/// works.
///
/// If the base names no entry point, the image's own stays, and the script goes into the command, which the usual entry
/// points run (`tini --`, Node's `docker-entrypoint.sh`, anything that ends with `exec "$@"`). The image's entry point is replaced
/// only if the command makes sense only to OpenClaw itself (`gateway …`, `--port …`).
fn run_entry_first(container: &mut Map<String, Value>, script: &str) {
    let words = |member: &str| container.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
    let (entry_point, command) = (words("entryPoint"), words("command"));
    let runs = [entry_point.clone(), command.clone()].concat();
    if runs.iter().any(|word| word.as_str().is_some_and(|word| word.ends_with(ENTRY_SCRIPT))) {
        return;
    }
    let first = [json!("/bin/sh"), json!(script)];
    if entry_point.is_empty() && !command.first().is_some_and(is_for_openclaw) {
        container.insert("command".into(), Value::Array([first.to_vec(), command].concat()));
        return;
    }
    container.insert("entryPoint".into(), json!(first));
    match runs.is_empty() {
        true => container.remove("command"),
        false => container.insert("command".into(), Value::Array(runs)),
    };
}

/// The base's tags without the reserved ones, and the user's. They are sorted by key: AWS promises no order, and another
/// order must not count as a change.
fn tags(base: &BaseDefinition, user: &UserId) -> Vec<Value> {
    let kept = base.tags().iter().filter(|tag| {
        super::text(tag, "key").is_some_and(|key| !key.starts_with(RESERVED_TAG_PREFIX) && !OUR_TAGS.contains(&key))
    });
    let ours = [(TAG_USER, user.as_str()), (TAG_BASE_FAMILY, base.family())];
    let ours = ours.map(|(key, value)| json!({"key": key, "value": value}));
    let mut tags: Vec<Value> = kept.cloned().chain(ours).collect();
    tags.sort_by(|one, other| super::text(one, "key").cmp(&super::text(other, "key")));
    tags
}

/// Mounts the volume through the user's access point. ECS then wants transit encryption, and no root directory but
/// "/": the access point has its own (API reference, EFSVolumeConfiguration).
///
/// Only by IAM does the role of a user count.
fn mount_through(volume: &mut Value, access_point_id: &str, by_iam: bool) {
    let Some(efs) = volume.get_mut("efsVolumeConfiguration").and_then(Value::as_object_mut) else { return };
    efs.insert("transitEncryption".into(), json!("ENABLED"));
    efs.insert("rootDirectory".into(), json!("/"));
    let authorization = efs.entry("authorizationConfig").or_insert_with(|| json!({}));
    if !authorization.is_object() {
        *authorization = json!({});
    }
    authorization["accessPointId"] = json!(access_point_id);
    if by_iam {
        authorization["iam"] = json!("ENABLED");
    }
}

fn merge_environment(container: &mut Map<String, Value>, base: &BaseDefinition, spec: &Spec) {
    let codex_home = base.codex_home();
    let mut variables: BTreeMap<&str, &str> = spec.variables.iter().collect();
    variables.insert(CODEX_HOME, &codex_home);
    // The mount decides where OpenClaw looks, not the image's home.
    variables.insert(STATE_DIR, base.state_dir());
    let secrets: BTreeMap<&str, &str> = spec.secrets.iter().collect();
    merge_into(container, "environment", "value", &variables, &secrets);
    merge_into(container, "secrets", "valueFrom", &secrets, &variables);
}

/// The text of the spec's label.
fn label_of(spec: &Spec) -> Result<String, Invalid> {
    let text = serde_json::to_value(spec).and_then(|value| serde_json::to_string(&value)).unwrap_or_default();
    let most = MAX_LABEL_BYTES - LABEL_SPEC.len();
    if text.len() <= most {
        return Ok(text);
    }
    let size = |map: &mut dyn Iterator<Item = (&str, &str)>| map.map(|(name, value)| name.len() + value.len()).sum();
    let maps: [(&str, usize); 3] = [
        ("variables", size(&mut spec.variables.iter())),
        ("secrets", size(&mut spec.secrets.iter())),
        ("labels", size(&mut spec.labels.iter())),
    ];
    let (field, _) = maps.into_iter().max_by_key(|(_, bytes)| *bytes).unwrap_or(maps[0]);
    let problem = format!(
        "the user's whole spec is kept in one docker label of at most {most} bytes, and would have {}",
        text.len()
    );
    let fix = "send fewer or shorter variables, secrets and labels; put those that all users have into the base";
    Err(Invalid::new(field, problem, fix))
}

fn merge_labels(
    container: &mut Map<String, Value>,
    user: &UserId,
    spec: &Spec,
    access_point_id: &str,
    spec_label: String,
) {
    let mut labels = container.get("dockerLabels").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in spec.labels.iter() {
        labels.insert(name.to_owned(), json!(value));
    }
    labels.insert(LABEL_USER.into(), json!(user.as_str()));
    labels.insert(LABEL_ACCESS_POINT.into(), json!(access_point_id));
    labels.insert(LABEL_SPEC.into(), json!(spec_label));
    container.insert("dockerLabels".into(), Value::Object(labels));
}

#[cfg(test)]
mod tests;
