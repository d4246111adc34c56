//! Monthly cost of a fleet on Fargate, by state and size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CPU_UNITS_A_VCPU, RawSize, State};

/// MiB in a GB, as Fargate bills memory.
const MIB_A_GB: f64 = 1_024.0;

/// CPU architecture of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Intel and AMD; Fargate's default where a definition does not say.
    #[serde(rename = "x86_64")]
    X86,
    /// Graviton.
    Arm64,
}

impl Architecture {
    /// As ECS writes it in `runtimePlatform.cpuArchitecture`.
    #[must_use]
    pub fn of_ecs(name: Option<&str>) -> Self {
        match name {
            Some("ARM64") => Self::Arm64,
            Some(_) | None => Self::X86,
        }
    }

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

/// Prices by Region, each with its source; `src/domain/prices.json` is built in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The month in which they were looked up.
    pub date: String,
    /// Hours in a month, for all sums.
    pub hours_a_month: f64,
    regions: BTreeMap<String, RegionPrices>,
}

/// The prices of one Region, in USD.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionPrices {
    /// Tasks.
    pub fargate: FargatePrices,
    /// Files.
    pub efs: EfsPrices,
    /// What `infra/` creates besides users' containers.
    #[serde(default)]
    pub others: Vec<OtherPrice>,
}

/// Fargate on demand, on Linux.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FargatePrices {
    x86_64: TaskPrices,
    arm64: TaskPrices,
    /// Where the price is published.
    pub source: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskPrices {
    vcpu_hour: f64,
    gb_hour: f64,
}

/// EFS, Standard storage class.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EfsPrices {
    /// A GB that is stored for a whole month.
    pub gb_month: f64,
    /// Where the price is published.
    pub source: String,
}

/// The price of anything else.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherPrice {
    /// What is paid for.
    pub what: String,
    /// The price.
    pub usd: f64,
    /// The amount that the price is for.
    pub unit: String,
    /// Where the price is published.
    pub source: String,
}

/// Why prices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// The file does not have the form of [`Prices`].
    #[error("not a file of prices: {0}")]
    Form(#[from] serde_json::Error),
    /// A price is not a number above 0.
    #[error("a price of {region}, or hours_a_month, is not a number above 0")]
    Number {
        /// The Region.
        region: String,
    },
}

impl Prices {
    /// The prices that are built in.
    ///
    /// # Errors
    /// Never; a test parses them.
    pub fn known() -> Result<Self, PricesError> {
        Self::parse(include_str!("prices.json"))
    }

    /// Reads a file of prices.
    ///
    /// # Errors
    /// When it does not have the form of [`Prices`], or has a price that is not above 0.
    pub fn parse(text: &str) -> Result<Self, PricesError> {
        let prices: Self = serde_json::from_str(text)?;
        let is_price = |number: f64| number.is_finite() && number > 0.0;
        for (region, RegionPrices { fargate: FargatePrices { x86_64, arm64, .. }, efs, others }) in &prices.regions {
            let numbers =
                [prices.hours_a_month, x86_64.vcpu_hour, x86_64.gb_hour, arm64.vcpu_hour, arm64.gb_hour, efs.gb_month];
            if !numbers.into_iter().chain(others.iter().map(|other| other.usd)).all(is_price) {
                return Err(PricesError::Number { region: region.clone() });
            }
        }
        Ok(prices)
    }

    /// The prices of a Region, if there are any.
    #[must_use]
    pub fn of(&self, region: &str) -> Option<&RegionPrices> {
        self.regions.get(region)
    }

    /// The Regions that have prices.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.regions.keys().map(String::as_str)
    }

    /// The cost of a task that runs for a whole month.
    #[must_use]
    pub fn monthly(&self, region: &RegionPrices, size: RawSize, architecture: Architecture) -> f64 {
        let TaskPrices { vcpu_hour, gb_hour } = match architecture {
            Architecture::X86 => region.fargate.x86_64,
            Architecture::Arm64 => region.fargate.arm64,
        };
        let (vcpu, gb) = (f64::from(size.cpu) / CPU_UNITS_A_VCPU, f64::from(size.memory_mib) / MIB_A_GB);
        self.hours_a_month * (vcpu * vcpu_hour + gb * gb_hour)
    }

    /// The monthly cost of these containers if they stay as they are; containers of unknown size are left out.
    #[must_use]
    pub fn estimate(&self, region: &RegionPrices, containers: &[Priced]) -> Estimate {
        let mut groups: BTreeMap<(usize, u32, u32, Architecture), usize> = BTreeMap::new();
        let mut without_size = 0;
        for Priced { state, size, architecture } in containers {
            match size {
                Some(RawSize { cpu, memory_mib }) => {
                    let place = State::ALL.iter().position(|other| other == state).unwrap_or(State::ALL.len());
                    *groups.entry((place, *cpu, *memory_mib, *architecture)).or_default() += 1;
                }
                None => without_size += 1,
            }
        }
        let lines = groups.into_iter().filter_map(|((place, cpu, memory_mib, architecture), containers)| {
            let state = *State::ALL.get(place)?;
            let size = RawSize { cpu, memory_mib };
            let each = if runs(state) { self.monthly(region, size, architecture) } else { 0.0 };
            Some(Line { state, size, architecture, containers, each, all: each * containers as f64 })
        });
        let lines: Vec<Line> = lines.collect();
        Estimate { total: lines.iter().map(|line| line.all).sum(), lines, without_size }
    }
}

/// Whether a container in that state costs money: a failed one may still have a task, and ECS goes on starting others.
const fn runs(state: State) -> bool {
    match state {
        State::Provisioning | State::Running | State::Failed => true,
        State::Stopping | State::Stopped | State::Deleting => false,
    }
}

/// The properties of a container that decide what it costs.
#[derive(Debug, Clone, Copy)]
pub struct Priced {
    /// Its state.
    pub state: State,
    /// Its size; `None` where it is unknown.
    pub size: Option<RawSize>,
    /// CPU architecture of its task.
    pub architecture: Architecture,
}

/// Containers of one state, size and architecture.
#[derive(Debug, Clone)]
pub struct Line {
    /// Their state.
    pub state: State,
    /// Their size.
    pub size: RawSize,
    /// CPU architecture of their tasks.
    pub architecture: Architecture,
    /// How many there are.
    pub containers: usize,
    /// USD a month that one costs.
    pub each: f64,
    /// USD a month that they cost together.
    pub all: f64,
}

/// Monthly cost of a fleet.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// By state, then size.
    pub lines: Vec<Line>,
    /// USD.
    pub total: f64,
    /// Containers that are left out because their size is unknown.
    pub without_size: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: RawSize = RawSize { cpu: 512, memory_mib: 2_048 };

    fn cents(usd: f64) -> i64 {
        (usd * 100.0).round() as i64
    }

    #[test]
    fn the_built_in_prices_are_those_that_aws_publishes() {
        let prices = Prices::known().unwrap();
        let region = prices.of("us-east-1").unwrap();
        assert_eq!(cents(prices.monthly(region, SMALL, Architecture::X86)), 2_126);
        assert_eq!(cents(prices.monthly(region, SMALL, Architecture::Arm64)), 1_702);
        let large = RawSize { cpu: 4_096, memory_mib: 30_720 };
        assert_eq!(cents(prices.monthly(region, large, Architecture::X86)), 21_555);
        assert!(prices.of("eu-central-1").is_none(), "no price is invented");
    }

    #[test]
    fn a_running_container_costs_money_and_a_stopped_one_does_not() {
        let of = |state, size, architecture| Priced { state, size, architecture };
        let containers = [
            of(State::Stopped, Some(SMALL), Architecture::X86),
            of(State::Running, Some(SMALL), Architecture::X86),
            of(State::Running, Some(SMALL), Architecture::Arm64),
            of(State::Running, Some(SMALL), Architecture::X86),
            of(State::Failed, Some(SMALL), Architecture::X86),
            of(State::Running, None, Architecture::X86),
        ];
        let prices = Prices::known().unwrap();
        let estimate = prices.estimate(prices.of("us-east-1").unwrap(), &containers);
        let told: Vec<_> = estimate
            .lines
            .iter()
            .map(|line| (line.state, line.architecture, line.containers, cents(line.all)))
            .collect();
        let expected = [
            (State::Running, Architecture::X86, 2, 4_253),
            (State::Running, Architecture::Arm64, 1, 1_702),
            (State::Stopped, Architecture::X86, 1, 0),
            (State::Failed, Architecture::X86, 1, 2_126),
        ];
        assert_eq!(told, expected);
        assert_eq!((cents(estimate.total), estimate.without_size), (8_081, 1));
    }

    #[test]
    fn a_file_with_a_price_that_is_not_above_zero_is_refused() {
        let known = include_str!("prices.json");
        for (from, to) in [("0.04048", "0"), ("0.04048", "-1"), ("730", "0"), ("0.045", "-0.1")] {
            let refused = Prices::parse(&known.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(refused, PricesError::Number { .. }), "{to}: {refused}");
        }
        for bad in ["{}", "[]", &known.replacen("vcpu_hour", "vcpu_hours", 1)] {
            assert!(matches!(Prices::parse(bad).unwrap_err(), PricesError::Form(_)));
        }
    }
}
