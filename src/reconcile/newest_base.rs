//! The newest base. AWS's answer to a bare family may be from before a registration (aws-facts §3), and rendering from that
//! would report a false success. So the answer is compared with everything else that is known, and the newest ACTIVE
//! revision wins.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Reconciler;
use crate::aws::{AwsError, ErrorKind, RegisteredDefinition};
use crate::domain::service::revision;

/// The newest ACTIVE base that this process has seen.
#[derive(Debug, Default)]
pub(super) struct NewestBase {
    seen: Mutex<Option<String>>,
    /// The last list, and when it was asked for. Callers that came before that share it, so that many at a time cost one
    /// call.
    listed: tokio::sync::Mutex<Option<(Instant, Option<String>)>>,
}

impl NewestBase {
    fn of(&self, family: &str) -> Option<u64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_deref().and_then(|seen| number(seen, family))
    }

    /// Remembers a base, also one older than before: then the newer one is no longer ACTIVE, and never will be again.
    fn saw(&self, arn: &str) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(arn.to_owned());
    }
}

/// The number of a revision, if it is one of that family.
fn number(arn: &str, family: &str) -> Option<u64> {
    let short = arn.rsplit('/').next().unwrap_or(arn);
    revision(short).filter(|(of, _)| *of == family).map(|(_, number)| number)
}

impl Reconciler {
    /// The newest ACTIVE revision as ECS lists them now.
    async fn newest_listed(&self, family: &str) -> Result<Option<String>, AwsError> {
        let came = Instant::now();
        let mut last = self.newest_base.listed.lock().await;
        if let Some((asked, listed)) = &*last
            && *asked > came
        {
            return Ok(listed.clone());
        }
        let asked = Instant::now();
        let listed = self.aws.ecs.newest_revision(family).await?;
        *last = Some((asked, listed.clone()));
        Ok(listed)
    }

    /// The newest ACTIVE revision known from the answer to the bare family, from the list of its revisions, and from what
    /// was seen before. Where they differ, each is described by its number, newest first, and says itself whether it is
    /// ACTIVE.
    pub(super) async fn newest_active(
        &self,
        family: &str,
        known: Option<&str>,
    ) -> Result<Option<RegisteredDefinition>, AwsError> {
        let (described, listed) =
            tokio::join!(self.aws.ecs.describe_task_definition(family), self.newest_listed(family));
        let described = described?.filter(RegisteredDefinition::is_active);
        let listed = match listed {
            Ok(listed) => listed,
            // Some roles may not list, and some emulators cannot.
            Err(error) if error.kind() == ErrorKind::Denied || error.is_not_implemented() => {
                tracing::warn!(%error, family, "the revisions of the base could not be listed; the newest may not show yet");
                None
            }
            Err(error) => return Err(error),
        };
        let answer = described.as_ref().and_then(|described| number(&described.arn, family));
        let told = [answer, listed.as_deref().and_then(|arn| number(arn, family)), self.newest_base.of(family)];
        let known = known.and_then(|arn| number(arn, family));
        let all: BTreeSet<u64> = told.into_iter().chain([known]).flatten().collect();
        // An older revision that is listed, or that a user has, is no reason to doubt a newer one that is answered. One that
        // the list no longer has is a reason.
        let is_agreed = answer.is_some() && all.last() == answer.as_ref() && listed_agrees(&listed, answer, family);
        if is_agreed || all.is_empty() {
            return Ok(described.inspect(|found| self.newest_base.saw(&found.arn)));
        }
        for number in all.into_iter().rev() {
            let found = self.aws.ecs.describe_task_definition(&format!("{family}:{number}")).await?;
            if let Some(found) = found.filter(RegisteredDefinition::is_active) {
                self.newest_base.saw(&found.arn);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Whether the newest revision of the list is the one that was answered, or the list is empty.
fn listed_agrees(listed: &Option<String>, answer: Option<u64>, family: &str) -> bool {
    listed.as_deref().and_then(|arn| number(arn, family)).is_none_or(|listed| Some(listed) == answer)
}
