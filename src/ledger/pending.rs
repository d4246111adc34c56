//! Accepted work of a user that is not done yet: a caller has an answer that it will be done.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LedgerError;
use crate::domain::UserId;

/// The secret part of pending work. Cheap to clone, wiped from memory at the end, and never printed.
pub type Secret = Arc<SecretSlice<u8>>;

/// Accepted work of a user that is not done.
#[derive(Clone)]
pub struct Pending {
    /// The request, in the form that the code that accepted it chose. It contains no secrets.
    pub intent: Value,
    /// The sign-in of the request, until it is staged.
    pub sign_in: Option<Secret>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("has_sign_in", &self.sign_in.is_some()).finish_non_exhaustive()
    }
}

/// The note on accepted work.
#[derive(Clone, Debug, PartialEq)]
pub enum Noted {
    /// The work is pending; this is the request.
    Pending(Value),
    /// The work ended, and only another request can continue; this is the reason.
    Ended(Value),
    /// The note was written by a later version of this service, or is damaged.
    NotUnderstood,
}

/// A user with a note.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The user.
    pub user: UserId,
    /// Whether the work is pending; otherwise it has ended, and the reason is noted.
    pub is_pending: bool,
}

/// A request to the holder of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Release the user while only waiting, so that another request can be accepted.
    Yield,
    /// Stop before the next step.
    Cancel,
}

/// The place of a user's accepted work. Only the holder may use it: after the lock is lost, every change fails with
/// [`LedgerError::Lost`]. A write is durable when the call returns, and is done completely or not at all.
#[async_trait]
pub trait PendingSlot: fmt::Debug + Send + Sync {
    /// The pending work.
    ///
    /// # Errors
    /// [`LedgerError::NotUnderstood`] if a later version wrote it.
    async fn read(&self) -> Result<Option<Pending>, LedgerError>;

    /// As [`read`](Self::read), but looks even if the holder knows of no note, because that knowledge may have been lost. The
    /// holder then knows of the note.
    async fn find(&self) -> Result<Option<Pending>, LedgerError>;

    /// Replaces the pending work, and the note on how earlier work ended. A sign-in that it does not contain is removed.
    async fn write(&self, pending: &Pending) -> Result<(), LedgerError>;

    /// Replaces the pending work by a note on how it ended. The sign-in is removed.
    async fn end(&self, why: Value) -> Result<(), LedgerError>;

    /// Removes pending work and note. Free if there was no note.
    async fn clear(&self) -> Result<(), LedgerError>;

    /// Whether there is a note, as far as the holder knows. Free.
    fn is_noted(&self) -> bool;

    /// The request to this holder since it last looked.
    async fn asked(&self) -> Result<Option<Ask>, LedgerError>;
}
