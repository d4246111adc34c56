//! A rollout: which users it includes, what it changes, how, and how far it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use openclaw::OpenClawVersion;
use serde::{Deserialize, Serialize};

use super::Figures;
pub use super::journal::{Event, Former, Journal, Line, Person, Stage, lines, push};
pub use super::window::{DAYS, Window};
use crate::domain::{ImageRef, RolloutOrder, Size, State, UserId};

/// What is changed for each user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The base, `family:revision`.
    Base(String),
    /// The image pin; `None` removes it.
    Image(Option<ImageRef>),
    /// The size.
    Size(Size),
    /// One variable; `None` removes it.
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: Option<String>,
    },
    /// Nothing: another task of the same revision.
    Restart,
    /// Like a redeploy of one user: the promoted base, or the newest, and maybe another pin.
    Redeploy {
        /// Another pin; `Some(None)` removes it.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "given")]
        image: Option<Option<ImageRef>>,
        /// The release of an image whose tag does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        openclaw_version: Option<OpenClawVersion>,
        /// Replace the task even if nothing has changed.
        #[serde(default)]
        force: bool,
    },
}

/// Keeps a given null apart from a missing member.
mod given {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::ImageRef;

    pub(super) fn serialize<S: Serializer>(image: &Option<Option<ImageRef>>, serializer: S) -> Result<S::Ok, S::Error> {
        image.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<ImageRef>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}

/// The users that a rollout includes. All given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Only these users. Kept in the journal, not here.
    #[serde(skip)]
    pub users: Option<Vec<UserId>>,
    /// Whether there is such a list, which is in the journal.
    pub is_list: bool,
    /// Users who are on this base, `family:revision`.
    pub base: Option<String>,
    /// Users who run this release.
    pub release: Option<OpenClawVersion>,
    /// That percentage of users, by a hash of the user id: a larger share includes the users of a smaller one.
    pub percent: Option<u8>,
    /// Leave stopped containers as they are. Otherwise they are registered anew, and never started.
    pub only_running: bool,
    /// Users in one of these states when it starts; empty: in any state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// Users with all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Select {
    /// Whether it includes every user.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.users.is_none() && *self == Self::default()
    }
}

/// A number of users, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// That many.
    Users(u32),
    /// That percentage, rounded up.
    Percent(u8),
}

impl Share {
    /// That share of `all`, as a number.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Users(users) => usize::try_from(users).unwrap_or(usize::MAX),
            Self::Percent(percent) => (all * usize::from(percent)).div_ceil(100),
        }
    }
}

/// The users that go first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Canaries {
    /// That many, in the order of user ids.
    Number(u32),
    /// These users. Kept in the journal, not here.
    Named(#[serde(skip)] Vec<UserId>),
}

/// How users are moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// The first wave.
    pub canaries: Canaries,
    /// The waves after it, of users who are no canaries; the last has the rest.
    pub waves: Vec<Share>,
    /// How many users are on their way at a time.
    pub max_parallel: u32,
    /// How long a user has to stay ready, and so how long a wave delays the next one.
    pub soak_seconds: u32,
    /// How many users may fail; one more pauses the rollout.
    pub max_failures: Share,
    /// How long a user may take to become ready.
    pub deadline_seconds: u32,
    /// The order in which a task is replaced; `None`: the setting of the service.
    pub order: Option<RolloutOrder>,
    /// When users may be begun; `None`: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            canaries: Canaries::Number(1),
            waves: Vec::new(),
            max_parallel: 10,
            soak_seconds: 60,
            max_failures: Share::Users(0),
            deadline_seconds: 900,
            order: None,
            window: None,
        }
    }
}

/// How the reason begins when somebody has paused a rollout.
pub(super) const PAUSED_BY: &str = "paused by ";

/// The state of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// It moves users.
    Running,
    /// It begins with no more users until it is resumed.
    Paused,
    /// Everybody was moved, failed or was skipped.
    Done,
    /// Given up: moved users stay where they are.
    Aborted,
    /// Every moved user is back.
    RolledBack,
}

impl RolloutState {
    /// The states in which nothing happens any more.
    pub const OVER: [Self; 3] = [Self::Done, Self::Aborted, Self::RolledBack];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Aborted => "aborted",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Whether nothing happens any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            Self::Running | Self::Paused => false,
            Self::Done | Self::Aborted | Self::RolledBack => true,
        }
    }
}

/// A rollout without its users. Nothing that a later version has added may be ignored: a rollout with an unknown member is
/// not understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Its id.
    pub id: String,
    /// When it was started.
    pub created_at: Timestamp,
    /// Who started it: the name of a token.
    pub created_by: String,
    /// The users that it includes.
    pub select: Select,
    /// What it changes.
    pub change: Change,
    /// How it does so.
    pub strategy: Strategy,
    /// Whether the base is promoted at the end.
    pub promotes: bool,
    /// The base that was promoted before, `family:revision`.
    pub promoted_before: Option<String>,
    /// Its state.
    pub state: RolloutState,
    /// Whether it takes users back.
    pub is_back: bool,
    /// Why it is paused.
    pub reason: Option<String>,
    /// Failures that a resume has accepted.
    pub accepted_failures: u32,
    /// Who changed its state last.
    pub changed_by: String,
    /// When its state changed last.
    pub changed_at: Timestamp,
    /// How long it was expected to take, in seconds.
    #[serde(default)]
    pub planned_seconds: u64,
    /// Whether its end has begun, when its base is promoted, once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_at_end: bool,
    /// Its users by stage when it ended; `None` while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}
