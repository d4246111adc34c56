//! What was noted of a stopped task, for the time when ECS has forgotten it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::reason::joined;
use super::words::hint;
use super::{Reason, ReasonCode, Status};

/// Why a task stopped, noted while ECS still knew. Bounded in size; after [`LastStop::KEPT_FOR`] it explains nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStop {
    /// ARN of the revision that the service was to run.
    task_definition: String,
    code: ReasonCode,
    message: String,
    stopped_at: Option<String>,
    exit_code: Option<i32>,
    noted_at: Timestamp,
}

impl LastStop {
    /// How long it is believed.
    pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);
    /// Characters of ECS's words that are kept.
    const MESSAGE_CHARACTERS: usize = 1_024;

    /// What is worth noting of a status: a reason that a task gave which failed.
    #[must_use]
    pub fn of(status: &Status, task_definition: &str, now: Timestamp) -> Option<Self> {
        let Reason { code, message, stopped_at, exit_code, hint: _ } = status.reason.clone()?;
        let is_failure = !matches!(code, ReasonCode::StoppedByUser | ReasonCode::RetiredByAws);
        (stopped_at.is_some() && is_failure).then(|| Self {
            task_definition: task_definition.to_owned(),
            code,
            message: message.chars().take(Self::MESSAGE_CHARACTERS).collect(),
            stopped_at,
            exit_code,
            noted_at: now,
        })
    }

    /// Whether it tells the same, whenever it was noted.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Self { noted_at: other.noted_at, ..self.clone() } == *other
    }
}

impl Status {
    /// With the words of a task that ECS has forgotten, where it gave up `task_definition` and says no more than that.
    #[must_use]
    pub fn recalling(mut self, noted: Option<LastStop>, task_definition: &str, now: Timestamp) -> Self {
        let Some(reason) = self.reason.as_mut().filter(|reason| reason.stopped_at.is_none()) else { return self };
        let is_recent = |noted: &LastStop| now.duration_since(noted.noted_at) < LastStop::KEPT_FOR;
        let Some(noted) = noted.filter(|noted| noted.task_definition == task_definition && is_recent(noted)) else {
            return self;
        };
        match reason.code {
            ReasonCode::CircuitBreaker => (reason.code, reason.message) = (noted.code, noted.message),
            ReasonCode::RolledBack => reason.message = joined(&reason.message, &noted.message),
            _ => return self,
        }
        (reason.stopped_at, reason.exit_code) = (noted.stopped_at, noted.exit_code);
        reason.hint = hint(reason.code, &reason.message, reason.exit_code);
        self
    }
}
