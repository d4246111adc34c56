//! The service scheduler: at each event, it stops surplus tasks and starts missing ones.

use super::behaviour::{Behaviour, images};
use super::deployment::{Listed, Rollout};
use super::service::{Service, Status};
use super::task::Task;
use crate::ecs::{Around, Ecs};
use crate::iam::Verdict;
use crate::ids::{ACCOUNT, hex};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

impl Ecs {
    /// Does everything that one service does at one moment.
    pub(super) fn step(&mut self, uid: u64, now: Duration, around: Around<'_>) {
        let Some(mut service) = self.services.remove(&uid) else {
            return;
        };
        service.roll_back_when_due(now, self.here.pace.rollback);
        self.note_ends(&mut service, now);
        self.note_ready(&mut service, now);
        match service.status {
            Status::Active => {
                self.reconcile(&mut service, now, around);
                self.settle(&mut service, now);
            }
            Status::Draining => self.drain(&mut service, now),
            Status::Inactive => {}
        }
        let tasks = service.live.iter().filter_map(|id| self.tasks.get(id)?.next_event(now));
        let others = [Some(service.retry_at), service.inactive_at, service.next_of_rollback(self.here.pace.rollback)];
        let due = tasks.chain(others.into_iter().flatten().filter(|due| *due > now)).min();
        self.services.insert(uid, service);
        if let Some(due) = due {
            self.schedule(uid, due);
        }
    }

    /// Ends the tasks whose time has come, and counts the failures.
    fn note_ends(&mut self, service: &mut Service, now: Duration) {
        for id in service.live.clone() {
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            if task.ending.is_none() && task.fate.as_ref().is_some_and(|fate| fate.at <= now) {
                task.ending = task.fate.take();
                let failure = task.ending.as_ref().filter(|ending| ending.failure);
                let deployment = task.deployment.clone();
                if let Some(ending) = failure {
                    if ending.reason.contains("health checks") {
                        service.event(now, &format!("(task {id}) failed container health checks."));
                    }
                    count_failure(service, &deployment, now, self.here.pace.provisioning);
                }
            }
        }
        let tasks = &self.tasks;
        service.live.retain(|id| tasks.get(id).is_some_and(|task| task.last_status(now) != "STOPPED"));
    }

    /// Notes a ready task, which ends the counting of failures (aws-facts §3, circuit breaker).
    fn note_ready(&mut self, service: &mut Service, now: Duration) {
        let Some(primary) = service.primary().map(|primary| primary.id.clone()) else {
            return;
        };
        let ready = self.live(service).any(|task| task.deployment == primary && task.is_ready(now));
        if let Some(primary) = service.primary_mut().filter(|_| ready) {
            (primary.proved, service.failures_in_a_row) = (true, 0);
        }
    }

    fn reconcile(&mut self, service: &mut Service, now: Duration, around: Around<'_>) {
        let Some((primary, rollout)) = service.primary().map(|p| (p.id.clone(), p.rollout)) else {
            return;
        };
        let desired = service.desired as usize;
        let most = (u64::from(service.desired) * service.percent("maximumPercent", 200) / 100) as usize;
        let least = (u64::from(service.desired) * service.percent("minimumHealthyPercent", 100)).div_ceil(100) as usize;
        let (mut new, mut old): (Vec<_>, Vec<_>) = self
            .live(service)
            .filter(|task| task.ending.is_none())
            .map(|task| (task.deployment == primary, task.is_ready(now), task.id.clone()))
            .partition(|(is_new, _, _)| *is_new);
        // Tasks that are not ready go first.
        new.sort_by_key(|(_, ready, _)| *ready);
        old.sort_by_key(|(_, ready, _)| *ready);
        let mut doomed: Vec<String> = Vec::new();
        while new.len() > desired {
            doomed.push(new.remove(0).2);
        }
        if rollout != Rollout::Failed {
            let mut ready = new.iter().chain(&old).filter(|(_, ready, _)| *ready).count();
            let mut room = old.len();
            while room > 0 && (desired == 0 || !old[0].1 || ready > least) {
                let (_, was_ready, id) = old.remove(0);
                ready -= usize::from(was_ready);
                room -= 1;
                doomed.push(id);
            }
        }
        self.stop_all(service, &doomed, now);
        // Stopping tasks do not count, so a new one can overlap an old one (aws-facts §3).
        let allowed = most.max(usize::from(desired > 0)).saturating_sub(new.len() + old.len());
        let missing = desired.saturating_sub(new.len()).min(allowed);
        if missing > 0 && rollout != Rollout::Failed && service.retry_at <= now {
            self.start(service, missing, now, around);
        }
    }

    /// Completes a rollout, and reports when the service is steady.
    fn settle(&mut self, service: &mut Service, now: Duration) {
        let Some((primary, rollout)) = service.primary().map(|p| (p.id.clone(), p.rollout)) else {
            return;
        };
        let (mut ready, mut others) = (0, 0);
        for task in self.live(service).filter(|task| task.ending.is_none()) {
            match task.deployment == primary && task.is_ready(now) {
                true => ready += 1,
                false => others += 1,
            }
        }
        let settled = ready == service.desired && others == 0 && rollout != Rollout::Failed;
        if settled && rollout == Rollout::InProgress {
            service.complete_deployment(now);
        }
        if settled && !service.steady {
            service.event(now, "has reached a steady state.");
        }
        service.steady = settled;
    }

    fn drain(&mut self, service: &mut Service, now: Duration) {
        let live = service.live.clone();
        self.stop_all(service, &live, now);
        let is_on_its_way_out = |status: &str| matches!(status, "STOPPING" | "DEPROVISIONING" | "STOPPED");
        let early = self.here.conduct.inactive_while_stopping
            && self.live(service).all(|task| is_on_its_way_out(task.last_status(now)));
        if !service.live.is_empty() && !early {
            return;
        }
        let inactive_at = *service.inactive_at.get_or_insert(now + self.here.pace.draining);
        if inactive_at <= now {
            service.status = Status::Inactive;
            for deployment in &mut service.deployments {
                deployment.listed = Listed::Gone;
            }
        }
    }

    fn stop_all(&mut self, service: &mut Service, ids: &[String], now: Duration) {
        let by = service.primary().map(|primary| primary.name()).unwrap_or_default();
        let reason = format!("Scaling activity initiated by (deployment {by})");
        for id in ids {
            let Some(task) = self.tasks.get_mut(id).filter(|task| task.ending.is_none()) else {
                continue;
            };
            task.stop(now, &self.here.pace, "ServiceSchedulerInitiated", &reason);
            service.event(now, &format!("has stopped 1 running tasks: (task {id})."));
        }
    }

    fn start(&mut self, service: &mut Service, count: usize, now: Duration, around: Around<'_>) {
        let Some(primary) = service.primary().cloned() else {
            return;
        };
        let Some(definition) = self.definition_of(&primary.task_definition) else {
            return;
        };
        let chosen = Behaviour::choose(&self.behaviours, &service.name, &definition.family, &definition.members);
        let role = definition.members.get("taskRoleArn").and_then(Value::as_str);
        let volumes = definition.members.get("volumes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let verdict = around.iam.judge(now, &self.here.name, role, volumes);
        if verdict == Verdict::CannotAssume {
            let role = role.unwrap_or_default();
            service.event(now, &format!("failed to launch a task with (error ECS was unable to assume the role '{role}' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role.)."));
            count_failure(service, &primary.id, now, self.here.pace.provisioning);
            service.retry_at = now + self.here.pace.placement;
            return;
        }
        let refused = (verdict == Verdict::CannotMount).then_some(Behaviour::MountError);
        let behaviour = refused.or_else(|| self.fatal_flaw(&definition.members, around)).unwrap_or(chosen);
        if let Some(why) = behaviour.keeps_from_placement() {
            // Only events show it, and each try counts (API reference, Deployment.failedTasks).
            service.event(now, &format!("was unable to place a task. Reason: {why} For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."));
            count_failure(service, &primary.id, now, self.here.pace.provisioning);
            service.retry_at = now + self.here.pace.placement;
            return;
        }
        let network = &primary.settings.get("networkConfiguration").unwrap_or(&Value::Null)["awsvpcConfiguration"];
        let subnets = network["subnets"].as_array().map_or(&[][..], Vec::as_slice);
        for _ in 0..count {
            let subnet = fastrand::choice(subnets).and_then(Value::as_str).unwrap_or("subnet-00000000000000000");
            let mut task = Task {
                id: hex(32),
                cluster: service.cluster.clone(),
                service: service.uid,
                service_name: service.name.clone(),
                deployment: primary.id.clone(),
                family: definition.family.clone(),
                task_definition: primary.task_definition.clone(),
                definition: definition.members.clone(),
                tags: task_tags(service, &definition.tags),
                subnet: subnet.to_owned(),
                address: self.here.task_address.unwrap_or_else(|| {
                    Ipv4Addr::new(10, fastrand::u8(1..250), fastrand::u8(0..250), fastrand::u8(4..250))
                }),
                enable_execute_command: service.spec.get("enableExecuteCommand") == Some(&json!(true)),
                created: now,
                pending: now + self.here.pace.provisioning,
                running: None,
                healthy: None,
                unhealthy: None,
                fate: None,
                ending: None,
            };
            task.behave(behaviour, now, &self.here.pace);
            service.event(now, &format!("has started 1 tasks: (task {}).", task.id));
            service.live.push(task.id.clone());
            self.tasks.insert(task.id.clone(), task);
        }
    }

    /// The behaviour that missing resources force on a task, whatever was chosen. A missing access point fails the mount
    /// (registration does not check it); a tag that is missing from a repository of the emulator fails the pull.
    fn fatal_flaw(&self, definition: &serde_json::Map<String, Value>, around: Around<'_>) -> Option<Behaviour> {
        let volumes = definition.get("volumes").and_then(Value::as_array);
        let mut access_points = volumes
            .into_iter()
            .flatten()
            .filter_map(|volume| volume["efsVolumeConfiguration"]["authorizationConfig"]["accessPointId"].as_str());
        if access_points.any(|id| !around.efs.has_access_point(id)) {
            return Some(Behaviour::MountError);
        }
        let registry = format!("{ACCOUNT}.dkr.ecr.{}.amazonaws.com/", self.here.name);
        let missing = images(definition).filter_map(|image| image.strip_prefix(&registry)).any(|image| {
            let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
            around.ecr.lacks(repository, tag)
        });
        missing.then_some(Behaviour::PullError)
    }

    fn live<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Task> {
        service.live.iter().filter_map(|id| self.tasks.get(id))
    }
}

/// Counts a failure for the circuit breaker while the deployment is unproved; a service that keeps failing waits longer.
fn count_failure(service: &mut Service, deployment: &str, now: Duration, pause: Duration) {
    service.failures_in_a_row += 1;
    if service.failures_in_a_row > 3 {
        service.retry_at = now + pause * 2u32.pow((service.failures_in_a_row - 3).min(6));
        service.event(now, "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.");
    }
    let (enabled, _) = service.circuit_breaker();
    let threshold = service.failure_threshold();
    let Some(primary) = service
        .primary_mut()
        .filter(|primary| primary.id == deployment && primary.rollout == Rollout::InProgress && !primary.proved)
    else {
        return;
    };
    primary.failed_tasks += 1;
    primary.updated = now;
    if enabled && primary.failed_tasks >= threshold {
        service.trip(now);
    }
}

/// The tags that a task gets from its service or definition, and those that ECS adds if asked to.
fn task_tags(service: &Service, definition_tags: &[Value]) -> Vec<Value> {
    let from = service.spec.get("propagateTags").and_then(Value::as_str);
    let mut tags = match from {
        Some("SERVICE") => service.tags.clone(),
        Some("TASK_DEFINITION") => definition_tags.to_vec(),
        _ => Vec::new(),
    };
    if service.spec.get("enableECSManagedTags") == Some(&json!(true)) {
        tags.push(json!({"key": "aws:ecs:clusterName", "value": service.cluster}));
        tags.push(json!({"key": "aws:ecs:serviceName", "value": service.name}));
    }
    tags
}
