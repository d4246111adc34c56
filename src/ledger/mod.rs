//! The records that this service keeps about users in addition to AWS, and the locks that say which replica works on a user.
//!
//! One user is held by one operation of one replica at a time. If a holder was stopped for longer than its lease, another
//! one may have taken its place. So it checks before every change, see [`Hold::verify`] and [`Fence`].
//!
//! Accepted work that is not done yet is kept as well, see [`PendingSlot`]: the next holder of the user finds it, in any
//! replica.
//!
//! [`FileLedger`] keeps all of it on EFS, and no code outside this module depends on that. Another store can replace it by
//! implementing [`Ledger`] and passing the tests in `tests.rs` and `tests/pending.rs`. It must guarantee that of two
//! holders only the later one passes `verify`, and that a reader sees either the old or the new content, always complete.

mod file;
mod file_hold;
mod fleet_files;
mod kept_files;
mod lock_file;
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

/// How long ago the lock may have been checked when something is changed. Far shorter than the time after which EFS gives
/// the lock of a silent client to another one (aws-facts §2).
pub const VERIFIED_FOR: Duration = Duration::from_secs(5);

/// The record of a user. Losing it loses no user, only revisions that no service names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// ARNs of task-definition revisions that were registered for the user and may still exist.
    #[serde(default)]
    pub revisions: BTreeSet<String>,
    /// ARNs of the user's deregistered revisions. AWS keeps them for ever, with the user's variables in them, unless they
    /// are deleted.
    #[serde(default, deserialize_with = "known_or_none", skip_serializing_if = "BTreeSet::is_empty")]
    pub deregistered: BTreeSet<String>,
    /// The desired count to return to, if a replacement has stopped the old task and not started the new one.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub resume: Option<u32>,
    /// When a registration began whose result is not recorded, in milliseconds of the Unix epoch. There may be a revision
    /// that is not in `revisions`.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub registering: Option<i64>,
    /// When the user's own role, or what it may do, was last made another one, in milliseconds of the Unix epoch: ECS may not see that
    /// yet.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub role_changed_at: Option<i64>,
    /// What ECS last accepted for the user.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// Their access point. The only other way to find it is to create it, which fails if the quota is used up.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub access_point: Option<RememberedAccessPoint>,
    /// Members of another version of this service. They are kept, or a roll-out of this service would lose them.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// An access point and its file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedAccessPoint {
    /// `fsap-…`
    pub id: String,
    /// `fs-…`
    pub file_system_id: String,
}

impl Record {
    /// A new record with only the time when a registration began, in milliseconds of the Unix epoch.
    #[must_use]
    pub fn of_new(registering: Option<i64>) -> Self {
        Self { registering, ..Self::default() }
    }

    /// This record with other revisions.
    #[must_use]
    pub fn with_revisions(&self, revisions: BTreeSet<String>) -> Self {
        Self { revisions, ..self.clone() }
    }

    /// The record of a user whose container was deleted and whose files were kept: only what a later purge must delete.
    #[must_use]
    pub fn of_deleted(&self) -> Self {
        Self { deregistered: self.deregistered.clone(), rest: self.rest.clone(), ..Self::default() }
    }

    /// Whether it contains only that.
    #[must_use]
    pub fn is_of_deleted(&self) -> bool {
        !self.deregistered.is_empty() && *self == self.of_deleted()
    }
}

fn known_or_none<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    known(deserializer).map(Option::unwrap_or_default)
}

/// Reads a member whose form another version may have changed; then it is `None`, and the rest of the record is still read.
fn known<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Why a user could not be held, or a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Somebody else works on this user; try again later.
    #[error("user {user_id} was still locked after {waited:?}{}", if *elsewhere { ", by another replica" } else { "" })]
    Busy {
        /// The user.
        user_id: UserId,
        /// How long the caller waited.
        waited: Duration,
        /// Whether another process has the lock.
        elsewhere: bool,
    },
    /// Another replica has taken the user's lock meanwhile. Any plan made under it is out of date.
    #[error("the lock of user {user_id} was lost to another replica")]
    Lost {
        /// The user.
        user_id: UserId,
    },
    /// The user's pending work was written by a later version of this service, or is damaged; it is not changed.
    #[error("the accepted work of user {user_id} cannot be read by this version of the service")]
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
    /// The store could not list all users.
    #[error("the locks could not be listed")]
    Unlisted(#[source] StagingError),
    /// The data of the whole fleet could not be read or written.
    #[error("the data of the whole fleet could not be read or written")]
    Fleet(#[source] StagingError),
    /// The data of the whole fleet was written by a later version of this service, or is damaged.
    #[error("{path} cannot be read by this version of the service")]
    FleetNotUnderstood {
        /// The file, beneath the root.
        path: String,
    },
    /// The data of a rollout was written by a later version of this service, or is damaged.
    #[error("{path} cannot be read by this version of the service")]
    RolloutNotUnderstood {
        /// The file, beneath the root.
        path: String,
    },
}

/// Records and locks of all users.
#[async_trait]
pub trait Ledger: Debug + Send + Sync {
    /// Waits for the user's lock, at most `timeout`; zero means one try. Dropping the future gives up cleanly.
    async fn acquire(&self, user: &UserId, timeout: Duration) -> Result<Box<dyn Hold>, LedgerError> {
        self.acquire_with(user, timeout, Record::default()).await
    }

    /// The same. If the user has no record, `first` becomes the record. It is part of the write that records the lock's holder,
    /// so it costs no extra write.
    async fn acquire_with(&self, user: &UserId, timeout: Duration, first: Record)
    -> Result<Box<dyn Hold>, LedgerError>;

    /// Waits until nobody in this process holds the user or waits for them, at most `timeout`. Returns whether another
    /// process holds them at this moment. Changes nothing.
    async fn is_held_elsewhere(&self, user: &UserId, timeout: Duration) -> Result<bool, LedgerError>;

    /// The record of the user, independent of who holds them; `None` if they were never held, or removed since. Records and
    /// notes of stops only explain what AWS says, so these calls fail at once while the store is slow.
    async fn read(&self, user: &UserId) -> Result<Option<Record>, LedgerError>;

    /// Every user with a record, in no order.
    async fn list(&self) -> Result<Vec<UserId>, LedgerError>;

    /// The last note on why the user's container stopped: ECS forgets a stopped task after about an hour.
    async fn last_stop(&self, user: &UserId) -> Result<Option<LastStop>, LedgerError>;

    /// Notes a stop, unless the same one is already noted. A note is only an explanation, so it needs no lock.
    async fn note_stop(&self, user: &UserId, stop: LastStop) -> Result<(), LedgerError>;

    /// The note on the user's accepted work, independent of who holds them. A hint like [`Self::read`].
    async fn noted(&self, user: &UserId) -> Result<Option<Noted>, LedgerError>;

    /// Every user with a note, in no order. Cheap: the cost depends on the number of notes, not of users.
    async fn list_noted(&self) -> Result<Vec<Listed>, LedgerError>;

    /// Sends a request to the present holder of the user. Later holders do not receive it. Callers must repeat it, because a
    /// holder that has just begun may not be known yet.
    async fn ask(&self, user: &UserId, ask: Ask) -> Result<(), LedgerError>;

    /// The promoted base, read now; `None`: the newest is used.
    async fn promotion(&self) -> Result<Option<Promotion>, LedgerError>;

    /// Replaces `before` by `after`, complete and durable when it returns. `false`: the present value is not `before`, and
    /// nothing was changed.
    async fn promote(&self, before: Option<Promotion>, after: Option<Promotion>) -> Result<bool, LedgerError>;

    /// Every stored rollout with its id, without its journal. `None`: this version cannot read it.
    async fn rollouts(&self) -> Result<Vec<(String, Option<Value>)>, LedgerError>;

    /// A stored rollout, without its journal.
    async fn rollout(&self, id: &str) -> Result<Option<Value>, LedgerError>;

    /// Replaces `before` by `after`, complete and durable when it returns; without `after` the journal is removed, too.
    /// `false`: the present value is not `before`, and nothing was changed.
    async fn put_rollout(&self, id: &str, before: Option<Value>, after: Option<Value>) -> Result<bool, LedgerError>;

    /// A rollout's journal: complete lines, and at the end at most one incomplete line of a killed writer.
    async fn journal(&self, id: &str) -> Result<Vec<u8>, LedgerError>;

    /// Since when resources have belonged to nobody, by name; empty if the data cannot be parsed.
    async fn left_over(&self) -> Result<BTreeMap<String, Timestamp>, LedgerError>;

    /// Replaces the times since when resources have belonged to nobody.
    async fn keep_left_over(&self, since: BTreeMap<String, Timestamp>) -> Result<(), LedgerError>;

    /// The stored sizes of users' directories; empty if the data cannot be parsed. A hint like [`Self::read`].
    async fn sizes(&self) -> Result<BTreeMap<UserId, DirectorySize>, LedgerError>;

    /// Replaces the stored sizes of users' directories.
    async fn keep_sizes(&self, sizes: BTreeMap<UserId, DirectorySize>) -> Result<(), LedgerError>;

    /// Appends complete lines to a rollout's journal, durable when it returns; under that lock, if there is one.
    async fn append(&self, id: &str, lines: Vec<u8>, under: Option<Arc<dyn Fence>>) -> Result<(), LedgerError>;
}

/// The lock of a user; dropping it releases the lock.
#[async_trait]
pub trait Hold: Debug + Send + Sync {
    /// Whether the user had no record before: no replica has ever held them.
    ///
    /// `true` is certain; `false` is not (a replica may once have held them and died).
    fn is_new(&self) -> bool;

    /// The record of the user.
    fn record(&self) -> &Record;

    /// Makes sure that the user is still held; must be called before each change. It checks the lock again if the last check
    /// is older than [`VERIFIED_FOR`].
    ///
    /// # Errors
    /// [`LedgerError::Lost`]: stop at once.
    async fn verify(&self) -> Result<(), LedgerError>;

    /// The same check for changes of files; and a check that does not wait.
    fn fence(&self) -> Arc<dyn Fence>;

    /// Completes when the user is no longer held; checks so often that a check is always recent.
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Replaces the record of the user, durable when it returns. The note of the last stop is removed if the user is deleted.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], and errors of the store. The old record then stays.
    async fn write(&mut self, record: Record) -> Result<(), LedgerError>;

    /// The user's accepted work, to be used together with this.
    fn pending(&self) -> Arc<dyn PendingSlot>;

    /// Removes the user's record and pending work, and releases the lock: the last step of deleting them completely.
    ///
    /// # Errors
    /// As [`Self::write`].
    async fn remove(self: Box<Self>) -> Result<(), LedgerError>;
}

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;
