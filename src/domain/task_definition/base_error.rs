//! Why a base cannot be cloned.

use std::fmt;

use super::{LABEL_ROLE, ROLE_OPENCLAW};

/// Why the base family's newest revision cannot be cloned. The fix is in the infrastructure, not in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseError {
    /// The family that came back is not the one that was asked for, or holds a clone of ours (incident 1).
    NotBare {
        /// The configured family.
        family: String,
        /// The ARN that was found.
        found: String,
    },
    /// No container to run OpenClaw in.
    NoContainer {
        /// The base revision.
        arn: String,
    },
    /// What names the container is not in the base.
    NoSuchContainer {
        /// The base revision.
        arn: String,
        /// What the setting says.
        named: String,
        /// The containers that there are.
        found: Vec<String>,
    },
    /// Labels, or label and setting, name several containers.
    ContradictingNames {
        /// The base revision.
        arn: String,
        /// The containers that have the label.
        labelled: Vec<String>,
        /// What the setting says.
        setting: Option<String>,
    },
    /// Several containers could be OpenClaw.
    AmbiguousContainer {
        /// The base revision.
        arn: String,
        /// Their names.
        candidates: Vec<String>,
    },
    /// The container that would be OpenClaw may end without the task: an init container.
    NotEssential {
        /// The base revision.
        arn: String,
        /// Its name.
        container: String,
    },
    /// A volume of the users' file system would show a container every user's files.
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
    /// A volume that only the service that runs the definition could configure.
    LaunchVolume {
        /// The base revision.
        arn: String,
        /// The volume.
        volume: String,
    },
    /// No room for the tags of a user.
    TooManyTags {
        /// The base revision.
        arn: String,
        /// How many the base may have.
        most: usize,
        /// How many it has.
        found: usize,
    },
    /// Its environment makes OpenClaw look elsewhere than where files are staged.
    LooksElsewhere {
        /// The base revision.
        arn: String,
        /// The container.
        container: String,
        /// The variable.
        variable: String,
        /// Where OpenClaw would look; `None` where a secret brings the value.
        looks_at: Option<String>,
        /// Where files are staged.
        staged_at: String,
    },
    /// No container mounts an EFS volume.
    NoEfsMount {
        /// The base revision.
        arn: String,
        /// The containers that there are.
        containers: Vec<String>,
        /// The configured file system.
        file_system_id: String,
    },
    /// The base mounts another file system than the one that files are staged on.
    OtherFileSystem {
        /// The base revision.
        arn: String,
        /// What it mounts.
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
    /// What it asks for to keep tenants apart would not hold.
    CannotIsolate {
        /// The base revision.
        arn: String,
        /// The container.
        container: String,
        /// Why not.
        why: String,
        /// What to change.
        fix: String,
    },
    /// The mount cannot hold a sign-in.
    UnusableMount {
        /// The base revision.
        arn: String,
        /// "read-only" or the like.
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
                "container {container} of {arn} would be OpenClaw, because no essential one mounts the users' files; but it \
                 is not essential, as an init container is not"
            ),
            Self::OpenVolume { arn, container, volume, file_system_id } => format!(
                "container {container} of {arn} mounts the users' file system {file_system_id} through volume {volume}, \
                 which has no access point: it would show one user the files of all others"
            ),
            Self::LaunchVolume { arn, volume } => format!(
                "volume {volume} of {arn} is configured at launch, and this service launches tasks without a \
                 configuration for it"
            ),
            Self::TooManyTags { arn, most, found } => {
                format!("{arn} has {found} tags; with those that name the user, ECS takes {most}")
            }
            Self::LooksElsewhere { arn, container, variable, looks_at: Some(looks_at), staged_at } => format!(
                "{variable} in container {container} of {arn} makes OpenClaw look at {looks_at}, but users' files are \
                 staged at {staged_at}"
            ),
            Self::LooksElsewhere { arn, container, variable, looks_at: None, staged_at } => format!(
                "a secret brings {variable} into container {container} of {arn}, so nobody knows whether OpenClaw looks \
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
                "{arn} mounts the user directory {why}, but the container must be able to rotate its sign-in there"
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
                "give that volume an access point of its own, below which there is nothing of users', or leave it out"
                    .into()
            }
            Self::LaunchVolume { .. } => "define the volume in the base itself, or leave it out".into(),
            Self::TooManyTags { most, .. } => format!("leave at most {most} tags on the base"),
            Self::LooksElsewhere { variable, .. } => format!(
                "take {variable} out of the base: this service tells OpenClaw where the files are, from where the base mounts \
                 the file system"
            ),
            Self::NoEfsMount { file_system_id, .. } => format!(
                "add a volume with efsVolumeConfiguration for {file_system_id}, and a mountPoint for it in the container that \
                 runs OpenClaw"
            ),
            Self::OtherFileSystem { .. } => "make PROVISIONER_FILE_SYSTEM_ID and the base agree".into(),
            Self::AmbiguousMount { .. } => "give the others access points of their own".into(),
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
