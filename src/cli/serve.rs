//! `serve`: the HTTP API against AWS.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at};

use super::logs::{LogArgs, LogFormat};
use super::server::Server;
use crate::aws::{self, Aws};
use crate::config::{
    ApiArgs, AwsArgs, ContainersArgs, CoordinatesArgs, DirectoriesArgs, FilesArgs, GivenTokens, Source, TokenSource,
    Tokens,
};
use crate::fleet;
use crate::metrics::Metrics;
use crate::reconcile::Options;
use crate::staging::Initialize;
use crate::storage;

/// How often the token file is read again.
const TOKENS_EVERY: Duration = Duration::from_secs(60);

/// `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    coordinates: CoordinatesArgs,
    #[command(flatten)]
    files: FilesArgs,
    /// Write the file system's id into a root that has none, as at the very first start; without this option such a
    /// root is refused, because the file system may not be mounted there
    #[arg(long, env = "PROVISIONER_INITIALIZE")]
    initialize: bool,
    #[command(flatten)]
    containers: ContainersArgs,
    #[command(flatten)]
    directories: DirectoriesArgs,
    #[command(flatten)]
    aws: AwsArgs,
    #[command(flatten)]
    logs: LogArgs,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let traces = args.logs.start(LogFormat::Json)?;
    let source = GivenTokens::beside(args.api.tokens_file).source()?;
    let tokens = source.read()?;
    tracing::info!(count = tokens.count(), "tokens read");
    let (sender, tokens) = watch::channel(tokens);
    tokio::spawn(reread(source, sender));
    let config = aws::load(args.aws.timeouts()).await;
    anyhow::ensure!(config.region().is_some(), "no AWS region: set AWS_REGION (ECS sets it for a task)");
    let metrics = Metrics::default();
    let aws = Aws::new(&config, &args.aws.limits.share(), &metrics);
    let source = Source { args: args.coordinates, ssm: aws.ssm.clone() };
    let options = Options {
        owner: args.files.owner.owner,
        enable_execute_command: args.containers.enable_execute_command,
        failure_threshold: args.containers.failed_tasks_threshold,
        rollout_order: args.containers.rollout_order,
        gateway_probe: args.containers.probe(),
        max_queue: args.aws.limits.max_queue(),
        ..Options::default()
    };
    let address = args.api.listen;
    let listener = TcpListener::bind(address).await.with_context(|| format!("PROVISIONER_LISTEN {address}"))?;
    let fleet = fleet::Options::default();
    let initialize = if args.initialize { Initialize::IfMissing } else { Initialize::No };
    let files = args.files;
    let storage = storage::Options {
        measures: args.directories.measure_directories,
        soft_limit: args.directories.soft_limit(),
        ..storage::Options::default()
    };
    let served =
        Server { aws, source, files, initialize, tokens, options, fleet, storage, metrics }.run(listener).await;
    traces.flush().await;
    served
}

/// Reads the token file again and again, so that a token can be added or removed without a restart.
async fn reread(source: TokenSource, tokens: watch::Sender<Tokens>) {
    if source.file().is_none() {
        // Nothing to read again; keep the channel open as long as it has a reader.
        return tokens.closed().await;
    }
    let mut ticks = interval_at(Instant::now() + TOKENS_EVERY, TOKENS_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = tokens.closed() => return,
        }
        match source.read() {
            Ok(now) => {
                let changed = tokens.send_if_modified(|before| {
                    let changed = *before != now;
                    *before = now;
                    changed
                });
                if changed {
                    tracing::info!("the token file changed");
                }
            }
            Err(error) => tracing::warn!(%error, "the token file cannot be used; the last good one stays in force"),
        }
    }
}
