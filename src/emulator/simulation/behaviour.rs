//! What a simulated task does with its life.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Chosen per service or family through the admin path, else by a word in an image's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Starts, becomes healthy and stays so.
    Healthy,
    /// Its image cannot be pulled.
    PullError,
    /// Its EFS volume cannot be mounted.
    MountError,
    /// Runs, then is killed for its use of memory before it is healthy.
    Oom,
    /// Runs, then exits with 1 before it is healthy.
    Crash,
    /// Runs, but its health check fails; the service replaces it.
    Unhealthy,
    /// Stays PENDING.
    Slow,
}

impl Behaviour {
    /// Every behaviour.
    pub const ALL: [Self; 7] =
        [Self::Healthy, Self::PullError, Self::MountError, Self::Oom, Self::Crash, Self::Unhealthy, Self::Slow];

    /// As the admin path and, after `sim-`, an image name write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::PullError => "pull-error",
            Self::MountError => "mount-error",
            Self::Oom => "oom",
            Self::Crash => "crash",
            Self::Unhealthy => "unhealthy",
            Self::Slow => "slow",
        }
    }

    /// The behaviour of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|behaviour| behaviour.name() == name)
    }

    /// The service's choice beats the family's, and both beat the image's name.
    pub(crate) fn choose(
        chosen: &BTreeMap<String, Self>,
        service: &str,
        family: &str,
        definition: &Map<String, Value>,
    ) -> Self {
        let by_name = chosen.get(service).or_else(|| chosen.get(family));
        by_name.copied().or_else(|| Self::of_images(definition)).unwrap_or(Self::Healthy)
    }

    fn of_images(definition: &Map<String, Value>) -> Option<Self> {
        let images = images(definition).collect::<Vec<_>>();
        let named = |behaviour: &Self| {
            let word = format!("sim-{}", behaviour.name());
            images.iter().any(|image| image.contains(&word))
        };
        Self::ALL.into_iter().find(named)
    }
}

/// The images of a task definition's containers.
pub(super) fn images(definition: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let containers = definition.get("containerDefinitions").and_then(Value::as_array);
    containers.into_iter().flatten().filter_map(|container| container["image"].as_str())
}
