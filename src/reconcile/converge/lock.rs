//! The user's lock in the course of a converge, or the lack of it.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use crate::aws::MaySend;
use crate::domain::service::revision;
use crate::domain::{Coordinates, UserId, user_family};
use crate::files::Fence;
use crate::ledger::Hold;
use crate::reconcile::error::ConvergeError;
use crate::reconcile::plan::NotRemoved;
use crate::reconcile::target::Target;

/// What a converge works under.
#[derive(Debug)]
pub(super) enum Lock {
    /// The user's lock.
    Held(Box<dyn Hold>),
    /// None: it could not be taken, and what is wanted needs no files.
    Without {
        /// Why.
        error: String,
    },
}

impl Lock {
    pub(super) fn is_new(&self) -> bool {
        match self {
            Self::Held(held) => held.is_new(),
            Self::Without { .. } => false,
        }
    }

    /// Why there is none.
    pub(super) fn missing(&self) -> Option<String> {
        match self {
            Self::Held(_) => None,
            Self::Without { error } => Some(error.clone()),
        }
    }

    /// Makes sure that it is still held.
    pub(super) async fn verify(&self) -> Result<(), ConvergeError> {
        match self {
            Self::Held(held) => Ok(held.verify().await?),
            Self::Without { .. } => Ok(()),
        }
    }

    /// What changes of files are made under.
    pub(super) fn fence(&self) -> Option<Arc<dyn Fence>> {
        match self {
            Self::Held(held) => Some(held.fence()),
            Self::Without { .. } => None,
        }
    }

    /// Whether a call that changes something may be sent to AWS at the moment that it is asked.
    pub(super) fn may_send(&self) -> MaySend {
        match self.fence() {
            Some(fence) => Arc::new(move || fence.is_recent()),
            None => Arc::new(|| true),
        }
    }

    /// Completes when it is lost.
    pub(super) fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self {
            Self::Held(held) => held.lost(),
            Self::Without { .. } => Box::pin(pending()),
        }
    }

    /// The revisions that are remembered of the user. What is no revision of our user family is nothing to act on.
    pub(super) fn revisions(&self, at: &Coordinates, user: &UserId) -> BTreeSet<String> {
        let Self::Held(held) = self else { return BTreeSet::new() };
        let ours = format!("/{}", user_family(at.base_family.as_str()));
        let is_ours = |arn: &&String| revision(arn).is_some_and(|(family, _)| family.ends_with(&ours));
        let (known, unknown): (Vec<&String>, Vec<&String>) = held.record().revisions.iter().partition(is_ours);
        if !unknown.is_empty() {
            tracing::warn!(user_id = %user, ?unknown, "remembered for the user, but no revision of the user family; ignored");
        }
        known.into_iter().cloned().collect()
    }

    pub(super) fn remembers(&self, arn: &str) -> bool {
        match self {
            Self::Held(held) => held.record().revisions.contains(arn),
            Self::Without { .. } => false,
        }
    }

    /// Writes down which revisions are the user's, when that has changed.
    pub(super) async fn remember(&mut self, revisions: &BTreeSet<String>) -> Result<(), ConvergeError> {
        match self {
            Self::Held(held) if held.record().revisions != *revisions => {
                let record = held.record().with_revisions(revisions.clone());
                Ok(held.write(record).await?)
            }
            Self::Held(_) | Self::Without { .. } => Ok(()),
        }
    }

    /// What a delete cannot remove without it.
    pub(super) fn not_removed(&self, target: &Target) -> Vec<NotRemoved> {
        match (self, target) {
            (Self::Without { error }, Target::Absent { purge, .. }) => NotRemoved::without_lock(*purge, error),
            (Self::Held(_), _) | (Self::Without { .. }, Target::Present { .. }) => Vec::new(),
        }
    }
}
