//! One simulated task: its schedule is made at its start and answers every later question.

use super::STOPPED_TASK_KEPT;
use super::behaviour::Behaviour;
use crate::clock::Pace;
use serde_json::{Map, Value};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// The exit code of a process that SIGTERM ended.
const TERMINATED: i64 = 143;

/// A task of a service.
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) cluster: String,
    pub(crate) service: u64,
    pub(crate) service_name: String,
    /// The digits after `ecs-svc/`.
    pub(crate) deployment: String,
    pub(crate) family: String,
    pub(crate) task_definition: String,
    pub(crate) definition: Arc<Map<String, Value>>,
    pub(crate) tags: Vec<Value>,
    pub(crate) subnet: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) enable_execute_command: bool,
    pub(crate) created: Duration,
    pub(crate) pending: Duration,
    /// `None`: it never runs.
    pub(crate) running: Option<Duration>,
    pub(crate) healthy: Option<Duration>,
    pub(crate) unhealthy: Option<Duration>,
    /// How it will end, unless something ends it sooner.
    pub(crate) fate: Option<Ending>,
    /// How it has ended, or is ending.
    pub(crate) ending: Option<Ending>,
}

/// Why and when a task ends.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) at: Duration,
    pub(crate) stopped: Duration,
    pub(crate) code: &'static str,
    pub(crate) reason: String,
    pub(crate) exit_code: Option<i64>,
    pub(crate) container_reason: Option<String>,
    /// Whether the circuit breaker counts it.
    pub(crate) failure: bool,
}

impl Task {
    /// Makes the schedule for a behaviour. A change affects a running task at once; its past stays as it was.
    pub(crate) fn behave(&mut self, behaviour: Behaviour, now: Duration, pace: &Pace) {
        let checked = self.has_health_check();
        let ran = self.running.filter(|at| *at <= now);
        let running = ran.unwrap_or((self.pending + pace.pending).max(now));
        let bad_from = ran.map_or(running + pace.healthy / 2, |_| now);
        let was_healthy = self.healthy.filter(|at| *at <= now);
        (self.running, self.healthy, self.unhealthy, self.fate) = (Some(running), None, None, None);
        match behaviour {
            Behaviour::Healthy => {
                self.healthy = checked.then_some(was_healthy.unwrap_or((running + pace.healthy).max(now)));
            }
            // A problem that prevents a start does nothing to a task that has started.
            Behaviour::PullError
            | Behaviour::MountError
            | Behaviour::Slow
            | Behaviour::NoCapacity
            | Behaviour::VcpuLimit
                if ran.is_some() =>
            {
                self.healthy = was_healthy;
            }
            // This task already has its place.
            Behaviour::NoCapacity | Behaviour::VcpuLimit => {
                self.healthy = checked.then_some(running + pace.healthy);
            }
            Behaviour::Slow => self.running = None,
            Behaviour::PullError => {
                let image = super::behaviour::images(&self.definition).next().unwrap_or("?").to_owned();
                self.never_start(running, pace, &format!(
                    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: {image}: not found"
                ));
            }
            Behaviour::MountError => self.never_start(running, pace, concat!(
                "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: ",
                "b'mount.nfs4: access denied by server while mounting 127.0.0.1:/' : unsuccessful EFS utils command execution; code: 32",
            )),
            Behaviour::Oom => self.exit(bad_from, pace, 137, Some("OutOfMemoryError: Container killed due to memory usage")),
            Behaviour::Crash => self.exit(bad_from, pace, 1, None),
            Behaviour::Unhealthy if checked => {
                let at = ran.map_or(running + pace.healthy, |_| now);
                self.unhealthy = Some(at);
                let end = at + pace.healthy;
                self.fate = Some(Ending {
                    container_reason: None,
                    failure: true,
                    ..Ending::ordered(end, pace, "ServiceSchedulerInitiated", "Task failed container health checks", true)
                });
            }
            // Without a health check the problem is not noticed.
            Behaviour::Unhealthy => {}
        }
        if matches!(behaviour, Behaviour::Oom | Behaviour::Crash) {
            self.healthy = was_healthy;
        }
    }

    fn never_start(&mut self, at: Duration, pace: &Pace, reason: &str) {
        self.running = None;
        self.fate = Some(Ending {
            at,
            stopped: at + pace.stopping / 3,
            code: "TaskFailedToStart",
            reason: reason.to_owned(),
            exit_code: None,
            container_reason: Some(reason.to_owned()),
            failure: true,
        });
    }

    fn exit(&mut self, at: Duration, pace: &Pace, exit_code: i64, container_reason: Option<&str>) {
        self.fate = Some(Ending {
            at,
            stopped: at + pace.stopping,
            code: "EssentialContainerExited",
            reason: "Essential container in task exited".to_owned(),
            exit_code: Some(exit_code),
            container_reason: container_reason.map(str::to_owned),
            failure: true,
        });
    }

    /// Orders the task to stop, unless it is stopping already.
    pub(crate) fn stop(&mut self, now: Duration, pace: &Pace, code: &'static str, reason: &str) {
        let ran = self.is_running(now);
        self.ending.get_or_insert_with(|| Ending::ordered(now, pace, code, reason, ran));
    }

    pub(crate) fn last_status(&self, now: Duration) -> &'static str {
        let Some(ending) = &self.ending else {
            return match self.running {
                Some(running) if running <= now => "RUNNING",
                // Pulled, and registered with the service's resources (developer guide, task lifecycle).
                Some(running) if running - running.saturating_sub(self.pending) / 3 <= now => "ACTIVATING",
                _ if self.pending <= now => "PENDING",
                _ => "PROVISIONING",
            };
        };
        if ending.stopped <= now {
            return "STOPPED";
        }
        let third = (ending.stopped - ending.at) / 3;
        match now.saturating_sub(ending.at) {
            _ if ending.exit_code.is_none() => "DEPROVISIONING",
            passed if passed < third => "DEACTIVATING",
            passed if passed < third * 2 => "STOPPING",
            _ => "DEPROVISIONING",
        }
    }

    pub(crate) fn desired_status(&self) -> &'static str {
        match self.ending {
            Some(_) => "STOPPED",
            None => "RUNNING",
        }
    }

    /// Whether it is RUNNING and not ending.
    pub(crate) fn is_running(&self, now: Duration) -> bool {
        self.ending.is_none() && self.running.is_some_and(|at| at <= now)
    }

    pub(crate) fn is_pending(&self, now: Duration) -> bool {
        self.ending.is_none() && !self.is_running(now)
    }

    /// Whether a deployment counts it: RUNNING, and HEALTHY if there is a health check.
    pub(crate) fn is_ready(&self, now: Duration) -> bool {
        self.is_running(now) && (!self.has_health_check() || self.health(now) == "HEALTHY")
    }

    pub(crate) fn health(&self, now: Duration) -> &'static str {
        let now = self.ending.as_ref().map_or(now, |ending| now.min(ending.at));
        let passed = |moment: Option<Duration>| moment.is_some_and(|at| at <= now);
        match (passed(self.unhealthy), passed(self.healthy)) {
            (true, _) => "UNHEALTHY",
            (false, true) => "HEALTHY",
            (false, false) => "UNKNOWN",
        }
    }

    /// Whether the task definition has a health check. An image's own HEALTHCHECK is ignored (aws-facts §3).
    pub(crate) fn has_health_check(&self) -> bool {
        let containers = self.definition.get("containerDefinitions").and_then(Value::as_array);
        containers.into_iter().flatten().any(is_checked)
    }

    pub(crate) fn is_visible(&self, now: Duration) -> bool {
        let stopped = self.ending.as_ref().map(|ending| ending.stopped);
        stopped.is_none_or(|stopped| stopped + STOPPED_TASK_KEPT > now)
    }

    /// The next moment after `now` at which the service may have to react.
    pub(crate) fn next_event(&self, now: Duration) -> Option<Duration> {
        let moments = match &self.ending {
            Some(ending) => [Some(ending.stopped), Some(ending.at + (ending.stopped - ending.at) / 3), None, None],
            None => [self.running, self.healthy, self.unhealthy, self.fate.as_ref().map(|fate| fate.at)],
        };
        moments.into_iter().flatten().filter(|moment| *moment > now).min()
    }
}

/// Whether a container has a health check; `NONE` switches it off.
pub(crate) fn is_checked(container: &Value) -> bool {
    container["healthCheck"]["command"].get(0).is_some_and(|first| first != "NONE")
}

impl Ending {
    fn ordered(at: Duration, pace: &Pace, code: &'static str, reason: &str, ran: bool) -> Self {
        Self {
            at,
            stopped: at + pace.stopping,
            code,
            reason: reason.to_owned(),
            exit_code: ran.then_some(TERMINATED),
            container_reason: None,
            failure: false,
        }
    }
}
