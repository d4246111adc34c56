//! Where AWS is less kind than one would wish. By default the emulator is as AWS documents itself (docs/facts/aws.md); each
//! of it can be switched off.

use std::time::Duration;

/// How AWS behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conduct {
    /// ListServices leaves a DRAINING service out, which DescribeServices shows (API reference, DeleteService).
    pub hides_draining: bool,
    /// A deleted service is INACTIVE, and its name free, as soon as its tasks are STOPPING: they live on until their
    /// `stopTimeout` is over (API reference, DeleteService).
    pub inactive_while_stopping: bool,
    /// StopServiceDeployment answers before anything has moved: ROLLBACK_REQUESTED, then ROLLBACK_IN_PROGRESS, and only then
    /// does the service name the former revision.
    pub slow_rollbacks: bool,
    /// An access point that is deleted is `deleting` for a while, and keeps its ClientToken.
    pub slow_deletions: bool,
    /// Requests are refused that AWS refuses, also where that takes a look at the whole definition.
    pub strict: bool,
    /// The first CreateService of an account fails: its service-linked role is made by that very call, and cannot be assumed
    /// yet. Off by default, because it is what an account is once and not how AWS behaves.
    pub fresh_account: bool,
    /// Reads may be older than what was accepted last; see [`StaleReads`]. `None`: they never are.
    pub stale_reads: Option<StaleReads>,
    /// How late a role that was made, and a policy that was changed, is seen: by reads, and by tasks that are to start with it. `None`: at
    /// once.
    pub late_roles: Option<StaleReads>,
}

/// Eventual consistency (API reference, "Eventual consistency"): a read answers as of a moment up to `up_to` ago, as far as
/// accepted changes are concerned. A create that it has not seen is MISSING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleReads {
    /// What the ages are drawn from: the same seed and the same calls give the same answers.
    pub seed: u64,
    /// The oldest that an answer may be.
    pub up_to: Duration,
}

impl Default for StaleReads {
    /// Up to two seconds, the same ones every time.
    fn default() -> Self {
        Self { seed: 1, up_to: Duration::from_secs(2) }
    }
}

impl Conduct {
    /// AWS as nobody has met it: it has done what it has accepted, and everybody sees so at once.
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
