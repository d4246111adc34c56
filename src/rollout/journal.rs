//! The journal of a rollout: its users, and what has happened to each.

use std::collections::BTreeMap;

use openclaw::OpenClawVersion;
use serde::{Deserialize, Serialize};

use crate::domain::{ImageRef, Size, UserId};

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
    /// The value of the variable that is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
}

/// Something that happened to a user, in one line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Event {
    /// Is to be taken along in that wave.
    Selected {
        /// The wave; canaries are 0.
        wave: u32,
        /// Whether their container was stopped then: it shows nothing of what comes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_stopped: bool,
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
    /// Whether their container was stopped when they were selected, or looked at since.
    pub is_stopped: bool,
    /// What they had before, once it was begun with them.
    pub former: Option<Former>,
    /// How far they are.
    pub stage: Stage,
    /// Whether anything was sent for them.
    pub was_sent: bool,
    /// Whether their container was ready with it, for the soak. Who is left out or stopped proves nothing.
    pub is_proof: bool,
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

    /// How it is told of a rollout that was given up: nobody looks any more at who was not through.
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
