//! What users who have nothing else have left: services, access points, locks, and notes of work that has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Fate, Gc, LeftOver, There};
use crate::aws::{DESCRIBED_SERVICES, FoundAccessPoint};
use crate::domain::service::ServiceStatus;
use crate::domain::user_id::SERVICE_PREFIX;
use crate::domain::{TAG_BASE_FAMILY, TAG_USER, UserId, hide_access_points, with_causes};
use crate::ledger::{Hold, LedgerError};
use crate::reconcile::error::ConvergeError;
use crate::reconcile::{Caller, Reconciler, SignInChange, Target};

/// How long a user is waited for whom somebody works on.
const PATIENCE: Duration = Duration::from_secs(1);
const SERVICE: &str = "service";
const ACCESS_POINT: &str = "access_point";
const LOCK: &str = "lock";
const PENDING: &str = "pending";

/// What there is of a user without a service.
#[derive(Debug, Default)]
struct Left {
    access_points: Vec<FoundAccessPoint>,
    is_locked: bool,
    has_ended: bool,
}

impl Reconciler {
    /// The services of the cluster that carry the marks of users, and those with a name like theirs that do not.
    pub(super) async fn there(&self) -> Result<There, ConvergeError> {
        let cluster = self.coordinates().cluster;
        let (mut names, mut page) = (BTreeSet::new(), None);
        loop {
            let listed = self.aws.ecs.list_services(&cluster, page).await?;
            names.extend(listed.names.into_iter().filter(|name| name.starts_with(SERVICE_PREFIX)));
            page = listed.next;
            if page.is_none() {
                break;
            }
        }
        let names: Vec<String> = names.into_iter().collect();
        let mut there = There::default();
        for names in names.chunks(DESCRIBED_SERVICES) {
            for (service, tag) in self.aws.ecs.describe_tagged_services(&cluster, names, TAG_USER).await? {
                if service.status == ServiceStatus::Inactive {
                    continue;
                }
                let deployed = service.deployments.iter().map(|deployment| &deployment.task_definition);
                there.revisions.extend(deployed.chain([&service.task_definition]).cloned());
                let user = tag.and_then(|tag| UserId::parse(&tag).ok());
                match user.filter(|user| user.service_name() == service.name) {
                    Some(user) => {
                        there.users.insert(user, service.created_at_seconds);
                    }
                    None => there.not_ours.push(LeftOver {
                        kind: SERVICE,
                        id: service.name,
                        user: None,
                        why: "it has a name like those of users and carries no user",
                        fate: Fate::NotOurs,
                    }),
                }
            }
        }
        Ok(there)
    }

    /// What belongs to users who have nothing else. Since when is remembered from one run to the next: access points do not say it.
    pub(super) async fn left_over_of_users(
        self: &Arc<Self>,
        gc: Gc,
        there: &There,
    ) -> Result<Vec<LeftOver>, ConvergeError> {
        let at = self.coordinates();
        let (mut found, mut left) = (Vec::new(), BTreeMap::<UserId, Left>::new());
        for point in self.aws.efs.access_points(&at.file_system_id).await? {
            let tag = |key: &str| point.tags.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str());
            let user = tag(TAG_USER).and_then(|tag| UserId::parse(tag).ok());
            let is_ours = |user: &UserId| {
                point.path == user.access_point_path() && tag(TAG_BASE_FAMILY) == Some(at.base_family.as_str())
            };
            match user.filter(is_ours) {
                Some(user) if there.users.contains_key(&user) => {}
                Some(user) => left.entry(user).or_default().access_points.push(point),
                None => found.push(LeftOver {
                    kind: ACCESS_POINT,
                    id: point.path,
                    user: None,
                    why: "it is on the file system and does not carry the marks of a user",
                    fate: Fate::NotOurs,
                }),
            }
        }
        let locked: BTreeSet<UserId> = self.ledger.list().await?.into_iter().collect();
        for user in locked.iter().filter(|user| !there.users.contains_key(*user)) {
            left.entry(user.clone()).or_default().is_locked = true;
        }
        let mut at_work = BTreeSet::new();
        for noted in self.ledger.list_noted().await? {
            match noted.is_pending {
                true => {
                    at_work.insert(noted.user);
                }
                false if there.users.contains_key(&noted.user) => {}
                false => left.entry(noted.user).or_default().has_ended = true,
            }
        }
        let mut seen = Seen { before: self.ledger.left_over().await?, now: BTreeMap::new(), gc };
        for (user, created_at) in &there.users {
            if !locked.contains(user) && !at_work.contains(user) && !self.staging.user_directory_exists(user).await? {
                let created = created_at.and_then(|at| Timestamp::from_second(at).ok());
                let since = seen.since(SERVICE, user).max(created.unwrap_or(Timestamp::MIN));
                let fate = match gc.is_due(since) {
                    false => Fate::Waits,
                    true if gc.applies => self.delete_service_of(user).await,
                    true => Fate::Due,
                };
                found.push(LeftOver {
                    kind: SERVICE,
                    id: user.service_name(),
                    user: Some(user.clone()),
                    why: "its user has no files, and nothing is remembered of them",
                    fate,
                });
            }
        }
        for (user, left) in left.into_iter().filter(|(user, _)| !at_work.contains(user)) {
            let all = self.settle_user(&user, left, &mut seen).await?;
            found.extend(all);
        }
        if seen.now != seen.before {
            self.ledger.keep_left_over(seen.now).await?;
        }
        Ok(found)
    }

    /// Deletes it as a caller would, and leaves files alone.
    async fn delete_service_of(self: &Arc<Self>, user: &UserId) -> Fate {
        let caller = Caller::new("gc");
        let deleted = self.apply(&caller, user.clone(), Target::delete(false, false), SignInChange::None);
        match deleted.await {
            Ok(_) => Fate::Removed,
            Err(error) => Fate::Failed(with_causes(&error)),
        }
    }

    /// What becomes of what a user without a service has left, under their lock.
    async fn settle_user(&self, user: &UserId, left: Left, seen: &mut Seen) -> Result<Vec<LeftOver>, ConvergeError> {
        let made = |kind: &'static str, id: String, why: &'static str, fate: Fate| LeftOver {
            kind,
            id,
            user: Some(user.clone()),
            why,
            fate,
        };
        let busy = || vec![made(LOCK, format!("{user}.lock"), "its user has no service", Fate::Busy)];
        let mut held = match self.ledger.acquire(user, PATIENCE).await {
            Ok(held) => held,
            Err(LedgerError::Busy { .. } | LedgerError::NotUnderstood { .. }) => return Ok(busy()),
            Err(error) => return Err(error.into()),
        };
        let cluster = self.coordinates().cluster;
        let found = self.aws.ecs.describe_services(&cluster, &[user.service_name()]).await?;
        let has_service = found.iter().any(|service| service.status != ServiceStatus::Inactive);
        if has_service || held.pending().find().await?.is_some() {
            // Made, or accepted, since it was looked.
            return Ok(Vec::new());
        }
        // A service that was made a moment ago may not show.
        let accepted = held.record().accepted.as_ref().filter(|accepted| !accepted.deleted);
        let made_at = accepted.and_then(|accepted| Timestamp::from_millisecond(accepted.at_millis).ok());
        if made_at.is_some_and(|made_at| !seen.gc.is_due(made_at)) {
            return Ok(busy());
        }
        let mut settled = Vec::new();
        let mut is_all_gone = true;
        for point in left.access_points {
            let since = seen.since(ACCESS_POINT, user);
            let fate = match seen.fate(since) {
                Fate::Removed => self.delete_access_point_of(&point.id, held.as_mut()).await?,
                other => other,
            };
            is_all_gone &= fate == Fate::Removed;
            settled.push(made(ACCESS_POINT, point.path, "its user has no service", fate));
        }
        if left.has_ended {
            let since = seen.since(PENDING, user);
            let fate = seen.fate(since);
            if fate == Fate::Removed {
                held.verify().await?;
                held.pending().clear().await?;
            }
            is_all_gone &= fate == Fate::Removed;
            settled.push(made(
                PENDING,
                user.to_string(),
                "what was accepted has ended, and its user has no service",
                fate,
            ));
        }
        let record = held.record();
        // What a purge still has to delete is found by nothing else.
        let is_needed = !record.deregistered.is_empty() || !record.revisions.is_empty();
        if left.is_locked && !is_needed && (is_all_gone || !seen.gc.applies) {
            let since = seen.since(LOCK, user);
            let fate = seen.fate(since);
            settled.push(made(
                LOCK,
                format!("{user}.lock"),
                "its user has no service, and nothing is remembered",
                fate.clone(),
            ));
            if fate == Fate::Removed {
                held.remove().await?;
            }
        } else if !left.is_locked && held.is_new() {
            // It was made by this look.
            held.remove().await?;
        }
        Ok(settled)
    }

    async fn delete_access_point_of(&self, id: &str, held: &mut dyn Hold) -> Result<Fate, ConvergeError> {
        held.verify().await?;
        if let Err(error) = self.aws.efs.delete_access_point(id).await {
            return Ok(Fate::Failed(hide_access_points(&with_causes(&error))));
        }
        let record = held.record();
        if record.access_point.as_ref().is_some_and(|known| known.id == id) {
            let mut after = record.clone();
            after.access_point = None;
            held.write(after).await?;
        }
        Ok(Fate::Removed)
    }
}

/// Since when things belong to nobody, by kind and user.
struct Seen {
    before: BTreeMap<String, Timestamp>,
    now: BTreeMap<String, Timestamp>,
    gc: Gc,
}

impl Seen {
    fn since(&mut self, kind: &str, user: &UserId) -> Timestamp {
        let key = format!("{kind}/{user}");
        let since = self.before.get(&key).copied().unwrap_or(self.gc.now).min(self.gc.now);
        self.now.insert(key, since);
        since
    }

    /// `Removed`: it is to be.
    fn fate(&self, since: Timestamp) -> Fate {
        match (self.gc.is_due(since), self.gc.applies) {
            (false, _) => Fate::Waits,
            (true, false) => Fate::Due,
            (true, true) => Fate::Removed,
        }
    }
}
