//! What the emulator remembers, region by region.

use super::clock::{Clock, Pace};
use super::conduct::Conduct;
use super::ecr::Repository;
use super::ecs::clusters::Cluster;
use super::ecs::task_definitions::Family;
use super::efs::access_points::AccessPoint;
use super::efs::file_systems::{FileSystem, MountTarget};
use super::error::Outcome;
use super::input::Input;
use super::simulation::{Behaviour, Service, Task};
use super::ssm::Parameter;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// A name in a service's table of actions, and what it does.
pub(crate) type Action = (&'static str, fn(&mut Region, Input<'_>) -> Outcome);

/// Every region that has been talked to.
pub(crate) struct State {
    clock: Clock,
    pace: Pace,
    conduct: Conduct,
    task_address: Option<Ipv4Addr>,
    pub(crate) regions: BTreeMap<String, Region>,
    behaviours: BTreeMap<String, Behaviour>,
}

impl State {
    pub(crate) fn new(clock: Clock, pace: Pace, conduct: Conduct, task_address: Option<Ipv4Addr>) -> Self {
        Self { clock, pace, conduct, task_address, regions: BTreeMap::new(), behaviours: BTreeMap::new() }
    }

    /// The region, brought up to the present: whatever its tasks have done since the last call happens now.
    pub(crate) fn region(&mut self, name: &str) -> &mut Region {
        let now = self.clock.now();
        let region = self.regions.entry(name.to_owned()).or_insert_with(|| Region {
            name: name.to_owned(),
            task_address: self.task_address,
            behaviours: self.behaviours.clone(),
            ..Region::empty(self.clock, self.pace, self.conduct)
        });
        region.advance(now);
        region
    }

    /// Chooses how the tasks of a service or family behave from now on; `None` takes the choice back.
    pub(crate) fn set_behaviour(&mut self, name: &str, behaviour: Option<Behaviour>) {
        match behaviour {
            Some(behaviour) => self.behaviours.insert(name.to_owned(), behaviour),
            None => self.behaviours.remove(name),
        };
        let names: Vec<String> = self.regions.keys().cloned().collect();
        for region in names {
            let behaviours = self.behaviours.clone();
            let region = self.region(&region);
            region.behaviours = behaviours;
            region.strike(name);
        }
    }

    pub(crate) fn behaviours(&self) -> &BTreeMap<String, Behaviour> {
        &self.behaviours
    }
}

/// One region's resources and simulated tasks.
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) pace: Pace,
    pub(crate) conduct: Conduct,
    pub(crate) now: Duration,
    pub(crate) task_address: Option<Ipv4Addr>,
    pub(crate) behaviours: BTreeMap<String, Behaviour>,
    pub(crate) clusters: BTreeMap<String, Cluster>,
    pub(crate) families: BTreeMap<String, Family>,
    /// INACTIVE ones too, which stay describable for a while.
    pub(crate) services: BTreeMap<u64, Service>,
    /// (cluster, name) → the newest service of that name.
    pub(crate) service_names: BTreeMap<(String, String), u64>,
    pub(crate) next_service: u64,
    /// Whether the first CreateService has made the service-linked role.
    pub(crate) has_linked_role: bool,
    pub(crate) tasks: BTreeMap<String, Task>,
    /// When which service has something to do next.
    pub(crate) agenda: BTreeSet<(Duration, u64)>,
    pub(crate) purged: Duration,
    pub(crate) file_systems: BTreeMap<String, FileSystem>,
    pub(crate) mount_targets: BTreeMap<String, MountTarget>,
    pub(crate) access_points: BTreeMap<String, AccessPoint>,
    pub(crate) parameters: BTreeMap<String, Parameter>,
    pub(crate) repositories: BTreeMap<String, Repository>,
}

impl Region {
    fn empty(clock: Clock, pace: Pace, conduct: Conduct) -> Self {
        Self {
            name: String::new(),
            clock,
            pace,
            conduct,
            now: Duration::ZERO,
            task_address: None,
            behaviours: BTreeMap::new(),
            clusters: BTreeMap::new(),
            families: BTreeMap::new(),
            services: BTreeMap::new(),
            service_names: BTreeMap::new(),
            next_service: 1,
            has_linked_role: false,
            tasks: BTreeMap::new(),
            agenda: BTreeSet::new(),
            purged: Duration::ZERO,
            file_systems: BTreeMap::new(),
            mount_targets: BTreeMap::new(),
            access_points: BTreeMap::new(),
            parameters: BTreeMap::new(),
            repositories: BTreeMap::new(),
        }
    }

    /// A moment as AWS writes it.
    pub(crate) fn epoch(&self, moment: Duration) -> f64 {
        self.clock.epoch_seconds(moment)
    }
}
