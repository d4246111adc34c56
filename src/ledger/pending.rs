//! What was accepted for a user and is not done yet: a caller was told that it will happen.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LedgerError;
use crate::domain::UserId;

/// What is secret of pending work. Cheap to clone, wiped from memory at the end, and never printed.
pub type Secret = Arc<SecretSlice<u8>>;

/// Work that was accepted for a user and is not done.
#[derive(Clone)]
pub struct Pending {
    /// What is wanted, as whoever accepted it describes it. Nothing of it is secret.
    pub intent: Value,
    /// The sign-in that came with it, until it is placed.
    pub sign_in: Option<Secret>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("has_sign_in", &self.sign_in.is_some()).finish_non_exhaustive()
    }
}

/// What is noted of accepted work.
#[derive(Clone, Debug, PartialEq)]
pub enum Noted {
    /// It goes on: what is wanted.
    Pending(Value),
    /// It came to an end that only another request can mend: why.
    Ended(Value),
    /// It was written by a later version of this service, or is damaged.
    NotUnderstood,
}

/// A user of whom something is noted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The user.
    pub user: UserId,
    /// Whether the work goes on; otherwise it has ended, and why is noted.
    pub is_pending: bool,
}

/// What the holder of a user can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// To let go where it only waits, so that another request can be taken in.
    Yield,
    /// To stop before its next step.
    Cancel,
}

/// Where what was accepted for a user is kept. For the holder alone: once the user is lost, every change fails with
/// [`LedgerError::Lost`]. What is written is durable when a call returns, and whole or not there at all.
#[async_trait]
pub trait PendingSlot: fmt::Debug + Send + Sync {
    /// What is pending.
    ///
    /// # Errors
    /// [`LedgerError::NotUnderstood`] where it was written by a later version.
    async fn read(&self) -> Result<Option<Pending>, LedgerError>;

    /// As [`read`](Self::read), and looks also where nothing is noted as far as the holder knows: what it knows may have been
    /// lost. From then on it is noted.
    async fn find(&self) -> Result<Option<Pending>, LedgerError>;

    /// Puts this in place of what is pending, and of how former work ended. A sign-in that is not in it is gone.
    async fn write(&self, pending: &Pending) -> Result<(), LedgerError>;

    /// Notes how the work ended, in its place. No sign-in is left.
    async fn end(&self, why: Value) -> Result<(), LedgerError>;

    /// Nothing is pending any more, and nothing has ended. Free where nothing was noted.
    async fn clear(&self) -> Result<(), LedgerError>;

    /// Whether something is noted, as far as the holder knows. Free.
    fn is_noted(&self) -> bool;

    /// What this holder has been asked for since it last looked.
    async fn asked(&self) -> Result<Option<Ask>, LedgerError>;
}
