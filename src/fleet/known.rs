//! What is remembered of a watched container between two readings, and which part has to be read again. One call reads ten
//! services or a hundred tasks, but lists the tasks of only one service: that call is the one to save.

use crate::domain::service::{Service, ServiceStatus, Task};
use crate::domain::{ReasonCode, Status};

/// The last reading of one container.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The service; `None` when there was none.
    pub(super) service: Option<Service>,
    /// Tasks that had not stopped.
    pub(super) live: Vec<Task>,
    /// Tasks that had stopped: nothing about them changes any more.
    pub(super) stopped: Vec<Task>,
    /// The status derived from them, and the same status after refining.
    pub(super) refined: Option<(Status, Status)>,
}

/// Which tasks to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tasks {
    /// None: they make no difference.
    None,
    /// Those that ran at the last reading.
    Known,
    /// All tasks that the service has now.
    List,
}

impl Known {
    /// Which tasks must be read to derive the status of the service as it is `now`.
    pub(super) fn tasks_to_read(&self, now: &Service) -> Tasks {
        match now.status {
            ServiceStatus::Draining | ServiceStatus::Inactive => return Tasks::None,
            ServiceStatus::Active => {}
        }
        if self.service.as_ref() != Some(now) {
            return Tasks::List;
        }
        let waits_for_a_task = now.desired > 0 && !self.live.iter().any(|task| task.desired_status == "RUNNING");
        let idle = now.running == 0 && now.pending == 0;
        if waits_for_a_task && !now.is_stalled() || self.live.is_empty() && !idle {
            // Counts are no substitute: they and the list of tasks are only eventually consistent.
            return Tasks::List;
        }
        if self.live.is_empty() { Tasks::None } else { Tasks::Known }
    }

    /// Takes in the tasks that were read. They replace the live tasks; stopped ones are added.
    pub(super) fn take_in(&mut self, read: Vec<Task>) {
        let (stopped, live) = read.into_iter().partition::<Vec<_>, _>(|task| task.last_status == "STOPPED");
        self.live = live;
        self.stopped.retain(|known| stopped.iter().all(|task| task.arn != known.arn));
        self.stopped.extend(stopped);
    }

    /// The refined form of a status, if refining it again would give the same: it was derived from the same service, and no
    /// gateway still has to answer.
    pub(super) fn refined(&self, derived: &Status) -> Option<&Status> {
        let (from, to) = self.refined.as_ref()?;
        let waits = to.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::GatewayUnanswered);
        (from == derived && !waits).then_some(to)
    }

    /// Every task that is known.
    pub(super) fn tasks(&self) -> Vec<Task> {
        self.live.iter().chain(&self.stopped).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::service::{Deployment, Health, Rollout};

    fn service(status: ServiceStatus, desired: u32, running: u32, rollout: Rollout) -> Service {
        let deployment = Deployment {
            id: "ecs-svc/1".into(),
            primary: true,
            task_definition: "arn:1".into(),
            rollout,
            reason: None,
            created_at_seconds: None,
            updated_at_seconds: None,
        };
        Service {
            name: "openclaw-alice".into(),
            status,
            desired,
            running,
            pending: 0,
            task_definition: "arn:1".into(),
            execute_command: false,
            deployments: vec![deployment],
            troubles: vec![],
            created_at_seconds: None,
        }
    }

    fn task(arn: &str, last: &str, desired: &str) -> Task {
        Task {
            arn: arn.into(),
            task_definition: "arn:1".into(),
            started_by: None,
            last_status: last.into(),
            desired_status: desired.into(),
            private_ip: None,
            execute_command: false,
            health: Health::Unknown,
            stop_code: None,
            stopped_reason: None,
            container_reason: None,
            exit_code: None,
            failed_sidecar: None,
            containers: Vec::new(),
            stopped_at: None,
            created_at_seconds: 0,
        }
    }

    #[test]
    fn tasks_are_listed_only_when_something_can_be_new() {
        use Rollout::{Completed, Failed, InProgress};
        use ServiceStatus::{Active, Draining, Inactive};
        let up = service(Active, 1, 1, Completed);
        let starting = service(Active, 1, 0, InProgress);
        let down = service(Active, 0, 0, Completed);
        let given_up = service(Active, 1, 0, Failed);
        let runs = || vec![task("t1", "RUNNING", "RUNNING")];
        let stops = || vec![task("t1", "DEACTIVATING", "STOPPED")];
        let rows = [
            ("never read", None, vec![], up.clone(), Tasks::List),
            ("as before, its task known", Some(&up), runs(), up.clone(), Tasks::Known),
            ("as before, but no task was found", Some(&up), vec![], up.clone(), Tasks::List),
            ("as before, but its task is going", Some(&up), stops(), up.clone(), Tasks::List),
            ("changed", Some(&starting), runs(), up.clone(), Tasks::List),
            ("waits for its first task", Some(&starting), vec![], starting.clone(), Tasks::List),
            ("stopped, its task still going", Some(&down), stops(), down.clone(), Tasks::Known),
            ("stopped", Some(&down), vec![], down.clone(), Tasks::None),
            ("given up", Some(&given_up), vec![], given_up.clone(), Tasks::None),
            ("draining", None, runs(), service(Draining, 0, 1, Completed), Tasks::None),
            ("gone", None, runs(), service(Inactive, 0, 0, Completed), Tasks::None),
        ];
        for (what, before, live, now, expected) in rows {
            let known = Known { service: before.cloned(), live, ..Known::default() };
            assert_eq!(known.tasks_to_read(&now), expected, "{what}");
        }
    }

    #[test]
    fn a_task_that_stops_is_kept_for_its_reason_and_never_read_again() {
        let mut known = Known { live: vec![task("t1", "RUNNING", "RUNNING")], ..Known::default() };
        known.take_in(vec![task("t1", "STOPPED", "STOPPED"), task("t2", "PENDING", "RUNNING")]);
        let arns = |tasks: &[Task]| tasks.iter().map(|task| task.arn.clone()).collect::<Vec<_>>();
        assert_eq!((arns(&known.live), arns(&known.stopped)), (vec!["t2".to_owned()], vec!["t1".to_owned()]));
        known.take_in(vec![task("t1", "STOPPED", "STOPPED"), task("t2", "STOPPED", "STOPPED")]);
        assert_eq!((arns(&known.live), arns(&known.stopped)), (vec![], vec!["t1".to_owned(), "t2".to_owned()]));
        assert_eq!(known.tasks().len(), 2);
    }
}
