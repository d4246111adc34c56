//! ECS services and tasks, without SDK types: only the parts that decisions need.

/// An ECS service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The service name.
    pub name: String,
    /// Its place in the life cycle.
    pub status: ServiceStatus,
    /// Desired count of tasks.
    pub desired: u32,
    /// Tasks that are running.
    pub running: u32,
    /// Tasks that are starting.
    pub pending: u32,
    /// ARN of the task definition that it should run.
    pub task_definition: String,
    /// When it was created, in seconds of the Unix epoch. It tells a service from a later one of the same name.
    pub created_at_seconds: Option<i64>,
    /// Whether tasks that it starts allow ECS Exec.
    pub execute_command: bool,
    /// Deployments, newest first; the service is moving to the PRIMARY one.
    pub deployments: Vec<Deployment>,
    /// Problems that its events report, newest first; see [`Trouble::among`].
    pub troubles: Vec<Trouble>,
}

/// Status of a service (API reference, Service.status).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceStatus {
    /// In use.
    Active,
    /// Deleted, but its tasks are still stopping. The name cannot be reused yet.
    Draining,
    /// Deleted. The name can be reused.
    Inactive,
}

/// One deployment of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// `ecs-svc/…`.
    pub id: String,
    /// Whether it is PRIMARY.
    pub primary: bool,
    /// ARN of its task definition.
    pub task_definition: String,
    /// Its rollout state.
    pub rollout: Rollout,
    /// ECS's explanation of `rollout`.
    pub reason: Option<String>,
    /// When it was created, in seconds of the Unix epoch.
    pub created_at_seconds: Option<i64>,
    /// When `rollout` last changed, in seconds of the Unix epoch.
    pub updated_at_seconds: Option<i64>,
}

/// Rollout state of a deployment (API reference, Deployment.rolloutState).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rollout {
    /// ECS is starting tasks.
    InProgress,
    /// The service is steady.
    Completed,
    /// The circuit breaker gave up.
    Failed,
}

impl Rollout {
    /// All states, in order.
    pub const ALL: [Self; 3] = [Self::InProgress, Self::Completed, Self::Failed];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl Service {
    /// The PRIMARY deployment, which the service is moving to.
    #[must_use]
    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.primary)
    }

    /// Whether ECS has stopped trying: the circuit breaker has tripped and nothing runs. Waiting never ends
    /// (incident 16), because only a new deployment starts another task.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        let given_up = self.primary().is_some_and(|primary| primary.rollout == Rollout::Failed);
        given_up && self.desired > 0 && self.running == 0 && self.pending == 0
    }
}

/// An event that says why a service starts no task. Placement and quota failures appear nowhere else, because no task
/// exists (ECS developer guide, service event messages).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// ECS's message.
    pub message: String,
    /// When ECS wrote the event, in seconds of the Unix epoch.
    pub created_at_seconds: Option<i64>,
    /// Whether a later event says that the service started or stopped a task, or was steady.
    pub is_over: bool,
}

impl Trouble {
    /// Troubles kept for each service; ECS shows 100 events.
    const KEPT: usize = 5;

    /// The troubles among a service's events (message, and the time at which ECS wrote it); both are newest first.
    pub fn among(events: impl IntoIterator<Item = (String, Option<i64>)>) -> Vec<Self> {
        let mut is_over = false;
        let mut troubles = Vec::new();
        for (message, created_at_seconds) in events {
            let words = message.to_ascii_lowercase();
            let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
            if says(&["has started ", "has stopped ", "steady state", "deployment completed"]) {
                is_over = true;
            } else if says(&["deployment failed", "rolling back"]) {
                // The deployment itself says so, in `rollout` and `reason`.
            } else if says(&["unable to", "unhealthy", "failed", "throttled", "cannot", "could not"]) {
                troubles.push(Self { message, created_at_seconds, is_over });
                if troubles.len() == Self::KEPT {
                    break;
                }
            }
        }
        troubles
    }
}

/// Family and number of a revision, from its ARN; the number grows with each registration in the family.
#[must_use]
pub fn revision(task_definition: &str) -> Option<(&str, u64)> {
    let (family, number) = task_definition.rsplit_once(':')?;
    Some((family, number.parse().ok()?))
}

/// Whether `task_definition` is a later revision of the same family as `than`.
#[must_use]
pub fn is_newer_revision(task_definition: &str, than: &str) -> bool {
    let pair = revision(task_definition).zip(revision(than));
    pair.is_some_and(|((family, number), (of, than))| family == of && number > than)
}

/// A rollout as the newer API shows it, even after DescribeServices no longer lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDeployment {
    /// Its ARN, which is not the id of a [`Deployment`].
    pub arn: String,
    /// Whether and how it ended.
    pub state: ServiceDeploymentState,
    /// When it was created, in seconds of the Unix epoch.
    pub created_at_seconds: Option<i64>,
    /// ECS's explanation of it.
    pub reason: Option<String>,
}

/// State of a service deployment (API reference, ServiceDeployment.status).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceDeploymentState {
    /// Still running.
    InProgress,
    /// Given up: the service went back, is going back, or failed to go back.
    RolledBack,
    /// Ended in any other way.
    Ended,
}

/// One task of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Task ARN.
    pub arn: String,
    /// The revision that it runs.
    pub task_definition: String,
    /// ECS's startedBy: the id of the deployment that started it.
    pub started_by: Option<String>,
    /// ECS's lastStatus: `PROVISIONING`, `PENDING`, `RUNNING`, `STOPPED`, ….
    pub last_status: String,
    /// ECS's desiredStatus: `RUNNING` or `STOPPED`.
    pub desired_status: String,
    /// Its IPv4 address in the subnet, once its network interface is attached.
    pub private_ip: Option<String>,
    /// Whether it allows ECS Exec; fixed when the task starts.
    pub execute_command: bool,
    /// Result of the container health check.
    pub health: Health,
    /// ECS's stopCode.
    pub stop_code: Option<String>,
    /// ECS's stoppedReason.
    pub stopped_reason: Option<String>,
    /// ECS's reason of the container that explains best why the task stopped.
    pub container_reason: Option<String>,
    /// Exit code of that container.
    pub exit_code: Option<i32>,
    /// Name of that container, where it is not OpenClaw's; see [`Self::follow`].
    pub failed_sidecar: Option<String>,
    /// Its containers.
    pub containers: Vec<TaskContainer>,
    /// When it stopped, RFC 3339.
    pub stopped_at: Option<String>,
    /// When it was created, in seconds of the Unix epoch, to find the newest.
    pub created_at_seconds: i64,
}

/// A container of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskContainer {
    /// Its name in the definition.
    pub name: String,
    /// Result of its health check.
    pub health: Health,
    /// Its exit code, once it has ended.
    pub exit_code: Option<i32>,
    /// ECS's reason for its state.
    pub reason: Option<String>,
}

/// Exit codes of a process that was asked to end (SIGTERM), or killed because it did not (SIGKILL).
const ENDED_BY_SIGNAL: [i32; 2] = [143, 137];

impl TaskContainer {
    fn ended_by_signal(&self) -> bool {
        self.exit_code.is_some_and(|code| ENDED_BY_SIGNAL.contains(&code))
    }

    /// Whether it failed by itself, and was not asked to end.
    fn failed(&self) -> bool {
        self.exit_code.is_some_and(|code| code != 0) && !self.ended_by_signal()
    }

    /// Whether its reason begins with the name of an error: `OutOfMemoryError: …`.
    fn names_an_error(&self) -> bool {
        let first = self.reason.as_deref().and_then(|reason| reason.split([':', ' ']).next());
        first.is_some_and(|word| word.ends_with("Error"))
    }
}

impl Task {
    /// Takes health, exit code and reason from OpenClaw's container, which has that name: a proxy's health is not the
    /// gateway's. If another container explains better why the task stopped, its name is kept.
    pub fn follow(&mut self, openclaw: &str) {
        let Some(own) = self.containers.iter().position(|container| container.name == openclaw) else { return };
        if self.containers.len() == 1 {
            return;
        }
        self.health = self.containers[own].health;
        self.tell(own);
    }

    /// Takes exit code and reason from the container that explains best why the task stopped; `own` is the index of OpenClaw's.
    /// ECS says neither which one stopped first nor which are essential. But when an essential container ends, ECS stops the
    /// others by signal. So the order is: an error that ECS names, a container that failed by itself, a clean end, an end by
    /// signal. OpenClaw's container wins a tie.
    pub fn tell(&mut self, own: usize) {
        // A clean end of another container counts only if OpenClaw was not ended by a signal: otherwise the other one
        // may only have obeyed a stop.
        let is_own_killed = self.containers.get(own).is_some_and(TaskContainer::ended_by_signal);
        let tells: [fn(&TaskContainer) -> bool; 5] = [
            TaskContainer::names_an_error,
            TaskContainer::failed,
            |container| container.exit_code.is_none() && container.reason.is_some(),
            |container| container.exit_code.is_some(),
            |_| true,
        ];
        let in_order = || [own].into_iter().chain((0..self.containers.len()).filter(|other| *other != own));
        let found = tells.iter().enumerate().find_map(|(rank, tells)| {
            in_order().find(|index| {
                let is_meant = self.containers.get(*index).is_some_and(tells);
                is_meant && !(rank == 3 && is_own_killed && *index != own)
            })
        });
        let told = found.and_then(|index| self.containers.get(index).map(|container| (index, container)));
        let of_sidecar = told.filter(|(index, _)| *index != own).map(|(_, container)| container.name.clone());
        self.failed_sidecar = of_sidecar.filter(|name| !name.is_empty());
        self.container_reason = told.and_then(|(_, container)| container.reason.clone());
        self.exit_code = told.and_then(|(_, container)| container.exit_code);
    }

    /// Whether that deployment started it. The revision does not show this: a forced redeploy keeps the revision, and the old
    /// task is RUNNING and HEALTHY while the new deployment has none (incident 15). A new desired count keeps the deployment.
    #[must_use]
    pub fn is_of(&self, deployment: &Deployment) -> bool {
        // Not every emulator fills in both ids; then the revision decides.
        let is_deployment = |id: &&str| id.starts_with("ecs-svc/");
        let started_by = self.started_by.as_deref().filter(is_deployment);
        match (started_by, Some(deployment.id.as_str()).filter(is_deployment)) {
            (Some(started_by), Some(id)) => started_by == id,
            (None, _) | (_, None) => self.task_definition == deployment.task_definition,
        }
    }
}

/// Result of a container health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Passed.
    Healthy,
    /// Failed.
    Unhealthy,
    /// Unknown so far, or there is no check.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, health: Health, exit_code: Option<i32>, reason: Option<&str>) -> TaskContainer {
        TaskContainer { name: name.into(), health, exit_code, reason: reason.map(str::to_owned) }
    }

    fn task(containers: Vec<TaskContainer>) -> Task {
        Task {
            arn: "t".into(),
            task_definition: "td:1".into(),
            started_by: None,
            last_status: "RUNNING".into(),
            desired_status: "RUNNING".into(),
            private_ip: None,
            execute_command: false,
            health: Health::Unhealthy,
            stop_code: None,
            stopped_reason: None,
            container_reason: None,
            exit_code: None,
            failed_sidecar: None,
            containers,
            stopped_at: None,
            created_at_seconds: 0,
        }
    }

    #[test]
    fn health_is_that_of_the_container_that_runs_openclaw() {
        let proxy = |health| container("proxy", health, None, None);
        let openclaw = |health| container("openclaw", health, None, None);
        for health in [Health::Healthy, Health::Unhealthy, Health::Unknown] {
            let mut followed = task(vec![proxy(Health::Unhealthy), openclaw(health)]);
            followed.follow("openclaw");
            assert_eq!(followed.health, health);
        }
        // Without such a container nothing changes.
        let mut other = task(vec![proxy(Health::Healthy), openclaw(Health::Healthy)]);
        other.follow("gone");
        assert_eq!(other.health, Health::Unhealthy);
    }

    #[test]
    fn openclaw_explains_why_a_task_stopped_unless_another_container_failed() {
        let told = |containers: &[(&str, Option<i32>, Option<&str>)]| {
            let of = |(name, code, reason): &(&str, Option<i32>, Option<&str>)| {
                container(name, Health::Unknown, *code, *reason)
            };
            let mut task = task(containers.iter().map(of).collect());
            task.follow("openclaw");
            (task.failed_sidecar, task.exit_code, task.container_reason)
        };
        let oom = "OutOfMemoryError: Container killed due to memory usage";
        assert_eq!(
            told(&[("router", Some(143), None), ("openclaw", Some(137), Some(oom))]),
            (None, Some(137), Some(oom.into()))
        );
        assert_eq!(told(&[("router", Some(1), None), ("openclaw", Some(2), None)]), (None, Some(2), None));
        for own in [Some(0), Some(143), None] {
            assert_eq!(
                told(&[("init", Some(1), None), ("openclaw", own, None)]),
                (Some("init".into()), Some(1), None),
                "{own:?}"
            );
        }
        assert_eq!(told(&[("init", Some(0), None), ("openclaw", Some(0), None)]), (None, Some(0), None));
        assert_eq!(told(&[("init", Some(0), None), ("openclaw", None, Some("x"))]), (None, None, Some("x".into())));
    }
}
