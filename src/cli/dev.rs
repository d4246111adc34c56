//! `dev`: the HTTP API over an embedded AWS emulator, for a first look and for developing against it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::logs::{LogArgs, LogFormat};
use super::seed::{self, ImageArgs};
use super::server::Server;
use crate::aws::{self, Aws, PosixOwner, Seeder, Timeouts};
use crate::config::{CoordinatesArgs, FilesArgs, LimitArgs, OwnerArg, Source, Tokens};
use crate::fleet;
use crate::metrics::Metrics;
use crate::reconcile::Options;
use crate::staging::Initialize;
use crate::storage;
use aws_emulator::{Conduct, Emulator, Options as EmulatorOptions, StaleReads};

/// Most registrations at once that the emulator accepts: more than a first look ever sends. ECS documents no number, and may accept fewer.
const MOST_REGISTRATIONS_AT_ONCE: usize = 100;

/// `dev`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DevArgs {
    #[command(subcommand)]
    command: Option<DevCommand>,
    /// Address that the HTTP API listens on
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Address that the emulator listens on, for `aws --endpoint-url` and boto3
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDRESS")]
    emulator_listen: SocketAddr,
    /// Directory for users' files
    #[arg(long, default_value = ".dev", value_name = "DIRECTORY")]
    dir: PathBuf,
    /// The one bearer token
    #[arg(long, default_value = "dev", value_name = "TOKEN")]
    token: String,
    /// How old the emulator's answers may be, in milliseconds: AWS is eventually consistent. 0 = never old
    #[arg(long, default_value_t = 200, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(0..=60_000))]
    stale_reads: u64,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    logs: LogArgs,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Create cluster, file system, base family and SSM parameters on any endpoint, and print the commands that start `serve`
    Seed(seed::SeedArgs),
}

pub(super) async fn run(args: DevArgs) -> anyhow::Result<()> {
    if let Some(DevCommand::Seed(seed)) = args.command {
        return seed::run(seed).await;
    }
    let traces = args.logs.start(LogFormat::Text)?;
    let image = args.image.image()?;
    let api = bind("--listen", args.listen).await?;
    let emulator_listener = bind("--emulator-listen", args.emulator_listen).await?;
    let efs_root = args.dir.join("efs");
    std::fs::create_dir_all(&efs_root).with_context(|| format!("--dir {}", args.dir.display()))?;

    let stale_up_to = Duration::from_millis(args.stale_reads);
    let emulator = Emulator::new(EmulatorOptions {
        conduct: conduct(stale_up_to),
        most_registrations_at_once: Some(MOST_REGISTRATIONS_AT_ONCE),
        ..EmulatorOptions::default()
    });
    let config = aws::in_process(emulator.http_client(), Timeouts::default()).await;
    let metrics = Metrics::default();
    let aws = Aws::new(&config, &args.limits.share(), &metrics);
    let seeded =
        seed::seed(&aws, &Seeder::new(&config), &image, "subnet-0123456789abcdef0", "sg-0123456789abcdef0").await?;
    emulator.clear_calls();
    let addresses = Addresses { api: api.local_addr()?, emulator: emulator_listener.local_addr()? };
    let emulating = tokio::spawn(async move { emulator.serve(emulator_listener, std::future::pending()).await });

    let owner = owner();
    banner(&args, &addresses, &image.to_string(), &seeded.base, owner);
    let (_sender, tokens) = watch::channel(Tokens::single("dev", &args.token));
    let coordinates = CoordinatesArgs { ssm_path: Some(seed::SSM_PATH.into()), ..CoordinatesArgs::default() };
    let source = Source { args: coordinates, ssm: aws.ssm.clone() };
    let max_queue = args.limits.max_queue();
    let options = Options {
        poll_interval: Duration::from_millis(250),
        settled_after: 2 * stale_up_to,
        max_queue,
        ..Options::default()
    };
    // The fleet is small here, and people list what they have just created.
    let seconds = Duration::from_secs;
    let fleet = fleet::Options { list_every: seconds(10), fresh_within: seconds(1), ..fleet::Options::default() };
    let files = FilesArgs { efs_root, owner };
    // The emulator has just created a new file system, but the directory is that of the last run.
    let initialize = Initialize::Anew;
    let storage = storage::Options { begins_after: seconds(5), looks_every: seconds(5), ..storage::Options::default() };
    let served = Server { aws, source, files, initialize, tokens, options, fleet, storage, metrics }.run(api).await;
    emulating.abort();
    traces.flush().await;
    served
}

/// How the emulator behaves: like AWS, only faster.
fn conduct(stale_up_to: Duration) -> Conduct {
    let stale_reads = StaleReads { seed: fastrand::u64(..), up_to: stale_up_to };
    let stale_reads = Some(stale_reads).filter(|_| !stale_up_to.is_zero());
    Conduct { stale_reads, late_roles: stale_reads, ..Conduct::default() }
}

struct Addresses {
    api: SocketAddr,
    emulator: SocketAddr,
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("{flag} {address} (is another one running? port 0 picks a free one)"))
}

/// The owner of users' files; only root may change the owner of a file.
fn owner() -> OwnerArg {
    let chown = rustix::process::geteuid().is_root();
    OwnerArg { owner: PosixOwner { uid: 1000, gid: 1000 }, chown }
}

#[expect(clippy::print_stdout, reason = "the banner is this command's output")]
fn banner(args: &DevArgs, at: &Addresses, image: &str, base: &str, owner: OwnerArg) {
    let (api, emulator, token) = (at.api, at.emulator, &args.token);
    let base = base.rsplit_once('/').map_or(base, |(_, name)| name);
    let dir = args.dir.display();
    let owners =
        if owner.chown { "owned by 1000:1000" } else { "not running as root, so files keep your own user as owner" };
    // A sign-in that parses and belongs to no account: header {"alg":"none"}, claims with a fake account, no signature.
    let jwt = "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDAsImlhdCI6MTc3MDAwMDAwMCwiaHR0cHM6Ly9hcGkub3BlbmFpLmNvbS9hdXRoIjp7ImNoYXRncHRfYWNjb3VudF9pZCI6ImFjY19kZW1vIn19.c2ln";
    println!(
        r#"
openclaw-provisioner dev — API http://{api}   AWS emulator http://{emulator}   token {token}
In a browser: http://{api}/ui/ for operators, http://{api}/docs/ to read and to try the API.
Tasks are SIMULATED: they go PENDING, RUNNING, healthy in about two seconds, and no container runs.
Base {base} runs {image}. Files are under {dir}/efs ({owners}). Emulated AWS state is gone when this stops.

# a new user
curl -sS http://{api}/provision -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{{"user_id":"alice","auth":{{"auth_mode":"chatgpt","tokens":{{"access_token":"{jwt}","refresh_token":"rt_demo","id_token":"{jwt}","account_id":"acc_demo"}}}}}}'
# how is it?
curl -sS http://{api}/containers/alice -H 'Authorization: Bearer {token}'
# more memory; CODEX_HOME stays
curl -sS http://{api}/containers/alice/resize -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{{"cpu":1024,"memory_mib":4096}}'
# the newest base; "force" restarts even when nothing changed
curl -sS http://{api}/containers/alice/redeploy -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{{"force":true}}'
# stop, start
curl -sS -X POST http://{api}/containers/alice/stop -H 'Authorization: Bearer {token}'
curl -sS -X POST http://{api}/containers/alice/start -H 'Authorization: Bearer {token}'
# gone, files and all (data=keep keeps them)
curl -sS -X DELETE 'http://{api}/containers/alice?data=purge' -H 'Authorization: Bearer {token}'
# what AWS holds
AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=us-east-1 aws --endpoint-url http://{emulator} ecs describe-task-definition --task-definition openclaw-dev-user
# let every container of the user family fail: pull-error, mount-error, oom, crash, unhealthy, slow, no-capacity, vcpu-limit;
# "healthy" takes the choice back
curl -sS -X PUT http://{emulator}/_emulator/behaviours/openclaw-dev-user -d '{{"behaviour":"oom"}}'
"#
    );
}
