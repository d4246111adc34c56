//! The life of simulated services, with paused time.

use crate::{Behaviour, Conduct, Emulator, Options};
use serde_json::{Value, json};
use std::time::Duration;

const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition";

pub(super) fn ecs(emulator: &Emulator, action: &str, input: Value) -> Value {
    emulator.call("ecs", action, input).unwrap()
}

pub(super) async fn pass(milliseconds: u64) {
    tokio::time::advance(Duration::from_millis(milliseconds)).await;
}

pub(super) fn register(emulator: &Emulator, image: &str, checked: bool) -> Value {
    let mut container = json!({"name": "app", "image": image});
    if checked {
        container["healthCheck"] = json!({"command": ["CMD", "true"]});
    }
    ecs(emulator, "RegisterTaskDefinition", json!({
        "family": "f", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "containerDefinitions": [container],
    }))["taskDefinition"]["taskDefinitionArn"].clone()
}

/// A service with one task, which may never overlap another, and a circuit breaker that rolls back.
fn with_service(image: &str, checked: bool) -> Emulator {
    with_options(image, checked, Options::default())
}

pub(super) fn with_conduct(image: &str, conduct: Conduct) -> Emulator {
    with_options(image, true, Options { conduct, ..Options::default() })
}

fn with_options(image: &str, checked: bool, options: Options) -> Emulator {
    let emulator = Emulator::new(options);
    ecs(&emulator, "CreateCluster", json!({"clusterName": "default"}));
    register(&emulator, image, checked);
    ecs(&emulator, "CreateService", request("t"));
    emulator
}

pub(super) fn request(token: &str) -> Value {
    json!({
        "serviceName": "s", "taskDefinition": "f", "desiredCount": 1, "launchType": "FARGATE", "clientToken": token,
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        "deploymentConfiguration": {
            "minimumHealthyPercent": 0, "maximumPercent": 100,
            "deploymentCircuitBreaker": {"enable": true, "rollback": true},
        },
    })
}

pub(super) fn service(emulator: &Emulator) -> Value {
    ecs(emulator, "DescribeServices", json!({"services": ["s"]}))["services"][0].clone()
}

pub(super) fn tasks(emulator: &Emulator, desired_status: &str) -> Vec<Value> {
    let listed = ecs(emulator, "ListTasks", json!({"serviceName": "s", "desiredStatus": desired_status}));
    let arns = &listed["taskArns"];
    match arns.as_array().unwrap().is_empty() {
        true => Vec::new(),
        false => ecs(emulator, "DescribeTasks", json!({"tasks": arns}))["tasks"].as_array().unwrap().clone(),
    }
}

pub(super) fn update(emulator: &Emulator, mut change: Value) -> Value {
    change["service"] = json!("s");
    ecs(emulator, "UpdateService", change)["service"].clone()
}

/// What started the running tasks, and the id of the PRIMARY deployment.
fn starters(emulator: &Emulator) -> (Vec<Value>, Value) {
    let started_by = tasks(emulator, "RUNNING").into_iter().map(|task| task["startedBy"].clone()).collect();
    (started_by, service(emulator)["deployments"][0]["id"].clone())
}

pub(super) fn states(service: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let deployments = service["deployments"].as_array().unwrap().iter();
    deployments.map(|d| (text(&d["status"]), text(&d["rolloutState"]))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_task_becomes_healthy_in_two_seconds_and_completes_the_deployment() {
    let emulator = with_service("app:1", true);
    let mut seen = Vec::new();
    for _ in 0..21 {
        let task = tasks(&emulator, "RUNNING")[0].clone();
        let status = format!("{} {}", task["lastStatus"].as_str().unwrap(), task["healthStatus"].as_str().unwrap());
        let rollout = service(&emulator)["deployments"][0]["rolloutState"].as_str().unwrap().to_owned();
        let step = format!("{status} {rollout}");
        if seen.last() != Some(&step) {
            seen.push(step);
        }
        pass(100).await;
    }
    assert_eq!(
        seen,
        [
            "PROVISIONING UNKNOWN IN_PROGRESS",
            "PENDING UNKNOWN IN_PROGRESS",
            "ACTIVATING UNKNOWN IN_PROGRESS",
            "RUNNING UNKNOWN IN_PROGRESS",
            "RUNNING HEALTHY COMPLETED",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_circuit_breaker_leaves_a_first_deployment_failed_and_starts_nothing_more() {
    let emulator = with_service("app:sim-pull-error", true);
    pass(60_000).await;
    let failed = service(&emulator);
    assert_eq!(
        (states(&failed), &failed["desiredCount"], &failed["runningCount"], &failed["pendingCount"]),
        (vec![("PRIMARY".into(), "FAILED".into())], &json!(1), &json!(0), &json!(0))
    );
    let stopped = tasks(&emulator, "STOPPED");
    assert_eq!(stopped.len(), 3);
    assert_eq!(stopped[0]["stopCode"], "TaskFailedToStart");
    assert!(stopped[0]["stoppedReason"].as_str().unwrap().starts_with("CannotPullContainerError"));
    register(&emulator, "app:2", true);
    update(&emulator, json!({"taskDefinition": "f"}));
    pass(3000).await;
    assert_eq!(states(&service(&emulator)), [("PRIMARY".into(), "COMPLETED".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_update_rolls_back_to_the_revision_that_worked() {
    let emulator = with_service("app:1", true);
    pass(3000).await;
    let bad = register(&emulator, "app:sim-oom", true);
    assert_eq!(update(&emulator, json!({"taskDefinition": bad}))["taskDefinition"], bad);
    pass(30_000).await;
    let after = service(&emulator);
    assert_eq!(after["taskDefinition"], format!("{ARN}/f:1"));
    assert_eq!(states(&after), [("PRIMARY".into(), "COMPLETED".into())]);
    let (started_by, primary) = starters(&emulator);
    assert_eq!(started_by, [primary]);
    let killed = tasks(&emulator, "STOPPED").into_iter().find(|task| task["taskDefinitionArn"] == bad).unwrap();
    assert_ne!(killed["startedBy"], started_by[0]);
    assert_eq!(killed["containers"][0]["exitCode"], 137);
    assert!(killed["containers"][0]["reason"].as_str().unwrap().starts_with("OutOfMemoryError"));
    let records = ecs(&emulator, "ListServiceDeployments", json!({"service": "s"}));
    assert_eq!(records["serviceDeployments"][0]["status"], "ROLLBACK_SUCCESSFUL");
}

#[tokio::test(start_paused = true)]
async fn without_a_health_check_a_crash_loop_never_trips_the_breaker() {
    let emulator = with_service("app:sim-crash", false);
    pass(60_000).await;
    assert_eq!(states(&service(&emulator)), [("PRIMARY".into(), "COMPLETED".into())]);
    assert!(tasks(&emulator, "STOPPED").len() > 20);
}

#[tokio::test(start_paused = true)]
async fn a_new_deployment_stops_the_old_task_first_and_may_overlap_it_while_it_stops() {
    let emulator = with_service("app:1", false);
    pass(2000).await;
    let old = tasks(&emulator, "RUNNING")[0]["taskArn"].clone();
    let (old_starters, old_primary) = starters(&emulator);
    update(&emulator, json!({"forceNewDeployment": true}));
    let (new_starters, new_primary) = starters(&emulator);
    assert_ne!(new_primary, old_primary);
    assert_eq!((old_starters, new_starters), (vec![old_primary], vec![new_primary]));
    assert_eq!(tasks(&emulator, "STOPPED")[0]["lastStatus"], "DEACTIVATING");
    assert_eq!(tasks(&emulator, "RUNNING")[0]["lastStatus"], "PROVISIONING");
    pass(2000).await;
    let stopped = &tasks(&emulator, "STOPPED")[0];
    assert_eq!((&stopped["taskArn"], &stopped["lastStatus"]), (&old, &json!("STOPPED")));
    pass(3_600_000).await;
    assert!(tasks(&emulator, "STOPPED").is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_default_percentages_start_the_new_task_before_they_stop_the_old() {
    let emulator = with_service("app:1", true);
    pass(3000).await;
    update(
        &emulator,
        json!({"forceNewDeployment": true, "deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 200}}),
    );
    pass(1500).await;
    assert_eq!((service(&emulator)["runningCount"].clone(), tasks(&emulator, "STOPPED").len()), (json!(2), 0));
    pass(1500).await;
    assert_eq!((service(&emulator)["runningCount"].clone(), tasks(&emulator, "STOPPED").len()), (json!(1), 1));
}

#[tokio::test(start_paused = true)]
async fn changing_the_desired_count_starts_no_deployment() {
    let emulator = with_service("app:1", false);
    pass(2000).await;
    let before = service(&emulator)["deployments"][0]["id"].clone();
    update(&emulator, json!({"desiredCount": 0}));
    pass(2000).await;
    assert!(tasks(&emulator, "RUNNING").is_empty());
    update(&emulator, json!({"desiredCount": 1}));
    pass(2000).await;
    let after = service(&emulator);
    assert_eq!((&after["deployments"][0]["id"], &after["runningCount"]), (&before, &json!(1)));
    assert_eq!(starters(&emulator), (vec![before.clone()], before));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_free_again_only_when_its_service_is_inactive() {
    let emulator = with_service("app:1", false);
    pass(2000).await;
    let create = |token| {
        emulator.call("ecs", "CreateService", request(token)).map_err(|(code, message)| format!("{code}: {message}"))
    };
    assert_eq!(create("t").unwrap()["service"]["serviceArn"], service(&emulator)["serviceArn"]);
    assert_eq!(create("u").unwrap_err(), "InvalidParameterException: Creation of service was not idempotent.");
    assert!(emulator.call("ecs", "DeleteService", json!({"service": "s"})).is_err());
    ecs(&emulator, "DeleteService", json!({"service": "s", "force": true}));
    assert_eq!(
        create("t").unwrap_err(),
        "InvalidParameterException: Unable to Start a service that is still Draining."
    );
    pass(5000).await;
    assert_eq!(service(&emulator)["status"], "INACTIVE");
    assert_eq!(create("t").unwrap()["service"]["status"], "ACTIVE");
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_access_point_is_gone_cannot_mount_it() {
    let emulator = Emulator::new(Options::default());
    ecs(&emulator, "CreateCluster", json!({"clusterName": "default"}));
    ecs(
        &emulator,
        "RegisterTaskDefinition",
        json!({
            "family": "f", "containerDefinitions": [{"name": "app", "image": "app:1"}],
            "volumes": [{"name": "v", "efsVolumeConfiguration": {
                "fileSystemId": "fs-1", "transitEncryption": "ENABLED", "authorizationConfig": {"accessPointId": "fsap-1"},
            }}],
        }),
    );
    ecs(&emulator, "CreateService", request("t"));
    pass(20_000).await;
    let reason = tasks(&emulator, "STOPPED")[0]["stoppedReason"].clone();
    assert!(reason.as_str().unwrap().starts_with("ResourceInitializationError: failed to invoke EFS utils"));
}

#[tokio::test(start_paused = true)]
async fn a_behaviour_affects_running_tasks_and_can_be_removed() {
    let emulator = with_service("app:1", true);
    pass(3000).await;
    emulator.set_behaviour("s", Some(Behaviour::Unhealthy));
    assert_eq!(tasks(&emulator, "RUNNING")[0]["healthStatus"], "UNHEALTHY");
    pass(1000).await;
    assert_eq!(tasks(&emulator, "STOPPED")[0]["stoppedReason"], "Task failed container health checks");
    emulator.set_behaviour("s", None);
    pass(3000).await;
    assert_eq!(tasks(&emulator, "RUNNING")[0]["healthStatus"], "HEALTHY");
}

#[tokio::test(start_paused = true)]
async fn a_slow_task_stays_pending() {
    let emulator = with_service("app:sim-slow", true);
    pass(600_000).await;
    assert_eq!(tasks(&emulator, "RUNNING")[0]["lastStatus"], "PENDING");
}

#[tokio::test(start_paused = true)]
async fn a_user_may_stop_a_task_and_the_service_replaces_it_without_counting_a_failure() {
    let emulator = with_service("app:1", true);
    let arn = tasks(&emulator, "RUNNING")[0]["taskArn"].clone();
    ecs(&emulator, "StopTask", json!({"task": arn, "reason": "x"}));
    pass(3000).await;
    let service = service(&emulator);
    assert_eq!((&service["deployments"][0]["failedTasks"], &service["runningCount"]), (&json!(0), &json!(1)));
    assert_eq!(tasks(&emulator, "STOPPED")[0]["stopCode"], "UserInitiated");
}

#[tokio::test(start_paused = true)]
async fn stopping_a_service_deployment_rolls_it_back() {
    let emulator = with_service("app:1", true);
    pass(3000).await;
    let slow = register(&emulator, "app:sim-slow", true);
    let arn = update(&emulator, json!({"taskDefinition": slow}))["currentServiceDeployment"].clone();
    pass(3000).await;
    ecs(&emulator, "StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"}));
    pass(5000).await;
    let after = service(&emulator);
    assert_eq!((&after["taskDefinition"], &after["runningCount"]), (&json!(format!("{ARN}/f:1")), &json!(1)));
    let record = ecs(&emulator, "DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]}));
    assert_eq!(record["serviceDeployments"][0]["status"], "ROLLBACK_SUCCESSFUL");
}
