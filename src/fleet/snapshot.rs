//! The fleet at one moment, in few bytes: a cluster has at most 5,000 services (aws-facts §1).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use openclaw::OpenClawVersion;
use tokio::time::{Instant, sleep};

use super::definitions::{Definitions, Facts};
use crate::aws::{AwsError, DESCRIBED_SERVICES, Ecs};
use crate::domain::service::{Deployment, Rollout, Service};
use crate::domain::user_id::NAME_PREFIX;
use crate::domain::{ReasonCode, State, TAG_USER, UserId, derive_status};
use crate::reconcile::{Known, Reconciler};

/// First pause before a service is read again that does not show an accepted change yet; each pause is longer.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// All users' containers, as far as their services show them.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) cluster: String,
    pub(super) taken_at: Timestamp,
    /// When reading began, so that nothing in it is older.
    pub(super) taken: Instant,
    /// By user id.
    pub(super) entries: Vec<Entry>,
}

/// One container.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) user: UserId,
    /// ARN of the revision that its service names.
    pub(super) revision: Box<str>,
    pub(super) state: State,
    /// Why it failed, as far as the service shows.
    pub(super) reason: Option<ReasonCode>,
    /// Why it failed, once its tasks were looked at; shared with the entries after it, while it is the same failure.
    pub(super) looked_at: Arc<OnceLock<Option<ReasonCode>>>,
    /// The rollout state of its primary deployment.
    pub(super) rollout: Option<Rollout>,
    /// When it entered this state, as far as this process knows.
    pub(super) since: Instant,
    /// How long its rollout took; set once, when the rollout is first seen completed.
    pub(super) came_up_after: Option<Duration>,
}

/// One line of the list.
#[derive(Clone, Copy)]
struct Row<'a> {
    user: &'a UserId,
    /// The entry of its service, if it has one.
    entry: Option<&'a Entry>,
    state: State,
    reason: Option<ReasonCode>,
}

/// Which containers to list.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this release.
    pub version: Option<OpenClawVersion>,
    /// Only those rendered from this base revision: `family:revision`, or the revision alone.
    pub base: Option<String>,
    /// Only users after this one.
    pub after: Option<UserId>,
    /// At most that many.
    pub limit: usize,
}

/// A page of the list, by user id.
#[derive(Debug, Clone)]
pub struct Page {
    /// The containers.
    pub containers: Vec<Listed>,
    /// The user after whom the next page begins, if there is one.
    pub next: Option<UserId>,
    /// When the fleet was read.
    pub taken_at: Timestamp,
    /// How long ago that was.
    pub age: Duration,
    /// Containers in the fleet whose definition has not been read yet.
    pub unread_definitions: usize,
}

/// How many containers are on which base.
#[derive(Debug, Clone)]
pub struct OnBases {
    /// Containers by `family:revision`.
    pub containers: BTreeMap<Arc<str>, usize>,
    /// Containers whose definition has not been read yet.
    pub unread_definitions: usize,
    /// When the fleet was read.
    pub taken_at: Timestamp,
    /// How long ago that was.
    pub age: Duration,
}

/// A container in the list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Whose it is.
    pub user: UserId,
    /// Where it is, as far as its service shows.
    pub state: State,
    /// Why it failed: what the circuit breaker did, and, once its tasks were read, why they stopped.
    pub reason: Option<ReasonCode>,
    /// The facts of its revision; `None` before it was read.
    pub definition: Option<Facts>,
}

impl Snapshot {
    /// Reads the cluster: one call for each page of names, and one for each ten services. A service that does not show yet what
    /// AWS accepted from `reconciler` a moment ago is read again.
    pub(super) async fn take(
        ecs: &Ecs,
        cluster: &str,
        before: Option<&Self>,
        reconciler: &Reconciler,
    ) -> Result<Self, AwsError> {
        let (taken_at, taken) = (Timestamp::now(), Instant::now());
        let (mut names, mut page) = (BTreeSet::new(), None);
        loop {
            let listed = ecs.list_services(cluster, page).await?;
            names.extend(listed.names.into_iter().filter(|name| name.starts_with(NAME_PREFIX)));
            page = listed.next;
            if page.is_none() {
                break;
            }
        }
        let changed: HashMap<String, UserId> =
            reconciler.changed_lately().into_iter().map(|user| (user.service_name(), user)).collect();
        // One that was made a moment ago may not be listed yet.
        names.extend(changed.keys().cloned());
        let mut names: Vec<String> = names.into_iter().collect();
        let is_behind =
            |name: &str, read: Option<&Service>| changed.get(name).is_some_and(|user| reconciler.is_behind(user, read));
        let mut entries = Vec::with_capacity(names.len());
        let mut pause = FIRST_PAUSE;
        loop {
            let mut late = Vec::new();
            for names in names.chunks(DESCRIBED_SERVICES) {
                let found = ecs.describe_tagged_services(cluster, names).await?;
                let is_missing = |name: &&String| found.iter().all(|(service, _)| service.name != **name);
                late.extend(names.iter().filter(is_missing).filter(|name| is_behind(name, None)).cloned());
                for (service, tags) in found {
                    match is_behind(&service.name, Some(&service)) {
                        true => late.push(service.name),
                        false => {
                            entries.extend(entry(service, tags.get(TAG_USER).map(String::as_str), before, &|user| {
                                reconciler.is_deleting(user)
                            }))
                        }
                    }
                }
            }
            if late.is_empty() {
                break;
            }
            sleep(pause).await;
            pause *= 2;
            names = late;
        }
        entries.sort_unstable_by(|one, other| one.user.cmp(&other.user));
        // A service that is deleted and created again while pages are read may be on two of them.
        entries.dedup_by(|one, other| one.user == other.user);
        Ok(Self { cluster: cluster.to_owned(), taken_at, taken, entries })
    }

    /// The longest time that a container has been provisioning, stopping or deleting, as far as this process or its
    /// deployment knows.
    pub(super) fn oldest_transition(&self) -> Option<Duration> {
        let in_transition = self.entries.iter().filter(|entry| match entry.state {
            State::Provisioning | State::Stopping | State::Deleting => true,
            State::Running | State::Stopped | State::Failed => false,
        });
        in_transition.map(|entry| entry.since.elapsed()).max()
    }

    /// The entry of a user.
    fn get(&self, user: &UserId) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.user.cmp(user)).ok()?;
        self.entries.get(at)
    }

    /// The lines of the list, by user id: the containers, and users without a service whose work was accepted. An accepted
    /// delete is shown before AWS shows it, and after.
    fn rows<'a>(&'a self, accepted: &'a [(UserId, Known)]) -> Vec<Row<'a>> {
        let of_entry = |entry: &'a Entry| Row {
            user: &entry.user,
            entry: Some(entry),
            state: entry.state,
            reason: entry.looked_at.get().copied().flatten().or(entry.reason),
        };
        let mut rows: BTreeMap<&UserId, Row<'a>> =
            self.entries.iter().map(|entry| (&entry.user, of_entry(entry))).collect();
        for (user, known) in accepted.iter().filter(|(_, known)| known.is_listed) {
            let reason = (!known.is_pending).then_some(ReasonCode::RequestFailed);
            let row = rows.entry(user).or_insert(Row { user, entry: None, state: known.state, reason });
            if known.is_pending && known.state == State::Deleting {
                (row.state, row.reason) = (State::Deleting, None);
            }
        }
        rows.into_values().collect()
    }

    /// One page. It begins after a user and not at a number, so that users who come and go in between move no other user to
    /// another page.
    pub(super) fn page(&self, query: &Query, definitions: &Definitions, accepted: &[(UserId, Known)]) -> Page {
        let remembered = definitions.remembered();
        let rows = self.rows(accepted);
        let start = query.after.as_ref().map_or(0, |after| rows.partition_point(|row| row.user <= after));
        let is_base =
            |base: &str, wanted: &str| base == wanted || base.rsplit_once(':').map(|(_, n)| n) == Some(wanted);
        let mut containers = Vec::new();
        let mut next = None;
        for row in &rows[start..] {
            let facts = row.entry.and_then(|entry| remembered.get(&entry.revision));
            let version = facts.and_then(|facts| facts.version);
            let base = facts.and_then(|facts| facts.base.as_deref());
            let is_wanted = query.state.is_none_or(|state| row.state == state)
                && query.version.is_none_or(|wanted| version == Some(wanted))
                && query.base.as_ref().is_none_or(|wanted| base.is_some_and(|base| is_base(base, wanted)));
            if !is_wanted {
                continue;
            }
            if containers.len() == query.limit {
                next = containers.last().map(|last: &Listed| last.user.clone());
                break;
            }
            let Row { user, state, reason, .. } = *row;
            containers.push(Listed { user: user.clone(), state, reason, definition: facts.cloned() });
        }
        let unread_definitions = self.entries.iter().filter(|entry| remembered.get(&entry.revision).is_none()).count();
        Page { containers, next, taken_at: self.taken_at, age: self.taken.elapsed(), unread_definitions }
    }

    /// How many containers are on which base.
    pub(super) fn on_bases(&self, definitions: &Definitions) -> OnBases {
        let remembered = definitions.remembered();
        let (mut containers, mut unread_definitions) = (BTreeMap::new(), 0);
        for entry in &self.entries {
            match remembered.get(&entry.revision) {
                Some(Facts { base: Some(base), .. }) => *containers.entry(Arc::clone(base)).or_default() += 1,
                Some(Facts { base: None, .. }) => {}
                None => unread_definitions += 1,
            }
        }
        OnBases { containers, unread_definitions, taken_at: self.taken_at, age: self.taken.elapsed() }
    }

    /// The revisions whose definition is not known yet, each with its user.
    pub(super) fn unread(&self, definitions: &Definitions) -> Vec<(String, UserId)> {
        let remembered = definitions.remembered();
        let unread = self.entries.iter().filter(|entry| remembered.get(&entry.revision).is_none());
        unread.map(|entry| (entry.revision.to_string(), entry.user.clone())).collect()
    }
}

/// The entry of a service. `None` for a service that is gone or is no user's: other services may have the prefix, too, for
/// example this one.
fn entry(
    service: Service,
    tag: Option<&str>,
    before: Option<&Snapshot>,
    is_deleting: &impl Fn(&UserId) -> bool,
) -> Option<Entry> {
    let user = UserId::parse(tag?).ok().filter(|user| user.service_name() == service.name)?;
    let (state, reason) = match outline(&service)? {
        _ if is_deleting(&user) => (State::Deleting, None),
        seen => seen,
    };
    let now = Instant::now();
    let primary = service.primary();
    let rollout = primary.map(|primary| primary.rollout);
    let last = before.and_then(|before| Some((before, before.get(&user)?)));
    let unchanged = last.map(|(_, earlier)| earlier).filter(|earlier| earlier.state == state);
    let mut since = unchanged.map_or(now, |earlier| earlier.since);
    // A deployment in progress has its own start time, which also a process that has just started can use. But it may have
    // begun long before the container was stopped and started again.
    if state == State::Provisioning
        && let Some(began) =
            primary.filter(|_| rollout == Some(Rollout::InProgress)).and_then(age).and_then(|age| now.checked_sub(age))
    {
        since = since.min(began);
        if let Some((before, _)) = last.filter(|_| unchanged.is_none()) {
            since = since.max(before.taken);
        }
    }
    // Once for each rollout: not when a container whose rollout ended long ago runs again after a stop, and not at the first
    // reading, because those came up under another process.
    let is_new = |before: &Snapshot| {
        let created = primary.and_then(|primary| primary.created_at_seconds);
        last.is_none_or(|(_, earlier)| earlier.rollout == Some(Rollout::InProgress))
            || created.is_some_and(|created| created >= before.taken_at.as_second())
    };
    let came_up = state == State::Running && before.is_some_and(is_new);
    let came_up_after = primary.filter(|_| came_up).and_then(took);
    let same_failure = unchanged.filter(|earlier| *earlier.revision == *service.task_definition);
    let looked_at = same_failure.map(|earlier| Arc::clone(&earlier.looked_at)).unwrap_or_default();
    let revision = service.task_definition.into();
    Some(Entry { user, revision, state, reason, looked_at, rollout, since, came_up_after })
}

fn took(deployment: &Deployment) -> Option<Duration> {
    let seconds = deployment.updated_at_seconds?.checked_sub(deployment.created_at_seconds?)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

fn age(deployment: &Deployment) -> Option<Duration> {
    let seconds = Timestamp::now().as_second().checked_sub(deployment.created_at_seconds?)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// The state as far as a service shows it, without its tasks. A container whose rollout is complete and whose task is up
/// counts as running, healthy or not; one that ECS gave up is failed, even if one of its tasks became healthy later; one
/// that went back to its former revision is running once that is steady; no gateway is asked; and the reason of a failure
/// is what the circuit breaker did, not what kept the task from running.
fn outline(service: &Service) -> Option<(State, Option<ReasonCode>)> {
    let status = derive_status(service, &[], true)?;
    let is_steady = service.primary().is_none_or(|primary| primary.rollout == Rollout::Completed)
        && service.running >= service.desired
        && service.pending == 0;
    let state = match status.state {
        State::Provisioning if is_steady => State::Running,
        other => other,
    };
    Some((state, status.reason.map(|reason| reason.code)))
}

#[cfg(test)]
mod tests;
