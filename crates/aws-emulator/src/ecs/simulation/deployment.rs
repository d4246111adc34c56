//! One rollout of a service, from its start to its final record.

use serde_json::{Map, Value};
use std::time::Duration;

/// A deployment and, under another ARN, the service deployment that the newer API shows.
#[derive(Clone)]
pub(crate) struct Deployment {
    /// The digits after `ecs-svc/`.
    pub(crate) id: String,
    /// Last part of the service deployment's ARN.
    pub(crate) record_id: String,
    pub(crate) task_definition: String,
    /// The service members that belong to this revision: a rollback restores them too.
    pub(crate) settings: Map<String, Value>,
    pub(crate) listed: Listed,
    pub(crate) rollout: Rollout,
    pub(crate) reason: String,
    pub(crate) failed_tasks: u32,
    /// Whether a task of it was ready, which ends the counting of failures.
    pub(crate) proved: bool,
    pub(crate) created: Duration,
    pub(crate) updated: Duration,
    pub(crate) finished: Option<Duration>,
    pub(crate) record: Record,
    /// When and why a rollback of it began, and to which deployment.
    pub(crate) rollback: Option<(Duration, String, String)>,
}

/// Whether DescribeServices lists it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    Primary,
    Active,
    Gone,
}

/// `rolloutState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollout {
    InProgress,
    Completed,
    Failed,
}

/// `status` of the service deployment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    InProgress,
    Successful,
    Stopped,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
}

impl Deployment {
    pub(crate) fn name(&self) -> String {
        format!("ecs-svc/{}", self.id)
    }
}

impl Listed {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Primary => "PRIMARY",
            Self::Active => "ACTIVE",
            Self::Gone => "INACTIVE",
        }
    }
}

impl Rollout {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

impl Record {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Successful => "SUCCESSFUL",
            Self::Stopped => "STOPPED",
            Self::RollbackRequested => "ROLLBACK_REQUESTED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
        }
    }
}
