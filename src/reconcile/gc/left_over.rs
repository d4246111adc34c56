//! What users who have nothing else have left: services, access points, roles, locks, and notes of work that has ended.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use openclaw::sha256_hex12;

use super::{Fate, Gc, LeftOver, There, UserService, forget_if_new, told};
use crate::aws::{DESCRIBED_SERVICES, FoundAccessPoint, fenced};
use crate::domain::service::ServiceStatus;
use crate::domain::user_id::NAME_PREFIX;
use crate::domain::{CurrentDefinition, TAG_BASE_FAMILY, TAG_USER, UserId, hide_access_points, with_causes};
use crate::ledger::{Hold, LedgerError};
use crate::reconcile::Reconciler;
use crate::reconcile::error::ConvergeError;
use crate::reconcile::roles::is_of;

/// How long to wait for a user's lock that somebody else holds.
const PATIENCE: Duration = Duration::from_secs(1);
const SERVICE: &str = "service";
const ACCESS_POINT: &str = "access_point";
const ROLE: &str = "role";
const LOCK: &str = "lock";
const PENDING: &str = "pending";

/// What is left of a user without a service.
#[derive(Debug, Default)]
struct Left {
    access_points: Vec<FoundAccessPoint>,
    roles: Vec<String>,
    is_locked: bool,
    has_ended: bool,
}

impl Reconciler {
    /// The services of the cluster that carry the marks of users, and those that lack the marks but have such a name.
    pub(super) async fn there(&self) -> Result<There, ConvergeError> {
        let at = self.coordinates();
        let (cluster, family_of_ours) = (at.cluster, at.base_family.as_str().to_owned());
        let (mut names, mut page) = (BTreeSet::new(), None);
        loop {
            let listed = self.aws.ecs.list_services(&cluster, page).await?;
            names.extend(listed.names.into_iter().filter(|name| name.starts_with(NAME_PREFIX)));
            page = listed.next;
            if page.is_none() {
                break;
            }
        }
        let names: Vec<String> = names.into_iter().collect();
        let mut there = There::default();
        for names in names.chunks(DESCRIBED_SERVICES) {
            for (service, tags) in self.aws.ecs.describe_tagged_services(&cluster, names).await? {
                if service.status == ServiceStatus::Inactive {
                    continue;
                }
                let deployed = service.deployments.iter().map(|deployment| &deployment.task_definition);
                there.revisions.extend(deployed.chain([&service.task_definition]).cloned());
                let user = tags.get(TAG_USER).and_then(|tag| UserId::parse(tag).ok());
                let user = user.filter(|user| user.service_name() == service.name);
                let is_of_family = tags.get(TAG_BASE_FAMILY).is_some_and(|family| *family == family_of_ours);
                if user.is_none() || !is_of_family {
                    there.not_ours.push(LeftOver {
                        kind: SERVICE,
                        id: service.name,
                        user: user.clone(),
                        why: "its name is like those of users, but its tags do not name a user and this base family",
                        fate: Fate::NotOurs,
                    });
                }
                if let Some(user) = user {
                    let created_at_seconds = service.created_at_seconds;
                    there.users.insert(user, UserService { created_at_seconds, is_of_family });
                }
            }
        }
        Ok(there)
    }

    /// Finds what belongs to users who have nothing else. Since when is remembered from run to run, because access points do
    /// not say it.
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
        match self.left_over_roles(there, &mut found).await {
            Ok(roles) => roles.into_iter().for_each(|(user, role)| left.entry(user).or_default().roles.push(role)),
            // IAM is a service of its own: everything else is judged without it.
            Err(error) => found.push(LeftOver {
                kind: ROLE,
                id: "-".to_owned(),
                user: None,
                why: "roles could not be read",
                fate: Fate::Failed(with_causes(&error)),
            }),
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
        let is_bare = |user: &&UserId| !locked.contains(*user) && !at_work.contains(*user);
        let ours = there.users.iter().filter(|(user, service)| service.is_of_family && is_bare(user));
        for (user, UserService { created_at_seconds, .. }) in ours {
            let created = created_at_seconds.and_then(|at| Timestamp::from_second(at).ok()).unwrap_or(Timestamp::MIN);
            let fate = self.settle_service(user, created, &mut seen).await;
            let fate = fate.unwrap_or_else(|error| Some(Fate::Failed(with_causes(&error))));
            let why = match fate {
                Some(Fate::NotOurs) => "its definition names another file system, or was not made by this service",
                _ => "its user has no files, and nothing is remembered of them",
            };
            if let Some(fate) = fate {
                told(
                    &mut found,
                    LeftOver { kind: SERVICE, id: user.service_name(), user: Some(user.clone()), why, fate },
                );
            }
        }
        for (user, left) in left.into_iter().filter(|(user, _)| !at_work.contains(user)) {
            if let Err(error) = self.settle_user(&user, left, &mut seen, &mut found).await {
                let (id, why) = (format!("{user}.lock"), "its user has no service");
                found.push(LeftOver { kind: LOCK, id, user: Some(user), why, fate: Fate::Failed(with_causes(&error)) });
            }
        }
        if seen.now != seen.before
            && let Err(error) = self.ledger.keep_left_over(seen.now).await
        {
            // The grace begins again.
            tracing::warn!(error = %with_causes(&error), "the list of what belongs to nobody could not be written down");
        }
        Ok(found)
    }

    /// Decides, under the user's lock, about a service whose user seems to have nothing else, and removes it if due; `None`:
    /// the user has something.
    async fn settle_service(
        &self,
        user: &UserId,
        created: Timestamp,
        seen: &mut Seen,
    ) -> Result<Option<Fate>, ConvergeError> {
        if self.staging.user_directory_exists(user).await? {
            return Ok(None);
        }
        let mut held = match self.ledger.acquire(user, PATIENCE).await {
            Ok(held) => held,
            Err(LedgerError::Busy { .. } | LedgerError::NotUnderstood { .. }) => return Ok(Some(Fate::Busy)),
            Err(error) => return Err(error.into()),
        };
        let fate = self.settle_service_under_lock(user, created, seen, held.as_mut()).await;
        forget_if_new(held).await;
        fate
    }

    async fn settle_service_under_lock(
        &self,
        user: &UserId,
        created: Timestamp,
        seen: &mut Seen,
        held: &mut dyn Hold,
    ) -> Result<Option<Fate>, ConvergeError> {
        // The user may have been provisioned since the list was made.
        let is_somebody = !held.is_new() || held.pending().find().await?.is_some();
        if is_somebody || self.staging.user_directory_exists(user).await? {
            return Ok(None);
        }
        let at = self.coordinates();
        let name = user.service_name();
        let found = self.aws.ecs.describe_services(&at.cluster, std::slice::from_ref(&name)).await?;
        let Some(service) = found.into_iter().find(|service| service.status == ServiceStatus::Active) else {
            return Ok(None);
        };
        // If it uses another file system or was made by others, its user may have everything elsewhere.
        let definition = self.aws.ecs.describe_definition_in_bulk(&service.task_definition).await?;
        let current = definition.and_then(|found| CurrentDefinition::parse(&found.document, user).ok());
        if current.and_then(|current| current.file_system_id).as_deref() != Some(&*at.file_system_id) {
            return Ok(Some(Fate::NotOurs));
        }
        let since = seen.since(SERVICE, user.as_str()).max(created);
        let fate = seen.fate(since);
        if fate == Fate::Removed {
            held.verify().await?;
            let fence = held.fence();
            // Its tasks are stopped with it: the user has nothing that a last write could damage.
            let delete = self.aws.ecs.delete_service(&at.cluster, &name);
            fenced(Arc::new(move || fence.is_recent()), delete).await?;
        }
        Ok(Some(fate))
    }

    /// Decides, under the user's lock, about what a user without a service has left, and removes what is due.
    async fn settle_user(
        &self,
        user: &UserId,
        left: Left,
        seen: &mut Seen,
        found: &mut Vec<LeftOver>,
    ) -> Result<(), ConvergeError> {
        let made = |kind: &'static str, id: String, why: &'static str, fate: Fate| LeftOver {
            kind,
            id,
            user: Some(user.clone()),
            why,
            fate,
        };
        let busy = || made(LOCK, format!("{user}.lock"), "its user has no service", Fate::Busy);
        let mut held = match self.ledger.acquire(user, PATIENCE).await {
            Ok(held) => held,
            Err(LedgerError::Busy { .. } | LedgerError::NotUnderstood { .. }) => {
                found.push(busy());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let cluster = self.coordinates().cluster;
        let services = self.aws.ecs.describe_services(&cluster, &[user.service_name()]).await?;
        let has_service = services.iter().any(|service| service.status != ServiceStatus::Inactive);
        if has_service || held.pending().find().await?.is_some() {
            // Created or accepted since the list was made.
            return Ok(());
        }
        // A service that was created a moment ago may not show.
        let accepted = held.record().accepted.as_ref().filter(|accepted| !accepted.deleted);
        let made_at = accepted.and_then(|accepted| Timestamp::from_millisecond(accepted.at_millis).ok());
        if made_at.is_some_and(|made_at| !seen.gc.is_due(made_at)) {
            found.push(busy());
            return Ok(());
        }
        let mut is_all_gone = true;
        for name in left.roles {
            let since = seen.since(ROLE, &name);
            let fate = match seen.fate(since) {
                Fate::Removed => self.delete_role_of(&name, held.as_mut()).await?,
                other => other,
            };
            is_all_gone &= fate == Fate::Removed;
            told(found, made(ROLE, name, "its user has no service", fate));
        }
        for point in left.access_points {
            let since = seen.since(ACCESS_POINT, &format!("{user}/{}", sha256_hex12(point.id.as_bytes())));
            let fate = match seen.fate(since) {
                Fate::Removed => self.delete_access_point_of(&point.id, held.as_mut()).await?,
                other => other,
            };
            is_all_gone &= fate == Fate::Removed;
            told(found, made(ACCESS_POINT, point.path, "its user has no service", fate));
        }
        if left.has_ended {
            let since = seen.since(PENDING, user.as_str());
            let fate = seen.fate(since);
            if fate == Fate::Removed {
                held.verify().await?;
                held.pending().clear().await?;
            }
            is_all_gone &= fate == Fate::Removed;
            let why = "the accepted work has ended, and its user has no service";
            told(found, made(PENDING, user.to_string(), why, fate));
        }
        let record = held.record();
        // Nothing else finds what a purge still has to delete.
        let is_needed = !record.deregistered.is_empty() || !record.revisions.is_empty();
        if left.is_locked && !is_needed && (is_all_gone || !seen.gc.applies) {
            let since = seen.since(LOCK, user.as_str());
            let fate = seen.fate(since);
            if fate == Fate::Removed {
                held.remove().await?;
            }
            let why = "its user has no service, and nothing is remembered";
            told(found, made(LOCK, format!("{user}.lock"), why, fate));
        } else if !left.is_locked && held.is_new() {
            // This check itself created the lock file.
            held.remove().await?;
        }
        Ok(())
    }

    /// The roles under the path of users' who have no service; one that does not carry a user's marks is only told.
    async fn left_over_roles(
        &self,
        there: &There,
        found: &mut Vec<LeftOver>,
    ) -> Result<Vec<(UserId, String)>, ConvergeError> {
        let at = self.coordinates();
        let Some(roles) = &at.release.user_roles else { return Ok(Vec::new()) };
        let of_services: HashSet<String> =
            there.users.keys().map(|user| roles.name(user, &at.file_system_id)).collect();
        let mut left = Vec::new();
        for name in self.aws.iam.roles_under(roles.path()).await? {
            if of_services.contains(&name) {
                continue;
            }
            // The list tells no tags.
            let Some(role) = self.aws.iam.find_role(&name).await? else { continue };
            let tag = role.tags.iter().find(|(key, _)| key == TAG_USER).map(|(_, value)| value.as_str());
            let user = tag.and_then(|tag| UserId::parse(tag).ok());
            let is_theirs =
                |user: &UserId| roles.name(user, &at.file_system_id) == name && is_of(roles, &at, user, &role);
            match user.filter(is_theirs) {
                Some(user) => left.push((user, name)),
                None => found.push(LeftOver {
                    kind: ROLE,
                    id: name,
                    user: None,
                    why: "it is under the path of users' roles and does not carry the marks of a user on this file system",
                    fate: Fate::NotOurs,
                }),
            }
        }
        Ok(left)
    }

    async fn delete_role_of(&self, name: &str, held: &mut dyn Hold) -> Result<Fate, ConvergeError> {
        held.verify().await?;
        let fence = held.fence();
        match fenced(Arc::new(move || fence.is_recent()), self.aws.iam.delete_role(name)).await {
            Ok(()) => Ok(Fate::Removed),
            Err(error) => Ok(Fate::Failed(with_causes(&error))),
        }
    }

    async fn delete_access_point_of(&self, id: &str, held: &mut dyn Hold) -> Result<Fate, ConvergeError> {
        held.verify().await?;
        let fence = held.fence();
        let delete = self.aws.efs.delete_access_point(id);
        if let Err(error) = fenced(Arc::new(move || fence.is_recent()), delete).await {
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

/// Since when things have belonged to nobody, by kind and name.
struct Seen {
    before: BTreeMap<String, Timestamp>,
    now: BTreeMap<String, Timestamp>,
    gc: Gc,
}

impl Seen {
    fn since(&mut self, kind: &str, name: &str) -> Timestamp {
        let key = format!("{kind}/{name}");
        let since = self.before.get(&key).copied().unwrap_or(self.gc.now).min(self.gc.now);
        self.now.insert(key, since);
        since
    }

    /// What to do with it; `Removed` means that it is to be removed.
    fn fate(&self, since: Timestamp) -> Fate {
        match (self.gc.is_due(since), self.gc.applies) {
            (false, _) => Fate::Waits,
            (true, false) => Fate::Due,
            (true, true) => Fate::Removed,
        }
    }
}
