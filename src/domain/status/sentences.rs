//! Messages that ECS writes, from AWS's documentation and from public reports, and the expected reason for each.

use super::tests::{deployment, service, task};
use super::*;
use crate::domain::service::Trouble;

/// Stop code, the task's message, the container's message, exit code.
type Stopped = (&'static str, &'static str, Option<&'static str>, Option<i32>);

fn stopped((code, task_words, container_words, exit_code): Stopped) -> Task {
    let mut dead = task("td:2", "STOPPED", Health::Unknown);
    dead.stop_code = Some(code.to_owned()).filter(|code| !code.is_empty());
    dead.stopped_reason = Some(task_words.to_owned());
    dead.container_reason = container_words.map(str::to_owned);
    (dead.exit_code, dead.stopped_at) = (exit_code, Some("2026-01-01T00:00:00Z".into()));
    dead
}

const START: &str = "TaskFailedToStart";
const EXITED: &str = "EssentialContainerExited";

#[test]
fn a_stopped_task_is_classified_by_the_kind_of_its_message() {
    use ReasonCode::*;
    let cases: &[(Stopped, ReasonCode, &str)] = &[
        (
            (START, "Timeout waiting for network interface provisioning to complete.", None, None),
            ResourceInitialization,
            "free addresses",
        ),
        (
            (
                START,
                "Unexpected EC2 error while attempting to Create Network Interface in subnet 'subnet-0123': InsufficientFreeAddressesInSubnet",
                None,
                None,
            ),
            ResourceInitialization,
            "free addresses",
        ),
        (
            (
                START,
                "Network interface provision complete error timeout expired: Timeout waiting for network interface provisioning to complete",
                None,
                None,
            ),
            ResourceInitialization,
            "network interfaces",
        ),
        (
            (
                START,
                "Task failed to start",
                Some(
                    "ContainerRuntimeTimeoutError: Could not transition to running; timed out after waiting 1m: context deadline exceeded",
                ),
                None,
            ),
            CannotStart,
            "command",
        ),
        (
            (
                START,
                "Task failed to start",
                Some("DockerTimeoutError: Could not transition to started; timed out after waiting 3m0s"),
                None,
            ),
            CannotStart,
            "command",
        ),
        (
            (
                START,
                "Task failed to start",
                Some("CannotInspectContainerError: Could not transition to inspecting; timed out after waiting 30s"),
                None,
            ),
            CannotStart,
            "command",
        ),
        (
            (
                START,
                "Task failed to start",
                Some(
                    "CannotPullECRContainerError: AccessDeniedException: User is not authorized to perform: ecr:GetAuthorizationToken",
                ),
                None,
            ),
            ImagePull,
            "execution role",
        ),
        (
            (
                START,
                "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref ghcr.io/openclaw/openclaw:no: not found",
                None,
                None,
            ),
            ImagePull,
            "tag exist",
        ),
        (
            (
                START,
                "CannotPullContainerError: The task cannot pull registry.example/app from the registry. There is a connection issue between the task and the registry. Check your task network configuration.",
                None,
                None,
            ),
            ImagePull,
            "NAT",
        ),
        (
            (START, "CannotPullImageManifestError: Error response from daemon: manifest unknown", None, None),
            ImagePull,
            "tag exist",
        ),
        (
            (
                START,
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 3 time(s): RequestError: send request failed caused by: Post \"https://api.ecr.us-east-2.amazonaws.com/\": dial tcp 10.0.0.5:443: i/o timeout. Please check your task network configuration.",
                None,
                None,
            ),
            ResourceInitialization,
            "interface endpoints",
        ),
        (
            (
                START,
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: AccessDeniedException: not authorized to perform: secretsmanager:GetSecretValue",
                None,
                None,
            ),
            ResourceInitialization,
            "execution role",
        ),
        (
            (
                START,
                "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: Failed to resolve \"fs-0.efs.us-east-1.amazonaws.com\"",
                None,
                None,
            ),
            ResourceInitialization,
            "mount targets",
        ),
        (
            (
                START,
                "Task failed to start",
                Some(
                    "ResourceInitializationError: failed to initialize logging driver: ResourceNotFoundException: The specified log group does not exist.",
                ),
                None,
            ),
            ResourceInitialization,
            "log group",
        ),
        (
            (
                START,
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: AccessDeniedException",
                None,
                None,
            ),
            ResourceInitialization,
            "log group",
        ),
        (
            (
                START,
                "Task failed to start",
                Some(
                    "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: exec: \"/run.sh\": no such file or directory",
                ),
                None,
            ),
            CannotStart,
            "command",
        ),
        (
            (
                START,
                "Task failed to start",
                Some("CannotStartContainerError: Error response from daemon: OutOfMemoryError in the words of another"),
                None,
            ),
            CannotStart,
            "command",
        ),
        (
            (START, "Task failed to start", Some("CannotCreateContainerError: API error (400): invalid user"), None),
            CannotStart,
            "command",
        ),
        (
            (START, "Task failed to start", Some("CannotCreateVolumeError: no such volume driver"), None),
            ResourceInitialization,
            "mount targets",
        ),
        (
            (
                EXITED,
                "Essential container in task exited",
                Some("OutOfMemoryError: Container killed due to memory usage"),
                Some(137),
            ),
            OutOfMemory,
            "memory_mib",
        ),
        ((EXITED, "Essential container in task exited", None, Some(139)), ContainerExited, "log"),
        ((EXITED, "Essential container in task exited", None, Some(137)), ContainerExited, "memory"),
        ((EXITED, "Essential container in task exited", None, Some(0)), ContainerExited, "log"),
        (
            (
                EXITED,
                "Essential container in task exited",
                Some("CannotStopContainerError: failed sending SIGTERM"),
                Some(1),
            ),
            ContainerExited,
            "log",
        ),
        (("UserInitiated", "Task stopped by user", None, Some(143)), StoppedByUser, "ECS starts another"),
        (("UserInitiated", "rotating the fleet", None, Some(143)), StoppedByUser, "ECS starts another"),
        (("UserInitiated", "Task stopped by user", None, None), StoppedByUser, "ECS starts another"),
        (
            (
                "TerminationNotice",
                "ECS is performing maintenance on the underlying infrastructure hosting the task",
                None,
                Some(143),
            ),
            RetiredByAws,
            "ECS starts another",
        ),
        (("TerminationNotice", "Your Spot Task was interrupted.", None, Some(137)), RetiredByAws, "ECS starts another"),
        (("SpotInterruption", "Your Spot Task was interrupted.", None, None), RetiredByAws, "ECS starts another"),
        (("InfrastructureHealth", "Task stopped", None, Some(137)), RetiredByAws, "ECS starts another"),
        (("", "Your Spot Task was interrupted.", None, None), RetiredByAws, "ECS starts another"),
        (
            (
                "ServiceSchedulerInitiated",
                "Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/tg/0123)",
                None,
                Some(143),
            ),
            Unhealthy,
            "health check",
        ),
        (
            ("ServiceSchedulerInitiated", "Task failed container health checks", None, Some(137)),
            Unhealthy,
            "health check",
        ),
        ((START, "Task failed to start", None, None), Other, "service events"),
    ];
    for (said, code, hint) in cases {
        let reason = derive(&service(1, 0), &[stopped(*said)], true).unwrap().reason.unwrap();
        assert_eq!(reason.code, *code, "{said:?}");
        assert!(reason.hint.contains(hint), "{said:?}: {}", reason.hint);
    }
}

fn trouble(message: &str, told: i64) -> Trouble {
    let mut troubles = Trouble::among([(format!("(service openclaw-u1) {message}"), Some(told))]);
    troubles.remove(0)
}

#[test]
fn an_event_is_classified_by_the_kind_of_its_message() {
    use ReasonCode::*;
    let cases = [
        (
            "was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone.",
            NoCapacity,
            "Availability Zones",
        ),
        (
            "was unable to place a task because no Fargate capacity is available in the subnets' Availability Zones.",
            NoCapacity,
            "Availability Zones",
        ),
        (
            "was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run concurrently.",
            VcpuQuota,
            "L-3032A538",
        ),
        (
            "was unable to place a task. Reason: You've reached the limit on the number of tasks you can run concurrently.",
            VcpuQuota,
            "Fargate On-Demand vCPU",
        ),
        (
            "was unable to place a task because no container instance met all of its requirements.",
            Placement,
            "placement constraints",
        ),
        ("was unable to place a task because the resources could not be found.", Placement, "placement constraints"),
        (
            "was unable to place a task. Reason: The subnet 'subnet-0123' has insufficient free addresses.",
            Placement,
            "free addresses",
        ),
        (
            "was unable to place a task. Reason: CannotPullContainerError: pull image manifest has been retried 1 time(s): not found.",
            ImagePull,
            "tag exist",
        ),
        (
            "was unable to place a task. Reason: ResourceInitializationError: unable to pull secrets or registry auth: There is a connection issue between the task and Amazon ECR.",
            ResourceInitialization,
            "interface endpoints",
        ),
        (
            "failed to launch a task with (error ECS was unable to assume the role 'arn:aws:iam::123456789012:role/gone' that was provided for this task. Please verify that the role being passed has the proper trust relationship.).",
            Other,
            "ecs-tasks.amazonaws.com",
        ),
        (
            "was unable to place a task. Reason: ECS was unable to assume the role 'arn:aws:iam::123456789012:role/gone'.",
            Other,
            "ecs-tasks.amazonaws.com",
        ),
        (
            "failed to launch a task with (error Unable to assume the service linked role. Please verify that the ECS service linked role exists.).",
            Other,
            "AWSServiceRoleForECS",
        ),
        (
            "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
            Other,
            "stopped tasks",
        ),
        ("operations are being throttled. Will try again later.", Other, "slow down"),
        ("(task 0123) failed container health checks.", Unhealthy, "health check"),
    ];
    for (said, code, hint) in cases {
        let waiting = Service { troubles: vec![trouble(said, 10)], ..service(1, 0) };
        let status = derive(&waiting, &[], true).unwrap();
        let reason = status.reason.unwrap();
        assert_eq!(
            (status.state, status.phase, reason.code),
            (State::Provisioning, Some(Phase::Service), code),
            "{said}"
        );
        assert!(reason.hint.contains(hint) && reason.message.ends_with(said), "{reason:?}");
    }
}

#[test]
fn events_that_the_service_has_recovered_from_and_ordinary_events_are_no_trouble() {
    let events = |messages: &[&str]| {
        let events = messages.iter().map(|message| (format!("(service openclaw-u1) {message}"), Some(1)));
        Trouble::among(events).into_iter().map(|trouble| trouble.is_over).collect::<Vec<_>>()
    };
    let unplaced = "was unable to place a task. Reason: Capacity is unavailable at this time.";
    assert_eq!(events(&[unplaced]), [false]);
    for since in [
        "has started 1 tasks: (task 0123).",
        "has reached a steady state.",
        "has stopped 1 running tasks: (task 0123).",
    ] {
        assert_eq!(events(&[since, unplaced]), [true], "{since}");
    }
    let given_up = "(deployment ecs-svc/1) deployment failed: tasks failed to start.";
    assert_eq!(events(&[given_up, unplaced, "rolling back to deployment ecs-svc/0."]), [false]);
    assert!(
        events(&["registered 1 targets in (target-group arn)", "has begun draining connections on 1 tasks."])
            .is_empty()
    );
}

/// A deployment that began at 100, and events before and after that.
#[test]
fn an_event_is_the_reason_only_if_there_is_no_task_and_none_stopped_later() {
    let unplaced = |told| trouble("was unable to place a task. Reason: Capacity is unavailable at this time.", told);
    let general = trouble("is unable to consistently start tasks successfully.", 200);
    let crashed = |seconds: i64| Task {
        stopped_at: Some(Timestamp::from_second(seconds).unwrap().to_string()),
        ..stopped((EXITED, "Essential container in task exited", None, Some(1)))
    };
    let told = |trouble: Trouble, tasks: &[Task]| {
        let mut waiting = Service { troubles: vec![trouble], ..service(1, 0) };
        waiting.deployments[0].created_at_seconds = Some(100);
        derive(&waiting, tasks, true).unwrap().reason.map(|reason| reason.code)
    };
    assert_eq!(told(unplaced(99), &[]), None, "written before the deployment began");
    assert_eq!(told(Trouble { is_over: true, ..unplaced(150) }, &[]), None, "a task was started later");
    assert_eq!(told(unplaced(150), &[]), Some(ReasonCode::NoCapacity));
    assert_eq!(told(unplaced(150), &[task("td:2", "PENDING", Health::Unknown)]), None, "there is a task");
    assert_eq!(told(unplaced(150), &[crashed(140)]), Some(ReasonCode::NoCapacity));
    assert_eq!(told(unplaced(150), &[crashed(160)]), Some(ReasonCode::ContainerExited));
    assert_eq!(told(general, &[crashed(140)]), Some(ReasonCode::ContainerExited), "the task's reason is more precise");
}

#[test]
fn a_deployment_that_was_given_up_shows_the_trouble_of_its_service() {
    let quota =
        "was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run concurrently.";
    let mut given_up = Service { troubles: vec![trouble(quota, 150)], ..service(1, 0) };
    given_up.deployments[0].rollout = Rollout::Failed;
    given_up.deployments[0].created_at_seconds = Some(100);
    let status = derive(&given_up, &[], true).unwrap();
    assert_eq!((status.state, status.reason.unwrap().code), (State::Failed, ReasonCode::VcpuQuota));
    // After a rollback: ECS's message on the deployment, and that of the event.
    given_up.task_definition = "td:1".into();
    let told = |reason: &str| Some(reason.to_owned());
    given_up.deployments = vec![
        deployment("td:1", true, Rollout::Completed),
        Deployment {
            created_at_seconds: Some(100),
            updated_at_seconds: Some(160),
            reason: told("ECS deployment circuit breaker: tasks failed to start."),
            ..deployment("td:2", false, Rollout::Failed)
        },
    ];
    let reason = derive(&given_up, &[], true).unwrap().reason.unwrap();
    assert_eq!(reason.code, ReasonCode::RolledBack);
    assert!(reason.message.contains("tasks failed to start: (service openclaw-u1) was unable to place"), "{reason:?}");
    given_up.troubles = vec![trouble(quota, 300)];
    let reason = derive(&given_up, &[], true).unwrap().reason.unwrap();
    assert!(!reason.message.contains("unable to place"), "a later event: {reason:?}");
}

/// StopTask and retirements do not explain a deployment that was given up, and are not noted as the last failure.
#[test]
fn a_stop_without_a_failure_does_not_explain_a_failed_deployment() {
    let mut given_up = service(1, 0);
    given_up.deployments[0].rollout = Rollout::Failed;
    let crashed = stopped((EXITED, "Essential container in task exited", None, Some(1)));
    let by_user = Task { created_at_seconds: 9, ..stopped(("UserInitiated", "Task stopped by user", None, Some(143))) };
    let code = |tasks: &[Task]| derive(&given_up, tasks, true).unwrap().reason.unwrap().code;
    assert_eq!(code(std::slice::from_ref(&by_user)), ReasonCode::CircuitBreaker);
    assert_eq!(code(&[crashed, by_user.clone()]), ReasonCode::ContainerExited);
    let waiting = derive(&service(1, 0), &[by_user], true).unwrap();
    assert_eq!(
        (waiting.state, waiting.reason.as_ref().unwrap().code),
        (State::Provisioning, ReasonCode::StoppedByUser)
    );
    assert_eq!(LastStop::of(&waiting, "td:2", Timestamp::UNIX_EPOCH), None);
}

/// ECS counts the health of sidecars, too, so the task's health decides, even if the first container has no check.
#[test]
fn a_task_that_ecs_calls_unhealthy_is_never_ready() {
    let status = derive(&service(1, 1), &[task("td:2", "RUNNING", Health::Unhealthy)], false).unwrap();
    assert_eq!((status.state, status.ready), (State::Provisioning, false));
}
