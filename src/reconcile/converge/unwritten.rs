//! Revisions that a process registered which was killed before it could write that down. The user's next converge takes them up: it
//! would register another one, for the same change.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::aws::RegisteredDefinition;
use crate::domain::{Coordinates, CurrentDefinition, UserId, user_family};
use crate::reconcile::Reconciler;
use crate::reconcile::error::ConvergeError;
use crate::reconcile::gc::owner;

/// How much earlier than it was begun a registration may seem to AWS: more than clocks differ.
const CLOCKS_DIFFER_SECONDS: i64 = 60;
/// Revisions that are described at a time, the newest first.
const AT_A_TIME: usize = 10;

/// What this process knows of registrations whose end is not written down.
#[derive(Debug, Default)]
pub(in crate::reconcile) struct Unwritten {
    /// What the newest revisions of the family say of themselves, by ARN: no more than are on one page. After a kill, many users may
    /// look at them.
    newest: Mutex<HashMap<String, Says>>,
    /// Registrations that were announced here and never begun, where the file system did not take that in: by user, when they were
    /// announced.
    never_begun: std::sync::Mutex<HashMap<UserId, i64>>,
}

impl Unwritten {
    /// Notes that what was announced at that time was never begun.
    pub(super) fn never_begun(&self, user: &UserId, since: i64) {
        self.never_begun.lock().unwrap_or_else(PoisonError::into_inner).insert(user.clone(), since);
    }

    /// Whether what was announced at that time may have been begun. Asked once: whoever asks announces the next.
    fn may_have_begun(&self, user: &UserId, since: i64) -> bool {
        self.never_begun.lock().unwrap_or_else(PoisonError::into_inner).remove(user) != Some(since)
    }
}

/// What a revision says of itself.
#[derive(Debug)]
struct Says {
    user: Option<UserId>,
    file_system_id: Option<String>,
    /// In seconds of the Unix epoch.
    registered_at: Option<f64>,
}

impl Says {
    fn of(found: &RegisteredDefinition) -> Self {
        let user = owner(&found.document);
        let revision = user.as_ref().and_then(|user| CurrentDefinition::parse(&found.document, user).ok());
        let file_system_id = revision.and_then(|revision| revision.file_system_id);
        Self { user, file_system_id, registered_at: found.document["registeredAt"].as_f64() }
    }
}

impl Reconciler {
    /// ARNs of revisions of the user that were registered since about `since`, in milliseconds of the Unix epoch. Among the newest of
    /// the family alone, which all users share: whoever looks later than a hundred registrations leaves it to the sweep of revisions
    /// that nobody remembers.
    pub(super) async fn unwritten_revisions(
        &self,
        at: &Coordinates,
        user: &UserId,
        since: i64,
        cancelled: &CancellationToken,
    ) -> Result<Vec<String>, ConvergeError> {
        if !self.unwritten.may_have_begun(user, since) {
            return Ok(Vec::new());
        }
        // A registration of a moment ago may not show. However this clock is set, it is not waited for longer.
        let passed = Timestamp::now().as_millisecond().saturating_sub(since);
        let passed = Duration::from_millis(u64::try_from(passed).unwrap_or_default());
        tokio::select! {
            () = sleep(self.options.settled_after.saturating_sub(passed)) => {}
            () = self.stopping.cancelled() => return Err(ConvergeError::ShuttingDown),
            () = cancelled.cancelled() => return Err(ConvergeError::Cancelled),
        }
        let mut known = self.unwritten.newest.lock().await;
        let newest = self.aws.ecs.newest_revisions(&user_family(at.base_family.as_str())).await?;
        known.retain(|arn, _| newest.contains(arn));
        let oldest = (since.div_euclid(1_000) - CLOCKS_DIFFER_SECONDS) as f64;
        let mut unwritten = Vec::new();
        for arns in newest.chunks(AT_A_TIME) {
            let unknown: Vec<&String> = arns.iter().filter(|arn| !known.contains_key(*arn)).collect();
            let described = unknown.into_iter().map(|arn| async move {
                let found = self.aws.ecs.describe_task_definition(arn).await?;
                Ok::<_, ConvergeError>(found.map(|found| (arn.clone(), Says::of(&found))))
            });
            known.extend(try_join_all(described).await?.into_iter().flatten());
            let says = || arns.iter().filter_map(|arn| Some((arn, known.get(arn)?)));
            let is_theirs = |says: &Says| {
                says.user.as_ref() == Some(user) && says.file_system_id.as_deref() == Some(&*at.file_system_id)
            };
            unwritten.extend(says().filter(|(_, says)| is_theirs(says)).map(|(arn, _)| arn.clone()));
            if says().any(|(_, says)| says.registered_at.is_some_and(|registered| registered < oldest)) {
                break;
            }
        }
        tracing::info!(user_id = %user, revisions = ?unwritten, "a registration may not have been written down; these were found");
        Ok(unwritten)
    }
}
