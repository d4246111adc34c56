//! Arguments of `rollout`, and the request made from them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::SettingsArgs;
use super::args::{FleetArgs, pair, user_id};
use crate::cli::WrongInput;
use crate::domain::{RawSize, RolloutOrder, State, UserId};
use crate::http::query;
use crate::http::requests::{
    ChangeBody, Object, RolloutRequest, SelectBody, ShareBody, StrategyBody, VariableBody, WindowBody,
};

/// `rollout`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RolloutCommand {
    /// Show which users a rollout would change in which wave, what would change in their definitions, and how long it would take
    Plan(Box<PlanArgs>),
    /// Start a rollout, or with --dry-run do the same as plan
    Start(Box<StartArgs>),
    /// List rollouts, the newest first
    List(FleetArgs),
    /// Show the progress of a rollout
    Show(OfRolloutArgs),
    /// Show the progress of each of its users
    Users(OfRolloutArgs),
    /// Begin with no more users
    Pause(OfRolloutArgs),
    /// Continue; users who have failed so far no longer count
    Resume(OfRolloutArgs),
    /// End it: users who were moved stay where they are
    Abort(OfRolloutArgs),
    /// Return users who were moved to what they had before
    Rollback(OfRolloutArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OfRolloutArgs {
    /// Id of the rollout
    #[arg(value_name = "ROLLOUT", value_parser = rollout_id)]
    pub(super) id: String,
    #[command(flatten)]
    pub(super) wait: WaitForRolloutArgs,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(super) struct WaitForRolloutArgs {
    /// Wait until it is over or paused: exit code 1 when a user failed or it paused, 4 when the time is over
    #[arg(long)]
    pub(super) wait: bool,
    /// Seconds to wait with --wait
    #[arg(long, default_value_t = 3600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=604_800))]
    pub(super) timeout_seconds: u64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanArgs {
    #[command(flatten)]
    pub(super) what: WhatArgs,
    /// Write the plan to this file, for start --plan
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StartArgs {
    #[command(flatten)]
    pub(super) what: WhatArgs,
    /// The same as plan: change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) wait: WaitForRolloutArgs,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

/// Options that a plan already contains.
const SAID_BY_A_PLAN: [&str; 20] = [
    "users",
    "on_base",
    "on_release",
    "percent",
    "only_running",
    "states",
    "labels",
    "canaries",
    "canary",
    "waves",
    "max_parallel",
    "soak_seconds",
    "max_failures",
    "deadline_seconds",
    "order",
    "window",
    "window_days",
    "promote",
    "accept_no_way_back",
    "change",
];

const NO_CHANGE: &str = "say what to change: one of --base, --image, --unpin, --size, --set-variable, --unset-variable and \
                         --restart, or --plan with a file of rollout plan --out";

/// What a rollout shall change, for whom and how.
#[derive(Debug, Args)]
pub(super) struct WhatArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,
    /// Do what this file of rollout plan --out says; if anything has changed since, show it and refuse
    #[arg(long, value_name = "FILE", conflicts_with_all = SAID_BY_A_PLAN)]
    pub(super) plan: Option<PathBuf>,
    /// Only these users; repeat for more
    #[arg(long = "user", value_name = "USER", value_parser = user_id)]
    users: Vec<UserId>,
    /// Only users who are on this revision of the base
    #[arg(long, value_name = "REVISION")]
    on_base: Option<String>,
    /// Only users who run this release
    #[arg(long, value_name = "RELEASE")]
    on_release: Option<String>,
    /// Only this share of users, in percent, chosen by a hash of the user id
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    percent: Option<u8>,
    /// Leave stopped containers as they are
    #[arg(long)]
    only_running: bool,
    /// Only users whose container is in this state now; again for more
    #[arg(long = "in-state", value_name = "STATE", value_parser = query::read::<State>)]
    states: Vec<State>,
    /// Only users with this label; again for more, all of which they have to have
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// How many go first [default: 1]
    #[arg(long, value_name = "NUMBER", conflicts_with = "canary")]
    canaries: Option<u32>,
    /// A user who goes first; repeat for more
    #[arg(long, value_name = "USER", value_parser = user_id)]
    canary: Vec<UserId>,
    /// A wave after the canaries, as a number or a share such as 25%; repeat for more; the rest is the last wave
    #[arg(long = "wave", value_name = "SHARE")]
    waves: Vec<String>,
    /// Users who are changed at the same time [default: 10]
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
    /// In which order a task is replaced
    #[arg(long, value_name = "ORDER")]
    order: Option<RolloutOrder>,
    /// Begin with users only within these hours, in UTC, such as 22:00-04:00
    #[arg(long, value_name = "FROM-TO", value_parser = hours)]
    window: Option<(String, String)>,
    /// A day on which the window opens, such as saturday; repeat for more [default: every day]
    #[arg(long = "window-day", value_name = "DAY", requires = "window")]
    window_days: Vec<String>,
    /// Whether to promote the base at the end: true or false [default: true when the rollout is for all users]
    #[arg(long, value_name = "BOOLEAN")]
    promote: Option<bool>,
    /// Go on even if OpenClaw cannot go back from the new release
    #[arg(long)]
    accept_no_way_back: bool,
}

#[derive(Debug, Args)]
#[group(id = "change", multiple = false)]
pub(super) struct ChangeArgs {
    /// Move to this revision of the base, or to "newest"
    #[arg(long, value_name = "REVISION")]
    base: Option<String>,
    /// Pin this image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Remove the pin
    #[arg(long)]
    unpin: bool,
    /// Change to this size, such as 1024/4096
    #[arg(long, value_name = "CPU/MIB", value_parser = size)]
    size: Option<(u32, u32)>,
    /// Set this variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set_variable: Option<(String, String)>,
    /// Remove this variable
    #[arg(long, value_name = "NAME")]
    unset_variable: Option<String>,
    /// Replace the task, and change nothing else
    #[arg(long)]
    restart: bool,
}

fn hours(text: &str) -> Result<(String, String), String> {
    let (from, to) = text.split_once('-').ok_or("write hours in UTC, such as 22:00-04:00")?;
    Ok((from.to_owned(), to.to_owned()))
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('/').and_then(|(cpu, mib)| Some((cpu.parse().ok()?, mib.parse().ok()?)));
    parsed.ok_or_else(|| "write CPU units and MiB, such as 1024/4096".to_owned())
}

fn rollout_id(text: &str) -> Result<String, String> {
    let is_id = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_id { Ok(text.to_owned()) } else { Err("`rollout list` shows the ids".to_owned()) }
}

/// A number of users, or a share, which the API reads.
fn share(text: &str) -> ShareBody {
    text.parse().map_or_else(|_| ShareBody::Percent(text.to_owned()), ShareBody::Users)
}

impl ChangeArgs {
    fn change(&self) -> Option<ChangeBody> {
        let Self { base, image, unpin, size, set_variable, unset_variable, restart } = self;
        let is_given = base.is_some()
            || image.is_some()
            || *unpin
            || size.is_some()
            || set_variable.is_some()
            || unset_variable.is_some()
            || *restart;
        let set = set_variable.clone().map(|(name, value)| VariableBody { name, value: Some(value) });
        let unset = unset_variable.clone().map(|name| VariableBody { name, value: None });
        is_given.then(|| ChangeBody {
            base_revision: base.clone(),
            image: if *unpin { Some(None) } else { image.clone().map(Some) },
            size: size.map(|(cpu, memory_mib)| Object(RawSize { cpu, memory_mib })),
            variable: set.or(unset).map(Object),
            restart: restart.then_some(true),
            redeploy: None,
        })
    }
}

impl WhatArgs {
    /// The request.
    pub(super) fn request(&self) -> anyhow::Result<RolloutRequest> {
        let change = self.change.change().ok_or_else(|| WrongInput(NO_CHANGE.to_owned()))?;
        let users = |users: &[UserId]| (!users.is_empty()).then(|| users.iter().map(UserId::to_string).collect());
        let select = SelectBody {
            users: users(&self.users),
            base_revision: self.on_base.clone(),
            openclaw_version: self.on_release.clone(),
            percent: self.percent,
            only_running: self.only_running,
            states: (!self.states.is_empty()).then(|| self.states.clone()),
            labels: (!self.labels.is_empty()).then(|| self.labels.iter().cloned().collect()),
        };
        let window = self.window.clone().map(|(from, to)| {
            let days = (!self.window_days.is_empty()).then(|| self.window_days.clone());
            Object(WindowBody { days, from, to })
        });
        let strategy = StrategyBody {
            canaries: self.canaries,
            canary_users: users(&self.canary),
            waves: (!self.waves.is_empty()).then(|| self.waves.iter().map(|wave| share(wave)).collect()),
            max_parallel: self.max_parallel,
            soak_seconds: self.soak_seconds,
            max_failures: self.max_failures.as_deref().map(share),
            deadline_seconds: self.deadline_seconds,
            rollout_order: self.order,
            window,
        };
        Ok(RolloutRequest {
            select: Some(Object(select)),
            strategy: Some(Object(strategy)),
            promote: self.promote,
            accept_no_way_back: self.accept_no_way_back,
            ..RolloutRequest::of(change)
        })
    }
}
