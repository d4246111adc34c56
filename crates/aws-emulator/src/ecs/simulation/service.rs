//! A simulated service: the desired state, and its progress.

use super::deployment::{Deployment, Listed};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::time::Duration;

/// How many events AWS keeps of a service.
const EVENTS_KEPT: usize = 100;
/// How long an INACTIVE service can be described. AWS may forget it at any time (API reference, DeleteService).
const INACTIVE_KEPT: Duration = Duration::from_secs(3600);
/// How many past deployments are kept for ListServiceDeployments.
const DEPLOYMENTS_KEPT: usize = 50;

/// A service, ACTIVE or not.
pub(crate) struct Service {
    pub(crate) uid: u64,
    pub(crate) cluster: String,
    pub(crate) name: String,
    pub(crate) arn: String,
    /// The members that describe echoes.
    pub(crate) spec: Map<String, Value>,
    /// The whole CreateService request, which a repeated client token must match.
    pub(crate) request: Map<String, Value>,
    pub(crate) tags: Vec<Value>,
    pub(crate) status: Status,
    pub(crate) desired: u32,
    pub(crate) task_definition: String,
    /// Oldest first; at most one is PRIMARY.
    pub(crate) deployments: Vec<Deployment>,
    /// Tasks that are not yet STOPPED.
    pub(crate) live: Vec<String>,
    /// Newest first.
    pub(crate) events: VecDeque<(Duration, String, String)>,
    pub(crate) created: Duration,
    pub(crate) failures_in_a_row: u32,
    pub(crate) retry_at: Duration,
    /// An accepted StopServiceDeployment: the deployment's id, and when it was accepted.
    pub(crate) rollback_requested: Option<(String, Duration)>,
    /// When a drained service becomes INACTIVE.
    pub(crate) inactive_at: Option<Duration>,
    /// Whether its last event says that it is steady.
    pub(crate) steady: bool,
}

/// A service's `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Draining,
    Inactive,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

impl Service {
    /// The deployment that decides what new tasks run.
    pub(crate) fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.listed == Listed::Primary)
    }

    pub(crate) fn primary_mut(&mut self) -> Option<&mut Deployment> {
        self.deployments.iter_mut().find(|deployment| deployment.listed == Listed::Primary)
    }

    /// Adds an event in AWS's wording.
    pub(crate) fn event(&mut self, now: Duration, message: &str) {
        let id = crate::ids::request_id();
        let text = format!("(service {}) {message}", self.name);
        self.events.push_front((now, id, text));
        self.events.truncate(EVENTS_KEPT);
    }

    /// Whether it is too old to be described.
    pub(super) fn is_forgotten(&self, now: Duration) -> bool {
        self.status == Status::Inactive && self.inactive_at.is_some_and(|since| since + INACTIVE_KEPT <= now)
    }

    /// Forgets the oldest deployments that are no longer listed.
    pub(crate) fn trim_history(&mut self) {
        while self.deployments.len() > DEPLOYMENTS_KEPT {
            let oldest = self.deployments.iter().position(|old| old.listed == Listed::Gone);
            match oldest {
                Some(index) => self.deployments.remove(index),
                None => return,
            };
        }
    }

    /// A percentage of the desired count, from `deploymentConfiguration`.
    pub(crate) fn percent(&self, member: &str, default: u64) -> u64 {
        self.spec
            .get("deploymentConfiguration")
            .and_then(|configuration| configuration[member].as_u64())
            .unwrap_or(default)
    }

    /// (enable, rollback) of the circuit breaker.
    pub(crate) fn circuit_breaker(&self) -> (bool, bool) {
        let configuration = self.spec.get("deploymentConfiguration");
        let breaker = configuration.map(|configuration| &configuration["deploymentCircuitBreaker"]);
        let flag = |name| breaker.is_some_and(|breaker| breaker[name] == true);
        (flag("enable"), flag("rollback"))
    }

    /// The number of `thresholdConfiguration`; without one, half the desired count, but 3 to 200 (API reference,
    /// ThresholdConfiguration).
    pub(crate) fn failure_threshold(&self) -> u32 {
        let configuration = self.spec.get("deploymentConfiguration");
        let breaker = configuration.map(|configuration| &configuration["deploymentCircuitBreaker"]);
        let wanted = breaker.map_or(&Value::Null, |breaker| &breaker["thresholdConfiguration"]);
        let value = wanted["value"].as_u64().and_then(|value| u32::try_from(value).ok()).unwrap_or(50);
        let share = (u64::from(self.desired) * u64::from(value)).div_ceil(100);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        match wanted["type"].as_str() {
            Some("COUNT") => value.max(1),
            Some("UNBOUNDED_PERCENT") => share.max(1),
            _ => share.clamp(3, 200),
        }
    }
}
