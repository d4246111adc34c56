//! How deployments begin, succeed, fail and go back.

use super::deployment::{Deployment, Listed, Record, Rollout};
use super::service::Service;
use crate::ids::{digits, hex};
use std::time::Duration;

/// Service members that a deployment fixes. Changing one starts another deployment, as `taskDefinition` and
/// `forceNewDeployment` do and `desiredCount` does not (aws-facts §3).
pub(crate) const REVISION_MEMBERS: [&str; 3] = ["networkConfiguration", "platformVersion", "serviceRegistries"];

impl Service {
    /// Adds a new PRIMARY deployment of the service as it is described now.
    pub(crate) fn begin_deployment(&mut self, now: Duration) {
        for old in &mut self.deployments {
            if old.listed == Listed::Primary {
                old.listed = Listed::Active;
            }
            if matches!(old.record, Record::InProgress | Record::RollbackRequested) {
                old.record = Record::Stopped;
                old.finished = Some(now);
            }
        }
        self.rollback_requested = None;
        let id = digits(19);
        let settings =
            REVISION_MEMBERS.iter().filter_map(|name| Some(((*name).to_owned(), self.spec.get(*name)?.clone())));
        self.deployments.push(Deployment {
            reason: format!("ECS deployment ecs-svc/{id} in progress."),
            id,
            record_id: hex(20),
            task_definition: self.task_definition.clone(),
            settings: settings.collect(),
            listed: Listed::Primary,
            rollout: Rollout::InProgress,
            failed_tasks: 0,
            proved: false,
            created: now,
            updated: now,
            finished: None,
            record: Record::InProgress,
            rollback: None,
        });
        self.trim_history();
        (self.failures_in_a_row, self.retry_at, self.steady) = (0, now, false);
    }

    /// Completes the deployment: every task belongs to the PRIMARY deployment and is ready.
    pub(super) fn complete_deployment(&mut self, now: Duration) {
        let mut finished = String::new();
        for deployment in &mut self.deployments {
            if deployment.listed == Listed::Active {
                deployment.listed = Listed::Gone;
            }
            if deployment.record == Record::RollbackInProgress {
                deployment.record = Record::RollbackSuccessful;
                deployment.finished = Some(now);
            }
            if deployment.listed == Listed::Primary {
                finished = deployment.name();
                deployment.rollout = Rollout::Completed;
                deployment.reason = format!("ECS deployment {finished} completed.");
                deployment.updated = now;
                if deployment.record == Record::InProgress {
                    deployment.record = Record::Successful;
                    deployment.finished = Some(now);
                }
            }
        }
        self.event(now, &format!("(deployment {finished}) deployment completed."));
    }

    /// Trips the circuit breaker.
    pub(super) fn trip(&mut self, now: Duration) {
        let (_, rollback) = self.circuit_breaker();
        self.fail_deployment(now, "ECS deployment circuit breaker: ", "tasks failed to start.", rollback);
    }

    /// Performs a StopServiceDeployment that was accepted a while ago.
    pub(super) fn roll_back_when_due(&mut self, now: Duration, takes: Duration) {
        let Some((id, requested)) = self.rollback_requested.clone() else { return };
        if let Some(deployment) = self.deployments.iter_mut().find(|deployment| deployment.id == id)
            && deployment.record == Record::RollbackRequested
            && requested + takes / 2 <= now
        {
            deployment.record = Record::RollbackInProgress;
        }
        if requested + takes > now {
            return;
        }
        self.rollback_requested = None;
        self.fail_deployment(now, "ECS service deployment stopped: ", "stop requested by the user.", true);
    }

    /// The time of the rollback's next move.
    pub(super) fn next_of_rollback(&self, takes: Duration) -> Option<Duration> {
        let (id, requested) = self.rollback_requested.as_ref()?;
        let deployment = self.deployments.iter().find(|deployment| deployment.id == *id)?;
        let has_begun = deployment.record != Record::RollbackRequested;
        Some(*requested + if has_begun { takes } else { takes / 2 })
    }

    /// Gives the PRIMARY deployment up and, if `roll_back`, goes back to the one completed before it. A first deployment has
    /// nothing to go back to (aws-facts §3).
    pub(crate) fn fail_deployment(&mut self, now: Duration, who: &str, why: &str, roll_back: bool) {
        let earlier = self
            .deployments
            .iter()
            .rposition(|deployment| deployment.rollout == Rollout::Completed && deployment.listed != Listed::Primary);
        let Some(failed) = self.primary_mut() else {
            return;
        };
        failed.rollout = Rollout::Failed;
        failed.reason = format!("{who}{why}");
        (failed.updated, failed.finished, failed.record) = (now, Some(now), Record::Stopped);
        let name = failed.name();
        self.event(now, &format!("(deployment {name}) deployment failed: {why}"));
        let Some(target) = earlier.filter(|_| roll_back).and_then(|index| self.deployments.get_mut(index)) else {
            return;
        };
        target.listed = Listed::Primary;
        target.rollout = Rollout::InProgress;
        target.updated = now;
        (target.failed_tasks, target.proved) = (0, false);
        let (id, to) = (target.id.clone(), target.name());
        target.reason = format!("{who}rolling back to deploymentId {to}.");
        let (task_definition, settings) = (target.task_definition.clone(), target.settings.clone());
        for deployment in &mut self.deployments {
            if deployment.name() == name {
                deployment.listed = Listed::Active;
                deployment.record = Record::RollbackInProgress;
                deployment.finished = None;
                deployment.rollback = Some((now, format!("{who}{why}"), id.clone()));
            }
        }
        self.task_definition = task_definition;
        self.spec.extend(settings);
        (self.failures_in_a_row, self.retry_at) = (0, now);
        self.event(now, &format!("rolling back to deployment {to}."));
    }
}
