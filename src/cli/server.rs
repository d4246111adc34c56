//! Assembly and run of the HTTP server, for `serve` and `dev`; they differ in the parts that they pass.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::aws::Aws;
use crate::capacity::Capacity;
use crate::config::{FilesArgs, Freshness, Source, Tokens, refresh};
use crate::doctor::Infrastructure;
use crate::files::Files;
use crate::fleet::{self, Fleet};
use crate::http::{App, Limits, Parts, Readiness, router, serve};
use crate::ledger::{FileLedger, Ledger};
use crate::metrics::Metrics;
use crate::reconcile::{Options, Reconciler};
use crate::rollout::Rollouts;
use crate::staging::{Initialize, Owner, Staging, identify};
use crate::storage::{self, Storage};

/// How long requests and converges under way may take to stop after SIGTERM. ECS kills the task after 30 s by default.
const GRACE: Duration = Duration::from_secs(25);

/// The parts of a server.
pub(super) struct Server {
    pub(super) aws: Aws,
    pub(super) source: Source,
    pub(super) files: FilesArgs,
    pub(super) initialize: Initialize,
    pub(super) tokens: watch::Receiver<Tokens>,
    pub(super) options: Options,
    pub(super) fleet: fleet::Options,
    pub(super) storage: storage::Options,
    pub(super) metrics: Metrics,
}

impl Server {
    /// Serves until SIGTERM or SIGINT, then waits until work under way has stopped.
    pub(super) async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        let limits = Limits::within(raised_file_limit());
        let app = self.assemble().await?;
        let (reconciler, fleet, rollouts) = (Arc::clone(&app.reconciler), app.fleet.clone(), app.rollouts.clone());
        let quotas = app.capacity.refresh_in_background();
        let measuring = app.storage.measure_in_background();
        rollouts.run_in_background();
        fleet.roster.refresh_in_background();
        reconciler.sweep_in_background();
        reconciler.pursue_in_background();
        tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, router(app), limits, stopped));
        asked_to_stop().await?;
        tracing::info!("stopping");
        stop.send_replace(true);
        // A stream of events would keep its connection open without end.
        fleet.shut_down();
        quotas.abort();
        measuring.abort();
        rollouts.shut_down();
        let finish = async {
            reconciler.shut_down().await;
            serving.await
        };
        match tokio::time::timeout(GRACE, finish).await {
            Ok(result) => result?,
            Err(_) => tracing::warn!("stopped with work under way; the next call on those users goes on from there"),
        }
        Ok(())
    }

    /// Reads the settings and puts the application together.
    pub(super) async fn assemble(self) -> anyhow::Result<App> {
        let root = &self.files.efs_root;
        let owner = self.files.owner;
        let chown = owner.chown.then_some(Owner { uid: owner.owner.uid, gid: owner.owner.gid });
        let what = || format!("PROVISIONER_EFS_ROOT {}", root.display());
        let metrics = self.metrics;
        let files = Files::new(root, metrics.clone()).context("threads for file work")?;
        let coordinates = self.source.read().await.map_err(anyhow::Error::msg).context("settings")?;
        // Before anything is written to it: it may be a bare mount point, or another file system.
        identify(&files, &coordinates.file_system_id, self.initialize).await.with_context(what)?;
        let staging = Staging::open(&files, chown).await.with_context(what)?;
        let staging = staging.with_file_system(&coordinates.file_system_id);
        let ledger: Arc<dyn Ledger> = Arc::new(FileLedger::new(files, metrics.clone()));
        let (coordinates_sender, coordinates) = watch::channel(coordinates);
        let (freshness_sender, freshness) = watch::channel(Freshness { read_at: Instant::now(), error: None });
        tokio::spawn(refresh(self.source, root.clone(), coordinates_sender, freshness_sender));

        let infrastructure = Infrastructure::new(self.aws.clone(), coordinates.clone(), owner.owner);
        let (ecs, at) = (self.aws.ecs.clone(), coordinates.clone());
        let capacity = Capacity::new(self.aws.clone(), coordinates.clone(), metrics.clone());
        let storage = Storage::new(staging.clone(), Arc::clone(&ledger), self.storage, metrics.clone());
        let reconciler = Arc::new(Reconciler::new(
            self.aws,
            staging,
            Arc::clone(&ledger),
            coordinates,
            self.options,
            metrics.clone(),
        ));
        let fleet = Fleet::new(ecs, Arc::clone(&reconciler), at, self.fleet, metrics.clone());
        let rollouts = Rollouts::new(Arc::clone(&reconciler), fleet.roster.clone(), ledger, metrics.clone());
        let (readiness, tokens) = (Readiness::new(freshness, infrastructure), self.tokens);
        Ok(Parts { reconciler, fleet, capacity, storage, rollouts, tokens, readiness, metrics }.into())
    }
}

/// Raises the limit of open files as far as this process may, and returns it. Each watcher has a connection, and the usual soft
/// limit of 1,024 would leave none for locks and for AWS.
fn raised_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, ?limit, "the limit of open files cannot be raised");
            limit.current
        }
    };
    // `None` means unlimited.
    current.unwrap_or(u64::MAX)
}

/// Waits for SIGTERM (ECS) or SIGINT (a terminal).
async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
