//! Why a base cannot be cloned.

use std::fmt;

use super::{LABEL_ROLE, ROLE_OPENCLAW};

/// Why the base family's newest revision cannot be cloned. The fix is in the infrastructure, not in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseError {
    /// The family is not the one that was asked for, or contains a definition that this service wrote (incident 1).
    NotBare {
        /// The configured family.
        family: String,
        /// The ARN that was found.
        found: String,
    },
    /// The base has no container.
    NoContainer {
        /// The base revision.
        arn: String,
    },
    /// The setting names a container that the base does not have.
    NoSuchContainer {
        /// The base revision.
        arn: String,
        /// Value of the setting.
        named: String,
        /// The base's containers.
        found: Vec<String>,
    },
    /// Labels, or label and setting, name different containers.
    ContradictingNames {
        /// The base revision.
        arn: String,
        /// The containers that have the label.
        labelled: Vec<String>,
        /// Value of the setting.
        setting: Option<String>,
    },
    /// Several containers could be OpenClaw.
    AmbiguousContainer {
        /// The base revision.
        arn: String,
        /// Their names.
        candidates: Vec<String>,
    },
    /// The only candidate for OpenClaw is not essential: it may end without the task, as an init container does.
    NotEssential {
        /// The base revision.
        arn: String,
        /// Its name.
        container: String,
    },
    /// A volume of the users' file system would show every user's files to a container.
    OpenVolume {
        /// The base revision.
        arn: String,
        /// The container.
        container: String,
        /// The volume.
        volume: String,
        /// The users' file system.
        file_system_id: String,
    },
    /// A volume that is configured at launch, which this service does not do.
    LaunchVolume {
        /// The base revision.
        arn: String,
        /// The volume.
        volume: String,
    },
    /// The base has too many tags to add a user's.
    TooManyTags {
        /// The base revision.
        arn: String,
        /// How many the base may have.
        most: usize,
        /// How many it has.
        found: usize,
    },
    /// Its environment makes OpenClaw look in another place than where files are staged.
    LooksElsewhere {
        /// The base revision.
        arn: String,
        /// The container.
        container: String,
        /// The variable.
        variable: String,
        /// Where OpenClaw would look; `None` if the value comes from a secret.
        looks_at: Option<String>,
        /// Where files are staged.
        staged_at: String,
    },
    /// No container mounts an EFS volume.
    NoEfsMount {
        /// The base revision.
        arn: String,
        /// The base's containers.
        containers: Vec<String>,
        /// The configured file system.
        file_system_id: String,
    },
    /// The base mounts another file system than the one that files are staged on.
    OtherFileSystem {
        /// The base revision.
        arn: String,
        /// The file system that it mounts.
        mounted: String,
        /// The configured file system.
        file_system_id: String,
    },
    /// More than one mount could be the user directory's.
    AmbiguousMount {
        /// The base revision.
        arn: String,
        /// The configured file system.
        file_system_id: String,
    },
    /// The isolation that it asks for would not protect tenants from each other.
    CannotIsolate {
        /// The base revision.
        arn: String,
        /// The container.
        container: String,
        /// The reason.
        why: String,
        /// What to change.
        fix: String,
    },
    /// The mount cannot hold a sign-in.
    UnusableMount {
        /// The base revision.
        arn: String,
        /// The reason, such as "read-only".
        why: String,
    },
    /// Users have roles of their own, which do not reach all that it mounts.
    BeyondUserRole {
        /// The base revision.
        arn: String,
        /// The volume.
        volume: String,
        /// The file system of that volume.
        file_system_id: String,
    },
}

impl BaseError {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotBare { .. } => "not_bare",
            Self::NoContainer { .. } => "no_container",
            Self::NoSuchContainer { .. } => "no_such_container",
            Self::ContradictingNames { .. } => "contradicting_containers",
            Self::AmbiguousContainer { .. } => "ambiguous_container",
            Self::NotEssential { .. } => "container_not_essential",
            Self::OpenVolume { .. } => "open_volume",
            Self::LaunchVolume { .. } => "launch_volume",
            Self::TooManyTags { .. } => "too_many_tags",
            Self::LooksElsewhere { .. } => "looks_elsewhere",
            Self::NoEfsMount { .. } => "no_efs_mount",
            Self::OtherFileSystem { .. } => "other_file_system",
            Self::AmbiguousMount { .. } => "ambiguous_mount",
            Self::CannotIsolate { .. } => "cannot_isolate",
            Self::UnusableMount { .. } => "unusable_mount",
            Self::BeyondUserRole { .. } => "beyond_user_role",
        }
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::NotBare { family, found } => {
                format!("base family {family} holds {found}, which this service wrote")
            }
            Self::NoContainer { arn } => format!("{arn} has no container definition"),
            Self::NoSuchContainer { arn, named, found } => {
                format!("{arn} has no container {named}; it has {}", found.join(", "))
            }
            Self::ContradictingNames { arn, labelled, setting } => {
                let setting =
                    setting.as_ref().map_or_else(String::new, |named| format!(", and the setting names {named}"));
                let labelled = labelled.join(", ");
                format!("in {arn} the docker label {LABEL_ROLE} is on the containers {labelled}{setting}")
            }
            Self::AmbiguousContainer { arn, candidates } => format!(
                "the containers {} of {arn} mount the users' files, and nothing says which one is OpenClaw",
                candidates.join(", ")
            ),
            Self::NotEssential { arn, container } => format!(
                "container {container} of {arn} is the only candidate for OpenClaw, because no essential container mounts the \
                 users' files; but it is not essential itself, like an init container"
            ),
            Self::OpenVolume { arn, container, volume, file_system_id } => format!(
                "container {container} of {arn} mounts the users' file system {file_system_id} through volume {volume}, \
                 which has no access point: it would show one user the files of all others"
            ),
            Self::LaunchVolume { arn, volume } => format!(
                "volume {volume} of {arn} is configured at launch, but this service gives tasks no configuration \
                 for it"
            ),
            Self::TooManyTags { arn, most, found } => {
                format!("{arn} has {found} tags; with the tags that name the user, ECS accepts only {most} of them")
            }
            Self::LooksElsewhere { arn, container, variable, looks_at: Some(looks_at), staged_at } => format!(
                "{variable} in container {container} of {arn} makes OpenClaw look at {looks_at}, but users' files are \
                 staged at {staged_at}"
            ),
            Self::LooksElsewhere { arn, container, variable, looks_at: None, staged_at } => format!(
                "{variable} in container {container} of {arn} comes from a secret, so it is unknown whether OpenClaw looks \
                 at {staged_at}, where users' files are staged"
            ),
            Self::NoEfsMount { arn, containers, .. } => match containers.as_slice() {
                [container] => format!("container {container} of {arn} has no mount point on an EFS volume"),
                several => format!(
                    "no essential container of {arn} has a mount point on an EFS volume; there are {}",
                    several.join(", ")
                ),
            },
            Self::OtherFileSystem { arn, mounted, file_system_id } => format!(
                "{arn} mounts file system {mounted}, but files are staged on {file_system_id}, where the container \
                 would never see them"
            ),
            Self::AmbiguousMount { arn, file_system_id } => format!(
                "the container of {arn} that runs OpenClaw mounts file system {file_system_id} at several places, and \
                 nothing says which one is the user directory"
            ),
            Self::CannotIsolate { arn, container, why, .. } => {
                format!("container {container} of {arn} asks for isolation, which would not hold: {why}")
            }
            Self::UnusableMount { arn, why } => format!(
                "{arn} mounts the user directory {why}, but the container must be able to renew its sign-in there"
            ),
            Self::BeyondUserRole { arn, volume, file_system_id } => format!(
                "{arn} mounts {file_system_id} by IAM as volume {volume}, and roles of users' own reach their own file system alone"
            ),
        }
    }

    /// What infrastructure has to change.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::NotBare { .. } => "deploy the base into a family of its own".into(),
            Self::NoContainer { .. } => "define the container that runs OpenClaw".into(),
            Self::NoSuchContainer { .. } => "make PROVISIONER_CONTAINER and the base agree".into(),
            Self::ContradictingNames { .. } => {
                format!(
                    "put {LABEL_ROLE}={ROLE_OPENCLAW} on one container, and let PROVISIONER_CONTAINER name the same or nothing"
                )
            }
            Self::AmbiguousContainer { .. } => format!(
                "put the docker label {LABEL_ROLE}={ROLE_OPENCLAW} on the container that runs OpenClaw, or name it in \
                 PROVISIONER_CONTAINER"
            ),
            Self::NotEssential { .. } => {
                "mount the users' files into the container that runs OpenClaw, and let it be essential".into()
            }
            Self::OpenVolume { .. } => {
                "give that volume its own access point, below which there are no users' files, or leave it out".into()
            }
            Self::LaunchVolume { .. } => "define the volume in the base itself, or leave it out".into(),
            Self::TooManyTags { most, .. } => format!("leave at most {most} tags on the base"),
            Self::LooksElsewhere { variable, .. } => format!(
                "remove {variable} from the base: this service tells OpenClaw where the files are, based on where the base \
                 mounts the file system"
            ),
            Self::NoEfsMount { file_system_id, .. } => format!(
                "add a volume with efsVolumeConfiguration for {file_system_id}, and a mountPoint for it in the container that \
                 runs OpenClaw"
            ),
            Self::OtherFileSystem { .. } => "make PROVISIONER_FILE_SYSTEM_ID and the base agree".into(),
            Self::AmbiguousMount { .. } => "give the other mounts their own access points".into(),
            Self::CannotIsolate { fix, .. } => fix.clone(),
            Self::UnusableMount { .. } => "mount it writable, at an absolute path".into(),
            Self::BeyondUserRole { .. } => {
                "put it on the users' file system, with an access point of its own, or mount it without IAM".into()
            }
        }
    }
}

impl fmt::Display for BaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem(), self.fix())
    }
}

impl std::error::Error for BaseError {}
