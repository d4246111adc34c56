//! Ways in which AWS is less kind than one would wish. By default the emulator behaves as AWS documents itself
//! (docs/facts/aws.md); each way can be switched off.

use std::time::Duration;

/// How AWS behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conduct {
    /// ListServices omits a DRAINING service, which DescribeServices shows (API reference, DeleteService).
    pub hides_draining: bool,
    /// A deleted service is INACTIVE, and its name free, as soon as its tasks are STOPPING: they live on until their
    /// `stopTimeout` is over (API reference, DeleteService).
    pub inactive_while_stopping: bool,
    /// StopServiceDeployment answers before anything has moved: first ROLLBACK_REQUESTED, then ROLLBACK_IN_PROGRESS, and
    /// only after that the service names the former revision.
    pub slow_rollbacks: bool,
    /// An access point that is deleted is `deleting` for a while, and keeps its ClientToken.
    pub slow_deletions: bool,
    /// What AWS refuses is refused, even if that needs a check of the whole definition.
    pub strict: bool,
    /// The first CreateService of an account fails: that very call creates its service-linked role, which cannot be assumed
    /// yet. Off by default, because it happens once for an account and is not how AWS usually behaves.
    pub fresh_account: bool,
    /// Reads may be older than the last accepted change, see [`StaleReads`]. `None`: they never are.
    pub stale_reads: Option<StaleReads>,
    /// How late a role that was made, and a policy that was changed, is seen: by reads, and by tasks that are to start with it. `None`: at
    /// once.
    pub late_roles: Option<StaleReads>,
}

/// Eventual consistency (API reference, "Eventual consistency"): a read shows accepted changes as of a moment up to `up_to`
/// ago. A resource whose creation it does not see is MISSING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleReads {
    /// The seed of the ages: the same seed and the same calls give the same answers.
    pub seed: u64,
    /// The oldest age of an answer.
    pub up_to: Duration,
}

impl Default for StaleReads {
    /// Up to two seconds, with the same ages every time.
    fn default() -> Self {
        Self { seed: 1, up_to: Duration::from_secs(2) }
    }
}

impl Conduct {
    /// An AWS that nobody has met: every accepted change is done, and everybody sees it at once.
    pub const KIND: Self = Self {
        hides_draining: false,
        inactive_while_stopping: false,
        slow_rollbacks: false,
        slow_deletions: false,
        strict: false,
        fresh_account: false,
        stale_reads: None,
        late_roles: None,
    };
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            hides_draining: true,
            inactive_while_stopping: true,
            slow_rollbacks: true,
            slow_deletions: true,
            strict: true,
            fresh_account: false,
            stale_reads: Some(StaleReads::default()),
            late_roles: Some(StaleReads { seed: 1, up_to: Duration::from_secs(5) }),
        }
    }
}
