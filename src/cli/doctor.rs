//! `doctor`: says what is wrong before a user finds out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::egress::EgressArgs;
use crate::aws::{self, Aws};
use crate::config::{AwsArgs, CoordinatesArgs, OwnerArg, Source};
use crate::domain::{BaseDefinition, Coordinates, VersionFile};
use crate::metrics::Metrics;
use crate::staging::{Owner, Staging};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Pass,
    Fail,
    Skip,
}

#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    pub(super) message: String,
    /// For machines, from a closed list, where the check has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finding: Option<&'static str>,
}

pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    if args.egress.alone() {
        return report(&args.egress.checks().await, args.json);
    }
    let mut checks = vec![version_file(args.version_file.as_deref())];
    if !args.offline {
        let config = aws::load(args.aws.timeouts()).await;
        let aws = Aws::new(&config, &args.aws.rate_limits, &Metrics::default());
        let (settings, coordinates) = settings(&args, &aws).await;
        checks.push(settings);
        checks.push(match &coordinates {
            Some(at) => base_family(&aws, at).await,
            None => skipped("base_family", "the settings are not known"),
        });
        checks.push(efs_root(&args).await);
    }
    checks.extend(args.egress.checks().await);
    report(&checks, args.json)
}

fn version_file(named: Option<&Path>) -> Check {
    const NAME: &str = "openclaw_version_file";
    let path = named.unwrap_or(Path::new("openclaw-version.json"));
    // On a production host there is no checkout.
    if named.is_none() && !path.exists() {
        return skipped(NAME, "none here; name one with --version-file");
    }
    let shown = path.display();
    let parsed = std::fs::read_to_string(path)
        .map_err(|error| format!("{shown}: {error}; name it with --version-file"))
        .and_then(|text| VersionFile::parse(&text).map_err(|error| format!("{shown}: {error}")));
    match parsed {
        Ok(file) => passed(NAME, format!("{shown}: OpenClaw {}", file.version)),
        Err(problem) => failed(NAME, problem),
    }
}

async fn settings(args: &DoctorArgs, aws: &Aws) -> (Check, Option<Coordinates>) {
    const NAME: &str = "settings";
    let source = Source { args: args.coordinates.clone(), ssm: aws.ssm.clone() };
    match source.read().await {
        Ok(at) => {
            let message = format!(
                "cluster {}, base family {}, file system {}",
                at.cluster,
                at.base_family.as_str(),
                at.file_system_id
            );
            (passed(NAME, message), Some(at))
        }
        Err(_) if args.coordinates.ssm_path.is_none() && args.coordinates.cluster.is_none() => {
            (skipped(NAME, "none given; set PROVISIONER_SSM_PATH"), None)
        }
        Err(problem) => (failed(NAME, problem), None),
    }
}

async fn base_family(aws: &Aws, at: &Coordinates) -> Check {
    const NAME: &str = "base_family";
    let family = at.base_family.as_str();
    match aws.ecs.describe_task_definition(family).await {
        Ok(Some(found)) => match BaseDefinition::parse(found.document, found.tags, family, &at.file_system_id) {
            Ok(base) => passed(NAME, format!("{} can be cloned; CODEX_HOME will be {}", base.arn(), base.codex_home())),
            Err(error) => failed(NAME, error.to_string()),
        },
        Ok(None) => failed(NAME, format!("{family} has no ACTIVE revision; deploy the infrastructure")),
        Err(error) => failed(NAME, error.to_string()),
    }
}

async fn efs_root(args: &DoctorArgs) -> Check {
    const NAME: &str = "efs_root";
    let Some(root) = &args.efs_root else { return skipped(NAME, "not given; set PROVISIONER_EFS_ROOT") };
    let owner = args.owner.chown.then_some(Owner { uid: args.owner.owner.uid, gid: args.owner.owner.gid });
    let checked = match Staging::open(root, owner) {
        Ok(staging) => staging.check().await,
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => passed(NAME, format!("{} can be written, and locks work", root.display())),
        Err(error) => failed(NAME, format!("{}: {error}", root.display())),
    }
}

fn passed(name: &'static str, message: String) -> Check {
    Check { name, verdict: Verdict::Pass, message, finding: None }
}

pub(super) fn failed(name: &'static str, message: String) -> Check {
    Check { name, verdict: Verdict::Fail, message, finding: None }
}

fn skipped(name: &'static str, why: &str) -> Check {
    Check { name, verdict: Verdict::Skip, message: why.to_owned(), finding: None }
}

#[expect(clippy::print_stdout, reason = "the report is this command's output")]
fn report(checks: &[Check], json: bool) -> anyhow::Result<ExitCode> {
    let ok = checks.iter().all(|check| check.verdict != Verdict::Fail);
    if json {
        let report = BTreeMap::from([("checks", serde_json::to_value(checks)?), ("ok", ok.into())]);
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for check in checks {
            let verdict = match check.verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "FAIL",
                Verdict::Skip => "skip",
            };
            println!("{verdict}  {:<22} {}", check.name, check.message);
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
