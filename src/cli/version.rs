//! `version check`: prints what is known of a release before it is pinned.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use openclaw::{Authority, CredentialPlan, OpenClawVersion, Release};
use serde::{Serialize, Serializer};

use crate::domain::{Compatibility, ReleaseProof, VersionFile};

/// `version`.
#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    #[command(subcommand)]
    command: VersionCommand,
}

#[derive(Debug, Subcommand)]
enum VersionCommand {
    /// Show how the pinned OpenClaw release is signed in, and the results of real runs of it
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The file that pins the release
    #[arg(long, value_name = "FILE", default_value = "openclaw-version.json", conflicts_with = "release")]
    version_file: PathBuf,
    /// Ask about this release instead of the pinned one, such as 2026.9.6
    #[arg(long, value_name = "RELEASE")]
    release: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    openclaw_version: String,
    pinned_by: Option<String>,
    plan: PlanReport,
    compatibility: Option<ReleaseProof>,
    warnings: Vec<WarningReport>,
}

#[derive(Debug, Serialize)]
struct PlanReport {
    #[serde(serialize_with = "by_name")]
    authority: Authority,
    entry_script: bool,
    auth_profile_secret_key: bool,
    model: &'static str,
    runtime: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct WarningReport {
    code: &'static str,
    message: String,
}

#[expect(clippy::print_stdout, reason = "the report is this command's output")]
pub(super) fn run(args: VersionArgs) -> anyhow::Result<()> {
    let VersionCommand::Check(args) = args.command;
    let (version, pinned_by) = match &args.release {
        Some(text) => (named(text)?, None),
        None => (pinned(&args)?, Some(args.version_file.display().to_string())),
    };
    let report = report(version, pinned_by, &Compatibility::known());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", in_words(&report));
    }
    Ok(())
}

fn named(text: &str) -> anyhow::Result<OpenClawVersion> {
    let parsed = OpenClawVersion::from_tag(text).and_then(OpenClawVersion::supported);
    parsed.map_err(|error| anyhow::anyhow!("--release {text} {}; {}", error.problem(), error.fix()))
}

fn pinned(args: &CheckArgs) -> anyhow::Result<OpenClawVersion> {
    let shown = args.version_file.display();
    let what = || format!("{shown}: name it with --version-file, or a release with --release");
    let text = std::fs::read_to_string(&args.version_file).with_context(what)?;
    Ok(VersionFile::parse(&text).with_context(|| shown.to_string())?.version)
}

fn report(version: OpenClawVersion, pinned_by: Option<String>, table: &Compatibility) -> Report {
    let release = Release::plain(version);
    let CredentialPlan { authority, needs_entry, needs_profile_secret_key, model, .. } = release.plan();
    let proof = table.of(version);
    let doubts = table.doubts(version);
    let warnings = doubts.into_iter().map(|(code, message)| WarningReport { code, message }).collect();
    Report {
        openclaw_version: version.to_string(),
        pinned_by,
        plan: PlanReport {
            authority,
            entry_script: needs_entry,
            auth_profile_secret_key: needs_profile_secret_key,
            model: model.reference,
            runtime: model.runtime,
        },
        compatibility: proof.cloned(),
        warnings,
    }
}

fn in_words(report: &Report) -> String {
    let Report { openclaw_version, pinned_by, plan, compatibility, warnings } = report;
    let pinned = pinned_by.as_ref().map_or_else(String::new, |file| format!(", pinned by {file}"));
    let mut lines = vec![format!("OpenClaw {openclaw_version}{pinned}")];
    lines.push(format!("sign-in   {}", place(plan.authority)));
    if plan.entry_script {
        lines.push(
            "start     the entry script runs before the gateway: it imports the sign-in and migrates state".into(),
        );
    }
    if plan.auth_profile_secret_key {
        lines.push("secret    OPENCLAW_AUTH_PROFILE_SECRET_KEY, see PROVISIONER_AUTH_PROFILE_SECRET_ARN".into());
    }
    let runtime = plan.runtime.map_or_else(String::new, |runtime| format!(" on the runtime {runtime}"));
    lines.push(format!("model     {}{runtime}", plan.model));
    lines.push(match compatibility {
        None => "proved    no run of it is known".into(),
        Some(proof) if proof.all_yes => format!("proved    all checks yes on {}", proof.date),
        Some(proof) => {
            format!(
                "proved    on {}, all checks yes but: {}",
                proof.date,
                proof.failed().collect::<Vec<_>>().join(", ")
            )
        }
    });
    lines.extend(warnings.iter().map(|warning| format!("warning   {}: {}", warning.code, warning.message)));
    lines.join("\n") + "\n"
}

/// The place that holds the live refresh token, in words.
const fn place(authority: Authority) -> &'static str {
    match authority {
        Authority::CodexHome => "codex/auth.json, by CODEX_HOME",
        Authority::CodexPlugin => "codex/auth.json, by CODEX_HOME and the codex plugin",
        Authority::AuthProfiles => "agents/main/agent/auth-profiles.json; codex/auth.json without a refresh token",
        Authority::Store => "OpenClaw's own store, imported once; codex/auth.json without a refresh token",
    }
}

fn by_name<S: Serializer>(authority: &Authority, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(authority.name())
}
