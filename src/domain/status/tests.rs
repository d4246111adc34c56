//! Each status, derived from what ECS shows.

use super::*;

pub(super) fn service(desired: u32, running: u32) -> Service {
    Service {
        name: "s".into(),
        status: ServiceStatus::Active,
        desired,
        running,
        pending: 0,
        task_definition: "td:2".into(),
        execute_command: false,
        deployments: vec![deployment("td:2", true, Rollout::InProgress)],
        troubles: vec![],
        created_at_seconds: None,
    }
}

pub(super) fn deployment(task_definition: &str, primary: bool, rollout: Rollout) -> Deployment {
    Deployment {
        id: "d".into(),
        primary,
        task_definition: task_definition.into(),
        rollout,
        reason: None,
        created_at_seconds: None,
        updated_at_seconds: None,
    }
}

pub(super) fn task(task_definition: &str, last_status: &str, health: Health) -> Task {
    Task {
        arn: "t".into(),
        task_definition: task_definition.into(),
        started_by: None,
        last_status: last_status.into(),
        desired_status: if last_status == "STOPPED" { "STOPPED" } else { "RUNNING" }.into(),
        private_ip: None,
        execute_command: false,
        health,
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

fn state(service: &Service, tasks: &[Task]) -> (State, Option<Phase>, bool) {
    let status = derive(service, tasks, true).unwrap();
    (status.state, status.phase, status.ready)
}

/// Incident 15: the old task's health was mistaken for the new deployment's.
#[test]
fn the_health_of_a_task_of_the_old_revision_does_not_count() {
    let old = task("td:1", "RUNNING", Health::Healthy);
    assert_eq!(state(&service(1, 1), &[old]), (State::Provisioning, Some(Phase::Service), false));
}

/// Incident 15 once more: a forced redeploy keeps the revision.
#[test]
fn the_health_of_a_task_of_the_old_deployment_does_not_count() {
    let mut forced = service(1, 1);
    forced.deployments =
        vec![deployment("td:2", true, Rollout::InProgress), deployment("td:2", false, Rollout::Completed)];
    forced.deployments[0].id = "ecs-svc/2".into();
    forced.deployments[1].id = "ecs-svc/1".into();
    let by = |started_by: Option<&str>| {
        state(&forced, &[Task { started_by: started_by.map(Into::into), ..task("td:2", "RUNNING", Health::Healthy) }])
    };
    assert_eq!(by(Some("ecs-svc/1")), (State::Provisioning, Some(Phase::Service), false));
    assert_eq!(by(Some("ecs-svc/2")), (State::Running, Some(Phase::Healthy), true));
    // Some emulators leave it out.
    for unknown in [None, Some(""), Some("someone")] {
        assert_eq!(by(unknown), (State::Running, Some(Phase::Healthy), true), "{unknown:?}");
    }
    forced.deployments[0].id = String::new();
    let old = Task { started_by: Some("ecs-svc/1".into()), ..task("td:2", "RUNNING", Health::Healthy) };
    assert!(derive(&forced, &[old], true).unwrap().ready);
}

#[test]
fn with_a_health_check_running_means_healthy() {
    let phases = |health| state(&service(1, 1), &[task("td:2", "RUNNING", health)]);
    assert_eq!(phases(Health::Unknown), (State::Provisioning, Some(Phase::TaskRunning), false));
    assert_eq!(phases(Health::Unhealthy), (State::Provisioning, Some(Phase::TaskRunning), false));
    assert_eq!(phases(Health::Healthy), (State::Running, Some(Phase::Healthy), true));
    let unchecked = derive(&service(1, 1), &[task("td:2", "RUNNING", Health::Unknown)], false).unwrap();
    assert!(unchecked.ready);
}

/// Incident 12: a stopped service was resized, flagged "provisioning", and waited for a task that nobody starts.
#[test]
fn desired_0_is_stopped_whatever_the_deployment_says() {
    assert_eq!(state(&service(0, 0), &[]), (State::Stopped, None, false));
    assert_eq!(state(&service(0, 1), &[]), (State::Stopping, None, false));
}

/// Incident 16: after the circuit breaker tripped (desired 1, running 0), retry only waited.
#[test]
fn a_tripped_circuit_breaker_is_failed_with_the_tasks_own_reason() {
    let mut tripped = service(1, 0);
    tripped.deployments[0].rollout = Rollout::Failed;
    let mut dead = task("td:2", "STOPPED", Health::Unknown);
    dead.stopped_reason = Some("CannotPullContainerError: no such tag".into());
    let status = derive(&tripped, &[dead], true).unwrap();
    assert_eq!(status.state, State::Failed);
    assert_eq!(status.reason.unwrap().code, ReasonCode::ImagePull);
    assert_eq!(derive(&tripped, &[], true).unwrap().reason.unwrap().code, ReasonCode::CircuitBreaker);
}

/// Without a revision to roll back to, ECS leaves the FAILED deployment PRIMARY, and a task of it may still start.
#[test]
fn a_failed_primary_is_running_exactly_when_a_task_of_it_is_healthy() {
    let mut failed = service(1, 1);
    failed.deployments[0].rollout = Rollout::Failed;
    assert_eq!(
        state(&failed, &[task("td:2", "RUNNING", Health::Healthy)]),
        (State::Running, Some(Phase::Healthy), true)
    );
    let mut dead = task("td:2", "STOPPED", Health::Unknown);
    (dead.stopped_reason, dead.exit_code) = (Some("Essential container in task exited".into()), Some(1));
    for (health, stopped, code) in [
        (Health::Unhealthy, Some(dead.clone()), ReasonCode::ContainerExited),
        (Health::Unknown, Some(dead), ReasonCode::ContainerExited),
        (Health::Unknown, None, ReasonCode::CircuitBreaker),
    ] {
        let tasks: Vec<_> = stopped.into_iter().chain([task("td:2", "RUNNING", health)]).collect();
        let status = derive(&failed, &tasks, true).unwrap();
        assert_eq!((status.state, status.ready, status.reason.unwrap().code), (State::Failed, false, code));
    }
}

/// A failed task of another revision says nothing about this one.
#[test]
fn while_provisioning_only_a_task_of_this_revision_gives_the_reason() {
    let dead = |task_definition: &str, created_at_seconds| Task {
        stopped_reason: Some(format!("CannotPullContainerError: {task_definition}")),
        created_at_seconds,
        ..task(task_definition, "STOPPED", Health::Unknown)
    };
    let reason = |tasks: &[Task]| derive(&service(1, 0), tasks, true).unwrap().reason.map(|reason| reason.message);
    assert_eq!(reason(&[dead("td:1", 9)]), None);
    let said = reason(&[dead("td:2", 1), dead("td:1", 9), dead("td:2", 2)]);
    assert_eq!(said.as_deref(), Some("CannotPullContainerError: td:2"));
}

#[test]
fn a_stop_by_the_scheduler_is_a_failure_only_after_a_failed_health_check() {
    let reason = |words: &str, health| {
        let mut dead = task("td:2", "STOPPED", health);
        (dead.stop_code, dead.stopped_reason) = (Some("ServiceSchedulerInitiated".into()), Some(words.into()));
        dead.exit_code = Some(143);
        derive(&service(1, 0), &[dead], true).unwrap().reason.map(|reason| reason.code)
    };
    assert_eq!(reason("Scaling activity initiated by (deployment ecs-svc/1)", Health::Unknown), None);
    for health in [Health::Unhealthy, Health::Unknown] {
        assert_eq!(reason("Task failed container health checks", health), Some(ReasonCode::Unhealthy));
    }
}

#[test]
fn a_rollback_says_why_the_task_of_the_failed_revision_stopped() {
    let mut back = service(1, 1);
    back.task_definition = "td:1".into();
    back.deployments = vec![deployment("td:1", true, Rollout::InProgress), deployment("td:2", false, Rollout::Failed)];
    let mut dead = task("td:2", "STOPPED", Health::Unknown);
    dead.stopped_reason = Some("Essential container in task exited".into());
    (dead.exit_code, dead.stopped_at) = (Some(1), Some("2026-01-01T00:00:00Z".into()));
    let mut other = task("td:1", "STOPPED", Health::Unknown);
    (other.stopped_reason, other.created_at_seconds) = (Some("CannotPullContainerError".into()), 9);
    let mut told = |ecs: Option<&str>, tasks: &[Task]| {
        back.deployments[1].reason = ecs.map(Into::into);
        let reason = derive(&back, tasks, true).unwrap().reason.unwrap();
        assert_eq!(reason.code, ReasonCode::RolledBack);
        (reason.message, reason.exit_code, reason.stopped_at.is_some())
    };
    let tripped = "ECS deployment circuit breaker: tasks failed to start.";
    let message = "ECS deployment circuit breaker: tasks failed to start: Essential container in task exited";
    assert_eq!(told(Some(tripped), &[dead.clone(), other.clone()]), (message.to_owned(), Some(1), true));
    assert_eq!(told(Some(tripped), &[other]), (tripped.to_owned(), None, false));
    assert_eq!(told(None, &[dead]), ("Essential container in task exited".to_owned(), Some(1), true));
}

#[test]
fn a_steady_service_after_a_rollback_is_failed_not_running() {
    let mut back = service(1, 1);
    back.task_definition = "td:1".into();
    back.deployments = vec![deployment("td:1", true, Rollout::Completed), deployment("td:2", false, Rollout::Failed)];
    let status = derive(&back, &[task("td:1", "RUNNING", Health::Healthy)], true).unwrap();
    assert_eq!((status.state, status.reason.unwrap().code), (State::Failed, ReasonCode::RolledBack));
}

/// Incident 16: a retry is running, although ECS still lists the failed deployment before it.
#[test]
fn a_retry_after_a_failed_deployment_is_provisioning() {
    for revision in ["td:2", "td:3"] {
        let mut retried = service(1, 0);
        retried.task_definition = revision.into();
        retried.deployments =
            vec![deployment(revision, true, Rollout::InProgress), deployment("td:2", false, Rollout::Failed)];
        assert_eq!(state(&retried, &[]), (State::Provisioning, Some(Phase::Service), false), "{revision}");
    }
}

#[test]
fn stopped_tasks_are_classified_by_the_prefixes_of_ecs() {
    let class = |stopped_reason: &str, container_reason: Option<&str>, exit_code| {
        let mut dead = task("td:2", "STOPPED", Health::Unknown);
        dead.stopped_reason = Some(stopped_reason.into());
        dead.container_reason = container_reason.map(Into::into);
        dead.exit_code = exit_code;
        classify(&dead).code
    };
    assert_eq!(
        class("ResourceInitializationError: failed to invoke EFS utils", None, None),
        ReasonCode::ResourceInitialization
    );
    let exited = "Essential container in task exited";
    assert_eq!(
        class(exited, Some("OutOfMemoryError: Container killed due to memory usage"), Some(137)),
        ReasonCode::OutOfMemory
    );
    let mut sidecar = task("td:2", "STOPPED", Health::Unknown);
    sidecar.stopped_reason = Some(exited.into());
    sidecar.container_reason = Some("OutOfMemoryError: Container killed due to memory usage".into());
    let of_openclaw = classify(&sidecar);
    sidecar.failed_sidecar = Some("router".into());
    let of_sidecar = classify(&sidecar);
    // A resize helps OpenClaw's container and not the sidecar.
    assert_eq!((of_openclaw.code, of_sidecar.code), (ReasonCode::OutOfMemory, ReasonCode::OutOfMemory));
    assert!(of_openclaw.hint.starts_with("resize to more memory_mib"), "{}", of_openclaw.hint);
    assert!(
        of_sidecar.hint.contains("in the base") && of_sidecar.message.contains("container router"),
        "{of_sidecar:?}"
    );
    assert_eq!(class(exited, None, Some(1)), ReasonCode::ContainerExited);
    assert_eq!(class("Task failed container health checks", None, None), ReasonCode::Unhealthy);
    assert_eq!(class("CannotStartContainerError: x", None, None), ReasonCode::CannotStart);
    assert_eq!(class("Host EC2 terminated", None, None), ReasonCode::Other);
}

#[test]
fn a_deleted_service_has_no_status_and_a_draining_one_is_deleting() {
    let with = |status| derive(&Service { status, ..service(0, 0) }, &[], true).map(|status| status.state);
    assert_eq!(with(ServiceStatus::Draining), Some(State::Deleting));
    assert_eq!(with(ServiceStatus::Inactive), None);
}

/// Nobody may be sent to the old task's address, nor to the new one's before it runs.
#[test]
fn only_a_running_task_of_the_requested_revision_is_a_host() {
    let old = task("td:1", "RUNNING", Health::Healthy);
    let pending = task("td:2", "PENDING", Health::Unknown);
    let stopping = Task { desired_status: "STOPPED".into(), ..task("td:2", "RUNNING", Health::Healthy) };
    let service = service(1, 1);
    assert_eq!(running_task(&service, &[old.clone(), pending, stopping]), None);
    let new = Task { created_at_seconds: 2, ..task("td:2", "RUNNING", Health::Unknown) };
    let older = Task { created_at_seconds: 1, ..new.clone() };
    assert_eq!(running_task(&service, &[old, new.clone(), older]), Some(&new));
}
