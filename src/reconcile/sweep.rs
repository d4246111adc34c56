//! Revisions that nobody remembers: whoever registered them was killed before they could be written down. They say themselves
//! whose they are, so they are found by listing the user family: in the background, a few at a time, from left-over capacity.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::Reconciler;
use super::error::ConvergeError;
use crate::aws::{DefinitionPage, RegisteredDefinition, fenced};
use crate::domain::service::{Service, ServiceStatus};
use crate::domain::{CurrentDefinition, LABEL_USER, UserId, user_family, with_causes};
use crate::ledger::{Hold, LedgerError};

/// How often a page of the family is looked at.
const EVERY: Duration = Duration::from_secs(300);
/// How old a revision has to be. Far older than any operation becomes, so that none is about to run it.
const GRACE: Duration = Duration::from_secs(3600);
/// How long a user is waited for whom somebody works on: as long as it takes to let go of one after a look.
const PATIENCE: Duration = Duration::from_secs(1);
/// Revisions that are looked at in one round, at one call each and two for one that seems to be nobody's.
const MOST_LOOKED_AT: usize = 25;
/// Revisions that are remembered to be in order: one for each user, and a second one for some.
const MOST_KNOWN: usize = 50_000;

/// How far a sweep has come.
#[derive(Debug, Default)]
pub struct Sweep {
    /// ARNs that need no second look: whatever becomes of them, somebody remembers them.
    known: HashSet<String>,
    /// What asks for the next page.
    next: Option<String>,
}

impl Reconciler {
    /// Sweeps until the process goes down.
    pub fn sweep_in_background(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.running.spawn(async move {
            let mut sweep = Sweep::default();
            loop {
                // Replicas that started together do not look together.
                let pause = EVERY.mul_f64(0.5 + fastrand::f64());
                tokio::select! {
                    () = this.stopping.cancelled() => return,
                    () = sleep(pause) => {}
                }
                if let Err(error) = this.sweep(&mut sweep, Timestamp::now()).await {
                    tracing::warn!(error = %with_causes(&error), "left-over revisions could not be looked for");
                }
            }
        });
    }

    /// One round; `now` is what ages are counted from. Says how many revisions it deregistered.
    ///
    /// # Errors
    /// What kept it from going on. The next round goes on where this one stopped.
    pub async fn sweep(&self, sweep: &mut Sweep, now: Timestamp) -> Result<usize, ConvergeError> {
        let at = self.coordinates();
        let family = user_family(at.base_family.as_str());
        let listed = self.aws.ecs.list_revisions_with_spare_capacity(&family, sweep.next.clone()).await?;
        let Some(DefinitionPage { arns, next }) = listed else { return Ok(0) };
        if sweep.known.len() > MOST_KNOWN {
            sweep.known.clear();
        }
        let unknown: Vec<&String> = arns.iter().filter(|arn| !sweep.known.contains(*arn)).collect();
        let mut deregistered = 0;
        for arn in unknown.iter().take(MOST_LOOKED_AT) {
            match self.judge(&at.cluster, arn, now).await? {
                Judged::InOrder => {
                    sweep.known.insert((*arn).clone());
                }
                Judged::Deregistered => deregistered += 1,
                Judged::NotNow => {}
            }
        }
        if unknown.len() <= MOST_LOOKED_AT {
            sweep.next = next;
        }
        Ok(deregistered)
    }

    async fn judge(&self, cluster: &str, arn: &str, now: Timestamp) -> Result<Judged, ConvergeError> {
        let Some(RegisteredDefinition { document, .. }) = self.aws.ecs.describe_definition_in_bulk(arn).await? else {
            return Ok(Judged::InOrder);
        };
        let Some(user) = owner(&document).filter(|user| CurrentDefinition::parse(&document, user).is_ok()) else {
            // Not made by this service, whatever its family.
            return Ok(Judged::InOrder);
        };
        let registered_at = document["registeredAt"].as_f64().unwrap_or(f64::MAX);
        if registered_at + GRACE.as_secs_f64() > now.as_second() as f64 {
            return Ok(Judged::NotNow);
        }
        let held = match self.ledger.acquire(&user, PATIENCE).await {
            Ok(held) => held,
            Err(LedgerError::Busy { .. }) => return Ok(Judged::NotNow),
            Err(error) => return Err(error.into()),
        };
        let judged = self.judge_under_lock(cluster, arn, &user, held.as_ref()).await;
        // Whoever is gone stays so: a lock file says that there may be something.
        if held.is_new()
            && let Err(error) = held.remove().await
        {
            tracing::warn!(error = %with_causes(&error), "a lock file stays behind");
        }
        judged
    }

    async fn judge_under_lock(
        &self,
        cluster: &str,
        arn: &str,
        user: &UserId,
        held: &dyn Hold,
    ) -> Result<Judged, ConvergeError> {
        let record = held.record();
        let is_accepted = record.accepted.as_ref().is_some_and(|accepted| accepted.task_definition == arn);
        if record.revisions.contains(arn) || is_accepted {
            return Ok(Judged::InOrder);
        }
        let found = self.aws.ecs.describe_services(cluster, &[user.service_name()]).await?;
        match found.first().filter(|service| service.status != ServiceStatus::Inactive) {
            Some(service) if names(service, arn) => return Ok(Judged::InOrder),
            Some(service) if service.status == ServiceStatus::Draining => return Ok(Judged::NotNow),
            Some(_) | None => {}
        }
        held.verify().await?;
        let fence = held.fence();
        let deregister = self.aws.ecs.deregister_with_spare_capacity(arn);
        let done = fenced(Arc::new(move || fence.is_recent()), deregister).await?;
        if done {
            tracing::info!(task_definition = arn, user_id = %user, "deregistered a revision that nothing names");
        }
        Ok(if done { Judged::Deregistered } else { Judged::NotNow })
    }
}

/// What a look at a revision came to.
enum Judged {
    /// Somebody remembers it, or it is not ours.
    InOrder,
    /// Nothing names it, and it is gone.
    Deregistered,
    /// To be looked at again.
    NotNow,
}

/// Whether a service runs it, is about to, or may go back to it.
fn names(service: &Service, arn: &str) -> bool {
    let deployed = service.deployments.iter().any(|deployment| deployment.task_definition == arn);
    service.task_definition == arn || deployed
}

/// Whose it says that it is.
fn owner(document: &serde_json::Value) -> Option<UserId> {
    let containers = document["containerDefinitions"].as_array()?;
    let label = containers.iter().find_map(|container| container["dockerLabels"][LABEL_USER].as_str())?;
    UserId::parse(label).ok()
}
