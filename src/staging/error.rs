//! Errors of work beneath the EFS root, sorted by who can solve them.

use std::io;

use rustix::io::Errno;

use crate::files::Unavailable;

/// The error of a change after its lock was lost; no file system returns it.
pub(super) const LOCK_LOST: Errno = Errno::CANCELED;

/// A failure of staging. `Display` says what failed, with the path relative to the EFS root; `source()` says why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StagingError {
    /// A system call failed.
    #[error("could not {action} {path}")]
    Io {
        /// What was attempted, e.g. `open`.
        action: &'static str,
        /// Where, relative to the EFS root.
        path: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Outside the tenant's reach, something else is in the place of a directory: an operator must look.
    #[error("{path} is not a real directory")]
    NotADirectory {
        /// Where, relative to the EFS root.
        path: String,
    },
    /// A directory that was created at start is missing: most likely the file system is not mounted.
    #[error("{path} is missing from the EFS root; is the file system still mounted?")]
    NotMounted {
        /// Where, relative to the EFS root.
        path: String,
    },
    /// The root has no identity: it is new, or nothing is mounted on it.
    #[error(
        "{path} is missing, so this may not be file system {expected}; check whether it is mounted, and start `serve` with \
         --initialize if it is mounted and was never used"
    )]
    NotInitialized {
        /// The file with the identity.
        path: String,
        /// The id in the settings.
        expected: String,
    },
    /// The root is another file system than the settings say.
    #[error(
        "{path} says that file system {found} is mounted, and the settings say {expected}; mount {expected} there, or set \
         PROVISIONER_FILE_SYSTEM_ID (or its SSM parameter file-system-id) to {found}; in a restored copy, write the id of \
         the copy into that file"
    )]
    OtherFileSystem {
        /// The file with the identity.
        path: String,
        /// The id in it.
        found: String,
        /// The id in the settings.
        expected: String,
    },
    /// The file with the identity does not contain an id.
    #[error("{path} does not contain the id of a file system; write the id of the mounted one into it")]
    NoIdentity {
        /// The file with the identity.
        path: String,
    },
    /// Files cannot be given to their owner: this process is not root.
    #[error("could not give {path} to its owner")]
    OwnerNotSettable {
        /// Where, relative to the EFS root.
        path: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Somebody kept changing or removing the files while they were used.
    #[error("{path} kept changing while it was used (attempts: {attempts})")]
    Contended {
        /// Where, relative to the EFS root.
        path: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The file may contain a sign-in among other providers' keys, but cannot be parsed to separate them.
    #[error("{path} cannot be read, so no sign-in can be removed from it; move it aside with credentials/repair")]
    UnreadableProfiles {
        /// Where, relative to the EFS root.
        path: String,
    },
    /// The user's own settings of OpenClaw cannot be used.
    #[error("{path} cannot be used: {problem}; let the user repair it, or remove it and provision again")]
    UnusableConfiguration {
        /// Where, relative to the EFS root.
        path: String,
        /// Why.
        problem: &'static str,
    },
    /// There is more to purge than one call removes; the next call continues.
    #[error("{path} is not purged yet: {removed} entries removed, and more are left")]
    PurgeUnfinished {
        /// Where, relative to the EFS root.
        path: String,
        /// How many entries this call removed.
        removed: u64,
    },
    /// Two descriptors locked one file at the same time: two replicas could converge one user together (incident 31).
    #[error("file locks beneath the EFS root do not work: two holders got the same lock")]
    LocksDoNotExclude,
    /// Another replica has the user's lock, or nobody waits for the work any more: nothing more is changed.
    #[error("{path} was not changed: the user's lock is no longer held")]
    LockLost {
        /// Where, relative to the EFS root.
        path: String,
    },
    /// The file system does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Who can solve a [`StagingError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagingErrorKind {
    /// The file system, or a program of the user that changes the files meanwhile: this passes, and the same call may succeed
    /// later.
    Retryable,
    /// A file of the user: the error stays until the user repairs it. Nothing that a tenant can build needs an operator.
    Tenant,
    /// The mount, its permissions or the settings: the error stays until an operator acts.
    Operator,
}

impl StagingError {
    pub(crate) fn io(action: &'static str, path: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let path = path.into();
        move |errno| match errno {
            LOCK_LOST => Self::LockLost { path },
            errno => Self::Io { action, path, source: errno.into() },
        }
    }

    /// Who can solve this error.
    pub fn kind(&self) -> StagingErrorKind {
        match self {
            Self::Io { path, source, .. } => kind_of(Errno::from_io_error(source), is_in_tenants_reach(path)),
            Self::NotADirectory { .. }
            | Self::NotInitialized { .. }
            | Self::OtherFileSystem { .. }
            | Self::NoIdentity { .. }
            | Self::LocksDoNotExclude
            | Self::OwnerNotSettable { .. } => StagingErrorKind::Operator,
            Self::UnreadableProfiles { .. } | Self::UnusableConfiguration { .. } => StagingErrorKind::Tenant,
            Self::Contended { .. }
            | Self::NotMounted { .. }
            | Self::PurgeUnfinished { .. }
            | Self::LockLost { .. }
            | Self::Unavailable(_) => StagingErrorKind::Retryable,
        }
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            StagingErrorKind::Retryable => true,
            StagingErrorKind::Tenant | StagingErrorKind::Operator => false,
        }
    }
}

/// The kind of an errno. In the tenant's reach it has another meaning, because tenants choose the names, kinds and modes of
/// files beneath `users/<id>`.
fn kind_of(errno: Option<Errno>, in_tenants_reach: bool) -> StagingErrorKind {
    match errno {
        // A read-only mount, or a file system that lacks a feature which staging needs; at any path.
        Some(Errno::ROFS | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => StagingErrorKind::Operator,
        // Somebody changed a file between two of our steps.
        Some(Errno::NOENT | Errno::EXIST) if in_tenants_reach => StagingErrorKind::Retryable,
        // In the tenant's reach: a mode, an attribute, a link, a file in the place of a directory or vice versa, or too
        // many links. Outside of it: the wrong owner of the mount, or a wrong path.
        Some(
            Errno::ACCESS
            | Errno::PERM
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::NOTEMPTY
            | Errno::LOOP
            | Errno::MLINK
            | Errno::XDEV
            | Errno::NAMETOOLONG
            | Errno::NOENT,
        ) => match in_tenants_reach {
            true => StagingErrorKind::Tenant,
            false => StagingErrorKind::Operator,
        },
        // ESTALE, EIO, ETIMEDOUT, ENOLCK, EDQUOT, ENOSPC and all other errors of NFS.
        Some(_) | None => StagingErrorKind::Retryable,
    }
}

/// Whether a path, relative to the EFS root, is beneath a user's directory. The directory itself is not: it is in
/// `users`, which belongs to this process, and its mode is corrected when it is opened.
fn is_in_tenants_reach(path: &str) -> bool {
    path.strip_prefix("users/").and_then(|rest| rest.split_once('/')).is_some_and(|(user, _)| !user.is_empty())
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn kind(errno: Errno, path: &str) -> StagingErrorKind {
        StagingError::io("write", path)(errno).kind()
    }

    #[test]
    fn passing_errors_of_nfs_are_retryable_and_an_operators_mistakes_are_not() {
        for path in ["users", "users/u", "users/u/codex/auth.json", ".provisioner/locks/u.lock", "the EFS root /mnt"] {
            for errno in [Errno::STALE, Errno::IO, Errno::DQUOT, Errno::NOSPC, Errno::TIMEDOUT, Errno::NOLCK] {
                assert_eq!(kind(errno, path), StagingErrorKind::Retryable, "{errno} {path}");
            }
            for errno in [Errno::ROFS, Errno::NOSYS, Errno::OPNOTSUPP] {
                assert_eq!(kind(errno, path), StagingErrorKind::Operator, "{errno} {path}");
            }
        }
        let error = StagingError::io("write", "users/u/codex/auth.json")(Errno::STALE);
        assert_eq!(error.to_string(), "could not write users/u/codex/auth.json");
        assert!(error.source().is_some());
    }

    #[test]
    fn an_error_that_a_tenant_can_cause_in_their_directory_is_never_the_operators() {
        const OF_TENANTS: [Errno; 9] = [
            Errno::NAMETOOLONG,
            Errno::NOTDIR,
            Errno::LOOP,
            Errno::ISDIR,
            Errno::ACCESS,
            Errno::PERM,
            Errno::NOTEMPTY,
            Errno::XDEV,
            Errno::MLINK,
        ];
        for errno in OF_TENANTS {
            assert_eq!(kind(errno, "users/u/codex"), StagingErrorKind::Tenant, "{errno}");
            assert_eq!(kind(errno, "users/u/a/b"), StagingErrorKind::Tenant, "{errno}");
            for path in ["users", "users/u", ".provisioner/locks/u.lock", ".provisioner/users/u/x", "/dev/urandom"] {
                assert_eq!(kind(errno, path), StagingErrorKind::Operator, "{errno} {path}");
            }
        }
        for errno in [Errno::NOENT, Errno::EXIST] {
            assert_eq!(kind(errno, "users/u/codex"), StagingErrorKind::Retryable, "{errno}");
        }
        assert_eq!(kind(Errno::NOENT, "the EFS root /mnt"), StagingErrorKind::Operator);
    }
}
