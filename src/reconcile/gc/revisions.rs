//! Revisions that nothing references. The process that registered one may have been killed before it wrote that down, and
//! AWS keeps deregistered revisions for ever, with their user's variables, unless they are deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::sleep;

use super::{Fate, Gc, LeftOver, forget_if_new, told};
use crate::aws::{DefinitionPage, RegisteredDefinition, Revisions, fenced};
use crate::domain::service::{Service, ServiceStatus};
use crate::domain::{CurrentDefinition, LABEL_USER, UserId, user_family, with_causes};
use crate::ledger::{Hold, LedgerError};
use crate::reconcile::Reconciler;
use crate::reconcile::error::ConvergeError;

/// How old a revision has to be before it is swept in the background: older than any reading, and older than clocks differ.
/// No operation is about to run it: the process that registered it writes that down under the user's lock before anything
/// else, or touches nothing more.
const GRACE: Duration = Duration::from_secs(60);
/// How long a revision has to have been deregistered before it is deleted in the background.
const DELETED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long to wait for a user's lock that somebody else holds: as long as that one needs to let go after a check.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many revisions one round checks, at one call each, and two for one that seems to belong to nobody.
const MOST_LOOKED_AT: usize = 25;
/// How many revisions are remembered as in order: one for each user, and a second one for some.
const MOST_KNOWN: usize = 50_000;
/// How many revisions one call deletes (aws-facts §1).
const DELETED_AT_A_TIME: usize = 10;
/// How many times, and after which pause, a user is tried again while somebody else holds their lock.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(2);

/// The progress of a sweep.
#[derive(Debug, Default)]
pub struct Sweep {
    /// ARNs that need no second check: whatever happens to them, somebody remembers them.
    known: HashSet<String>,
    /// Other revisions, by ARN: those that are not old enough, and those whose user somebody worked on.
    waits: HashMap<String, Candidate>,
    /// The tokens of the next page of ACTIVE revisions and of the next page of INACTIVE ones.
    next: [Option<String>; 2],
}

impl Sweep {
    /// The time from `now` until the first of the too young revisions is old enough.
    pub(super) fn due_in(&self, now: Timestamp) -> Option<Duration> {
        let due = |one: &Candidate| {
            let grace = i64::try_from(one.status.grace().as_secs()).unwrap_or(i64::MAX);
            let seconds = one.since.as_second().saturating_add(grace).saturating_sub(now.as_second());
            Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        self.waits.values().map(due).min()
    }

    /// The revisions that have waited long enough.
    fn due(&self, status: Revisions, gc: Gc) -> Vec<Candidate> {
        self.waits.values().filter(|one| one.status == status && gc.is_due(one.since)).cloned().collect()
    }

    fn keep_waiting(&mut self, candidate: Candidate) {
        self.waits.insert(candidate.arn.clone(), candidate);
    }
}

impl Revisions {
    /// How long a revision has to have this status before it is swept in the background.
    const fn grace(self) -> Duration {
        match self {
            Self::Active => GRACE,
            Self::Inactive => DELETED_AFTER,
        }
    }
}

/// A revision that may belong to nobody.
#[derive(Debug, Clone)]
struct Candidate {
    user: UserId,
    arn: String,
    status: Revisions,
    since: Timestamp,
}

/// The result of checking a revision.
enum Judged {
    /// Somebody remembers it, or it is gone.
    InOrder,
    /// This service did not make it, whatever its family.
    NotOurs,
    /// It may belong to nobody.
    Candidate(Candidate),
}

impl Reconciler {
    /// One round over a page of ACTIVE revisions and a page of INACTIVE ones. Ages are counted from `now`. Returns how many
    /// revisions it deregistered or deleted.
    ///
    /// # Errors
    /// The reason why it stopped. The next round continues there.
    pub async fn sweep(&self, sweep: &mut Sweep, now: Timestamp) -> Result<usize, ConvergeError> {
        let mut removed = 0;
        for (at, status) in [Revisions::Active, Revisions::Inactive].into_iter().enumerate() {
            let gc = Gc { applies: true, grace: status.grace(), now };
            // Also those of earlier pages.
            let mut candidates = sweep.due(status, gc);
            candidates.extend(self.candidates_of_page(sweep, at, status, gc).await?);
            removed += self.sweep_away(sweep, candidates, gc).await?;
        }
        Ok(removed)
    }

    /// The due revisions of the next page.
    async fn candidates_of_page(
        &self,
        sweep: &mut Sweep,
        at: usize,
        status: Revisions,
        gc: Gc,
    ) -> Result<Vec<Candidate>, ConvergeError> {
        let family = user_family(self.coordinates().base_family.as_str());
        let page = sweep.next.get(at).cloned().flatten();
        let listed = self.aws.ecs.list_revisions_with_spare_capacity(&family, status, page).await?;
        let Some(DefinitionPage { arns, next }) = listed else { return Ok(Vec::new()) };
        if sweep.known.len() + sweep.waits.len() > MOST_KNOWN {
            sweep.known.clear();
            sweep.waits.clear();
        }
        let is_unknown = |arn: &&String| !sweep.known.contains(*arn) && !sweep.waits.contains_key(*arn);
        let unknown: Vec<&String> = arns.iter().filter(is_unknown).collect();
        let mut due = Vec::new();
        for arn in unknown.iter().take(MOST_LOOKED_AT) {
            match self.judge(arn, status).await? {
                Judged::InOrder | Judged::NotOurs => {
                    sweep.known.insert((*arn).clone());
                }
                Judged::Candidate(candidate) if gc.is_due(candidate.since) => due.push(candidate),
                Judged::Candidate(candidate) => sweep.keep_waiting(candidate),
            }
        }
        if unknown.len() <= MOST_LOOKED_AT
            && let Some(place) = sweep.next.get_mut(at)
        {
            *place = next;
        }
        Ok(due)
    }

    async fn sweep_away(&self, sweep: &mut Sweep, due: Vec<Candidate>, gc: Gc) -> Result<usize, ConvergeError> {
        let mut candidates = BTreeMap::<UserId, Vec<Candidate>>::new();
        for candidate in due {
            candidates.entry(candidate.user.clone()).or_default().push(candidate);
        }
        let mut removed = 0;
        for (user, candidates) in candidates {
            for (arn, fate) in self.settle(&user, &candidates, gc, true).await {
                match &fate {
                    Some(Fate::Busy) => {
                        candidates.iter().filter(|one| one.arn == arn).cloned().for_each(|one| sweep.keep_waiting(one));
                        continue;
                    }
                    Some(Fate::Failed(error)) => {
                        tracing::warn!(task_definition = arn, error, "a left-over revision could not be removed");
                    }
                    _ => {}
                }
                sweep.waits.remove(&arn);
                removed += usize::from(fate == Some(Fate::Removed));
                if fate.is_none() {
                    sweep.known.insert(arn);
                }
            }
        }
        Ok(removed)
    }

    /// Finds, and removes if due, everything of the family that nothing references. `in_use` are ARNs that services name.
    pub(super) async fn left_over_revisions(
        &self,
        gc: Gc,
        in_use: &HashSet<String>,
    ) -> Result<Vec<LeftOver>, ConvergeError> {
        let family = user_family(self.coordinates().base_family.as_str());
        let (mut found, mut candidates) = (Vec::new(), BTreeMap::<UserId, Vec<Candidate>>::new());
        for status in [Revisions::Active, Revisions::Inactive] {
            let mut page = None;
            loop {
                let DefinitionPage { arns, next } = self.aws.ecs.list_revisions(&family, status, page).await?;
                for arn in arns.iter().filter(|arn| !in_use.contains(*arn)) {
                    match self.judge(arn, status).await? {
                        Judged::InOrder => {}
                        Judged::NotOurs => found.push(LeftOver {
                            kind: "task_definition",
                            id: arn.clone(),
                            user: None,
                            why: "it is in the family, but does not carry this service's marks or names another file system",
                            fate: Fate::NotOurs,
                        }),
                        Judged::Candidate(candidate) => {
                            candidates.entry(candidate.user.clone()).or_default().push(candidate);
                        }
                    }
                }
                page = next;
                if page.is_none() {
                    break;
                }
            }
        }
        for (user, mut candidates) in candidates {
            for tried in 0..=TRIES {
                let settled = self.settle(&user, &candidates, gc, false).await;
                // Somebody works on the user, or there was no spare capacity. Nobody waits for this clean-up, so it waits
                // for them.
                let waits = |fate: &Option<Fate>| gc.applies && tried < TRIES && *fate == Some(Fate::Busy);
                candidates.retain(|one| settled.iter().any(|(arn, fate)| *arn == one.arn && waits(fate)));
                for (arn, fate) in settled.into_iter().filter(|(_, fate)| !waits(fate)) {
                    let user = Some(user.clone());
                    let why = "no service names it and nobody remembers it";
                    if let Some(fate) = fate {
                        told(&mut found, LeftOver { kind: "task_definition", id: arn, user, why, fate });
                    }
                }
                if candidates.is_empty() {
                    break;
                }
                sleep(PAUSE).await;
            }
        }
        Ok(found)
    }

    async fn judge(&self, arn: &str, status: Revisions) -> Result<Judged, ConvergeError> {
        let Some(RegisteredDefinition { document, .. }) = self.aws.ecs.describe_definition_in_bulk(arn).await? else {
            return Ok(Judged::InOrder);
        };
        // Another environment may have users of the same family and names, with its own cluster and file system.
        let at = self.coordinates();
        let is_ours = |user: &UserId| {
            let parsed = CurrentDefinition::parse(&document, user);
            parsed.is_ok_and(|current| current.file_system_id.as_deref() == Some(&*at.file_system_id))
        };
        let Some(user) = owner(&document).filter(is_ours) else {
            return Ok(Judged::NotOurs);
        };
        let member = match status {
            Revisions::Active => "registeredAt",
            Revisions::Inactive => "deregisteredAt",
        };
        // A revision without a date counts as new.
        let since = document[member].as_f64().and_then(|at| Timestamp::from_second(at as i64).ok());
        let since = since.unwrap_or(Timestamp::MAX);
        Ok(Judged::Candidate(Candidate { user, arn: arn.to_owned(), status, since }))
    }

    /// Decides, under the user's lock, about revisions of one user, and removes those that are due; `None`: something
    /// references the revision after all.
    async fn settle(
        &self,
        user: &UserId,
        candidates: &[Candidate],
        gc: Gc,
        in_background: bool,
    ) -> Vec<(String, Option<Fate>)> {
        let all = |fate: Fate| candidates.iter().map(|one| (one.arn.clone(), Some(fate.clone()))).collect();
        let mut held = match self.ledger.acquire(user, PATIENCE).await {
            Ok(held) => held,
            Err(LedgerError::Busy { .. } | LedgerError::NotUnderstood { .. }) => return all(Fate::Busy),
            Err(error) => return all(Fate::Failed(with_causes(&error))),
        };
        let mut settled = Vec::new();
        let ended = self.settle_under_lock(user, candidates, gc, in_background, held.as_mut(), &mut settled).await;
        forget_if_new(held).await;
        if let Err(error) = ended {
            // What was settled before the error stays settled.
            let left = candidates.iter().filter(|one| settled.iter().all(|(arn, _)| *arn != one.arn));
            let failed: Vec<_> = left.map(|one| (one.arn.clone(), Some(Fate::Failed(with_causes(&error))))).collect();
            settled.extend(failed);
        }
        settled
    }

    async fn settle_under_lock(
        &self,
        user: &UserId,
        candidates: &[Candidate],
        gc: Gc,
        in_background: bool,
        held: &mut dyn Hold,
        settled: &mut Vec<(String, Option<Fate>)>,
    ) -> Result<(), ConvergeError> {
        let cluster = self.coordinates().cluster;
        let found = self.aws.ecs.describe_services(&cluster, &[user.service_name()]).await?;
        let service = found.first().filter(|service| service.status != ServiceStatus::Inactive);
        let record = held.record().clone();
        let is_remembered = |one: &Candidate| {
            let is_accepted = record.accepted.as_ref().is_some_and(|accepted| accepted.task_definition == one.arn);
            is_accepted || one.status == Revisions::Active && record.revisions.contains(&one.arn)
        };
        let mut due = Vec::new();
        for one in candidates {
            let fate = match service {
                _ if is_remembered(one) => None,
                Some(service) if names(service, &one.arn) => None,
                Some(service) if service.status == ServiceStatus::Draining => Some(Fate::Busy),
                Some(_) | None if !gc.is_due(one.since) => Some(Fate::Waits),
                Some(_) | None if !gc.applies => Some(Fate::Due),
                Some(_) | None => {
                    due.push(one);
                    continue;
                }
            };
            settled.push((one.arn.clone(), fate));
        }
        let mut deletable = Vec::new();
        for one in due {
            if one.status == Revisions::Inactive {
                deletable.push(one.arn.clone());
                continue;
            }
            held.verify().await?;
            let fence = held.fence();
            // A user's lock must not be held while other calls go first.
            let deregister = self.aws.ecs.deregister_with_spare_capacity(&one.arn);
            let is_done = match fenced(Arc::new(move || fence.is_recent()), deregister).await {
                Ok(is_done) => is_done,
                Err(error) => {
                    settled.push((one.arn.clone(), Some(Fate::Failed(with_causes(&error)))));
                    continue;
                }
            };
            if is_done {
                tracing::info!(task_definition = one.arn, user_id = %user, "deregistered a revision that nothing names");
            }
            match (is_done, in_background) {
                (false, _) => settled.push((one.arn.clone(), Some(Fate::Busy))),
                // It is deleted once it has been deregistered for a while.
                (true, true) => settled.push((one.arn.clone(), Some(Fate::Removed))),
                (true, false) => deletable.push(one.arn.clone()),
            }
        }
        for arns in deletable.chunks(DELETED_AT_A_TIME) {
            held.verify().await?;
            let fence = held.fence();
            let delete = self.aws.ecs.delete_task_definitions(arns);
            let kept = match fenced(Arc::new(move || fence.is_recent()), delete).await {
                Ok(kept) => kept,
                Err(error) => arns.iter().map(|arn| (arn.clone(), with_causes(&error))).collect(),
            };
            let revisions = arns.len() - kept.len().min(arns.len());
            if revisions > 0 {
                tracing::info!(user_id = %user, revisions, "deleted revisions that nothing names");
            }
            for arn in arns {
                let why = kept.iter().find(|(kept, _)| kept == arn).map(|(_, why)| why.clone());
                settled.push((arn.clone(), Some(why.map_or(Fate::Removed, Fate::Failed))));
            }
        }
        let removed: HashSet<&String> =
            settled.iter().filter(|(_, fate)| *fate == Some(Fate::Removed)).map(|(arn, _)| arn).collect();
        if record.deregistered.iter().any(|arn| removed.contains(arn)) {
            let mut after = record.clone();
            after.deregistered.retain(|arn| !removed.contains(arn));
            if let Err(error) = held.write(after).await {
                // The next round looks for them once more, and finds that they are gone.
                tracing::warn!(user_id = %user, error = %with_causes(&error), "the deletion of revisions could not be written down");
            }
        }
        Ok(())
    }
}

/// Whether a service runs it, is about to run it, or may go back to it.
pub(super) fn names(service: &Service, arn: &str) -> bool {
    let deployed = service.deployments.iter().any(|deployment| deployment.task_definition == arn);
    service.task_definition == arn || deployed
}

/// The user that its label names.
pub(in crate::reconcile) fn owner(document: &Value) -> Option<UserId> {
    let containers = document["containerDefinitions"].as_array()?;
    let label = containers.iter().find_map(|container| container["dockerLabels"][LABEL_USER].as_str())?;
    UserId::parse(label).ok()
}
