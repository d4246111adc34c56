//! Revisions that a process registered without writing them down, because it was killed. The user's next converge uses them;
//! otherwise it would register another one for the same change.

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

/// How much earlier than its recorded beginning AWS may date a registration: more than clocks differ.
const CLOCKS_DIFFER_SECONDS: i64 = 60;
/// How many revisions are described at a time, the newest first.
const AT_A_TIME: usize = 10;

/// What this process knows of registrations whose result is not written down.
#[derive(Debug, Default)]
pub(in crate::reconcile) struct Unwritten {
    /// What the newest revisions of the family say of themselves, by ARN: one page at most. They are kept because many users may
    /// look at them after a kill.
    newest: Mutex<HashMap<String, Says>>,
    /// Users for whom this process noted a registration that never began, and could not clear the note. The value is the noted
    /// time.
    never_begun: std::sync::Mutex<HashMap<UserId, i64>>,
}

impl Unwritten {
    /// Remembers that nothing is left of the registration noted at `since`: it never began, or what it made is gone.
    pub(super) fn never_begun(&self, user: &UserId, since: i64) {
        self.never_begun.lock().unwrap_or_else(PoisonError::into_inner).insert(user.clone(), since);
    }

    /// Whether the registration noted at `since` may have begun. Forgets the user: the caller writes the next note.
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
    /// ARNs of the user's revisions that were registered since about `since`, in milliseconds of the Unix epoch. It looks
    /// only at the newest revisions of the family, which all users share. After a hundred further registrations, the sweep
    /// of revisions that nobody remembers has to find them.
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
        // A registration of a moment ago may not show. Wherever this clock is set, the wait is never longer than this.
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
        tracing::info!(user_id = %user, revisions = ?unwritten, "a registration may not have been written down; looked for its revisions");
        Ok(unwritten)
    }
}
