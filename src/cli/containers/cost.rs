//! `cost`: estimates what the fleet costs a month on Fargate.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::Api;
use super::args::SettingsArgs;
use crate::domain::{Architecture, Estimate, Priced, Prices, RawSize, State};
use crate::http::requests::ListQuery;

/// `cost`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CostArgs {
    /// File of prices, in the form of src/domain/prices.json [default: the built-in prices, of us-east-1]
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// A container in the list.
#[derive(Deserialize)]
struct Listed {
    state: String,
    size: Option<RawSize>,
    architecture: Option<Architecture>,
}

pub(super) async fn run(args: CostArgs) -> anyhow::Result<ExitCode> {
    let prices = match &args.prices {
        None => Prices::known()?,
        Some(file) => {
            let name = file.display();
            let text = std::fs::read_to_string(file).with_context(|| format!("--prices {name}"))?;
            Prices::parse(&text).with_context(|| format!("--prices {name}"))?
        }
    };
    let api = Api::open(args.settings).await?;
    let region = api.region().to_owned();
    let Some(of_region) = prices.of(&region) else {
        let known = prices.regions().collect::<Vec<_>>().join(", ");
        anyhow::bail!(
            "there are no prices for {region}, only for {known}: give --prices a file with the prices that \
             https://aws.amazon.com/fargate/pricing/ lists for it, in the form of src/domain/prices.json"
        );
    };
    let mut answer = super::all_containers(&api, ListQuery::default()).await?;
    if !answer.is_success() {
        return api.finish(answer).await;
    }
    let listed: Vec<Listed> = serde_json::from_value(answer.body["containers"].take()).context("the list")?;
    let priced = listed.into_iter().map(|Listed { state, size, architecture }| {
        let state = State::ALL.into_iter().find(|known| known.name() == state);
        // A container with a size always has one.
        let architecture = architecture.unwrap_or(Architecture::X86);
        state.map(|state| Priced { state, size, architecture }).context("a state that is not known")
    });
    let estimate = prices.estimate(of_region, &priced.collect::<anyhow::Result<Vec<_>>>()?);
    answer.body = body(&estimate, &prices, &region, of_region.efs.gb_month, &of_region.fargate.source);
    api.finish(answer).await
}

fn body(estimate: &Estimate, prices: &Prices, region: &str, gb_month: f64, source: &str) -> Value {
    let lines = estimate.lines.iter().map(|line| {
        json!({
            "state": line.state, "cpu": line.size.cpu, "memory_mib": line.size.memory_mib,
            "architecture": line.architecture, "containers": line.containers,
            "usd_each": cents(line.each), "usd_a_month": cents(line.all),
        })
    });
    json!({
        "region": region,
        "usd_a_month": cents(estimate.total),
        "lines": lines.collect::<Vec<_>>(),
        "without_size": estimate.without_size,
        "hours_a_month": prices.hours_a_month,
        "prices": {"date": prices.date, "source": source},
        "not_in_it": format!(
            "users' files ({gb_month} USD a GB and month on EFS), logs, bytes through NAT, and what infra/ runs beside users' containers"
        ),
    })
}

fn cents(usd: f64) -> f64 {
    (usd * 100.0).round() / 100.0
}
