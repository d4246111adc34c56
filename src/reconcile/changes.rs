//! What ECS accepted a moment ago and not every reading shows yet.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::Reconciler;
use super::error::ConvergeError;
use super::observe::FIRST_PAUSE;
use super::plan::Observed;
use crate::domain::service::{Service, ServiceDeploymentState};
use crate::domain::{Accepted, Coordinates, Recency, UserId, with_causes};

/// How long a change is kept here: far longer than it takes to show.
const KEPT: Duration = Duration::from_secs(120);

/// The last change of each user that this process learned of lately.
#[derive(Debug)]
pub(super) struct Changes(Mutex<All>);

#[derive(Debug)]
struct All {
    heard: HashMap<UserId, Heard>,
    /// When old changes were last removed. Not at each change, because there may be very many.
    swept: Instant,
}

impl Default for Changes {
    fn default() -> Self {
        Self(Mutex::new(All { heard: HashMap::new(), swept: Instant::now() }))
    }
}

/// A change, and how long ago it was accepted when this process learned of it. From then on this process's own clock counts,
/// which does not jump.
#[derive(Debug)]
struct Heard {
    accepted: Accepted,
    age_then: Duration,
    heard: Instant,
}

impl Heard {
    fn age(&self) -> Duration {
        self.age_then + self.heard.elapsed()
    }
}

impl Changes {
    pub(super) fn note(&self, user: &UserId, accepted: Accepted) {
        let age_then = Duration::ZERO;
        self.insert(user, Heard { accepted, age_then, heard: Instant::now() });
    }

    fn insert(&self, user: &UserId, heard: Heard) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.swept.elapsed() > KEPT {
            all.heard.retain(|_, heard| heard.age() < KEPT);
            all.swept = Instant::now();
        }
        all.heard.insert(user.clone(), heard);
    }

    fn known(&self, user: &UserId) -> Option<Accepted> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = all.heard.get(user).filter(|heard| heard.age() < KEPT);
        heard.map(|heard| heard.accepted.clone())
    }

    /// The newer of what this process knows and what is on file. After a delete there is nothing on file.
    pub(super) fn newest(&self, user: &UserId, on_file: Option<Accepted>) -> Option<Accepted> {
        let known = self.known(user);
        let Some(on_file) = on_file else { return known };
        if known.as_ref().is_some_and(|known| *known == on_file || known.at_millis > on_file.at_millis) {
            return known;
        }
        // It is another replica's change.
        let millis = Timestamp::now().as_millisecond().saturating_sub(on_file.at_millis);
        let age_then = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        if age_then < KEPT {
            self.insert(user, Heard { accepted: on_file.clone(), age_then, heard: Instant::now() });
        }
        Some(on_file)
    }

    /// How long ago a change was accepted; one that this process did not learn of lately counts as old. If it has learned of
    /// a later change meanwhile, the age of that one: the later change makes no reading more reliable.
    fn age(&self, user: &UserId, accepted: &Accepted) -> Duration {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it_or_later =
            |heard: &&Heard| heard.accepted == *accepted || heard.accepted.at_millis > accepted.at_millis;
        all.heard.get(user).filter(is_it_or_later).map_or(KEPT, Heard::age)
    }
}

impl Reconciler {
    /// Remembers a change that ECS accepted.
    pub(super) fn accept(&self, user: &UserId, answer: &Service, observed: &mut Observed) {
        let accepted = Accepted::of(answer, Timestamp::now().as_millisecond());
        self.changes.note(user, accepted.clone());
        (observed.accepted, observed.is_settled, observed.has_live_tasks) = (Some(accepted), false, None);
        observed.is_unremembered = false;
    }

    /// Whether a reading shows less than what this process got accepted for the user a moment ago. It makes no call; where
    /// ECS went back within seconds, readings are believed a little later.
    #[must_use]
    pub fn is_behind(&self, user: &UserId, read: Option<&Service>) -> bool {
        let accepted = self.changes.newest(user, None).filter(|accepted| self.is_recent(user, accepted));
        accepted.is_some_and(|accepted| accepted.compare(read) != Recency::Current)
    }

    /// The users whose readings may be older than what this process got accepted, without those whose service is being
    /// deleted.
    /// deleted.
    #[must_use]
    pub fn changed_lately(&self) -> Vec<UserId> {
        let all = self.changes.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant = |heard: &Heard| !heard.accepted.deleted && heard.age() < self.options.settled_after;
        all.heard.iter().filter(|(_, heard)| is_meant(heard)).map(|(user, _)| user.clone()).collect()
    }

    /// Whether readings may still be older than `accepted`.
    pub(super) fn is_recent(&self, user: &UserId, accepted: &Accepted) -> bool {
        self.changes.age(user, accepted) < self.options.settled_after
    }

    /// The same for a reading that began at `began`.
    fn was_recent(&self, user: &UserId, accepted: &Accepted, began: Instant) -> bool {
        self.changes.age(user, accepted).saturating_sub(began.elapsed()) < self.options.settled_after
    }

    /// How long it takes until no reading is older than `accepted`.
    pub(super) fn settles_in(&self, user: &UserId, accepted: &Accepted) -> Duration {
        self.options.settled_after.saturating_sub(self.changes.age(user, accepted))
    }

    /// What was accepted last, if a reading that begins now may be older than that. Call it before the reading: the result
    /// may be looked at much later.
    pub(super) fn recent<'a>(&self, user: &UserId, accepted: Option<&'a Accepted>) -> Option<&'a Accepted> {
        accepted.filter(|accepted| self.is_recent(user, accepted))
    }

    /// Whether a reading is older than what was accepted lately. Not when ECS itself reports that it went back: then the
    /// reading shows what somebody else has done since.
    pub(super) async fn is_stale(
        &self,
        at: &Coordinates,
        user: &UserId,
        recent: Option<&Accepted>,
        read: Option<&Service>,
    ) -> bool {
        let Some(accepted) = recent else { return false };
        match accepted.compare(read) {
            Recency::Current => false,
            Recency::Older => true,
            Recency::OlderOrGoneBack => !self.has_gone_back(at, user, accepted).await,
        }
    }

    /// Whether ECS reports that it went back from the last accepted deployment. If ECS cannot be asked, only time decides.
    async fn has_gone_back(&self, at: &Coordinates, user: &UserId, accepted: &Accepted) -> bool {
        match self.aws.ecs.newest_service_deployment(&at.cluster, &user.service_name()).await {
            Ok(newest) => newest.is_some_and(|newest| {
                // An earlier deployment that went back proves nothing.
                let is_it = newest.created_at_seconds.zip(accepted.deployment_created_at);
                newest.state == ServiceDeploymentState::RolledBack && is_it.is_none_or(|(newest, ours)| newest >= ours)
            }),
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "could not ask whether ECS went back");
                false
            }
        }
    }

    /// The user's service as ECS shows it. It is read again while the reading is older than what ECS accepted last.
    pub(super) async fn describe_current(
        &self,
        at: &Coordinates,
        user: &UserId,
    ) -> Result<Option<Service>, ConvergeError> {
        let name = user.service_name();
        let on_file = async { self.hints.take(self.ledger.read(user).await).flatten().unwrap_or_default().accepted };
        let began = Instant::now();
        let (mut read, on_file) = tokio::join!(self.aws.ecs.describe_service(&at.cluster, &name), on_file);
        let accepted = self.changes.newest(user, on_file);
        let mut recent = accepted.as_ref().filter(|accepted| self.was_recent(user, accepted, began));
        let mut pause = FIRST_PAUSE;
        while let Ok(found) = &read
            && self.is_stale(at, user, recent, found.as_ref()).await
        {
            sleep(pause).await;
            pause = (pause * 2).min(self.options.poll_interval);
            recent = self.recent(user, accepted.as_ref());
            read = self.aws.ecs.describe_service(&at.cluster, &name).await;
        }
        Ok(read?)
    }
}
