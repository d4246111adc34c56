//! The journal of a rollout: its users, and what has happened to each.

use std::collections::BTreeMap;

use openclaw::OpenClawVersion;
use serde::{Deserialize, Serialize};

use crate::domain::{ImageRef, Size, UserId};

/// What a user had before, needed for the way back.
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
    /// Whether the user already had to sign in again.
    pub reauth_required: bool,
    /// The value of the variable that is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
}

/// One line of the journal: something that happened to a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Event {
    /// Is to be moved in that wave.
    Selected {
        /// The wave; canaries are 0.
        wave: u32,
        /// Whether their container was stopped then: a stopped container proves nothing.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_stopped: bool,
    },
    /// Had this before. Written before anything is sent.
    From(Box<Former>),
    /// ECS has what it needs, or the work is accepted and will be finished.
    Sent {
        /// In milliseconds of the Unix epoch.
        at: i64,
    },
    /// Is ready with the change.
    Ready {
        /// In milliseconds of the Unix epoch.
        at: i64,
    },
    /// Is no longer ready.
    Unready,
    /// Has stayed ready for the soak, or is stopped and registered.
    Done,
    /// Failed.
    Failed {
        /// Why, as a code.
        code: String,
        /// The reason in words.
        detail: String,
    },
    /// Is back on what they had.
    Returned,
    /// Is left out.
    Skipped {
        /// Why, as a code.
        why: String,
    },
    /// About no user: from here on everybody who was moved is taken back.
    Back,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The user that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u: Option<UserId>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The stage of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Not begun yet.
    Waiting,
    /// Begun; nothing is known to have been sent.
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
        /// Since when the user has been ready.
        since: i64,
    },
    /// Moved.
    Done,
    /// Failed.
    Failed {
        /// Why, as a code.
        code: String,
        /// The reason in words.
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

impl Stage {
    /// Its name, as in answers.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Begun | Self::Sent { .. } => "on_the_way",
            Self::Ready { .. } => "soaking",
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }
}

/// A user in a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The wave.
    pub wave: u32,
    /// Whether their container was stopped when they were selected or last looked at.
    pub is_stopped: bool,
    /// What they had before; known once their move has begun.
    pub former: Option<Former>,
    /// Their stage.
    pub stage: Stage,
    /// Whether anything was sent for them.
    pub was_sent: bool,
    /// Whether their container was ready with the change, for the soak. Skipped and stopped users prove nothing.
    pub is_proof: bool,
}

/// The users of a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// By user id.
    pub people: BTreeMap<UserId, Person>,
    /// Whether users are being taken back.
    pub is_back: bool,
}

impl Journal {
    /// Reads a journal. Lines that a killed writer left incomplete are ignored, and so are those of a later version.
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
        if let Event::Selected { wave, is_stopped } = event {
            let stage = Stage::Waiting;
            let person = Person { wave, is_stopped, former: None, stage, was_sent: false, is_proof: false };
            self.people.entry(user).and_modify(|person| person.is_stopped = is_stopped).or_insert(person);
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
            Event::Done => {
                person.is_proof |= matches!(person.stage, Stage::Ready { .. });
                Stage::Done
            }
            Event::Failed { code, detail } => Stage::Failed { code, detail, is_back: false },
            Event::Returned => match std::mem::replace(&mut person.stage, Stage::Done) {
                Stage::Failed { code, detail, .. } => Stage::Failed { code, detail, is_back: true },
                other => other,
            },
            Event::Skipped { why } => Stage::Skipped { why },
        };
    }

    /// The journal of a rollout that was given up: users who were not finished count as skipped.
    #[must_use]
    pub fn given_up(mut self) -> Self {
        for person in self.people.values_mut() {
            let why = match person.stage {
                Stage::Waiting => "aborted",
                Stage::Begun | Stage::Sent { .. } | Stage::Ready { .. } => "aborted_on_the_way",
                Stage::Done | Stage::Failed { .. } | Stage::Skipped { .. } => continue,
            };
            person.stage = Stage::Skipped { why: why.to_owned() };
        }
        self
    }

    fn turn_back(&mut self) {
        self.is_back = true;
        for person in self.people.values_mut() {
            let is_back = matches!(person.stage, Stage::Failed { is_back: true, .. });
            // A process that was killed may have moved a begun user without writing that down.
            let was_moved = person.former.is_some() && !is_back && !matches!(person.stage, Stage::Skipped { .. });
            person.stage = match was_moved {
                true => Stage::Waiting,
                false => Stage::Skipped { why: "not_moved".to_owned() },
            };
        }
    }
}

/// Lines to append to the journal.
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
    // It has only strings and numbers, which JSON can always hold.
    bytes.extend(serde_json::to_vec(line).unwrap_or_default());
    bytes.push(b'\n');
}
