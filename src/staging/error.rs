//! What can go wrong beneath the EFS root, sorted by who can do something about it.

use std::io;

use rustix::io::Errno;

use crate::files::Unavailable;

/// What a change is refused with once its lock is lost: no file system answers so.
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
    /// A directory outside the tenant's reach is something else: an operator has to look.
    #[error("{path} is not a directory of its own")]
    NotADirectory {
        /// Where, relative to the EFS root.
        path: String,
    },
    /// What was made at start is not there: most likely the file system is not mounted.
    #[error("{path} is gone from the EFS root; is the file system still mounted?")]
    NotMounted {
        /// Where, relative to the EFS root.
        path: String,
    },
    /// The root has no identity: it is new, or nothing is mounted on it.
    #[error(
        "{path} is not there, so this may not be file system {expected}; see whether it is mounted, and start `serve` with \
         --initialize where it is and has never been used"
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
    /// The file with the identity holds none.
    #[error("{path} does not hold the id of a file system; write the id of the one that is mounted into it")]
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
    /// Someone kept changing or removing the files while they were used.
    #[error("{path} kept changing while it was used (attempts: {attempts})")]
    Contended {
        /// Where, relative to the EFS root.
        path: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// It may hold a sign-in among other providers' keys, and cannot be told apart from them.
    #[error("{path} cannot be read, so no sign-in can be taken out of it; move it aside with credentials/repair")]
    UnreadableProfiles {
        /// Where, relative to the EFS root.
        path: String,
    },
    /// The user's own settings of OpenClaw cannot be used.
    #[error("{path} cannot be used: {problem}; let the user mend it, or remove it and provision again")]
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
    /// Two descriptors locked one file at once: replicas would converge one user together (incident 31).
    #[error("file locks beneath the EFS root exclude nobody")]
    LocksDoNotExclude,
    /// Another replica has taken the user's lock, or nobody waits for the work any more: nothing more is changed.
    #[error("{path} was not changed: the user's lock is no longer held")]
    LockLost {
        /// Where, relative to the EFS root.
        path: String,
    },
    /// The file system does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Who can do something about a [`StagingError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagingErrorKind {
    /// The file system, or a program of the user's that changes the files meanwhile: it passes; the same call may succeed
    /// later.
    Retryable,
    /// A file of the user's own: nothing changes until the user mends it. Never an operator's to mend, whatever a tenant
    /// has built.
    Tenant,
    /// The mount, its permissions or the settings: nothing changes until an operator acts.
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

    /// Who can do something about it.
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

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            StagingErrorKind::Retryable => true,
            StagingErrorKind::Tenant | StagingErrorKind::Operator => false,
        }
    }
}

/// The same errno means another thing where the tenant can bring it about: names, kinds and modes of files beneath
/// `users/<id>` are theirs to choose.
fn kind_of(errno: Option<Errno>, in_tenants_reach: bool) -> StagingErrorKind {
    match errno {
        // A read-only mount, or a file system without what staging needs, wherever that shows.
        Some(Errno::ROFS | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => StagingErrorKind::Operator,
        // Somebody was there between two steps of ours.
        Some(Errno::NOENT | Errno::EXIST) if in_tenants_reach => StagingErrorKind::Retryable,
        // In the tenant's reach a mode, an attribute, a link, a file in the place of a directory or the other way round, too
        // many links; outside of it the wrong owner of the mount, or a wrong path.
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
        // ESTALE, EIO, ETIMEDOUT, ENOLCK, EDQUOT, ENOSPC and whatever else NFS has to say.
        Some(_) | None => StagingErrorKind::Retryable,
    }
}

/// Whether a path, relative to the EFS root, is beneath a user's directory. The directory itself is not: it stands in
/// `users`, which is this process's own, and its mode is mended where it is opened.
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
    fn what_nfs_says_in_passing_is_retryable_and_what_an_operator_did_is_not() {
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
    fn what_a_tenant_can_bring_about_in_their_own_directory_is_never_the_operators() {
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
