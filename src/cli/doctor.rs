//! `doctor`: runs the checks and prints their results.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::egress::EgressArgs;
use crate::aws::{self, Aws};
use crate::config::{AwsArgs, CoordinatesArgs, GivenTokens, OwnerArg};
use crate::doctor::{Check, Doctor, Verdict, version_file};
use crate::files::Files;
use crate::metrics::Metrics;

/// `doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The version file to check [default: openclaw-version.json, where there is one]
    #[arg(long, value_name = "FILE")]
    version_file: Option<PathBuf>,
    /// Check the version file alone, without AWS and file system
    #[arg(long)]
    offline: bool,
    /// Directory that the root of the EFS file system is mounted on
    #[arg(long, env = "PROVISIONER_EFS_ROOT", value_name = "DIRECTORY")]
    efs_root: Option<PathBuf>,
    /// Owner of users' files as uid:gid, or "-"
    #[arg(long, env = "PROVISIONER_OWNER", default_value = "1000:1000", value_name = "UID:GID")]
    owner: OwnerArg,
    /// File of bearer tokens
    #[arg(long, env = "PROVISIONER_TOKENS_FILE", value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// Planned number of users, compared with the quotas of the account
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    planned_users: Option<u32>,
    #[command(flatten)]
    coordinates: CoordinatesArgs,
    #[command(flatten)]
    aws: AwsArgs,
    #[command(flatten)]
    egress: EgressArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    if args.egress.alone() {
        return report(&args.egress.checks().await, args.json);
    }
    let mut checks = vec![version_file(args.version_file.as_deref())];
    if args.offline {
        checks.extend(args.egress.checks().await);
    } else {
        let config = aws::load(args.aws.timeouts()).await;
        let files = args.efs_root.map(|root| Files::new(&root, Metrics::default())).transpose();
        let doctor = Doctor {
            coordinates: args.coordinates,
            aws: Aws::new(&config, &args.aws.limits.share(), &Metrics::default()),
            owner: args.owner,
            files: files.context("threads for file work")?,
            tokens: GivenTokens::beside(args.tokens_file),
            planned_users: args.planned_users,
        };
        let (examined, egress) = tokio::join!(doctor.examine(), args.egress.checks());
        checks.extend(examined.into_iter().chain(egress));
    }
    report(&checks, args.json)
}

#[expect(clippy::print_stdout, reason = "the report is this command's output")]
fn report(checks: &[Check], json: bool) -> anyhow::Result<ExitCode> {
    let ok = checks.iter().all(|check| check.verdict != Verdict::Fail);
    if json {
        let report = BTreeMap::from([("checks", serde_json::to_value(checks)?), ("ok", ok.into())]);
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for Check { name, verdict, message, fix, .. } in checks {
            let verdict = match verdict {
                Verdict::Pass | Verdict::Skip => verdict.name().to_owned(),
                Verdict::Warn | Verdict::Fail => verdict.name().to_uppercase(),
            };
            println!("{verdict}  {name:<22} {message}");
            if let Some(fix) = fix {
                println!("{:29}fix: {fix}", "");
            }
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
