//! What this service remembers of a user beside AWS, and who of its replicas works on them.
//!
//! One user is held by one operation of one replica at a time. A holder that was stopped for longer than its lease may find
//! that another one has taken its place: it asks before every change, see [`Hold::verify`] and [`Fence`].
//!
//! What was accepted for a user and is not done yet is kept as well, see [`PendingSlot`]: whoever holds the user next finds
//! it, in whichever replica.
//!
//! [`FileLedger`] keeps all of it on EFS, and nothing outside this module knows. Another store takes its place by
//! implementing [`Ledger`] and passing the sentences in `tests.rs` and `tests/pending.rs`. It has to promise that of two
//! holders only the later one passes `verify`, and that what is written is read whole as it was before a write or after it.

mod file;
mod fleet_files;
mod kept_files;
mod pending;
mod pending_files;
mod queue;
mod rollout_files;
mod slots;
mod stops;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use file::FileLedger;
pub use fleet_files::promotion_in;
pub use pending::{Ask, Listed, Noted, Pending, PendingSlot, Secret};

use crate::domain::{Accepted, DirectorySize, LastStop, Promotion, UserId};
use crate::files::Fence;
use crate::staging::StagingError;

/// How old a look at the lock may be when something is changed. Far below the time after which EFS gives the lock of a
/// client that it does not hear of to another (aws-facts §2).
pub const VERIFIED_FOR: Duration = Duration::from_secs(5);

/// What is remembered of a user. Losing it loses no user, only revisions that no service names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// ARNs of task-definition revisions that were registered for the user and may still be.
    #[serde(default)]
    pub revisions: BTreeSet<String>,
    /// ARNs of revisions of the user that were deregistered. AWS keeps them for ever, with the user's variables in them, unless
    /// they are deleted.
    #[serde(default, deserialize_with = "known_or_none", skip_serializing_if = "BTreeSet::is_empty")]
    pub deregistered: BTreeSet<String>,
    /// How many tasks there are to be, where a replacement has stopped the former one and not started the next.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub resume: Option<u32>,
    /// When a registration was begun of which it is not written down how it ended, in milliseconds of the Unix epoch. There may be a
    /// revision that is not in `revisions`.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub registering: Option<i64>,
    /// When the user's own role, or what it may do, was last made another one, in milliseconds of the Unix epoch: ECS may not see that
    /// yet.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub role_changed_at: Option<i64>,
    /// What ECS last accepted for the user.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// Their access point: the quota may be used up when it has to be found, and creating it is the other way to find it.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub access_point: Option<RememberedAccessPoint>,
    /// What another version of this service remembers: carried along, or a roll-out of this service would lose it.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// An access point, and the file system that it is one of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedAccessPoint {
    /// `fsap-…`
    pub id: String,
    /// `fs-…`
    pub file_system_id: String,
}

impl Record {
    /// Of one of whom nothing is remembered but when a registration was begun, in milliseconds of the Unix epoch.
    #[must_use]
    pub fn of_new(registering: Option<i64>) -> Self {
        Self { registering, ..Self::default() }
    }

    /// The same with other revisions.
    #[must_use]
    pub fn with_revisions(&self, revisions: BTreeSet<String>) -> Self {
        Self { revisions, ..self.clone() }
    }

    /// What stays of a user whose container was deleted and whose files were kept: what a later purge has to delete.
    #[must_use]
    pub fn of_deleted(&self) -> Self {
        Self { deregistered: self.deregistered.clone(), rest: self.rest.clone(), ..Self::default() }
    }

    /// Whether nothing else is remembered.
    #[must_use]
    pub fn is_of_deleted(&self) -> bool {
        !self.deregistered.is_empty() && *self == self.of_deleted()
    }
}

fn known_or_none<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    known(deserializer).map(Option::unwrap_or_default)
}

/// A member whose form another version has changed is as good as none: the rest of the record must not go with it.
fn known<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Why something about a user could not be remembered, or the user not be held.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Somebody else works on this user; try again later.
    #[error("user {user_id} was still locked after {waited:?}{}", if *elsewhere { ", by another replica" } else { "" })]
    Busy {
        /// The user.
        user_id: UserId,
        /// How long it was tried.
        waited: Duration,
        /// Whether it is another process that has the lock.
        elsewhere: bool,
    },
    /// Another replica has taken the user's lock meanwhile. Whatever was planned under it is out of date.
    #[error("the lock of user {user_id} was lost to another replica")]
    Lost {
        /// The user.
        user_id: UserId,
    },
    /// What is pending of the user was written by a later version of this service, or is damaged: it is left alone.
    #[error("what was accepted for user {user_id} cannot be read by this version of the service")]
    NotUnderstood {
        /// The user.
        user_id: UserId,
    },
    /// The store could not be used.
    #[error("could not lock user {user_id}")]
    Unusable {
        /// The user.
        user_id: UserId,
        /// What failed.
        #[source]
        source: StagingError,
    },
    /// The store could not be used for a question about all users.
    #[error("the locks could not be listed")]
    Unlisted(#[source] StagingError),
    /// What is kept of the fleet as a whole could not be read or written.
    #[error("what is kept of the whole fleet could not be read or written")]
    Fleet(#[source] StagingError),
    /// What is kept of the fleet as a whole was written by a later version of this service, or is damaged.
    #[error("{path} cannot be read by this version of the service")]
    FleetNotUnderstood {
        /// The file, beneath the root.
        path: String,
    },
    /// What is kept of a rollout was written by a later version of this service, or is damaged.
    #[error("{path} cannot be read by this version of the service")]
    RolloutNotUnderstood {
        /// The file, beneath the root.
        path: String,
    },
}

/// Records and locks of all users.
#[async_trait]
pub trait Ledger: Debug + Send + Sync {
    /// Waits for the user, at most `timeout`; with zero it is tried once. Dropping the future gives up cleanly.
    async fn acquire(&self, user: &UserId, timeout: Duration) -> Result<Box<dyn Hold>, LedgerError> {
        self.acquire_with(user, timeout, Record::default()).await
    }

    /// The same. Where nothing is remembered of the user, `first` is from here on: in the write that says whose the lock is, so that
    /// it costs none of its own.
    async fn acquire_with(&self, user: &UserId, timeout: Duration, first: Record)
    -> Result<Box<dyn Hold>, LedgerError>;

    /// Waits until nobody in this process holds the user or stands in line, at most `timeout`, and says whether another
    /// process holds them at this moment. Leaves no trace.
    async fn is_held_elsewhere(&self, user: &UserId, timeout: Duration) -> Result<bool, LedgerError>;

    /// What is remembered of the user, whoever holds them; `None` when they were never held, or removed since. This and the
    /// notes of stops only explain what AWS says: while the store is slow they fail at once.
    async fn read(&self, user: &UserId) -> Result<Option<Record>, LedgerError>;

    /// Every user of whom something is remembered, in no order.
    async fn list(&self) -> Result<Vec<UserId>, LedgerError>;

    /// Why the user's container last stopped, as it was noted last: ECS forgets a stopped task after about an hour.
    async fn last_stop(&self, user: &UserId) -> Result<Option<LastStop>, LedgerError>;

    /// Notes a stop, unless the very same is noted. It is only ever an explanation, so it needs no lock.
    async fn note_stop(&self, user: &UserId, stop: LastStop) -> Result<(), LedgerError>;

    /// What is noted of work that was accepted for the user, whoever holds them. A hint like [`Self::read`].
    async fn noted(&self, user: &UserId) -> Result<Option<Noted>, LedgerError>;

    /// Every user of whom something is noted, in no order. Cheap: it costs as much as there are such users, not as there are
    /// users.
    async fn list_noted(&self) -> Result<Vec<Listed>, LedgerError>;

    /// Asks whoever holds the user at this moment for something. It reaches that holder alone, and nobody who holds the
    /// user later; to be repeated, for a holder that has just begun may not be known yet.
    async fn ask(&self, user: &UserId, ask: Ask) -> Result<(), LedgerError>;

    /// The base that is promoted, as it is at this moment; `None`: the newest counts.
    async fn promotion(&self) -> Result<Option<Promotion>, LedgerError>;

    /// Puts `after` in the place of `before`, durable and whole when it returns. `false`, and nothing is changed: it is not `before`
    /// any more.
    async fn promote(&self, before: Option<Promotion>, after: Option<Promotion>) -> Result<bool, LedgerError>;

    /// Every rollout that is kept, by its id; without its journal. `None`: it cannot be read by this version.
    async fn rollouts(&self) -> Result<Vec<(String, Option<Value>)>, LedgerError>;

    /// What is written of a rollout, without its journal.
    async fn rollout(&self, id: &str) -> Result<Option<Value>, LedgerError>;

    /// Puts `after` in the place of `before`, durable and whole when it returns; without `after` the journal goes too. `false`,
    /// and nothing is changed: it is not `before` any more.
    async fn put_rollout(&self, id: &str, before: Option<Value>, after: Option<Value>) -> Result<bool, LedgerError>;

    /// A rollout's journal: whole lines, and at most one at the end of what was appended last that a killed writer left.
    async fn journal(&self, id: &str) -> Result<Vec<u8>, LedgerError>;

    /// Since when things have belonged to nobody, by their names; nothing where that cannot be understood.
    async fn left_over(&self) -> Result<BTreeMap<String, Timestamp>, LedgerError>;

    /// Keeps since when things have belonged to nobody, in place of what was kept.
    async fn keep_left_over(&self, since: BTreeMap<String, Timestamp>) -> Result<(), LedgerError>;

    /// What users' directories hold, as it was kept last; nothing where that cannot be understood. A hint like [`Self::read`].
    async fn sizes(&self) -> Result<BTreeMap<UserId, DirectorySize>, LedgerError>;

    /// Keeps what users' directories hold, in place of what was kept.
    async fn keep_sizes(&self, sizes: BTreeMap<UserId, DirectorySize>) -> Result<(), LedgerError>;

    /// Appends whole lines to a rollout's journal, durable when it returns; under that lock, where there is one.
    async fn append(&self, id: &str, lines: Vec<u8>, under: Option<Arc<dyn Fence>>) -> Result<(), LedgerError>;
}

/// Holds a user; dropping it lets go.
#[async_trait]
pub trait Hold: Debug + Send + Sync {
    /// Whether nothing was remembered of the user before: no replica has seen them.
    ///
    /// `false` proves nothing (somebody may have held them once and died); `true` is right.
    fn is_new(&self) -> bool;

    /// What is remembered of the user.
    fn record(&self) -> &Record;

    /// Makes sure that the user is still held; to be asked before each change of theirs. It looks again when the last look
    /// is older than [`VERIFIED_FOR`].
    ///
    /// # Errors
    /// [`LedgerError::Lost`]: stop at once.
    async fn verify(&self) -> Result<(), LedgerError>;

    /// The same question for changes of files; and, without a look, for whoever cannot wait.
    fn fence(&self) -> Arc<dyn Fence>;

    /// Completes when the user is no longer held, and looks often enough that a look is always recent.
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Remembers something else of the user, durable when it returns. Of one who is deleted, no stop is noted any more.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], and what the store says. The former record is in force then.
    async fn write(&mut self, record: Record) -> Result<(), LedgerError>;

    /// Where what was accepted for the user is kept, to be used beside this.
    fn pending(&self) -> Arc<dyn PendingSlot>;

    /// Forgets the user, with what is pending of them, and lets go: the last step of deleting them completely.
    ///
    /// # Errors
    /// As [`Self::write`].
    async fn remove(self: Box<Self>) -> Result<(), LedgerError>;
}

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;
