//! `gc`: clean-up from a terminal or a job.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::Api;
use super::{SettingsArgs, show};
use crate::domain::with_causes;
use crate::reconcile::{Fate, Gc, LeftOver};

const FAILED: u8 = 1;

#[derive(Debug, Args)]
pub(in crate::cli) struct GcArgs {
    /// Remove what is due; without it nothing is changed
    #[arg(long)]
    apply: bool,
    /// Hours for which something must have belonged to no user before it is removed
    #[arg(long, default_value_t = 24, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=8760))]
    grace_hours: u64,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: GcArgs) -> anyhow::Result<ExitCode> {
    let GcArgs { apply, grace_hours, settings } = args;
    let api = Api::open(settings).await?;
    let gc = Gc { applies: apply, grace: Duration::from_secs(grace_hours * 3600), now: Timestamp::now() };
    let found = api.reconciler().gc(gc).await.map_err(|error| anyhow::anyhow!(with_causes(&error)))?;
    let has_failed = found.iter().any(|left| matches!(left.fate, Fate::Failed(_)));
    let left_over: Vec<Value> = found.iter().map(body).collect();
    let words = show::left_over(&left_over, apply);
    api.finish_work(&json!({"applied": apply, "left_over": left_over}), &words).await?;
    Ok(if has_failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn body(left: &LeftOver) -> Value {
    let LeftOver { kind, id, user, why, fate } = left;
    let detail = if let Fate::Failed(detail) = fate { Some(detail) } else { None };
    json!({"kind": kind, "id": id, "user_id": user, "why": why, "fate": fate.name(), "detail": detail})
}
