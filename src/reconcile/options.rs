//! The settings of the reconciler.

use std::time::Duration;

use crate::aws::PosixOwner;
use crate::domain::RolloutOrder;
use crate::probe::GatewayProbe;

/// The settings of the reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// POSIX user of the access points.
    pub owner: PosixOwner,
    /// Whether ECS Exec may open a shell in users' containers.
    pub enable_execute_command: bool,
    /// The order in which tasks are replaced, where a request names none.
    pub rollout_order: RolloutOrder,
    /// How many tasks may fail before ECS gives a deployment up and goes back.
    pub failure_threshold: u32,
    /// How users' gateways are probed.
    pub gateway_probe: GatewayProbe,
    /// How long a call waits for another call on the same user.
    pub lock_timeout: Duration,
    /// How long a caller waits for the answer. After that, the answer is that the work goes on.
    pub answer_within: Duration,
    /// Whether a caller is answered so as soon as only waiting is left.
    pub answers_early: bool,
    /// After how long every reading shows what ECS accepted. AWS documents no bound; seconds are usual.
    pub settled_after: Duration,
    /// After how long ECS sees a role that IAM has made or changed, and what it may do. AWS documents no bound; seconds are usual.
    pub role_settles_after: Duration,
    /// How often a draining service is looked at.
    pub poll_interval: Duration,
    /// How long a converge may run, even though its caller was answered long before.
    pub deadline: Duration,
    /// How long a converge may wait for AWS's rate limits; one that would wait longer is refused at its start.
    pub max_queue: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            owner: PosixOwner { uid: 1000, gid: 1000 },
            enable_execute_command: false,
            rollout_order: RolloutOrder::StopFirst,
            failure_threshold: 2,
            gateway_probe: GatewayProbe::default(),
            lock_timeout: Duration::from_secs(20),
            // Below the 30 s after which common HTTP clients give up.
            answer_within: Duration::from_secs(25),
            answers_early: true,
            settled_after: Duration::from_secs(5),
            role_settles_after: Duration::from_secs(60),
            poll_interval: Duration::from_secs(2),
            deadline: Duration::from_secs(600),
            max_queue: Duration::from_secs(60),
        }
    }
}
