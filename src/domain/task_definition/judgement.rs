//! What a base lacks, in words for whoever deploys it: what keeps users' containers from starting, and what makes them
//! worse than they could be. Rendering needs none of it; ECS, or OpenClaw in the container, does.

use serde_json::Value;

use super::{BaseDefinition, BaseError, first_container, has_health_check, items, text};
use crate::domain::credential_plan::{Named, Release, Warning};
use crate::domain::{Invalid, OpenClawVersion, RawSize, ReleaseDefaults, SignInKind, Size};

/// What the entry script runs where the base names nothing: upstream's own command.
pub const UPSTREAM_COMMAND: &str = "node openclaw.mjs gateway --allow-unconfigured";

/// What the settings say that a base has to go with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The bare base family.
    pub family: &'a str,
    /// Where users' files are staged.
    pub file_system_id: &'a str,
    /// What holds for the whole fleet.
    pub release: &'a ReleaseDefaults,
    /// User and group number of the access points.
    pub owner: (u32, u32),
}

/// A base, looked at from all sides.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseJudgement {
    /// The base, if it can be cloned.
    pub base: Option<BaseDefinition>,
    /// Image of the first container, also of a base that cannot be cloned.
    pub image: Option<String>,
    /// The release that it runs, if anything names it.
    pub release: Option<OpenClawVersion>,
    /// What is wrong with it, failures first.
    pub findings: Vec<BaseFinding>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// No user's container starts, or none is signed in.
    Fail,
    /// It works, and not as well as it could.
    Warn,
}

/// Something that is wrong with a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseFinding {
    /// It cannot be cloned.
    Unusable(BaseError),
    /// ECS would not run it on Fargate.
    NotFargate,
    /// Fargate knows no other network mode.
    NotAwsvpc {
        /// What it says; ECS takes nothing for `bridge`.
        found: Option<String>,
    },
    /// CPU and memory of the task are missing, or Fargate does not have them.
    NoFargateSize {
        /// What it says.
        cpu: Option<String>,
        /// What it says.
        memory: Option<String>,
    },
    /// Nobody to pull images, fetch secrets and write logs.
    NoExecutionRole,
    /// Nobody to mount the file system as.
    NoTaskRole,
    /// Older than any plan.
    ReleaseTooOld(Invalid),
    /// "Running" is all that readiness can mean.
    NoHealthCheck,
    /// Whoever reaches the file system can mount it.
    NoIamOnVolume,
    /// Who the container runs as is not who the files belong to, or not said.
    OtherUser {
        /// What the container says.
        found: Option<String>,
        /// User and group number of the access points.
        owner: (u32, u32),
    },
    /// The entry script has to guess what to run after it.
    RunsDefaultCommand,
    /// What the release makes of it.
    Release(Warning),
}

impl BaseJudgement {
    /// Judges what DescribeTaskDefinition answered for the base family; `tags` stand beside the definition.
    #[must_use]
    pub fn of(document: &Value, tags: Vec<Value>, expected: Expected<'_>) -> Self {
        let parsed = BaseDefinition::parse(document.clone(), tags, expected.family, expected.file_system_id);
        let container = first_container(document).cloned().map(Value::Object);
        let image = container.as_ref().and_then(|container| text(container, "image")).map(str::to_owned);
        let mut findings = of_task(document);
        let mut release = None;
        if let Some(container) = &container {
            findings.extend(of_container(container, expected.owner));
            let (found, of_release) = of_release(document, container, expected.release);
            release = found;
            findings.extend(of_release);
        }
        let base = match parsed {
            Ok(base) => {
                let iam = base.efs().pointer("/authorizationConfig/iam").and_then(Value::as_str);
                findings.extend((iam != Some("ENABLED")).then_some(BaseFinding::NoIamOnVolume));
                Some(base.with_defaults(expected.release.clone()))
            }
            Err(error) => {
                findings.insert(0, BaseFinding::Unusable(error));
                None
            }
        };
        findings.sort_by_key(BaseFinding::severity);
        Self { base, image, release, findings }
    }
}

fn of_task(document: &Value) -> Vec<BaseFinding> {
    let mut findings = Vec::new();
    // What ECS found it compatible with counts as well: only that is checked when a service is made.
    let compatibilities = ["requiresCompatibilities", "compatibilities"];
    if !compatibilities.iter().any(|member| items(document, member).iter().any(|item| item == "FARGATE")) {
        findings.push(BaseFinding::NotFargate);
    }
    let mode = text(document, "networkMode");
    if mode != Some("awsvpc") {
        findings.push(BaseFinding::NotAwsvpc { found: mode.map(str::to_owned) });
    }
    let (cpu, memory) = (text(document, "cpu"), text(document, "memory"));
    let number = |digits: Option<&str>| digits.and_then(|digits| digits.parse().ok());
    let size = number(cpu).zip(number(memory)).map(|(cpu, memory_mib)| RawSize { cpu, memory_mib });
    if size.is_none_or(|raw| Size::parse(raw, "size").is_err()) {
        findings.push(BaseFinding::NoFargateSize { cpu: cpu.map(str::to_owned), memory: memory.map(str::to_owned) });
    }
    let lacks = |role: &str| text(document, role).is_none_or(str::is_empty);
    findings.extend(lacks("executionRoleArn").then_some(BaseFinding::NoExecutionRole));
    findings.extend(lacks("taskRoleArn").then_some(BaseFinding::NoTaskRole));
    findings
}

fn of_container(container: &Value, owner: (u32, u32)) -> Vec<BaseFinding> {
    let mut findings = Vec::new();
    if !has_health_check(container) {
        findings.push(BaseFinding::NoHealthCheck);
    }
    let found = text(container, "user").filter(|user| !user.is_empty());
    if !found.is_some_and(|user| is_owner(user, owner)) {
        findings.push(BaseFinding::OtherUser { found: found.map(str::to_owned), owner });
    }
    findings
}

/// Whether `uid` or `uid:gid`, in numbers, is the owner; a name means what the image says, which is not known here.
fn is_owner(user: &str, (uid, gid): (u32, u32)) -> bool {
    let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    user.parse() == Ok(uid) && group.is_none_or(|group| group.parse() == Ok(gid))
}

fn of_release(
    document: &Value,
    container: &Value,
    defaults: &ReleaseDefaults,
) -> (Option<OpenClawVersion>, Vec<BaseFinding>) {
    let named = Named { is_pinned: false, by_spec: None, by_settings: defaults.openclaw_version };
    let release = match Release::resolve(document, named) {
        Ok(release) => release,
        Err(error) => return (None, vec![BaseFinding::ReleaseTooOld(error)]),
    };
    // Rendering adds the key that the settings name.
    let has_key = defaults.auth_profile_secret_arn.is_some();
    let warnings = release.warnings(SignInKind::Chatgpt).into_iter();
    let mut findings: Vec<_> = warnings
        .filter(|warning| !(has_key && *warning == Warning::ProfileSecretKeyMissing))
        .map(BaseFinding::Release)
        .collect();
    let names_nothing = ["entryPoint", "command"].iter().all(|member| items(container, member).is_empty());
    findings.extend((release.plan().needs_entry && names_nothing).then_some(BaseFinding::RunsDefaultCommand));
    (release.version(), findings)
}

impl BaseFinding {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unusable(error) => error.code(),
            Self::NotFargate => "not_fargate",
            Self::NotAwsvpc { .. } => "not_awsvpc",
            Self::NoFargateSize { .. } => "no_fargate_size",
            Self::NoExecutionRole => "no_execution_role",
            Self::NoTaskRole => "no_task_role",
            Self::ReleaseTooOld(_) => "release_too_old",
            Self::NoHealthCheck => "no_health_check",
            Self::NoIamOnVolume => "no_iam_on_volume",
            Self::OtherUser { .. } => "other_user",
            Self::RunsDefaultCommand => "runs_default_command",
            Self::Release(warning) => warning.code(),
        }
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Unusable(_)
            | Self::NotFargate
            | Self::NotAwsvpc { .. }
            | Self::NoFargateSize { .. }
            | Self::NoExecutionRole
            | Self::NoTaskRole
            | Self::ReleaseTooOld(_) => Severity::Fail,
            Self::NoHealthCheck
            | Self::NoIamOnVolume
            | Self::OtherUser { .. }
            | Self::RunsDefaultCommand
            | Self::Release(_) => Severity::Warn,
        }
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> String {
        let or_nothing = |found: &Option<String>| found.clone().unwrap_or_else(|| "nothing".into());
        match self {
            Self::Unusable(error) => error.problem(),
            Self::NotFargate => "not for Fargate".into(),
            Self::NotAwsvpc { found } => {
                format!("the network mode is {}, and Fargate has awsvpc alone", or_nothing(found))
            }
            Self::NoFargateSize { cpu, memory } => {
                format!("the size is no Fargate size: cpu {}, memory {}", or_nothing(cpu), or_nothing(memory))
            }
            Self::NoExecutionRole => {
                "no execution role, with which ECS pulls images, fetches secrets and writes logs".into()
            }
            Self::NoTaskRole => "no task role, with which the file system is mounted".into(),
            Self::ReleaseTooOld(error) => error.problem().to_owned(),
            Self::NoHealthCheck => {
                "the first container has no health check, so a container counts as ready as soon as \
                 it runs; ECS ignores the image's own"
                    .into()
            }
            Self::NoIamOnVolume => {
                "the volume with users' files is mounted without IAM, so the task role does not limit \
                 who mounts what"
                    .into()
            }
            Self::OtherUser { found: Some(found), owner: (uid, gid) } => {
                format!("the first container runs as {found}, and users' files belong to {uid}:{gid}")
            }
            Self::OtherUser { found: None, owner: (uid, gid) } => {
                format!("nothing says whom the first container runs as; users' files belong to {uid}:{gid}")
            }
            Self::RunsDefaultCommand => format!(
                "the first container names neither command nor entry point, so the entry script will run upstream's: \
                 {UPSTREAM_COMMAND}"
            ),
            Self::Release(warning) => warning.problem(),
        }
    }

    /// What to change.
    #[must_use]
    pub fn fix(&self) -> Option<String> {
        let fix = match self {
            Self::Unusable(error) => return Some(error.fix()),
            Self::ReleaseTooOld(error) => return Some(error.fix().to_owned()),
            Self::OtherUser { owner: (uid, gid), .. } => {
                return Some(format!("set user to \"{uid}:{gid}\" there, or make PROVISIONER_OWNER agree"));
            }
            Self::Release(warning) => return warning.fix().map(str::to_owned),
            Self::NotFargate => "set requiresCompatibilities to [\"FARGATE\"]",
            Self::NotAwsvpc { .. } => "set networkMode to awsvpc",
            Self::NoFargateSize { .. } => "set cpu and memory of the task, such as 512 and 2048",
            Self::NoExecutionRole => "set executionRoleArn",
            Self::NoTaskRole => "set taskRoleArn",
            Self::NoHealthCheck => "add a healthCheck that asks http://127.0.0.1:18789/healthz",
            Self::NoIamOnVolume => "set authorizationConfig.iam to ENABLED there",
            Self::RunsDefaultCommand => "set command, unless this image starts its gateway so",
        };
        Some(fix.into())
    }
}

#[cfg(test)]
mod tests;
