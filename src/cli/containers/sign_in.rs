//! A user's sign-in from a terminal. It is read from a file or standard input: arguments can be read by others.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::Api;
use super::{OneArgs, SettingsArgs, user_id};
use crate::domain::UserId;

/// Largest sign-in that is read, in bytes: real ones have some thousands.
const MOST_BYTES: u64 = 256 * 1024;

/// `credentials`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CredentialsArgs {
    #[command(subcommand)]
    command: CredentialsCommand,
}

#[derive(Debug, Subcommand)]
enum CredentialsCommand {
    /// Show where the user's sign-in is and how good it is; never a token
    Show(OneArgs),
    /// Stage a newer sign-in
    Put(PutArgs),
    /// Remove the sign-in
    Remove(OneArgs),
    /// Move aside what shadows the sign-in that is used
    Repair(OneArgs),
}

#[derive(Debug, Args)]
struct PutArgs {
    /// Whose
    #[arg(value_name = "USER", value_parser = user_id)]
    user: UserId,
    /// File with the user's ChatGPT auth.json; "-" reads standard input
    #[arg(long, value_name = "FILE")]
    auth_file: PathBuf,
    /// Also over a fresher one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: CredentialsArgs) -> anyhow::Result<ExitCode> {
    let path = |user: &UserId| format!("/containers/{user}/credentials");
    let (settings, method, path, body) = match args.command {
        CredentialsCommand::Show(args) => (args.settings, "GET", path(&args.user), None),
        CredentialsCommand::Put(args) => {
            let body = json!({"auth": read(&args.auth_file)?, "force": args.force});
            (args.settings, "PUT", path(&args.user), Some(body))
        }
        CredentialsCommand::Remove(args) => (args.settings, "DELETE", path(&args.user), None),
        CredentialsCommand::Repair(args) => {
            (args.settings, "POST", format!("{}/repair", path(&args.user)), Some(json!({})))
        }
    };
    let api = Api::open(settings).await?;
    api.finish(api.call(method, &path, body).await?).await
}

/// Reads a sign-in. Errors name the file, never what is in it.
pub(super) fn read(file: &Path) -> anyhow::Result<Value> {
    let mut text = String::new();
    let shown = file.display();
    let read = match file == Path::new("-") {
        true => std::io::stdin().take(MOST_BYTES + 1).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text)),
    };
    let read = read.with_context(|| format!("--auth-file {shown}"))?;
    if read as u64 > MOST_BYTES {
        bail!("--auth-file {shown}: is larger than {MOST_BYTES} bytes; name the user's auth.json");
    }
    serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow::anyhow!("--auth-file {shown}: is not JSON at line {line}, column {column}; name the user's auth.json")
    })
}
