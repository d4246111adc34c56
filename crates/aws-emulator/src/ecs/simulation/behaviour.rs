//! The behaviour of a simulated task.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Chosen for a service or family through the admin path, or else by a word in an image's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Starts, becomes healthy and stays so.
    Healthy,
    /// Its image cannot be pulled.
    PullError,
    /// Its EFS volume cannot be mounted.
    MountError,
    /// Runs, then is killed for using too much memory before it is healthy.
    Oom,
    /// Runs, then exits with 1 before it is healthy.
    Crash,
    /// Runs, but its health check fails; the service replaces it.
    Unhealthy,
    /// Stays PENDING.
    Slow,
    /// Is never placed, because Fargate has no capacity: there is no task, only service events.
    NoCapacity,
    /// Is never placed, because the account already runs as many vCPUs as it may: only service events.
    VcpuLimit,
}

impl Behaviour {
    /// Every behaviour.
    pub const ALL: [Self; 9] = [
        Self::Healthy,
        Self::PullError,
        Self::MountError,
        Self::Oom,
        Self::Crash,
        Self::Unhealthy,
        Self::Slow,
        Self::NoCapacity,
        Self::VcpuLimit,
    ];

    /// The name in the admin path and, after `sim-`, in an image name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::PullError => "pull-error",
            Self::MountError => "mount-error",
            Self::Oom => "oom",
            Self::Crash => "crash",
            Self::Unhealthy => "unhealthy",
            Self::Slow => "slow",
            Self::NoCapacity => "no-capacity",
            Self::VcpuLimit => "vcpu-limit",
        }
    }

    /// The behaviour with that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|behaviour| behaviour.name() == name)
    }

    /// The reason why ECS cannot place such a task, in the words of its event.
    pub(super) fn keeps_from_placement(self) -> Option<&'static str> {
        match self {
            Self::NoCapacity => Some(
                "Capacity is unavailable at this time. Please try again later or in a different availability zone.",
            ),
            Self::VcpuLimit => Some("You've reached the limit on the number of vCPUs you can run concurrently."),
            Self::Healthy
            | Self::PullError
            | Self::MountError
            | Self::Oom
            | Self::Crash
            | Self::Unhealthy
            | Self::Slow => None,
        }
    }

    /// The service's choice wins over the family's, and both win over the image's name. But `healthy` only removes a choice,
    /// so an image that misbehaves by its name continues to do so.
    pub(crate) fn choose(
        chosen: &BTreeMap<String, Self>,
        service: &str,
        family: &str,
        definition: &Map<String, Value>,
    ) -> Self {
        let by_name = chosen.get(service).or_else(|| chosen.get(family));
        let chosen = by_name.copied().filter(|chosen| *chosen != Self::Healthy);
        chosen.or_else(|| Self::of_images(definition)).unwrap_or(Self::Healthy)
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
