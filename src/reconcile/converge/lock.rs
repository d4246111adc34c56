//! The user's lock during a converge, or the lack of it.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use crate::aws::MaySend;
use crate::domain::service::revision;
use crate::domain::{Accepted, Coordinates, UserId, user_family};
use crate::files::Fence;
use crate::ledger::{Hold, LedgerError, PendingSlot, RememberedAccessPoint};
use crate::reconcile::error::ConvergeError;
use crate::reconcile::plan::{NotRemoved, Observed};
use crate::reconcile::target::Target;

/// How many deregistered revisions of a user are remembered: a record has room for about three hundred ARNs.
const MOST_DEREGISTERED: usize = 150;

/// The lock under which a converge works.
#[derive(Debug)]
pub(in crate::reconcile) enum Lock {
    /// The user's lock.
    Held(Box<dyn Hold>),
    /// None: it could not be taken, and the target needs no files.
    Without {
        /// Why.
        error: String,
    },
}

impl Lock {
    /// Whether no container of the user is remembered.
    pub(super) fn is_new(&self) -> bool {
        match self {
            Self::Held(held) => held.is_new() || held.record().is_of_deleted(),
            Self::Without { .. } => false,
        }
    }

    /// Why there is no lock.
    pub(super) fn missing(&self) -> Option<String> {
        match self {
            Self::Held(_) => None,
            Self::Without { error } => Some(error.clone()),
        }
    }

    /// Where accepted work of the user is kept.
    pub(super) fn pending(&self) -> Option<Arc<dyn PendingSlot>> {
        match self {
            Self::Held(held) => Some(held.pending()),
            Self::Without { .. } => None,
        }
    }

    /// Checks that the lock is still held.
    pub(super) async fn verify(&self) -> Result<(), ConvergeError> {
        match self {
            Self::Held(held) => Ok(held.verify().await?),
            Self::Without { .. } => Ok(()),
        }
    }

    /// The fence that guards changes of files.
    pub(super) fn fence(&self) -> Option<Arc<dyn Fence>> {
        match self {
            Self::Held(held) => Some(held.fence()),
            Self::Without { .. } => None,
        }
    }

    /// Whether a call that changes something may be sent to AWS now. It is asked before each such call.
    pub(super) fn may_send(&self) -> MaySend {
        match self.fence() {
            Some(fence) => Arc::new(move || fence.is_recent()),
            None => Arc::new(|| true),
        }
    }

    /// Completes when the lock is lost.
    pub(super) fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self {
            Self::Held(held) => held.lost(),
            Self::Without { .. } => Box::pin(pending()),
        }
    }

    /// The user's remembered revisions. Those that are no revision of our user family are ignored.
    pub(super) fn revisions(&self, at: &Coordinates, user: &UserId) -> BTreeSet<String> {
        let Self::Held(held) = self else { return BTreeSet::new() };
        let ours = format!("/{}", user_family(at.base_family.as_str()));
        let is_ours = |arn: &&String| revision(arn).is_some_and(|(family, _)| family.ends_with(&ours));
        let (known, unknown): (Vec<&String>, Vec<&String>) = held.record().revisions.iter().partition(is_ours);
        if !unknown.is_empty() {
            tracing::warn!(user_id = %user, ?unknown, "remembered revisions are not of the user family; ignored");
        }
        known.into_iter().cloned().collect()
    }

    /// The desired count after a replacement that was interrupted.
    pub(super) fn resume(&self) -> Option<u32> {
        match self {
            Self::Held(held) => held.record().resume,
            Self::Without { .. } => None,
        }
    }

    /// When the user's own role was last made another one, where that was not long ago.
    pub(super) fn role_changed_at(&self) -> Option<i64> {
        match self {
            Self::Held(held) => held.record().role_changed_at,
            Self::Without { .. } => None,
        }
    }

    /// When a registration was begun whose end is not known.
    pub(super) fn registering(&self) -> Option<i64> {
        match self {
            Self::Held(held) => held.record().registering,
            Self::Without { .. } => None,
        }
    }

    /// The user's remembered deregistered revisions.
    pub(super) fn deregistered(&self) -> BTreeSet<String> {
        match self {
            Self::Held(held) => held.record().deregistered.clone(),
            Self::Without { .. } => BTreeSet::new(),
        }
    }

    pub(super) fn remembers(&self, arn: &str) -> bool {
        match self {
            Self::Held(held) => held.record().revisions.contains(arn),
            Self::Without { .. } => false,
        }
    }

    /// What ECS last accepted for the user, as far as it is remembered.
    pub(super) fn accepted(&self) -> Option<Accepted> {
        match self {
            Self::Held(held) => held.record().accepted.clone(),
            Self::Without { .. } => None,
        }
    }

    /// The user's remembered access point, if it is on that file system.
    pub(super) fn access_point(&self, file_system_id: &str) -> Option<String> {
        let Self::Held(held) = self else { return None };
        let remembered = held.record().access_point.as_ref();
        remembered.filter(|point| point.file_system_id == file_system_id).map(|point| point.id.clone())
    }

    /// Writes down what is known of the user, if it has changed. `registering`: when a registration began whose result is
    /// not known.
    pub(super) async fn remember(
        &mut self,
        at: &Coordinates,
        observed: &Observed,
        registering: Option<i64>,
    ) -> Result<(), ConvergeError> {
        let Self::Held(held) = self else { return Ok(()) };
        let Observed { revisions, deregistered, resume, accepted, access_point_id, .. } = observed;
        let mut record = held.record().with_revisions(revisions.clone());
        let newest_first = |arn: &&String| std::cmp::Reverse(revision(arn).map(|(_, number)| number));
        let mut kept: Vec<&String> = deregistered.iter().collect();
        kept.sort_by_key(newest_first);
        record.deregistered = kept.into_iter().take(MOST_DEREGISTERED).cloned().collect();
        (record.resume, record.registering) = (*resume, registering);
        record.role_changed_at = observed.role_changed_at;
        record.accepted = accepted.clone().or(record.accepted);
        if let Some(id) = access_point_id.clone() {
            record.access_point = Some(RememberedAccessPoint { id, file_system_id: at.file_system_id.clone() });
        }
        match *held.record() == record {
            true => Ok(()),
            false => Ok(held.write(record).await?),
        }
    }

    /// Clears the note that a registration began, which a new user's record starts with. The error comes with the time that the
    /// note still says.
    pub(super) async fn registers_nothing(&mut self) -> Result<(), (i64, LedgerError)> {
        let Self::Held(held) = self else { return Ok(()) };
        let mut record = held.record().clone();
        match record.registering.take() {
            Some(since) => held.write(record).await.map_err(|error| (since, error)),
            None => Ok(()),
        }
    }

    /// What a delete cannot remove without the lock.
    pub(super) fn not_removed(&self, target: &Target) -> Vec<NotRemoved> {
        match (self, target) {
            (Self::Without { error }, Target::Absent { purge, .. }) => NotRemoved::without_lock(*purge, error),
            (Self::Held(_), _) | (Self::Without { .. }, Target::Present { .. }) => Vec::new(),
        }
    }
}
