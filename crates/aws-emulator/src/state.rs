//! The emulator's memory, region by region, and the part of it that each service has.

use super::clock::{Clock, Pace};
use super::conduct::Conduct;
use super::ecr::{self, Ecr};
use super::ecs::{self, Around, Behaviour, Ecs};
use super::efs::{self, Efs};
use super::error::Outcome;
use super::here::{Action, Here};
use super::iam::{self, Iam};
use super::input::Input;
use super::ssm::{self, Ssm};
use super::{quotas, sts};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// A service, as requests name it.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    /// The error code for a member that is missing or wrong.
    pub(crate) code_of_bad_members: &'static str,
    pub(crate) actions: fn() -> Box<dyn Iterator<Item = &'static str>>,
    /// Has an action done in a region; `None`: there is no such action.
    pub(crate) perform: fn(&mut State, &str, &str, Input<'_>) -> Option<Outcome>,
}

/// Every service, with its actions and the state that they may touch.
pub(crate) const SERVICES: [Known; 7] = [
    Known {
        name: "ecs",
        code_of_bad_members: "InvalidParameterException",
        actions: || names(ecs::ACTIONS),
        perform: |state, region, action, input| perform(ecs::ACTIONS, &mut state.region(region).ecs, action, input),
    },
    Known {
        name: "efs",
        code_of_bad_members: "BadRequest",
        actions: || names(efs::ACTIONS),
        perform: |state, region, action, input| perform(efs::ACTIONS, &mut state.region(region).efs, action, input),
    },
    Known {
        name: "ssm",
        code_of_bad_members: "ValidationException",
        actions: || names(ssm::ACTIONS),
        perform: |state, region, action, input| perform(ssm::ACTIONS, &mut state.region(region).ssm, action, input),
    },
    Known {
        name: "ecr",
        code_of_bad_members: "InvalidParameterException",
        actions: || names(ecr::ACTIONS),
        perform: |state, region, action, input| perform(ecr::ACTIONS, &mut state.region(region).ecr, action, input),
    },
    Known {
        name: "servicequotas",
        code_of_bad_members: "IllegalArgumentException",
        actions: || names(quotas::ACTIONS),
        perform: |state, region, action, input| perform(quotas::ACTIONS, &mut state.region(region).here, action, input),
    },
    // One for all regions.
    Known {
        name: "iam",
        code_of_bad_members: "ValidationError",
        actions: || names(iam::ACTIONS),
        perform: |state, _, action, input| perform(iam::ACTIONS, state.iam(), action, input),
    },
    Known {
        name: "sts",
        code_of_bad_members: "ValidationError",
        actions: || names(sts::ACTIONS),
        perform: |state, region, action, input| perform(sts::ACTIONS, &mut state.region(region).here, action, input),
    },
];

fn names<S>(actions: &'static [Action<S>]) -> Box<dyn Iterator<Item = &'static str>> {
    Box::new(actions.iter().map(|(name, _)| *name))
}

fn perform<S>(actions: &[Action<S>], state: &mut S, action: &str, input: Input<'_>) -> Option<Outcome> {
    let (_, perform) = actions.iter().find(|(name, _)| *name == action)?;
    Some(perform(state, input))
}

/// Every region that was called.
pub(crate) struct State {
    clock: Clock,
    pace: Pace,
    conduct: Conduct,
    task_address: Option<Ipv4Addr>,
    iam: Iam,
    regions: BTreeMap<String, Region>,
    behaviours: BTreeMap<String, Behaviour>,
}

impl State {
    pub(crate) fn new(clock: Clock, pace: Pace, conduct: Conduct, task_address: Option<Ipv4Addr>) -> Self {
        let iam = Iam::new(clock, conduct.late_roles);
        Self { clock, pace, conduct, task_address, iam, regions: BTreeMap::new(), behaviours: BTreeMap::new() }
    }

    /// The region, brought up to the present: what its tasks have done since the last call happens now.
    pub(crate) fn region(&mut self, name: &str) -> &mut Region {
        let now = self.clock.now();
        let Self { clock, pace, conduct, task_address, .. } = *self;
        let here = || Here { name: name.to_owned(), clock, now: Duration::ZERO, pace, conduct, task_address };
        let region = self.regions.entry(name.to_owned()).or_insert_with(|| Region {
            here: here(),
            ecs: Ecs::new(here(), self.behaviours.clone()),
            efs: Efs::new(here()),
            ssm: Ssm::new(here()),
            ecr: Ecr::new(here()),
        });
        self.iam.advance(now);
        region.advance(now, &self.iam);
        region
    }

    /// What the account has in IAM, at the present.
    pub(crate) fn iam(&mut self) -> &mut Iam {
        self.iam.advance(self.clock.now());
        &mut self.iam
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
            let ecs = &mut self.region(&region).ecs;
            ecs.behaviours = behaviours;
            ecs.strike(name);
        }
    }

    pub(crate) fn behaviours(&self) -> &BTreeMap<String, Behaviour> {
        &self.behaviours
    }
}

/// One region's resources and simulated tasks, by service.
pub(crate) struct Region {
    /// For the services without state.
    here: Here,
    ecs: Ecs,
    efs: Efs,
    ssm: Ssm,
    ecr: Ecr,
}

impl Region {
    fn advance(&mut self, now: Duration, iam: &Iam) {
        self.ecs.advance(now, Around { efs: &self.efs, ecr: &self.ecr, iam });
        self.efs.advance(now);
        self.ssm.here.now = now;
        self.ecr.here.now = now;
    }
}
