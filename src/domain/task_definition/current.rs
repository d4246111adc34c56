//! A user's current revision, which the spec is read from.

use openclaw::openclaw_json::{GATEWAY_PORT, Surroundings};
use openclaw::{Provider, Release, Warning};
use serde_json::Value;
use thiserror::Error;

use super::isolation::{drop_of, keeps_role, shares_task_role};
use super::port::named_port;
use super::{
    LABEL_ACCESS_POINT, LABEL_BASE, LABEL_DIGEST, LABEL_PREVIOUS, LABEL_SPEC, LABEL_USER, container, has_health_check,
    items, text,
};
use crate::domain::user_role::is_own_role;
use crate::domain::{Architecture, CODEX_HOME, Spec, UserId};

/// Variables that AWS's SDK prefers to a task role.
const AWS_KEYS: [&str; 4] =
    ["AWS_ACCESS_KEY_ID", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"];

/// The variable in which a base may name the workspace.
const WORKSPACE_DIR: &str = "OPENCLAW_WORKSPACE_DIR";

/// A user's registered revision.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentDefinition {
    /// ARN with revision.
    pub arn: String,
    /// `false` after it was deregistered: running tasks stay, but no service can be updated to it any more.
    pub active: bool,
    /// The spec it was rendered from.
    pub spec: Spec,
    /// Digest of the rendered definition.
    pub digest: String,
    /// ARN of the base revision it was rendered from.
    pub base: Option<String>,
    /// ARN of the user's previous revision.
    pub previous: Option<String>,
    /// The access point that its EFS volume mounts through.
    pub access_point_id: Option<String>,
    /// The file system of that volume.
    pub file_system_id: Option<String>,
    /// Name of the container that runs OpenClaw.
    pub container: String,
    /// The port that its command or environment names; `None` leaves it to `openclaw.json`.
    pub named_port: Option<u16>,
    /// OpenClaw's state directory in its environment; earlier builds did not set it.
    pub state_dir: Option<String>,
    /// Whether its environment names the workspace.
    pub names_workspace: bool,
    /// `CODEX_HOME` in its environment.
    pub codex_home: Option<String>,
    /// Image of that container.
    pub image: String,
    /// The release that it runs, and what else its plan depends on.
    pub release: Release,
    /// CPU units.
    pub cpu: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u32>,
    /// CPU architecture of its task.
    pub architecture: Architecture,
    /// Whether ECS checks the health of that container.
    pub has_health_check: bool,
    /// Whether the user's own processes can read the credentials of the task role, which all users share.
    pub shares_task_role: bool,
    /// Whether its task role is the user's own.
    pub has_own_role: bool,
    /// Whether that role lets OpenClaw call models: the base keeps it for that.
    pub own_role_calls_models: bool,
    /// The words that drop root's rights in a container that starts as root; nothing where it does not.
    pub drop: Vec<String>,
}

/// Why a revision cannot be used as a user's own.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CurrentError {
    /// Something else created the service, or the labels were lost.
    #[error(
        "{arn} carries no spec of this service: something unknown created it, and rendering over it could lose \
         its settings; delete the service, then provision again"
    )]
    NoSpec {
        /// The revision.
        arn: String,
    },
    /// The spec does not parse.
    #[error("the spec in the labels of {arn} does not parse ({problem}): nothing is changed")]
    BadSpec {
        /// The revision.
        arn: String,
        /// The parser's message.
        problem: String,
    },
    /// The revision belongs to another user.
    #[error("{arn} belongs to user {owner}, not to {user}: refusing to touch it")]
    OtherUser {
        /// The revision.
        arn: String,
        /// The user in its labels.
        owner: String,
        /// The user of the request.
        user: String,
    },
}

impl CurrentDefinition {
    /// Parses the revision that the service of `user` runs.
    ///
    /// # Errors
    /// When this service did not write it, or it belongs to another user.
    pub fn parse(document: &Value, user: &UserId) -> Result<Self, CurrentError> {
        let arn = text(document, "taskDefinitionArn").unwrap_or_default().to_owned();
        let container = container::of_registered(document).cloned().unwrap_or_default();
        let label = |name: &str| container.get("dockerLabels").and_then(|labels| text(labels, name)).map(str::to_owned);
        let (Some(owner), Some(spec)) = (label(LABEL_USER), label(LABEL_SPEC)) else {
            return Err(CurrentError::NoSpec { arn });
        };
        if owner != user.as_str() {
            return Err(CurrentError::OtherUser { arn, owner, user: user.to_string() });
        }
        let spec = serde_json::from_str(&spec)
            .map_err(|error| CurrentError::BadSpec { arn: arn.clone(), problem: error.to_string() })?;
        // Only the volume with the access point of the label: the base may mount a shared directory through another access
        // point, and deleting this user must never remove that from everybody.
        let access_point_id = label(LABEL_ACCESS_POINT);
        let file_system_id = items(document, "volumes").iter().find_map(|volume| {
            let efs = volume.get("efsVolumeConfiguration")?;
            let id = text(efs.get("authorizationConfig")?, "accessPointId")?;
            text(efs, "fileSystemId").filter(|_| Some(id) == access_point_id.as_deref()).map(str::to_owned)
        });
        let variable = |name: &str| {
            let mut environment = items(&container, "environment").iter();
            environment.find(|entry| text(entry, "name") == Some(name)).and_then(|entry| text(entry, "value"))
        };
        let role = text(document, "taskRoleArn").unwrap_or_default();
        let has_own_role = file_system_id.as_deref().is_some_and(|id| is_own_role(role, user, id));
        let number = |member: &str| text(document, member).and_then(|digits| digits.parse().ok());
        Ok(Self {
            active: text(document, "status").is_none_or(|status| status == "ACTIVE"),
            spec,
            digest: label(LABEL_DIGEST).unwrap_or_default(),
            base: label(LABEL_BASE),
            previous: label(LABEL_PREVIOUS),
            access_point_id,
            file_system_id,
            named_port: named_port(&container).map(|named| named.port),
            container: text(&container, "name").unwrap_or_default().to_owned(),
            state_dir: variable(container::STATE_DIR).map(str::to_owned),
            names_workspace: variable(WORKSPACE_DIR).is_some(),
            codex_home: variable(CODEX_HOME).map(str::to_owned),
            image: text(&container, "image").unwrap_or_default().to_owned(),
            release: super::release_of(document),
            cpu: number("cpu"),
            memory_mib: number("memory"),
            architecture: Architecture::of_ecs(
                document.get("runtimePlatform").and_then(|platform| text(platform, "cpuArchitecture")),
            ),
            has_health_check: has_health_check(&container),
            shares_task_role: !has_own_role && shares_task_role(document, &container),
            has_own_role,
            own_role_calls_models: has_own_role && keeps_role(&container),
            drop: drop_of(&container),
            arn,
        })
    }

    /// Warnings for the caller.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.release.warnings(self.spec.provider);
        warnings.extend(self.isolation_warning());
        warnings
    }

    /// The warning about access to the task role's credentials, if there is one.
    #[must_use]
    pub fn isolation_warning(&self) -> Option<Warning> {
        let has_own_keys =
            || AWS_KEYS.iter().any(|name| self.spec.variables.contains(name) || self.spec.secrets.contains(name));
        let needs_role = || self.spec.provider == Provider::Bedrock && !has_own_keys();
        match self.shares_task_role {
            true => Some(Warning::SharesTaskRole),
            false => (needs_role() && !self.own_role_calls_models).then_some(Warning::BedrockWithoutRole),
        }
    }

    /// Port and workspace that the user's `openclaw.json` must match.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        // In `.openclaw` of a home, every release has its workspace below the mount anyway.
        let is_in_a_home = |state: &String| state.rsplit('/').next() == Some(container::STATE_DIRECTORY);
        // The file would override the base's own workspace, so a base that names one keeps it.
        let is_due = |state: &&String| !is_in_a_home(state) && !self.names_workspace;
        Surroundings {
            port: self.named_port.unwrap_or(GATEWAY_PORT),
            workspace: self.state_dir.as_ref().filter(is_due).map(|state| format!("{state}/workspace")),
        }
    }
}
