//! Arguments of the commands on containers.

use std::path::PathBuf;

use clap::Args;
use openclaw::Provider;

use crate::cli::SETTINGS;
use crate::cli::logs::LogArgs;
use crate::config::{AwsArgs, ContainersArgs, CoordinatesArgs, DirectoriesArgs, FilesArgs};
use crate::domain::{State, UserId};
use crate::http::query;
use crate::http::requests::{ListQuery, OnTimeout};

/// The settings of `serve`.
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    #[command(flatten, next_help_heading = SETTINGS)]
    pub(super) coordinates: CoordinatesArgs,
    #[command(flatten, next_help_heading = SETTINGS)]
    pub(super) files: FilesArgs,
    #[command(flatten, next_help_heading = SETTINGS)]
    pub(super) containers: ContainersArgs,
    #[command(flatten, next_help_heading = SETTINGS)]
    pub(super) directories: DirectoriesArgs,
    #[command(flatten, next_help_heading = SETTINGS)]
    pub(super) aws: AwsArgs,
    #[command(flatten, next_help_heading = SETTINGS)]
    pub(super) logs: LogArgs,
    /// Print the answer as one JSON object, as over HTTP
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Wait until the container runs or, for stop, has stopped
    #[arg(long)]
    pub(super) wait: bool,
    /// Seconds to wait, with --wait or for a job; exit code 4 after that
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(super) timeout_seconds: u64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FleetArgs {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PromoteArgs {
    #[command(flatten)]
    pub(super) what: Promoted,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct Promoted {
    /// Revision of the base family, such as openclaw-dev:42, or its number
    #[arg(value_name = "REVISION")]
    pub(super) revision: Option<String>,
    /// Promote the newest revision
    #[arg(long)]
    pub(super) newest: bool,
    /// Promote no revision: every user follows the newest base again, at their next provision
    #[arg(long)]
    pub(super) follow: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneArgs {
    /// User id
    #[arg(value_name = "USER", value_parser = user_id)]
    pub(super) user: UserId,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ChangeArgs {
    /// User id
    #[arg(value_name = "USER", value_parser = user_id)]
    pub(super) user: UserId,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    pub(super) filters: ListQuery,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WaitForArgs {
    /// User id
    #[arg(value_name = "USER", value_parser = user_id)]
    pub(super) user: UserId,
    /// The state to wait for
    #[arg(long, default_value = "running", value_parser = query::read::<State>)]
    pub(super) state: State,
    /// Seconds to wait; exit code 4 after that
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(super) timeout_seconds: u64,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    /// Status of the answer after a timeout: with 200 it has "reached": false, and the exit code is 0
    #[arg(long, default_value = "408", value_name = "STATUS", value_parser = query::read::<OnTimeout>)]
    pub(super) on_timeout: OnTimeout,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ProvisionArgs {
    /// User id
    #[arg(value_name = "USER", value_parser = user_id)]
    pub(super) user: UserId,
    /// File with the user's ChatGPT auth.json, or with a request that has it; "-" reads standard input. Never an argument: others could read it
    #[arg(long, value_name = "FILE")]
    pub(super) auth_file: Option<PathBuf>,
    /// How the user signs in: chatgpt, openai_key, anthropic_key or bedrock [default: chatgpt for a new user]
    #[arg(long, value_parser = provider)]
    pub(super) provider: Option<Provider>,
    /// CPU units, with --memory-mib
    #[arg(long, value_name = "UNITS", requires = "memory_mib")]
    pub(super) cpu: Option<u32>,
    /// Memory in MiB, with --cpu
    #[arg(long, value_name = "MIB", requires = "cpu")]
    pub(super) memory_mib: Option<u32>,
    /// Pin this image
    #[arg(long, value_name = "IMAGE")]
    pub(super) image: Option<String>,
    /// OpenClaw release of an image whose tag does not name it
    #[arg(long, value_name = "RELEASE")]
    pub(super) release: Option<String>,
    /// Environment variable of the container; repeat for more
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) variables: Vec<(String, String)>,
    /// Secret of the container, by the ARN it is stored under; repeat for more
    #[arg(long = "secret", value_name = "NAME=ARN", value_parser = pair)]
    pub(super) secrets: Vec<(String, String)>,
    /// Docker label of the container; repeat for more
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

/// One user, or several as one job.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct UsersArgs {
    /// User ids; more than one make a job, and the command waits for it
    #[arg(value_name = "USER", value_parser = user_id)]
    pub(super) named: Vec<UserId>,
    /// "-" reads user ids from standard input, one a line; always a job, even for one user
    #[arg(long, value_name = "-", value_parser = ["-"])]
    pub(super) users: Option<String>,
}

impl UsersArgs {
    /// Whether this is a job: the form of the arguments decides, not the number of users read.
    pub(super) const fn is_job(&self) -> bool {
        self.users.is_some() || self.named.len() > 1
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResizeArgs {
    #[command(flatten)]
    pub(super) users: UsersArgs,
    /// CPU units
    #[arg(long, value_name = "UNITS")]
    pub(super) cpu: u32,
    /// Memory in MiB
    #[arg(long, value_name = "MIB")]
    pub(super) memory_mib: u32,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RedeployArgs {
    #[command(flatten)]
    pub(super) users: UsersArgs,
    /// Pin this image
    #[arg(long, value_name = "IMAGE", conflicts_with = "unpin")]
    pub(super) image: Option<String>,
    /// Remove the pin
    #[arg(long)]
    pub(super) unpin: bool,
    /// OpenClaw release of an image whose tag does not name it
    #[arg(long, value_name = "RELEASE")]
    pub(super) release: Option<String>,
    /// Replace the task even when nothing has changed
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteArgs {
    /// User id
    #[arg(value_name = "USER", value_parser = user_id)]
    pub(super) user: UserId,
    /// Remove the user's files, too
    #[arg(long)]
    pub(super) purge: bool,
    /// Do not wait for the tasks to stop, and skip what cannot be removed
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

pub(super) fn user_id(text: &str) -> Result<UserId, openclaw::Invalid> {
    UserId::parse(text)
}

fn provider(text: &str) -> Result<Provider, String> {
    let found = Provider::ALL.into_iter().find(|provider| provider.name() == text);
    found.ok_or_else(|| format!("one of {}", Provider::ALL.map(Provider::name).join(", ")))
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
