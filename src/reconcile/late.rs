//! A change that was on its way to ECS when its lock was lost. Nothing at AWS refuses it: if it arrives after the next
//! holder's changes, it undoes them. So the replica that sent it looks again, and puts back what ECS had accepted from the
//! next holder.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;

use super::Reconciler;
use super::converge::forget;
use super::error::ConvergeError;
use crate::aws::{Class, Scope, ServiceChange, fenced};
use crate::domain::service::{Service, ServiceStatus};
use crate::domain::{Accepted, UserId, with_causes};

/// A second look follows the first one, when no request can still be on its way: an attempt takes some seconds at most.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_secs(25);
/// How often each look is tried; the pause after the first failure, which doubles, follows.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(2);

impl Reconciler {
    /// Puts back what `late` undid, once readings show whether it did.
    pub(super) fn put_back_later(self: &Arc<Self>, user: &UserId, late: ServiceChange) {
        let (this, user) = (Arc::clone(self), user.clone());
        let span = tracing::error_span!(parent: None, "put_back", user_id = %user);
        let work = async move {
            for pause in [this.options.settled_after, LOOKS_AGAIN_AFTER] {
                // A process that shuts down has sent everything, and looks at once.
                drop(timeout(pause, this.stopping.cancelled()).await);
                this.try_to_put_back(&user, &late).await;
            }
        };
        self.running.spawn(work.instrument(span));
    }

    async fn try_to_put_back(&self, user: &UserId, late: &ServiceChange) {
        let mut pause = FIRST_PAUSE;
        for _ in 0..TRIES {
            match Box::pin(self.put_back(user, late)).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(error = %with_causes(&error), "not put back yet"),
            }
            if self.stopping.is_cancelled() {
                break;
            }
            sleep(pause).await;
            pause *= 2;
        }
        tracing::error!("a change may have reached ECS after another replica's, and could not be put back");
    }

    async fn put_back(&self, user: &UserId, late: &ServiceChange) -> Result<(), ConvergeError> {
        let at = self.coordinates();
        let mut held = self.ledger.acquire(user, self.options.deadline).await?;
        if held.is_new() {
            // The user was deleted since.
            forget(held).await;
            return Ok(());
        }
        let Some(accepted) = held.record().accepted.clone() else { return Ok(()) };
        let fence = held.fence();
        let scope = Scope::new(Class::Interactive, Instant::now() + self.options.deadline);
        let change = async {
            let read = self.aws.ecs.describe_service(&at.cluster, &user.service_name()).await?;
            let Some(change) = read.and_then(|read| undoing(late, &accepted, &read)) else { return Ok(None) };
            held.verify().await?;
            let answer = self.aws.ecs.update_service(&at.cluster, &user.service_name(), &change).await?;
            Ok::<_, ConvergeError>(Some((change, answer)))
        };
        let done = scope.run(fenced(Arc::new(move || fence.is_recent()), change)).await?;
        let Some((change, answer)) = done else { return Ok(()) };
        tracing::warn!(
            task_definition = change.task_definition,
            desired = change.desired_count,
            "a change reached ECS after its lock was lost; put back what another replica had set"
        );
        let accepted = Accepted::of(&answer, Timestamp::now().as_millisecond());
        self.changes.note(user, accepted.clone());
        let mut record = held.record().clone();
        record.accepted = Some(accepted);
        Ok(held.write(record).await?)
    }
}

/// The change that restores what was accepted, where the service shows the late change instead.
fn undoing(late: &ServiceChange, accepted: &Accepted, read: &Service) -> Option<ServiceChange> {
    if accepted.deleted || read.status != ServiceStatus::Active {
        return None;
    }
    let runs_late = late.task_definition.as_ref() == Some(&read.task_definition);
    let task_definition =
        (runs_late && read.task_definition != accepted.task_definition).then(|| accepted.task_definition.clone());
    let counts_late = late.desired_count == Some(read.desired);
    let desired_count = (counts_late && read.desired != accepted.desired).then_some(accepted.desired);
    let is_undone = task_definition.is_some() || desired_count.is_some();
    is_undone.then(|| ServiceChange { task_definition, desired_count, ..ServiceChange::default() })
}
