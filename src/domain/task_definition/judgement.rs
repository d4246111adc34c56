//! Problems of a base, for the people who deploy it: those that keep users' containers from starting, and those that make
//! them work worse. Rendering works without these checks; ECS, or OpenClaw in the container, does not.

use openclaw::entry::UPSTREAM_COMMAND;
use openclaw::openclaw_json::GATEWAY_PORT;
use openclaw::{Invalid, OpenClawVersion, Provider, Warning};
use serde_json::Value;

use super::isolation::{self, Isolation, LABEL_ISOLATION, LABEL_SETPRIV, WITH_ROLE};
use super::port::{health_check_port, mapped_ports, named_port};
use super::release::{Named, resolve_release};
use super::{BaseDefinition, BaseError, container, has_health_check, items, text};
use crate::domain::{RawSize, ReleaseDefaults, Size};

/// The settings that a base must match.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The bare base family.
    pub family: &'a str,
    /// The file system that users' files are staged on.
    pub file_system_id: &'a str,
    /// Defaults of the whole fleet.
    pub release: &'a ReleaseDefaults,
    /// User and group number of the access points.
    pub owner: (u32, u32),
}

/// A base and everything that is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseJudgement {
    /// The base, if it can be cloned.
    pub base: Option<BaseDefinition>,
    /// Image of the container that runs OpenClaw, even if the base cannot be cloned.
    pub image: Option<String>,
    /// The release that it runs, if anything names it.
    pub release: Option<OpenClawVersion>,
    /// Its problems, failures first.
    pub findings: Vec<BaseFinding>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// No user's container starts, or none is signed in.
    Fail,
    /// Containers work, but not as well as they could.
    Warn,
}

/// A problem of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseFinding {
    /// It cannot be cloned.
    Unusable(BaseError),
    /// ECS would not run it on Fargate.
    NotFargate,
    /// The network mode is not awsvpc, the only one on Fargate.
    NotAwsvpc {
        /// The network mode; none means `bridge` to ECS.
        found: Option<String>,
    },
    /// CPU and memory of the task are missing, or are not a Fargate size.
    NoFargateSize {
        /// The task's CPU.
        cpu: Option<String>,
        /// The task's memory.
        memory: Option<String>,
    },
    /// There is no role to pull images, fetch secrets and write logs with.
    NoExecutionRole,
    /// There is no role to mount the file system with.
    NoTaskRole,
    /// The release is older than any plan.
    ReleaseTooOld(Invalid),
    /// There is no health check, so a running container counts as ready.
    NoHealthCheck,
    /// Anybody with network access to the file system can mount it.
    NoIamOnVolume,
    /// The container's user is not the owner of the files, or is not set.
    OtherUser {
        /// The container's `user`.
        found: Option<String>,
        /// User and group number of the access points.
        owner: (u32, u32),
    },
    /// The entry script has to guess what to run after it.
    RunsDefaultCommand,
    /// The health check asks another port than OpenClaw listens on.
    HealthCheckPort {
        /// The port of the health check.
        asks: u16,
        /// The port that OpenClaw listens on.
        port: u16,
    },
    /// Ports are mapped, but OpenClaw's is not among them.
    PortNotMapped {
        /// The mapped ports.
        mapped: Vec<u16>,
        /// The port that OpenClaw listens on.
        port: u16,
    },
    /// It does not ask for isolation, so users' processes can read the task role's credentials.
    NotIsolated,
    /// It drops rights, but users' processes can still read the task role's credentials.
    KeepsTaskRole,
    /// It is unknown whether its image has the program that drops rights.
    SetprivUnknown {
        /// The image.
        image: String,
        /// The expected path of the program.
        setpriv: String,
    },
    /// Another container, which has the task role's credentials, mounts the users' files.
    SidecarMountsUsersFiles {
        /// Its name.
        container: String,
    },
    /// Environment files in S3 may set variables that this service cannot see.
    EnvironmentFiles,
    /// A warning of the release.
    Release(Warning),
}

impl BaseJudgement {
    /// Checks the answer of DescribeTaskDefinition for the base family; `tags` are beside the definition in the response.
    #[must_use]
    pub fn of(document: &Value, tags: Vec<Value>, expected: Expected<'_>) -> Self {
        let Expected { family, file_system_id, release: defaults, owner } = expected;
        let parsed = BaseDefinition::parse_with(document.clone(), tags, family, file_system_id, defaults.clone());
        let containers = items(document, "containerDefinitions");
        let named = defaults.container.as_deref();
        let chosen = container::choose(document, family, file_system_id, named).ok();
        // If no container can be chosen, the first is checked, so that all problems are reported at once.
        let container = chosen.map_or_else(|| containers.first(), |chosen| containers.get(chosen.index));
        let image = container.and_then(|container| text(container, "image")).map(str::to_owned);
        let mut findings = of_task(document);
        let mut release = None;
        if let Some(container) = container {
            let isolation = parsed.as_ref().ok().and_then(BaseDefinition::isolation);
            findings.extend(of_container(container, owner, isolation));
            let (found, of_release) = of_release(container, defaults);
            release = found;
            findings.extend(of_release);
        }
        let base = match parsed {
            Ok(base) => {
                findings.extend(of_isolation(&base));
                let iam = base.efs().pointer("/authorizationConfig/iam").and_then(Value::as_str);
                findings.extend((iam != Some("ENABLED")).then_some(BaseFinding::NoIamOnVolume));
                Some(base)
            }
            Err(error) => {
                findings.insert(0, BaseFinding::Unusable(error));
                None
            }
        };
        if base.as_ref().is_some_and(|base| base.user_roles().is_some()) {
            findings.retain(|finding| !finding.is_about_the_shared_role());
        }
        findings.sort_by_key(BaseFinding::severity);
        Self { base, image, release, findings }
    }
}

fn of_task(document: &Value) -> Vec<BaseFinding> {
    let mut findings = Vec::new();
    // ECS's own `compatibilities` count as well: CreateService checks only those.
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

fn of_isolation(base: &BaseDefinition) -> Vec<BaseFinding> {
    let Some(isolation) = base.isolation() else { return vec![BaseFinding::NotIsolated] };
    let mut findings = Vec::new();
    findings.extend(isolation.keeps_role().then_some(BaseFinding::KeepsTaskRole));
    // Upstream's images are Debian's, which always have util-linux; so are the images that infra/ builds from them.
    let is_known = ["/openclaw/openclaw:", "/openclaw/openclaw@", "/openclaw-extended:", "/openclaw-extended@"];
    let is_named = isolation::label(base.container(), LABEL_SETPRIV).is_some();
    if !is_named && !is_known.iter().any(|part| base.image().contains(part)) {
        let (image, setpriv) = (base.image().to_owned(), isolation.setpriv().to_owned());
        findings.push(BaseFinding::SetprivUnknown { image, setpriv });
    }
    let others = items(base.document(), "containerDefinitions").iter().enumerate();
    let others = others.filter(|(index, other)| *index != base.openclaw().index && mounts(other, base.volume()));
    findings.extend(others.map(|(_, other)| BaseFinding::SidecarMountsUsersFiles {
        container: text(other, "name").unwrap_or_default().to_owned(),
    }));
    findings
}

fn mounts(container: &Value, volume: &str) -> bool {
    items(container, "mountPoints").iter().any(|point| text(point, "sourceVolume") == Some(volume))
}

fn of_container(container: &Value, owner: (u32, u32), isolation: Option<&Isolation>) -> Vec<BaseFinding> {
    let mut findings = Vec::new();
    if !has_health_check(container) {
        findings.push(BaseFinding::NoHealthCheck);
    }
    let found = text(container, "user").filter(|user| !user.is_empty());
    let is_owner = match isolation {
        Some(isolation) => isolation.agent() == owner,
        None => found.is_some_and(|user| is_owner(user, owner)),
    };
    if !is_owner {
        findings.push(BaseFinding::OtherUser { found: found.map(str::to_owned), owner });
    }
    let port = named_port(container).map_or(GATEWAY_PORT, |named| named.port);
    let other = health_check_port(container).filter(|asks| *asks != port);
    findings.extend(other.map(|asks| BaseFinding::HealthCheckPort { asks, port }));
    let mapped = mapped_ports(container);
    if !mapped.is_empty() && !mapped.contains(&port) {
        findings.push(BaseFinding::PortNotMapped { mapped, port });
    }
    findings.extend((!items(container, "environmentFiles").is_empty()).then_some(BaseFinding::EnvironmentFiles));
    findings
}

/// Whether `uid` or `uid:gid`, in numbers, is the owner. Only the image knows what a name means, so a name is not.
fn is_owner(user: &str, (uid, gid): (u32, u32)) -> bool {
    let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    user.parse() == Ok(uid) && group.is_none_or(|group| group.parse() == Ok(gid))
}

fn of_release(container: &Value, defaults: &ReleaseDefaults) -> (Option<OpenClawVersion>, Vec<BaseFinding>) {
    let named = Named { is_pinned: false, by_spec: None, by_settings: defaults.openclaw_version };
    let release = match resolve_release(container, named) {
        Ok(release) => release,
        Err(error) => return (None, vec![BaseFinding::ReleaseTooOld(error)]),
    };
    // Rendering adds the key that the settings name.
    let has_key = defaults.auth_profile_secret_arn.is_some();
    let warnings = release.warnings(Provider::Chatgpt).into_iter();
    let mut findings: Vec<_> = warnings
        .filter(|warning| !(has_key && *warning == Warning::ProfileSecretKeyMissing))
        .map(BaseFinding::Release)
        .collect();
    let names_nothing = ["entryPoint", "command"].iter().all(|member| items(container, member).is_empty());
    findings.extend((release.plan().needs_entry && names_nothing).then_some(BaseFinding::RunsDefaultCommand));
    (release.version(), findings)
}

impl BaseFinding {
    /// Whether it is about the role that the base names, which nobody has where users have roles of their own.
    const fn is_about_the_shared_role(&self) -> bool {
        matches!(
            self,
            Self::NoTaskRole
                | Self::NoIamOnVolume
                | Self::NotIsolated
                | Self::KeepsTaskRole
                | Self::SidecarMountsUsersFiles { .. }
        )
    }

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
            Self::HealthCheckPort { .. } => "health_check_asks_other_port",
            Self::PortNotMapped { .. } => "port_not_mapped",
            Self::NotIsolated => "not_isolated",
            Self::KeepsTaskRole => "keeps_task_role",
            Self::SetprivUnknown { .. } => "setpriv_unknown",
            Self::SidecarMountsUsersFiles { .. } => "sidecar_mounts_users_files",
            Self::EnvironmentFiles => "environment_files",
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
            | Self::HealthCheckPort { .. }
            | Self::PortNotMapped { .. }
            | Self::NotIsolated
            | Self::KeepsTaskRole
            | Self::SetprivUnknown { .. }
            | Self::SidecarMountsUsersFiles { .. }
            | Self::EnvironmentFiles
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
                format!("the network mode is {}, but Fargate has only awsvpc", or_nothing(found))
            }
            Self::NoFargateSize { cpu, memory } => {
                format!("not a Fargate size: cpu {}, memory {}", or_nothing(cpu), or_nothing(memory))
            }
            Self::NoExecutionRole => {
                "no execution role, with which ECS pulls images, fetches secrets and writes logs".into()
            }
            Self::NoTaskRole => "no task role, with which the file system is mounted".into(),
            Self::ReleaseTooOld(error) => error.problem().to_owned(),
            Self::NoHealthCheck => {
                "the container of OpenClaw has no health check, so a container counts as ready as soon as \
                 it runs; ECS ignores the image's own"
                    .into()
            }
            Self::NoIamOnVolume => {
                "the volume with users' files is mounted without IAM, so the task role does not limit \
                 who mounts what"
                    .into()
            }
            Self::OtherUser { found: Some(found), owner: (uid, gid) } => {
                format!("the container of OpenClaw runs as {found}, and users' files belong to {uid}:{gid}")
            }
            Self::OtherUser { found: None, owner: (uid, gid) } => {
                format!("the container of OpenClaw sets no user, and users' files belong to {uid}:{gid}")
            }
            Self::RunsDefaultCommand => format!(
                "the container of OpenClaw names neither command nor entry point: the image's own entry point stays, and \
                 runs the entry script, which runs upstream's command: {UPSTREAM_COMMAND}"
            ),
            Self::HealthCheckPort { asks, port } => {
                format!("the health check asks port {asks}, and OpenClaw will listen on {port}")
            }
            Self::PortNotMapped { mapped, port } => {
                let mapped = mapped.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
                format!("portMappings has {mapped}, and OpenClaw will listen on {port}")
            }
            Self::NotIsolated => "users' processes can fetch the credentials of the task role, which all users share: a user \
                 who learns the id of another user's access point can mount that user's files"
                .into(),
            Self::KeepsTaskRole => format!(
                "{LABEL_ISOLATION} is {WITH_ROLE}, so users' processes can fetch the credentials of the task role, which all \
                 users share"
            ),
            Self::SetprivUnknown { image, setpriv } => format!(
                "it is unknown whether {image} has util-linux's {setpriv} and /usr/bin/env; without them no user's container \
                 starts"
            ),
            Self::SidecarMountsUsersFiles { container } => format!(
                "container {container} mounts the users' files, too, and has the credentials of the task role: a program that \
                 it runs from there is under the user's control"
            ),
            Self::EnvironmentFiles => {
                "environmentFiles may set variables that make OpenClaw look or listen elsewhere, and are not read here; \
                 OPENCLAW_STATE_DIR and CODEX_HOME are set for each user and win"
                    .into()
            }
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
            Self::RunsDefaultCommand => {
                "set command, unless this image starts its gateway that way; if the image's entry point is OpenClaw itself, set \
                 entryPoint and command to the image's own (docker inspect)"
            }
            Self::HealthCheckPort { .. } | Self::PortNotMapped { .. } => {
                "use the same port in command, OPENCLAW_GATEWAY_PORT, health check and port mappings"
            }
            Self::NotIsolated => {
                "set the docker label openclaw.provisioner.isolation=without-role on that container, then redeploy"
            }
            Self::KeepsTaskRole => {
                "let the agent call AWS with keys of its own, and set the label to without-role; or accept it (SECURITY.md)"
            }
            Self::SetprivUnknown { .. } => {
                "once `docker run --entrypoint setpriv IMAGE --version` says util-linux, name its path in the docker label \
                 openclaw.provisioner.setpriv"
            }
            Self::SidecarMountsUsersFiles { .. } => {
                "make sure that it runs nothing from there, or give it its own volume"
            }
            Self::EnvironmentFiles => "make sure that they set no OPENCLAW_ variable and no HOME",
        };
        Some(fix.into())
    }
}

#[cfg(test)]
mod tests;
