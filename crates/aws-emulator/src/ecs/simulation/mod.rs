//! Simulated services and tasks. Nothing sleeps: each call first simulates everything that was due since the last one.

mod behaviour;
mod deployment;
mod rollout;
mod scheduler;
mod service;
mod task;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unkind;

pub use behaviour::Behaviour;
pub(crate) use deployment::{Deployment, Listed, Record, Rollout};
pub(crate) use rollout::REVISION_MEMBERS;
pub(crate) use service::{Service, Status};
pub(crate) use task::{Task, is_checked};

use super::{Around, Ecs};
use std::time::Duration;

/// Stopped tasks can be described for about an hour (aws-facts §3).
pub(crate) const STOPPED_TASK_KEPT: Duration = Duration::from_secs(3600);

impl Ecs {
    /// Simulates every service's events up to `now`, in the order in which they are due.
    pub(crate) fn advance(&mut self, now: Duration, around: Around<'_>) {
        while let Some((due, service)) = self.agenda.first().copied().filter(|(due, _)| *due <= now) {
            self.agenda.pop_first();
            self.purge(due);
            self.here.now = due;
            self.step(service, due, around);
        }
        self.here.now = now;
        self.purge(now);
    }

    /// Schedules the service's next step at `due`; an earlier one that was scheduled stays.
    pub(crate) fn schedule(&mut self, service: u64, due: Duration) {
        self.agenda.insert((due, service));
    }

    /// Forgets tasks that stopped long ago and services that have long been INACTIVE, once a minute: a crash loop creates
    /// thousands of them.
    fn purge(&mut self, now: Duration) {
        if now.saturating_sub(self.purged) >= Duration::from_secs(60) {
            self.purged = now;
            self.tasks.retain(|_, task| task.is_visible(now));
            self.services.retain(|_, service| !service.is_forgotten(now));
            let services = &self.services;
            self.service_names.retain(|_, uid| services.contains_key(uid));
        }
    }

    /// Applies a newly chosen behaviour to the tasks that the named service or family already has.
    pub(crate) fn strike(&mut self, name: &str) {
        let (now, pace) = (self.here.now, self.here.pace);
        for task in self.tasks.values_mut() {
            if task.service_name != name && task.family != name || task.ending.is_some() {
                continue;
            }
            let behaviour = Behaviour::choose(&self.behaviours, &task.service_name, &task.family, &task.definition);
            task.behave(behaviour, now, &pace);
            self.agenda.insert((now, task.service));
        }
        // Tasks that wait for a place are tried again at once.
        let families = self.services.values().map(|service| (service.uid, self.family_of(service))).collect::<Vec<_>>();
        for (uid, family) in families {
            if let Some(service) = self.services.get_mut(&uid)
                && (service.name == name || family.as_deref() == Some(name))
            {
                service.retry_at = service.retry_at.min(now);
                self.agenda.insert((now, uid));
            }
        }
    }

    fn family_of(&self, service: &Service) -> Option<String> {
        self.find_revision(&service.task_definition).map(|(family, _)| family)
    }
}
