//! AWS where it is less kind than one would wish, with paused time; and kind again if that is asked for.

use super::tests::{ecs, pass, register, request, service, states, tasks, update, with_conduct};
use crate::{Behaviour, Conduct, Emulator, Options};
use serde_json::{Value, json};

fn listed(emulator: &Emulator) -> usize {
    ecs(emulator, "ListServices", json!({}))["serviceArns"].as_array().unwrap().len()
}

fn refusal(emulator: &Emulator, action: &str, input: Value) -> String {
    emulator.call("ecs", action, input).unwrap_err().1
}

#[tokio::test(start_paused = true)]
async fn a_draining_service_is_described_and_not_listed() {
    for (conduct, expected) in [(Conduct::default(), 0), (Conduct::KIND, 1)] {
        let emulator = with_conduct("app:1", conduct);
        pass(3000).await;
        ecs(&emulator, "DeleteService", json!({"service": "s", "force": true}));
        assert_eq!(service(&emulator)["status"], "DRAINING");
        assert_eq!(listed(&emulator), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_free_while_the_last_task_is_still_stopping() {
    let emulator = with_conduct("app:1", Conduct::default());
    pass(3000).await;
    let task = tasks(&emulator, "RUNNING")[0]["taskArn"].clone();
    ecs(&emulator, "DeleteService", json!({"service": "s", "force": true}));
    let status = |emulator: &Emulator| {
        let found = ecs(emulator, "DescribeTasks", json!({"tasks": [task]}))["tasks"][0].clone();
        found["lastStatus"].as_str().unwrap().to_owned()
    };
    while service(&emulator)["status"] == "DRAINING" {
        pass(50).await;
    }
    assert_eq!(status(&emulator), "STOPPING");
    ecs(&emulator, "CreateService", request("u"));
    pass(1000).await;
    assert_eq!(status(&emulator), "STOPPED");
    let kind = with_conduct("app:1", Conduct::KIND);
    pass(3000).await;
    ecs(&kind, "DeleteService", json!({"service": "s", "force": true}));
    while service(&kind)["status"] == "DRAINING" {
        pass(50).await;
    }
    assert!(tasks(&kind, "STOPPED").iter().all(|task| task["lastStatus"] == "STOPPED"));
}

#[tokio::test(start_paused = true)]
async fn stopping_a_deployment_takes_several_steps() {
    let emulator = with_conduct("app:1", Conduct::default());
    pass(3000).await;
    let before = service(&emulator)["taskDefinition"].clone();
    register(&emulator, "app:sim-slow", true);
    update(&emulator, json!({"taskDefinition": "f"}));
    let newest = |emulator: &Emulator| {
        ecs(emulator, "ListServiceDeployments", json!({"service": "s"}))["serviceDeployments"][0].clone()
    };
    let arn = newest(&emulator)["serviceDeploymentArn"].clone();
    let stop = json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"});
    ecs(&emulator, "StopServiceDeployment", stop.clone());
    let mut seen: Vec<(String, bool)> = Vec::new();
    for _ in 0..60 {
        let state =
            (newest(&emulator)["status"].as_str().unwrap().to_owned(), service(&emulator)["taskDefinition"] == before);
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        pass(100).await;
    }
    let step = |status: &str, is_back| (status.to_owned(), is_back);
    assert_eq!(
        seen,
        [
            step("ROLLBACK_REQUESTED", false),
            step("ROLLBACK_IN_PROGRESS", false),
            step("ROLLBACK_IN_PROGRESS", true),
            step("ROLLBACK_SUCCESSFUL", true),
        ]
    );
    assert!(refusal(&emulator, "StopServiceDeployment", stop).contains("not in a state"));
}

/// A later change wins.
#[tokio::test(start_paused = true)]
async fn a_new_deployment_ends_a_rollback_that_has_not_moved_yet() {
    let emulator = with_conduct("app:1", Conduct::default());
    pass(3000).await;
    register(&emulator, "app:sim-slow", true);
    update(&emulator, json!({"taskDefinition": "f"}));
    let arn = service(&emulator)["currentServiceDeployment"].clone();
    ecs(&emulator, "StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"}));
    let third = register(&emulator, "app:3", true);
    update(&emulator, json!({"taskDefinition": "f"}));
    pass(5000).await;
    assert_eq!((&service(&emulator)["taskDefinition"], states(&service(&emulator)).len()), (&third, 1));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_placed_is_only_an_event() {
    for (behaviour, words) in
        [(Behaviour::NoCapacity, "Capacity is unavailable"), (Behaviour::VcpuLimit, "number of vCPUs")]
    {
        let emulator = Emulator::new(Options::default());
        ecs(&emulator, "CreateCluster", json!({"clusterName": "default"}));
        register(&emulator, "app:1", true);
        emulator.set_behaviour("f", Some(behaviour));
        ecs(&emulator, "CreateService", request("t"));
        pass(9_000).await;
        let seen = service(&emulator);
        let newest = seen["events"][0]["message"].as_str().unwrap().to_owned();
        assert!(newest.contains("was unable to place a task. Reason: ") && newest.contains(words), "{newest}");
        assert_eq!((tasks(&emulator, "RUNNING").len(), tasks(&emulator, "STOPPED").len()), (0, 0));
        assert_eq!(states(&seen), [("PRIMARY".to_owned(), "IN_PROGRESS".to_owned())]);
        // Once there is capacity, it is placed.
        emulator.set_behaviour("f", None);
        pass(3_000).await;
        assert_eq!(states(&service(&emulator)), [("PRIMARY".to_owned(), "COMPLETED".to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn tries_to_place_a_task_count_for_the_circuit_breakers_threshold() {
    let emulator = Emulator::new(Options::default());
    ecs(&emulator, "CreateCluster", json!({"clusterName": "default"}));
    register(&emulator, "app:1", true);
    emulator.set_behaviour("f", Some(Behaviour::NoCapacity));
    for (threshold, expected) in [
        (json!({"type": "COUNT", "value": 2}), 2),
        (json!({"type": "COUNT", "value": 5}), 5),
        (json!({"type": "BOUNDED_PERCENT", "value": 50}), 3),
        (json!({"type": "UNBOUNDED_PERCENT", "value": 100}), 1),
        (Value::Null, 3),
    ] {
        let mut wanted = request("t");
        wanted["deploymentConfiguration"]["deploymentCircuitBreaker"]["thresholdConfiguration"] = threshold.clone();
        ecs(&emulator, "CreateService", wanted);
        pass(600_000).await;
        let deployment = service(&emulator)["deployments"][0].clone();
        assert_eq!(
            (&deployment["rolloutState"], &deployment["failedTasks"]),
            (&json!("FAILED"), &json!(expected)),
            "{threshold}"
        );
        ecs(&emulator, "DeleteService", json!({"service": "s", "force": true}));
        pass(3_000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_service_of_a_fresh_account_fails_once() {
    let emulator =
        Emulator::new(Options { conduct: Conduct { fresh_account: true, ..Conduct::default() }, ..Options::default() });
    ecs(&emulator, "CreateCluster", json!({"clusterName": "default"}));
    register(&emulator, "app:1", true);
    assert!(refusal(&emulator, "CreateService", request("t")).contains("assume the service linked role"));
    ecs(&emulator, "CreateService", request("t"));
}

#[tokio::test(start_paused = true)]
async fn the_strict_emulator_refuses_what_aws_refuses_and_the_kind_one_accepts_it() {
    let definition = |change: &dyn Fn(&mut Value)| {
        let mut definition = json!({
            "family": "g", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
            "containerDefinitions": [
                {"name": "app", "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1"}, {"name": "side", "image": "side:1"},
            ],
        });
        change(&mut definition);
        definition
    };
    let credentials = json!({"credentialsParameter": "arn:aws:secretsmanager:us-east-1:123456789012:secret:registry"});
    let refused: [(Value, &str); 5] = [
        (
            definition(&|d| {
                d["containerDefinitions"][0]["cpu"] = json!(200);
                d["containerDefinitions"][1]["cpu"] = json!(100);
            }),
            "CPUs '300'",
        ),
        (
            definition(&|d| {
                d["containerDefinitions"][0]["memory"] = json!(1024);
            }),
            "task memory of 512",
        ),
        (
            definition(&|d| {
                d["containerDefinitions"][0]["memoryReservation"] = json!(300);
                d["containerDefinitions"][1]["memory"] = json!(300);
            }),
            "600 MiB",
        ),
        (
            definition(&|d| {
                d["containerDefinitions"][0]["repositoryCredentials"] = credentials.clone();
            }),
            "not a supported authentication method",
        ),
        (
            definition(&|d| {
                d["containerDefinitions"][1]
                    .as_object_mut()
                    .unwrap()
                    .extend(json!({"memory": 64, "memoryReservation": 128}).as_object().unwrap().clone());
            }),
            "greater than 'memoryReservation'",
        ),
    ];
    let (strict, kind) =
        (Emulator::new(Options::default()), Emulator::new(Options { conduct: Conduct::KIND, ..Options::default() }));
    for (definition, words) in refused {
        let said = refusal(&strict, "RegisterTaskDefinition", definition.clone());
        assert!(said.contains(words), "{said}");
        ecs(&kind, "RegisterTaskDefinition", definition);
    }
    ecs(
        &strict,
        "RegisterTaskDefinition",
        definition(&|d| {
            d["containerDefinitions"][1]["repositoryCredentials"] = credentials.clone();
        }),
    );
    let tags: Vec<Value> = (0..51).map(|n| json!({"key": format!("k{n}"), "value": "v"})).collect();
    assert!(refusal(&strict, "RegisterTaskDefinition", definition(&|d| d["tags"] = json!(tags))).contains("50"));
    ecs(&strict, "CreateCluster", json!({"clusterName": "default"}));
    ecs(
        &strict,
        "RegisterTaskDefinition",
        definition(&|d| {
            d["family"] = json!("f");
            d["volumes"] = json!([{"name": "scratch", "configuredAtLaunch": true}]);
        }),
    );
    assert!(refusal(&strict, "CreateService", request("t")).contains("configured at launch"));
    let mut with_volume = request("t");
    with_volume["volumeConfigurations"] =
        json!([{"name": "scratch", "managedEBSVolume": {"roleArn": "arn:aws:iam::123456789012:role/ecs"}}]);
    ecs(&strict, "CreateService", with_volume);
    let arn =
        ecs(&strict, "DescribeTaskDefinition", json!({"taskDefinition": "f"}))["taskDefinition"]["taskDefinitionArn"]
            .clone();
    let failures = ecs(&strict, "DeleteTaskDefinitions", json!({"taskDefinitions": [arn]}))["failures"].clone();
    assert!(failures[0]["reason"].as_str().unwrap().contains("still in ACTIVE status"), "{failures}");
}

#[tokio::test(start_paused = true)]
async fn an_access_point_that_is_being_deleted_keeps_its_token() {
    let emulator = Emulator::new(Options::default());
    let fs = emulator.call("efs", "CreateFileSystem", json!({})).unwrap()["FileSystemId"].clone();
    let wanted = json!({"ClientToken": "t", "FileSystemId": fs, "RootDirectory": {"Path": "/users/a"}});
    let id = emulator.call("efs", "CreateAccessPoint", wanted.clone()).unwrap()["AccessPointId"].clone();
    emulator.call("efs", "DeleteAccessPoint", json!({"AccessPointId": id})).unwrap();
    let shown = emulator.call("efs", "DescribeAccessPoints", json!({"AccessPointId": id})).unwrap();
    assert_eq!(shown["AccessPoints"][0]["LifeCycleState"], "deleting");
    assert_eq!(emulator.call("efs", "CreateAccessPoint", wanted.clone()).unwrap_err().0, "AccessPointAlreadyExists");
    pass(1_000).await;
    assert_eq!(
        emulator.call("efs", "DescribeAccessPoints", json!({"AccessPointId": id})).unwrap_err().0,
        "AccessPointNotFound"
    );
    assert_ne!(emulator.call("efs", "CreateAccessPoint", wanted).unwrap()["AccessPointId"], id);
}

#[tokio::test(start_paused = true)]
async fn choosing_healthy_removes_a_choice_but_not_what_an_image_name_says() {
    let emulator = with_conduct("app:sim-pull-error", Conduct::default());
    emulator.set_behaviour("s", Some(Behaviour::Healthy));
    pass(3_000).await;
    assert!(!tasks(&emulator, "STOPPED").is_empty(), "the image misbehaves");
    let other = with_conduct("app:1", Conduct::default());
    other.set_behaviour("f", Some(Behaviour::Crash));
    other.set_behaviour("s", Some(Behaviour::Healthy));
    pass(3_000).await;
    assert_eq!(states(&service(&other)), [("PRIMARY".to_owned(), "COMPLETED".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_activating_before_it_runs_and_the_command_none_is_no_health_check() {
    let emulator = Emulator::new(Options::default());
    ecs(&emulator, "CreateCluster", json!({"clusterName": "default"}));
    ecs(
        &emulator,
        "RegisterTaskDefinition",
        json!({
            "family": "f", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
            "containerDefinitions": [{"name": "app", "image": "app:1", "healthCheck": {"command": ["NONE"]}}],
        }),
    );
    ecs(&emulator, "CreateService", request("t"));
    let mut seen: Vec<Value> = Vec::new();
    for _ in 0..30 {
        let status = tasks(&emulator, "RUNNING")[0]["lastStatus"].clone();
        if seen.last() != Some(&status) {
            seen.push(status);
        }
        pass(100).await;
    }
    assert_eq!(seen, ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"]);
    assert_eq!(tasks(&emulator, "RUNNING")[0]["healthStatus"], "UNKNOWN");
    assert_eq!(states(&service(&emulator)), [("PRIMARY".to_owned(), "COMPLETED".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_inactive_service_is_remembered_for_a_while() {
    let emulator = with_conduct("app:1", Conduct::default());
    pass(3_000).await;
    ecs(&emulator, "DeleteService", json!({"service": "s", "force": true}));
    pass(60_000).await;
    assert_eq!(service(&emulator)["status"], "INACTIVE");
    // Two calls, because old services are forgotten only at the second.
    for _ in 0..2 {
        pass(3_700_000).await;
        ecs(&emulator, "ListServices", json!({}));
    }
    let found = ecs(&emulator, "DescribeServices", json!({"services": ["s"]}));
    assert_eq!(found["failures"][0]["reason"], "MISSING", "{found}");
    ecs(&emulator, "CreateService", request("u"));
}
