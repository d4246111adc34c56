//! What can go wrong beneath the EFS root, sorted by who can do something about it.

use std::io;

use rustix::io::Errno;

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
    /// The runtime shut down, or the blocking job panicked.
    #[error("staging was cut short")]
    CutShort(#[source] tokio::task::JoinError),
}

/// Who can do something about a [`StagingError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagingErrorKind {
    /// The file system: it passes, or it is full; the same call may succeed later.
    Retryable,
    /// The user's own files or the programs that run on them; the same call may succeed later.
    Tenant,
    /// The mount, its permissions or the settings: nothing changes until an operator acts.
    Operator,
}

impl StagingError {
    pub(super) fn io(action: &'static str, path: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let path = path.into();
        move |errno| Self::Io { action, path, source: errno.into() }
    }

    /// Who can do something about it.
    pub fn kind(&self) -> StagingErrorKind {
        match self {
            Self::Io { source, .. } => match Errno::from_io_error(source) {
                // Wrong owner of the mount, a read-only mount, a wrong path, or a file system without locks.
                Some(
                    Errno::ACCESS
                    | Errno::PERM
                    | Errno::ROFS
                    | Errno::NOENT
                    | Errno::NOTDIR
                    | Errno::LOOP
                    | Errno::NOSYS
                    | Errno::OPNOTSUPP
                    | Errno::INVAL
                    | Errno::NAMETOOLONG,
                ) => StagingErrorKind::Operator,
                // ESTALE, EIO, ETIMEDOUT, ENOLCK, EDQUOT, ENOSPC and whatever else NFS has to say.
                Some(_) | None => StagingErrorKind::Retryable,
            },
            Self::NotADirectory { .. } | Self::LocksDoNotExclude => StagingErrorKind::Operator,
            Self::Contended { .. } | Self::UnreadableProfiles { .. } | Self::UnusableConfiguration { .. } => {
                StagingErrorKind::Tenant
            }
            Self::NotMounted { .. } | Self::PurgeUnfinished { .. } | Self::CutShort(_) => StagingErrorKind::Retryable,
        }
    }

    /// Whether the same call may succeed later without anybody changing the set-up.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            StagingErrorKind::Retryable | StagingErrorKind::Tenant => true,
            StagingErrorKind::Operator => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn what_nfs_says_in_passing_is_retryable_and_what_an_operator_did_is_not() {
        let error = |errno| StagingError::io("write", "users/u/codex/auth.json")(errno);
        for errno in [Errno::STALE, Errno::IO, Errno::DQUOT, Errno::NOSPC, Errno::TIMEDOUT, Errno::NOLCK] {
            assert_eq!(error(errno).kind(), StagingErrorKind::Retryable, "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOENT] {
            assert!(!error(errno).is_retryable(), "{errno}");
        }
        assert_eq!(error(Errno::STALE).to_string(), "could not write users/u/codex/auth.json");
        assert!(error(Errno::STALE).source().is_some());
    }
}
