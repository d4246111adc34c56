//! A note on a stopped task, for use after ECS no longer lists the task.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::reason::joined;
use super::words::hint;
use super::{Reason, ReasonCode, Status};

/// Why a task stopped, noted while ECS still listed it. Limited in size; ignored after [`LastStop::KEPT_FOR`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStop {
    /// ARN of the revision that the service should run.
    task_definition: String,
    code: ReasonCode,
    message: String,
    stopped_at: Option<String>,
    exit_code: Option<i32>,
    noted_at: Timestamp,
}

impl LastStop {
    /// How long a note is used.
    pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);
    /// Characters of ECS's message that are kept.
    const MESSAGE_CHARACTERS: usize = 1_024;

    /// The note for a status; `None` unless its reason comes from a failed task.
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

    /// Whether both notes say the same; the time of the note does not count.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Self { noted_at: other.noted_at, ..self.clone() } == *other
    }
}

impl Status {
    /// Adds the noted reason of a task that ECS no longer lists, if ECS gave up `task_definition` and gives no other reason.
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
