//! Why a base cannot be cloned.

use std::fmt;

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
    /// The first container mounts no EFS volume.
    NoEfsMount {
        /// The base revision.
        arn: String,
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
    /// The mount cannot hold a sign-in.
    UnusableMount {
        /// The base revision.
        arn: String,
        /// "read-only" or the like.
        why: String,
    },
}

impl BaseError {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotBare { .. } => "not_bare",
            Self::NoContainer { .. } => "no_container",
            Self::NoEfsMount { .. } => "no_efs_mount",
            Self::OtherFileSystem { .. } => "other_file_system",
            Self::AmbiguousMount { .. } => "ambiguous_mount",
            Self::UnusableMount { .. } => "unusable_mount",
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
            Self::NoEfsMount { arn, .. } => {
                format!("the first container of {arn} has no mount point on an EFS volume")
            }
            Self::OtherFileSystem { arn, mounted, file_system_id } => format!(
                "{arn} mounts file system {mounted}, but files are staged on {file_system_id}, where the container \
                 would never see them"
            ),
            Self::AmbiguousMount { arn, file_system_id } => format!(
                "the first container of {arn} mounts file system {file_system_id} at several places, and nothing says \
                 which one is the user directory"
            ),
            Self::UnusableMount { arn, why } => format!(
                "{arn} mounts the user directory {why}, but the container must be able to rotate its sign-in there"
            ),
        }
    }

    /// What infrastructure has to change.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::NotBare { .. } => "deploy the base into a family of its own".into(),
            Self::NoContainer { .. } => "define the container that runs OpenClaw, as the first one".into(),
            Self::NoEfsMount { file_system_id, .. } => {
                format!("add a volume with efsVolumeConfiguration for {file_system_id}, and a mountPoint for it")
            }
            Self::OtherFileSystem { .. } => "make PROVISIONER_FILE_SYSTEM_ID and the base agree".into(),
            Self::AmbiguousMount { .. } => "give the others access points of their own".into(),
            Self::UnusableMount { .. } => "mount it writable, at an absolute path".into(),
        }
    }
}

impl fmt::Display for BaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem(), self.fix())
    }
}

impl std::error::Error for BaseError {}
