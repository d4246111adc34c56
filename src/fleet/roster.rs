//! The list of all containers, from a snapshot that is read in the background and, when it is too old, on demand.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::definitions::Definitions;
use super::snapshot::{Entry, Listed, OnBases, Page, Query, Snapshot};
use crate::aws::{AwsError, Ecs};
use crate::domain::{Coordinates, State};
use crate::metrics::Metrics;
use crate::reconcile::{ContainerView, Reconciler};

/// How long a caller waits for a snapshot. Below the 30 s after which common HTTP clients give up; 5,000 services take
/// about as long at AWS's documented rates.
const ANSWERS_WITHIN: Duration = Duration::from_secs(25);
/// How long a failure is repeated to callers before AWS is asked again.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(5);
/// Most failed containers looked at after one snapshot, at about four calls each; the next snapshot continues.
const MOST_STOPS_NOTED: usize = 100;

/// Why there is no list.
#[derive(Debug, Clone, Error)]
pub enum ListRefused {
    /// AWS did not answer.
    #[error("the fleet could not be read")]
    Aws(#[source] Arc<AwsError>),
    /// Reading takes longer than a caller waits; it goes on.
    #[error("the fleet is still being read; ask again")]
    Reading,
    /// The process is going down.
    #[error("this replica is shutting down; another one can be asked")]
    ShuttingDown,
}

/// The list of all containers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Roster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ecs: Ecs,
    reconciler: Arc<Reconciler>,
    coordinates: watch::Receiver<Coordinates>,
    definitions: Arc<Definitions>,
    options: Options,
    metrics: Metrics,
    stopping: CancellationToken,
    current: Mutex<Option<Arc<Snapshot>>>,
    /// Held while the cluster is read: one reading at a time, and all callers wait for its end. Holds the last failure.
    reading: tokio::sync::Mutex<Option<(Instant, Arc<AwsError>)>>,
    /// Held while definitions are read.
    filling: tokio::sync::Mutex<()>,
    /// Held while failed containers are looked at.
    noting: tokio::sync::Mutex<()>,
}

impl Roster {
    pub(super) fn new(
        ecs: Ecs,
        reconciler: Arc<Reconciler>,
        coordinates: watch::Receiver<Coordinates>,
        definitions: Arc<Definitions>,
        options: Options,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Inner {
            ecs,
            reconciler,
            coordinates,
            definitions,
            options,
            metrics,
            stopping: CancellationToken::new(),
            current: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            filling: tokio::sync::Mutex::default(),
            noting: tokio::sync::Mutex::default(),
        }))
    }

    /// A page of the list. With `fresh`, from a snapshot no older than [`Options::fresh_within`]; otherwise from the last
    /// snapshot, or from a new one when there is none.
    ///
    /// # Errors
    /// When a snapshot is needed and there is none in time. The reading goes on without the caller.
    pub async fn list(&self, query: &Query, fresh: bool) -> Result<Page, ListRefused> {
        let within = if fresh { self.0.options.fresh_within } else { Duration::MAX };
        let snapshot = match self.0.current(within) {
            Some(snapshot) => snapshot,
            None => self.read_now(within).await?,
        };
        Ok(snapshot.page(query, &self.0.definitions, &self.0.reconciler.accepted()))
    }

    /// All users in the list, from a snapshot begun at most `within` ago.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn everybody(&self, within: Duration) -> Result<Vec<Listed>, ListRefused> {
        let snapshot = match self.0.current(within) {
            Some(snapshot) => snapshot,
            None => self.read_now(within).await?,
        };
        let query = Query { limit: usize::MAX, ..Query::default() };
        Ok(snapshot.page(&query, &self.0.definitions, &self.0.reconciler.accepted()).containers)
    }

    /// As [`Self::everybody`], with the definition of each user's container.
    ///
    /// # Errors
    /// As [`Self::list`]; [`ListRefused::Reading`] also while definitions are read: at first one call for each user.
    pub async fn everybody_with_definitions(&self, within: Duration) -> Result<Vec<Listed>, ListRefused> {
        let until = Instant::now() + ANSWERS_WITHIN;
        let mut snapshot = match self.0.current(within) {
            Some(snapshot) => snapshot,
            None => self.read_now(within).await?,
        };
        if !snapshot.unread(&self.0.definitions).is_empty() {
            // A task of its own: it must go on when the caller goes away.
            let reading = tokio::spawn(Arc::clone(&self.0).read_definitions());
            timeout_at(until, reading).await.ok();
            snapshot = self.0.current(Duration::MAX).unwrap_or(snapshot);
        }
        let query = Query { limit: usize::MAX, ..Query::default() };
        let page = snapshot.page(&query, &self.0.definitions, &self.0.reconciler.accepted());
        if page.unread_definitions > 0 { Err(ListRefused::Reading) } else { Ok(page.containers) }
    }

    /// Number of containers on each base, `family:revision`, as far as their definitions were read, and the age of the snapshot. From
    /// the last snapshot, however old.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn on_bases(&self) -> Result<OnBases, ListRefused> {
        let snapshot = match self.0.current(Duration::MAX) {
            Some(snapshot) => snapshot,
            None => self.read_now(Duration::MAX).await?,
        };
        Ok(snapshot.on_bases(&self.0.definitions))
    }

    async fn read_now(&self, within: Duration) -> Result<Arc<Snapshot>, ListRefused> {
        let inner = Arc::clone(&self.0);
        // A task of its own: others wait for the reading, too, when this caller goes away.
        let reading = tokio::spawn(async move {
            tokio::select! {
                () = inner.stopping.cancelled() => Err(ListRefused::ShuttingDown),
                read = inner.read(within) => read.map_err(ListRefused::Aws),
            }
        });
        match timeout(ANSWERS_WITHIN, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) | Err(_) => Err(ListRefused::Reading),
        }
    }

    /// Reads the cluster now and every [`Options::list_every`], until the process goes down.
    pub fn refresh_in_background(&self) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let refresh = async {
                loop {
                    let every = inner.options.list_every;
                    // A caller may have asked for a fresh snapshot in between.
                    drop(inner.read(every / 2).await);
                    sleep(every).await;
                }
            };
            tokio::select! {
                () = inner.stopping.cancelled() => {}
                () = refresh => {}
            }
        });
    }

    pub(super) fn shut_down(&self) {
        self.0.stopping.cancel();
    }
}

impl Inner {
    /// The snapshot, if it is of this cluster and no older than `within`.
    fn current(&self, within: Duration) -> Option<Arc<Snapshot>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let cluster = &self.coordinates.borrow().cluster;
        current.filter(|snapshot| snapshot.cluster == *cluster && snapshot.taken.elapsed() <= within)
    }

    /// Reads the cluster, unless somebody else has just done so.
    async fn read(self: &Arc<Self>, within: Duration) -> Result<Arc<Snapshot>, Arc<AwsError>> {
        let mut failed = self.reading.lock().await;
        if let Some(snapshot) = self.current(within) {
            return Ok(snapshot);
        }
        if let Some((at, error)) = failed.as_ref().filter(|(at, _)| at.elapsed() < FAILURE_COUNTS_FOR) {
            tracing::debug!(seconds = at.elapsed().as_secs(), "the fleet could not be read just before");
            return Err(Arc::clone(error));
        }
        let before = self.current(Duration::MAX);
        let cluster = self.coordinates.borrow().cluster.clone();
        match Snapshot::take(&self.ecs, &cluster, before.as_deref(), &self.reconciler).await {
            Ok(snapshot) => {
                *failed = None;
                let snapshot = Arc::new(snapshot);
                self.definitions.keep(&snapshot.entries.iter().map(|entry| &*entry.revision).collect::<HashSet<_>>());
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&snapshot));
                let containers = snapshot.entries.iter().map(|entry| (entry.state, entry.rollout));
                self.metrics.fleet(containers, snapshot.oldest_transition(), snapshot.taken_at);
                for took in snapshot.entries.iter().filter_map(|entry| entry.came_up_after) {
                    self.metrics.provisioned_and_running(took);
                }
                tracing::debug!(containers = snapshot.entries.len(), "the fleet was read");
                tokio::spawn(Arc::clone(self).read_definitions());
                tokio::spawn(Arc::clone(self).note_stops());
                Ok(snapshot)
            }
            Err(error) => {
                tracing::warn!(%error, "the fleet could not be read; the last snapshot stays");
                let error = Arc::new(error);
                *failed = Some((Instant::now(), Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// Looks once at every failed container and notes the reason, for the list. ECS forgets it after about an hour.
    async fn note_stops(self: Arc<Self>) {
        let note = async {
            let _turn = self.noting.lock().await;
            let Some(snapshot) = self.current(Duration::MAX) else { return };
            let is_new = |entry: &&Entry| entry.state == State::Failed && entry.looked_at.get().is_none();
            for Entry { user, looked_at, .. } in snapshot.entries.iter().filter(is_new).take(MOST_STOPS_NOTED) {
                if let Ok(ContainerView { status, asked_for, .. }) = self.reconciler.look(user).await {
                    self.reconciler.note_stop(user, &status, &asked_for).await;
                    let reason = status.reason.filter(|_| status.state == State::Failed);
                    looked_at.get_or_init(|| reason.map(|reason| reason.code));
                }
            }
        };
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = note => {}
        }
    }

    /// Reads the definitions in the snapshot that are not known yet. At first these are all, at one call each: nothing else
    /// says which release a container runs.
    async fn read_definitions(self: Arc<Self>) {
        let read = async {
            let _turn = self.filling.lock().await;
            let Some(snapshot) = self.current(Duration::MAX) else { return };
            for (arn, user) in snapshot.unread(&self.definitions) {
                if let Err(error) = self.definitions.facts(&arn, &user).await {
                    tracing::warn!(%error, "definitions could not be read; the next snapshot tries again");
                    return;
                }
            }
        };
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = read => {}
        }
    }
}
