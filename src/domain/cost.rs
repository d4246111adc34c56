//! What a fleet costs a month on Fargate, by state and size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CPU_UNITS_A_VCPU, RawSize, State};

/// MiB of a GB, as Fargate bills memory.
const MIB_A_GB: f64 = 1_024.0;

/// What a task's processor understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Intel's and AMD's; what Fargate runs where a definition does not say.
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

/// Prices by Region, each with its source; `src/domain/prices.json` is the file that is known here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The month in which they were looked up.
    pub date: String,
    /// Hours that a month is taken for.
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
    /// What `infra/` brings beside users' containers.
    #[serde(default)]
    pub others: Vec<OtherPrice>,
}

/// Fargate on demand, on Linux.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FargatePrices {
    x86_64: TaskPrices,
    arm64: TaskPrices,
    /// Where it is written.
    pub source: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskPrices {
    vcpu_hour: f64,
    gb_hour: f64,
}

/// EFS, of the Standard class.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EfsPrices {
    /// A GB that is there all month.
    pub gb_month: f64,
    /// Where it is written.
    pub source: String,
}

/// Anything else.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherPrice {
    /// What is paid for.
    pub what: String,
    /// The price.
    pub usd: f64,
    /// Of how much of it.
    pub unit: String,
    /// Where it is written.
    pub source: String,
}

/// Why prices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// The file is not of that form.
    #[error("not a file of prices: {0}")]
    Form(#[from] serde_json::Error),
    /// A price is no number that there could be.
    #[error("a price of {region}, or hours_a_month, is not a number above 0")]
    Number {
        /// The Region.
        region: String,
    },
}

impl Prices {
    /// The prices that this was built with.
    ///
    /// # Errors
    /// Never; a test reads them.
    pub fn known() -> Result<Self, PricesError> {
        Self::parse(include_str!("prices.json"))
    }

    /// Reads a file of prices.
    ///
    /// # Errors
    /// When it is not of that form, or has a number that is no price.
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

    /// The Regions that there are prices of.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.regions.keys().map(String::as_str)
    }

    /// What a task costs that runs all month.
    #[must_use]
    pub fn monthly(&self, region: &RegionPrices, size: RawSize, architecture: Architecture) -> f64 {
        let TaskPrices { vcpu_hour, gb_hour } = match architecture {
            Architecture::X86 => region.fargate.x86_64,
            Architecture::Arm64 => region.fargate.arm64,
        };
        let (vcpu, gb) = (f64::from(size.cpu) / CPU_UNITS_A_VCPU, f64::from(size.memory_mib) / MIB_A_GB);
        self.hours_a_month * (vcpu * vcpu_hour + gb * gb_hour)
    }

    /// What these containers cost a month if they stay as they are; without those of which no size is known.
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

/// Whether a container in that state is paid for: one that has failed may have a task all the same, and ECS goes on starting others.
const fn runs(state: State) -> bool {
    match state {
        State::Provisioning | State::Running | State::Failed => true,
        State::Stopping | State::Stopped | State::Deleting => false,
    }
}

/// A container, as far as it matters for what it costs.
#[derive(Debug, Clone, Copy)]
pub struct Priced {
    /// Where it is.
    pub state: State,
    /// Its size; `None` where nobody knows.
    pub size: Option<RawSize>,
    /// What its task runs on.
    pub architecture: Architecture,
}

/// Containers of one state, size and architecture.
#[derive(Debug, Clone)]
pub struct Line {
    /// Where they are.
    pub state: State,
    /// Their size.
    pub size: RawSize,
    /// What their tasks run on.
    pub architecture: Architecture,
    /// How many there are.
    pub containers: usize,
    /// USD a month that one costs.
    pub each: f64,
    /// USD a month that they cost together.
    pub all: f64,
}

/// What a fleet costs a month.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// By state, then size.
    pub lines: Vec<Line>,
    /// USD.
    pub total: f64,
    /// Containers that are not in it, because nobody knows their size.
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
    fn the_prices_that_are_known_are_those_that_aws_shows() {
        let prices = Prices::known().unwrap();
        let region = prices.of("us-east-1").unwrap();
        assert_eq!(cents(prices.monthly(region, SMALL, Architecture::X86)), 2_126);
        assert_eq!(cents(prices.monthly(region, SMALL, Architecture::Arm64)), 1_702);
        let large = RawSize { cpu: 4_096, memory_mib: 30_720 };
        assert_eq!(cents(prices.monthly(region, large, Architecture::X86)), 21_555);
        assert!(prices.of("eu-central-1").is_none(), "none is made up");
    }

    #[test]
    fn what_runs_is_paid_for_and_what_is_stopped_is_not() {
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
    fn a_file_with_numbers_that_are_no_prices_is_refused() {
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
