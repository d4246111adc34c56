//! Fargate sizes: the memory sizes that each CPU size allows.

use openclaw::Invalid;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// CPU units in one vCPU.
pub const CPU_UNITS_A_VCPU: f64 = 1_024.0;

/// A valid Fargate task size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawSize", into = "RawSize")]
pub struct Size {
    cpu: u32,
    memory_mib: u32,
}

/// A size as it is in JSON, not yet checked.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Size)]
pub struct RawSize {
    /// CPU units; 1024 are one vCPU.
    pub cpu: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
}

impl Size {
    /// Checks a pair against the Fargate table.
    ///
    /// # Errors
    /// Names `<field>.cpu` when no task can have that CPU, and `<field>.memory_mib` (with every memory size that the
    /// CPU allows) when the pair does not fit.
    pub fn parse(raw: RawSize, field: &str) -> Result<Self, Invalid> {
        let Some(memory) = memory_for(raw.cpu) else {
            return Err(Invalid::new(
                join(field, "cpu"),
                format!("{} CPU units is not a Fargate size", raw.cpu),
                format!("use one of {}", list(CPU_UNITS)),
            ));
        };
        if !memory.contains(&raw.memory_mib) {
            return Err(Invalid::new(
                join(field, "memory_mib"),
                format!("{} MiB does not go with {} CPU units", raw.memory_mib, raw.cpu),
                format!("valid memory_mib for cpu {}: {}", raw.cpu, list(&memory)),
            ));
        }
        Ok(Self { cpu: raw.cpu, memory_mib: raw.memory_mib })
    }

    /// Every valid size, from the smallest CPU to the largest.
    pub fn all() -> impl Iterator<Item = Self> {
        let with_memory = |cpu| memory_for(cpu).into_iter().flatten().map(move |memory_mib| Self { cpu, memory_mib });
        CPU_UNITS.iter().copied().flat_map(with_memory)
    }

    /// CPU units; 1024 are one vCPU.
    #[must_use]
    pub const fn cpu(self) -> u32 {
        self.cpu
    }

    /// Memory in MiB.
    #[must_use]
    pub const fn memory_mib(self) -> u32 {
        self.memory_mib
    }
}

impl TryFrom<RawSize> for Size {
    type Error = Invalid;

    fn try_from(raw: RawSize) -> Result<Self, Invalid> {
        Self::parse(raw, "size")
    }
}

impl From<Size> for RawSize {
    fn from(size: Size) -> Self {
        Self { cpu: size.cpu, memory_mib: size.memory_mib }
    }
}

/// Every CPU size that a Fargate task can have (ECS developer guide, "Task CPU and memory").
pub const CPU_UNITS: &[u32] = &[256, 512, 1024, 2048, 4096, 8192, 16384, 32768];

/// The memory sizes in MiB that `cpu` units allow; `None` when no task can have that CPU.
fn memory_for(cpu: u32) -> Option<Vec<u32>> {
    let steps = |from: u32, to: u32, step: usize| (from..=to).step_by(step).collect();
    match cpu {
        256 => Some(vec![512, 1024, 2048]),
        512 => Some(steps(1024, 4096, 1024)),
        1024 => Some(steps(2048, 8192, 1024)),
        2048 => Some(steps(4096, 16384, 1024)),
        4096 => Some(steps(8192, 30720, 1024)),
        8192 => Some(steps(16384, 61440, 4096)),
        16384 => Some(steps(32768, 122_880, 8192)),
        32768 => Some(vec![61440, 122_880, 249_856]),
        _ => None,
    }
}

fn join(field: &str, leaf: &str) -> String {
    if field.is_empty() { leaf.to_owned() } else { format!("{field}.{leaf}") }
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_accepts_its_smallest_and_largest_memory_and_nothing_outside_that_range() {
        for (cpu, low, high) in [
            (256, 512, 2048),
            (512, 1024, 4096),
            (1024, 2048, 8192),
            (2048, 4096, 16384),
            (4096, 8192, 30720),
            (8192, 16384, 61440),
            (16384, 32768, 122_880),
            (32768, 61440, 249_856),
        ] {
            for memory_mib in [low, high] {
                let size = Size::parse(RawSize { cpu, memory_mib }, "size").unwrap();
                assert_eq!((size.cpu(), size.memory_mib()), (cpu, memory_mib));
            }
            for memory_mib in [0, low - 1, low / 2, high + 1, high * 2] {
                assert!(Size::parse(RawSize { cpu, memory_mib }, "size").is_err(), "{cpu}/{memory_mib}");
            }
        }
    }

    #[test]
    fn all_sizes_are_those_that_parse() {
        let all: Vec<RawSize> = Size::all().map(RawSize::from).collect();
        assert!(all.iter().all(|raw| Size::parse(*raw, "size").is_ok()));
        let cpus: Vec<u32> = CPU_UNITS.iter().copied().filter(|cpu| all.iter().any(|raw| raw.cpu == *cpu)).collect();
        assert_eq!((cpus.as_slice(), all.len()), (CPU_UNITS, 3 + 4 + 7 + 13 + 23 + 12 + 12 + 3));
    }

    #[test]
    fn a_wrong_memory_is_answered_with_the_valid_sizes() {
        let error = Size::parse(RawSize { cpu: 512, memory_mib: 512 }, "size").unwrap_err();
        assert_eq!(error.field(), "size.memory_mib");
        assert_eq!(error.fix(), "valid memory_mib for cpu 512: 1024, 2048, 3072, 4096");
    }

    #[test]
    fn a_wrong_cpu_is_answered_with_the_valid_cpus() {
        let error = Size::parse(RawSize { cpu: 300, memory_mib: 512 }, "").unwrap_err();
        assert_eq!(error.field(), "cpu");
        assert_eq!(error.fix(), "use one of 256, 512, 1024, 2048, 4096, 8192, 16384, 32768");
    }
}
