//! The list of all containers, from a snapshot that is read in the background and, where that is too old, on demand.

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
/// How long a failure is answered again before AWS is asked again.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(5);
/// How many failed containers one snapshot has looked at, at some four calls each; the next one goes on.
const MOST_STOPS_NOTED: usize = 100;

/// Why there is no list.
#[derive(Debug, Clone, Error)]
pub enum ListRefused {
    /// AWS did not tell.
    #[error("the fleet could not be read")]
    Aws(#[source] Arc<AwsError>),
    /// It takes longer than a caller waits; it goes on.
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
    /// Held while the cluster is read: one reading at a time, whose end all wait for. Holds how the last one failed.
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

    /// A page of the list. `fresh`: from a snapshot no older than [`Options::fresh_within`]; otherwise from whichever
    /// there is, and from a new one when there is none.
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

    /// Everybody in the list, from a snapshot that was begun within that time.
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

    /// As [`Self::everybody`], with the definition of everybody who has a container.
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
            // A caller that goes away must not undo it.
            let reading = tokio::spawn(Arc::clone(&self.0).read_definitions());
            timeout_at(until, reading).await.ok();
            snapshot = self.0.current(Duration::MAX).unwrap_or(snapshot);
        }
        let query = Query { limit: usize::MAX, ..Query::default() };
        let page = snapshot.page(&query, &self.0.definitions, &self.0.reconciler.accepted());
        if page.unread_definitions > 0 { Err(ListRefused::Reading) } else { Ok(page.containers) }
    }

    /// How many containers there are on each base, `family:revision`, as far as their definitions were read, and how old that is. From
    /// whichever snapshot there is.
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
        // A caller that goes away must not undo the reading that others wait for.
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
                    // Somebody may have asked for a fresh one in between.
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
    /// The snapshot, if there is one of this cluster that is no older than that.
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

    /// Looks once at every container that has failed, for the list, and notes why, before ECS forgets: after about an
    /// hour.
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

    /// Reads the definitions that the snapshot names and that are not known yet. At first these are all of them, one call
    /// each: nothing else says which release a container runs.
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
