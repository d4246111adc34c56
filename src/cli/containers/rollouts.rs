//! Rollouts from a terminal, and jobs: several users as one rollout without waves, which is waited for.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::api::Api;
use super::args::UsersArgs;
use super::{SettingsArgs, user_id};
use crate::domain::UserId;

/// How often a rollout that is waited for is looked at.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// Largest list of users that is read, in bytes.
const MOST_BYTES: u64 = 4 * 1024 * 1024;
const FAILED: u8 = 1;
const TIMED_OUT: u8 = 4;

/// `rollout`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RolloutCommand {
    /// Start a rollout, or say with --dry-run who would be in which wave
    Start(Box<StartArgs>),
    /// List rollouts, the newest first
    List(super::args::FleetArgs),
    /// Show how far a rollout is
    Show(OfRolloutArgs),
    /// Begin with nobody more
    Pause(OfRolloutArgs),
    /// Go on; users who have failed so far count no more
    Resume(OfRolloutArgs),
    /// Give it up: whoever was moved stays where they are
    Abort(OfRolloutArgs),
    /// Take whoever was moved back to what they had
    Rollback(OfRolloutArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OfRolloutArgs {
    /// Id of the rollout
    #[arg(value_name = "ROLLOUT", value_parser = rollout_id)]
    id: String,
    #[command(flatten)]
    wait: WaitForRolloutArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Args)]
struct WaitForRolloutArgs {
    /// Wait until it is over or paused: exit code 1 when somebody failed or it paused, 4 when it is not in time
    #[arg(long)]
    wait: bool,
    /// Seconds to wait with --wait
    #[arg(long, default_value_t = 3600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=604_800))]
    timeout_seconds: u64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StartArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Only these users; again for more
    #[arg(long = "user", value_name = "USER", value_parser = user_id)]
    users: Vec<UserId>,
    /// Only users who are on this revision of the base
    #[arg(long, value_name = "REVISION")]
    on_base: Option<String>,
    /// Only users who run this release
    #[arg(long, value_name = "RELEASE")]
    on_release: Option<String>,
    /// Only so many of a hundred, by a hash of the user id
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    percent: Option<u8>,
    /// Leave stopped containers as they are
    #[arg(long)]
    only_running: bool,
    /// How many go first [default: 1]
    #[arg(long, value_name = "NUMBER", conflicts_with = "canary")]
    canaries: Option<u32>,
    /// Who goes first; again for more
    #[arg(long, value_name = "USER", value_parser = user_id)]
    canary: Vec<UserId>,
    /// A wave after the canaries, as a number or a share such as 25%; again for more, and the rest is the last
    #[arg(long = "wave", value_name = "SHARE")]
    waves: Vec<String>,
    /// Users who are on their way at a time [default: 10]
    #[arg(long, value_name = "NUMBER")]
    max_parallel: Option<u32>,
    /// How long a user has to stay ready [default: 60]
    #[arg(long, value_name = "SECONDS")]
    soak_seconds: Option<u32>,
    /// How many may fail, as a number or a share [default: 0]
    #[arg(long, value_name = "SHARE")]
    max_failures: Option<String>,
    /// How long a user may take to become ready [default: 900]
    #[arg(long, value_name = "SECONDS")]
    deadline_seconds: Option<u32>,
    /// In which order a task is replaced: stop_first or strict
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
    /// Whether the base is promoted at the end: true or false [default: when everybody is taken along]
    #[arg(long, value_name = "BOOLEAN")]
    promote: Option<bool>,
    /// Also over a release from which OpenClaw cannot go back
    #[arg(long)]
    accept_no_way_back: bool,
    /// Say who would be in which wave, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitForRolloutArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ChangeArgs {
    /// To this revision of the base, or "newest"
    #[arg(long, value_name = "REVISION")]
    base: Option<String>,
    /// Pin this image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Take the pin away
    #[arg(long)]
    unpin: bool,
    /// To this size, such as 1024/4096
    #[arg(long, value_name = "CPU/MIB", value_parser = size)]
    size: Option<(u32, u32)>,
    /// Another task of the same
    #[arg(long)]
    restart: bool,
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('/').and_then(|(cpu, mib)| Some((cpu.parse().ok()?, mib.parse().ok()?)));
    parsed.ok_or_else(|| "write CPU units and MiB, such as 1024/4096".to_owned())
}

fn rollout_id(text: &str) -> Result<String, String> {
    let is_id = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_id { Ok(text.to_owned()) } else { Err("`rollout list` shows the ids".to_owned()) }
}

/// A number stays one.
fn share(text: &str) -> Value {
    text.parse::<u32>().map_or_else(|_| json!(text), |number| json!(number))
}

impl StartArgs {
    fn body(&self) -> Value {
        let change = match &self.change {
            ChangeArgs { base: Some(base), .. } => json!({"base_revision": base}),
            ChangeArgs { image: Some(image), .. } => json!({"image": image}),
            ChangeArgs { unpin: true, .. } => json!({"image": null}),
            ChangeArgs { size: Some((cpu, memory_mib)), .. } => json!({"size": {"cpu": cpu, "memory_mib": memory_mib}}),
            ChangeArgs { .. } => json!({"restart": true}),
        };
        let mut select = Map::from_iter([("only_running".to_owned(), json!(self.only_running))]);
        let mut strategy = Map::new();
        let put = |into: &mut Map<String, Value>, name: &str, value: Option<Value>| {
            if let Some(value) = value {
                into.insert(name.to_owned(), value);
            }
        };
        put(&mut select, "users", (!self.users.is_empty()).then(|| json!(self.users)));
        put(&mut select, "base_revision", self.on_base.as_ref().map(|base| json!(base)));
        put(&mut select, "openclaw_version", self.on_release.as_ref().map(|release| json!(release)));
        put(&mut select, "percent", self.percent.map(|percent| json!(percent)));
        put(&mut strategy, "canaries", self.canaries.map(|number| json!(number)));
        put(&mut strategy, "canary_users", (!self.canary.is_empty()).then(|| json!(self.canary)));
        let waves: Vec<Value> = self.waves.iter().map(|wave| share(wave)).collect();
        put(&mut strategy, "waves", (!waves.is_empty()).then(|| json!(waves)));
        put(&mut strategy, "max_parallel", self.max_parallel.map(|number| json!(number)));
        put(&mut strategy, "soak_seconds", self.soak_seconds.map(|seconds| json!(seconds)));
        put(&mut strategy, "max_failures", self.max_failures.as_deref().map(share));
        put(&mut strategy, "deadline_seconds", self.deadline_seconds.map(|seconds| json!(seconds)));
        put(&mut strategy, "rollout_order", self.order.as_ref().map(|order| json!(order)));
        let mut body = json!({
            "select": select, "change": change, "strategy": strategy, "dry_run": self.dry_run,
            "accept_no_way_back": self.accept_no_way_back,
        });
        if let Some(promote) = self.promote {
            body["promote"] = json!(promote);
        }
        body
    }
}

pub(super) async fn run(command: RolloutCommand) -> anyhow::Result<ExitCode> {
    let (args, action) = match command {
        RolloutCommand::Start(args) => {
            let body = args.body();
            let (is_dry, wait) = (args.dry_run, args.wait);
            let api = Api::open(args.settings).await?;
            let answer = api.call("POST", "/rollouts", Some(body)).await?;
            return match answer.body["id"].as_str().filter(|_| wait.wait && !is_dry) {
                Some(id) => until_over(&api, id, wait.timeout_seconds).await,
                None => api.finish(answer).await,
            };
        }
        RolloutCommand::List(args) => return super::get(args.settings, "/rollouts".into()).await,
        RolloutCommand::Show(args) => (args, None),
        RolloutCommand::Pause(args) => (args, Some("pause")),
        RolloutCommand::Resume(args) => (args, Some("resume")),
        RolloutCommand::Abort(args) => (args, Some("abort")),
        RolloutCommand::Rollback(args) => (args, Some("rollback")),
    };
    let OfRolloutArgs { id, wait, settings } = args;
    let api = Api::open(settings).await?;
    let answer = match action {
        Some(action) => api.call("POST", &format!("/rollouts/{id}/{action}"), Some(json!({}))).await?,
        None => api.call("GET", &format!("/rollouts/{id}"), None).await?,
    };
    if wait.wait && answer.is_success() {
        return until_over(&api, &id, wait.timeout_seconds).await;
    }
    api.finish(answer).await
}

/// The users that are named, or that stand on standard input; each once.
pub(super) fn users(args: &UsersArgs) -> anyhow::Result<Vec<UserId>> {
    let mut users = args.named.clone();
    if args.users.is_some() {
        let mut text = String::new();
        std::io::stdin().take(MOST_BYTES + 1).read_to_string(&mut text).context("--users -")?;
        ensure!(text.len() as u64 <= MOST_BYTES, "--users -: there are more than {MOST_BYTES} bytes");
        for (at, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
            users.push(UserId::parse(line).with_context(|| format!("--users -, line {}", at + 1))?);
        }
        ensure!(!users.is_empty(), "--users -: nobody stands there; write one user id a line");
    }
    users.sort();
    users.dedup();
    Ok(users)
}

/// One change of several users: a rollout without waves, in which everybody is tried. Safe to run again: whoever has it already is
/// left as they are.
pub(super) async fn job(
    settings: SettingsArgs,
    users: &[UserId],
    change: Value,
    seconds: u64,
) -> anyhow::Result<ExitCode> {
    let api = Api::open(settings).await?;
    let strategy = json!({"canaries": 0, "soak_seconds": 0, "max_failures": "100%"});
    let body = json!({"select": {"users": users}, "change": change, "strategy": strategy});
    let answer = api.call("POST", "/rollouts", Some(body)).await?;
    match answer.body["id"].as_str() {
        Some(id) if answer.is_success() => until_over(&api, id, seconds).await,
        Some(_) | None => api.finish(answer).await,
    }
}

/// Runs and follows a rollout until it is over or paused, and prints how it ended.
async fn until_over(api: &Api, id: &str, seconds: u64) -> anyhow::Result<ExitCode> {
    api.run_rollouts();
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut told = String::new();
    loop {
        let answer = api.call("GET", &format!("/rollouts/{id}"), None).await?;
        if !answer.is_success() {
            return api.finish(answer).await;
        }
        let users = &answer.body["progress"]["users"];
        let state = answer.body["state"].as_str().unwrap_or_default().to_owned();
        let failed = users["failed"].as_u64().unwrap_or(0);
        if state != "running" {
            let is_good = failed == 0 && matches!(state.as_str(), "done" | "rolled_back");
            let code = api.finish(answer).await?;
            return Ok(if is_good { code } else { ExitCode::from(FAILED) });
        }
        if Instant::now() >= deadline {
            api.finish(answer).await?;
            return Ok(ExitCode::from(TIMED_OUT));
        }
        let through = ["done", "failed", "skipped"].iter().filter_map(|name| users[*name].as_u64()).sum::<u64>();
        let (all, waits_for) = (users["all"].as_u64().unwrap_or(0), answer.body["progress"]["waits_for"].as_str());
        let waits_for = waits_for.map_or_else(String::new, |what| format!(", waits for {what}"));
        api.tell(&format!("{through} of {all} users are through, {failed} failed{waits_for}"), &mut told);
        sleep(LOOKS_EVERY).await;
    }
}
