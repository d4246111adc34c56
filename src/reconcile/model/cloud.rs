//! ECS, reduced to what matters here: one service with its deployments, its tasks, revisions, and older readings.

use crate::domain::service::{Rollout, ServiceStatus};

/// A registered revision. Numbers begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Revision {
    pub(super) number: u8,
    pub(super) size: u8,
    pub(super) previous: Option<u8>,
    pub(super) active: bool,
}

/// A deployment; a bigger id is a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Deployment {
    pub(super) id: u8,
    pub(super) revision: u8,
    pub(super) rollout: Rollout,
}

/// The service as a read shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reading {
    pub(super) created: u8,
    pub(super) status: ServiceStatus,
    pub(super) desired: u8,
    pub(super) primary: Deployment,
    /// Other deployments that it still shows.
    pub(super) others: Vec<Deployment>,
}

impl Reading {
    pub(super) const fn revision(&self) -> u8 {
        self.primary.revision
    }
}

/// What a reading from before a change shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Before {
    service: Option<Reading>,
    has_tasks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Task {
    deployment: u8,
    stopping: bool,
}

/// What ECS accepted, and when: a bigger number is later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Noted {
    pub(super) at: u8,
    pub(super) shown: Reading,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Cloud {
    pub(super) service: Option<Reading>,
    /// What readings may still show, oldest first.
    before: Vec<Before>,
    pub(super) tasks: Vec<Task>,
    pub(super) revisions: Vec<Revision>,
    pub(super) access_point: bool,
    /// Counts accepted changes.
    pub(super) clock: u8,
    /// Whether the last change is so young that a reading from before it is recognized as one.
    pub(super) is_recent: bool,
    /// The deployment that was complete last, while another one is under way: ECS goes back to it.
    pub(super) former: Option<Deployment>,
    /// The newest deployment, if ECS went back from it, or was told to.
    pub(super) gone_back_from: Option<u8>,
    /// Whether StopServiceDeployment was accepted and nothing has moved yet.
    pub(super) stop_requested: bool,
}

impl Cloud {
    pub(super) fn revision(&self, number: u8) -> Option<Revision> {
        self.revisions.iter().find(|revision| revision.number == number).copied()
    }

    pub(super) fn is_active(&self, number: u8) -> bool {
        self.revision(number).is_some_and(|revision| revision.active)
    }

    pub(super) fn newest(&self) -> u8 {
        self.revisions.iter().map(|revision| revision.number).max().unwrap_or(0)
    }

    pub(super) fn active(&self) -> Option<&Reading> {
        self.service.as_ref().filter(|service| service.status == ServiceStatus::Active)
    }

    /// How many changes old a reading can be.
    pub(super) fn oldest(&self) -> u8 {
        self.before.len().try_into().unwrap()
    }

    /// The service as it was so many changes ago.
    pub(super) fn read(&self, ago: u8) -> Option<Reading> {
        match usize::from(ago) {
            0 => self.service.clone(),
            ago => self.before[self.before.len() - ago].service.clone(),
        }
    }

    pub(super) fn reads_tasks(&self, ago: u8) -> bool {
        match usize::from(ago) {
            0 => !self.tasks.is_empty(),
            ago => self.before[self.before.len() - ago].has_tasks,
        }
    }

    /// From now on, readings show everything.
    pub(super) fn show(&mut self) {
        self.before.clear();
    }

    /// Accepts a change.
    pub(super) fn change(&mut self, now: Reading) -> Noted {
        self.remember();
        self.clock += 1;
        self.is_recent = true;
        self.service = Some(now);
        self.stop_tasks();
        let service = self.service.as_mut().unwrap();
        // INACTIVE as soon as all its tasks are stopping.
        if service.status == ServiceStatus::Draining && self.tasks.iter().all(|task| task.stopping) {
            service.status = ServiceStatus::Inactive;
        }
        Noted { at: self.clock, shown: service.clone() }
    }

    /// Later readings may still show the present state.
    fn remember(&mut self) {
        self.before.push(Before { service: self.service.clone(), has_tasks: !self.tasks.is_empty() });
    }

    /// ECS stops the tasks that should not run, and does not wait for them.
    fn stop_tasks(&mut self) {
        let Some(service) = &self.service else { return };
        for task in &mut self.tasks {
            task.stopping |= service.status != ServiceStatus::Active
                || service.desired == 0
                || task.deployment != service.primary.id;
        }
    }

    /// Creates a service.
    pub(super) fn create(&mut self, revision: u8) -> Noted {
        let id = self.clock + 1;
        (self.former, self.gone_back_from, self.stop_requested) = (None, None, false);
        let primary = Deployment { id, revision, rollout: Rollout::InProgress };
        self.change(Reading { created: id, status: ServiceStatus::Active, desired: 1, primary, others: vec![] })
    }

    /// Changes the service; `deploys`: with another deployment of this revision.
    pub(super) fn update(&mut self, service: Reading, desired: Option<u8>, deploys: Option<u8>) -> Noted {
        let mut now = Reading { desired: desired.unwrap_or(service.desired), ..service };
        if let Some(revision) = deploys {
            if now.primary.rollout == Rollout::Completed {
                self.former = Some(now.primary);
            }
            (self.gone_back_from, self.stop_requested) = (None, false);
            let primary = Deployment { id: self.clock + 1, revision, rollout: Rollout::InProgress };
            now.others.insert(0, std::mem::replace(&mut now.primary, primary));
        }
        self.change(now)
    }

    /// Whether ECS would start a task now.
    pub(super) fn may_start(&self) -> bool {
        let is_up =
            |service: &Reading| self.tasks.iter().any(|task| task.deployment == service.primary.id && !task.stopping);
        let starts = |service: &Reading| service.desired > 0 && service.primary.rollout != Rollout::Failed;
        self.active().is_some_and(|service| starts(service) && !is_up(service))
    }

    /// Starts a healthy task, which completes the deployment.
    pub(super) fn start(&mut self) {
        let service = self.service.as_mut().unwrap();
        service.primary.rollout = Rollout::Completed;
        service.others.clear();
        self.tasks.push(Task { deployment: service.primary.id, stopping: false });
        (self.former, self.stop_requested) = (None, false);
    }

    pub(super) fn has_stopping_task(&self) -> bool {
        self.tasks.iter().any(|task| task.stopping)
    }

    pub(super) fn end_task(&mut self) {
        let at = self.tasks.iter().position(|task| task.stopping).unwrap();
        self.tasks.remove(at);
    }

    /// Whether the PRIMARY deployment may fail.
    pub(super) fn may_fail(&self) -> bool {
        self.active().is_some_and(|service| service.desired > 0 && service.primary.rollout == Rollout::InProgress)
    }

    /// The task of the deployment starts and dies, and the circuit breaker trips.
    pub(super) fn fail(&mut self) {
        let deployment = self.service.as_ref().unwrap().primary.id;
        self.tasks.push(Task { deployment, stopping: true });
        self.go_back();
    }

    /// Gives the PRIMARY deployment up. The service goes back to the one that was complete before, if there is one. Readings
    /// may be from before that.
    pub(super) fn go_back(&mut self) {
        self.remember();
        self.stop_requested = false;
        let service = self.service.as_mut().unwrap();
        service.primary.rollout = Rollout::Failed;
        self.gone_back_from = Some(service.primary.id);
        if let Some(former) = self.former.take() {
            service.others.retain(|other| other.id != former.id);
            let failed = std::mem::replace(&mut service.primary, Deployment { rollout: Rollout::InProgress, ..former });
            service.others.insert(0, failed);
        }
        self.stop_tasks();
    }
}
