//! What a rollout is: whom it takes along, to what, how, and how far it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{ImageRef, OpenClawVersion, RolloutOrder, Size, UserId};

/// What is changed of each user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The base, `family:revision`.
    Base(String),
    /// The image pin; `None` takes it away.
    Image(Option<ImageRef>),
    /// The size.
    Size(Size),
    /// Nothing: another task of the same.
    Restart,
    /// As a redeploy of one user does it: the promoted base, or the newest, and maybe another pin.
    Redeploy {
        /// Another pin; `Some(None)` takes it away.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "given")]
        image: Option<Option<ImageRef>>,
        /// The release of an image whose tag does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        openclaw_version: Option<OpenClawVersion>,
        /// Also where nothing has changed.
        #[serde(default)]
        force: bool,
    },
}

/// Null is given too.
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

/// Whom a rollout takes along. Everything that is given has to be so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    /// These users alone. Kept in the journal, not here.
    #[serde(skip)]
    pub users: Option<Vec<UserId>>,
    /// Whether there are such, which are in the journal.
    pub is_list: bool,
    /// Users who are on this base, `family:revision`.
    pub base: Option<String>,
    /// Users who run this release.
    pub release: Option<OpenClawVersion>,
    /// So many of a hundred, by a hash of the user id: a larger share has the users of a smaller one in it.
    pub percent: Option<u8>,
    /// Leave stopped containers as they are. Else they are registered anew, and never started.
    pub only_running: bool,
}

impl Select {
    /// Whether it leaves nobody out who is there.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.users.is_none() && *self == Self::default()
    }
}

/// A number of users, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// So many.
    Users(u32),
    /// So many of a hundred, rounded up.
    Percent(u8),
}

impl Share {
    /// How many that is of `all`.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Users(users) => usize::try_from(users).unwrap_or(usize::MAX),
            Self::Percent(percent) => (all * usize::from(percent)).div_ceil(100),
        }
    }
}

/// Who goes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Canaries {
    /// So many, by user id.
    Number(u32),
    /// These. Kept in the journal, not here.
    Named(#[serde(skip)] Vec<UserId>),
}

/// How users are taken along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    /// The first wave.
    pub canaries: Canaries,
    /// The waves after it, of those who are no canaries; the last has the rest.
    pub waves: Vec<Share>,
    /// Users who are on their way at a time.
    pub max_parallel: u32,
    /// How long a user has to stay ready, and with that a wave before the next one.
    pub soak_seconds: u32,
    /// How many may fail; one more pauses the rollout.
    pub max_failures: Share,
    /// How long a user may take to become ready.
    pub deadline_seconds: u32,
    /// In which order a task is replaced; `None`: as the service is set.
    pub order: Option<RolloutOrder>,
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
        }
    }
}

/// Where a rollout is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Taking users along.
    Running,
    /// Begins with nobody more until it is resumed.
    Paused,
    /// Everybody is there, or failed, or was left out.
    Done,
    /// Given up: whoever was moved stays where they are.
    Aborted,
    /// Whoever was moved is back.
    RolledBack,
}

impl RolloutState {
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

/// A rollout, but for its users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id.
    pub id: String,
    /// When it was started.
    pub created_at: Timestamp,
    /// Who started it: the name of a token.
    pub created_by: String,
    /// Whom it takes along.
    pub select: Select,
    /// To what.
    pub change: Change,
    /// How.
    pub strategy: Strategy,
    /// Whether the base is promoted at the end.
    pub promotes: bool,
    /// The base that was promoted before, `family:revision`.
    pub promoted_before: Option<String>,
    /// Where it is in its life.
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
}

/// What a user had before, for the way back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// ARN of the revision.
    pub revision: String,
    /// The base, `family:revision`.
    pub base: Option<String>,
    /// The image pin.
    pub image: Option<ImageRef>,
    /// The release of an image whose tag does not say it.
    pub openclaw_version: Option<OpenClawVersion>,
    /// The size, as registered.
    pub size: Option<Size>,
    /// Id of the PRIMARY deployment.
    pub deployment: Option<String>,
    /// Whether the user had to sign in again already.
    pub reauth_required: bool,
}

/// Something that happened to a user, in one line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Event {
    /// Is to be taken along in that wave.
    Selected {
        /// The wave; canaries are 0.
        wave: u32,
    },
    /// Had this before. Written before anything is sent.
    From(Box<Former>),
    /// ECS, or whoever finishes accepted work, has what it needs.
    Sent {
        /// In milliseconds of the Unix epoch.
        at: i64,
    },
    /// Is ready on what was asked for.
    Ready {
        /// In milliseconds of the Unix epoch.
        at: i64,
    },
    /// Is no longer ready.
    Unready,
    /// Has stayed ready for the soak, or is stopped and registered.
    Done,
    /// Did not get there.
    Failed {
        /// Why, as a code.
        code: String,
        /// In words.
        detail: String,
    },
    /// Is back on what they had.
    Returned,
    /// Is left out.
    Skipped {
        /// Why, as a code.
        why: String,
    },
    /// Of no user: from here on everybody who was moved is taken back.
    Back,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u: Option<UserId>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// How far a user is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Not begun with.
    Waiting,
    /// Begun with; nothing is known to be sent.
    Begun,
    /// On the way.
    Sent {
        /// Since when, in milliseconds of the Unix epoch.
        at: i64,
    },
    /// Ready, and soaking.
    Ready {
        /// When it was sent.
        sent_at: i64,
        /// Since when it is ready.
        since: i64,
    },
    /// There.
    Done,
    /// Did not get there.
    Failed {
        /// Why, as a code.
        code: String,
        /// In words.
        detail: String,
        /// Whether the user is back on what they had.
        is_back: bool,
    },
    /// Left out.
    Skipped {
        /// Why, as a code.
        why: String,
    },
}

/// A user in a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The wave.
    pub wave: u32,
    /// What they had before, once it was begun with them.
    pub former: Option<Former>,
    /// How far they are.
    pub stage: Stage,
    /// Whether anything was sent for them.
    pub was_sent: bool,
}

/// The users of a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// By user id.
    pub people: BTreeMap<UserId, Person>,
    /// Whether users are taken back.
    pub is_back: bool,
}

impl Journal {
    /// Reads a journal. What a killed writer left of a line is none, and so is what a later version wrote.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut journal = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(line) = serde_json::from_slice::<Line>(line) {
                journal.take(line);
            }
        }
        journal
    }

    /// Takes in a line.
    pub fn take(&mut self, Line { u, event }: Line) {
        let Some(user) = u else {
            if event == Event::Back && !self.is_back {
                self.turn_back();
            }
            return;
        };
        if let Event::Selected { wave } = event {
            let person = Person { wave, former: None, stage: Stage::Waiting, was_sent: false };
            self.people.entry(user).or_insert(person);
            return;
        }
        let Some(person) = self.people.get_mut(&user) else { return };
        person.stage = match event {
            Event::Selected { .. } | Event::Back => return,
            Event::From(former) => {
                person.former.get_or_insert(*former);
                Stage::Begun
            }
            Event::Sent { at } => {
                person.was_sent = true;
                Stage::Sent { at }
            }
            Event::Ready { at } => match person.stage {
                Stage::Sent { at: sent_at } | Stage::Ready { sent_at, .. } => Stage::Ready { sent_at, since: at },
                _ => Stage::Ready { sent_at: at, since: at },
            },
            Event::Unready => match person.stage {
                Stage::Ready { sent_at, .. } => Stage::Sent { at: sent_at },
                _ => return,
            },
            Event::Done => Stage::Done,
            Event::Failed { code, detail } => Stage::Failed { code, detail, is_back: false },
            Event::Returned => match std::mem::replace(&mut person.stage, Stage::Done) {
                Stage::Failed { code, detail, .. } => Stage::Failed { code, detail, is_back: true },
                other => other,
            },
            Event::Skipped { why } => Stage::Skipped { why },
        };
    }

    fn turn_back(&mut self) {
        self.is_back = true;
        for person in self.people.values_mut() {
            let is_back = matches!(person.stage, Stage::Failed { is_back: true, .. });
            // Who was begun with may have been moved by a process that was killed before it could write that down.
            let was_moved = person.former.is_some() && !is_back && !matches!(person.stage, Stage::Skipped { .. });
            person.stage = match was_moved {
                true => Stage::Waiting,
                false => Stage::Skipped { why: "not_moved".to_owned() },
            };
        }
    }
}

/// The journal's lines, to be appended.
#[must_use]
pub fn lines(events: impl IntoIterator<Item = (UserId, Event)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (user, event) in events {
        push(&mut bytes, &Line { u: Some(user), event });
    }
    bytes
}

/// Adds a line.
pub fn push(bytes: &mut Vec<u8>, line: &Line) {
    // Strings and numbers: there is nothing in it that JSON cannot hold.
    bytes.extend(serde_json::to_vec(line).unwrap_or_default());
    bytes.push(b'\n');
}
