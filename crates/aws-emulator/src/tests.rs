//! The path of a call: protocols, faults, limits, log.

use super::{Emulator, Fault, FaultKind, Options, Request};
use serde_json::{Value, json};
use std::time::Duration;

fn post(target: &str, body: &Value) -> Request {
    let scope = "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/ecs/aws4_request, SignedHeaders=host";
    Request {
        method: "POST".into(),
        uri: "/".into(),
        headers: vec![("x-amz-target".into(), target.into()), ("authorization".into(), scope.into())],
        body: body.to_string().into_bytes(),
    }
}

fn create_cluster() -> Request {
    post("AmazonEC2ContainerServiceV20141113.CreateCluster", &json!({"clusterName": "c"}))
}

fn clusters(emulator: &Emulator) -> usize {
    emulator.call("ecs", "ListClusters", json!({})).unwrap()["clusterArns"].as_array().unwrap().len()
}

fn fault(kind: FaultKind) -> Fault {
    Fault { service: Some("ecs".into()), action: "CreateCluster".into(), skip: 0, times: 1, kind }
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_fault_decides_whether_the_call_has_its_effect() {
    let error = |code: &str| (400, code.to_owned(), "m".to_owned());
    let kinds = [
        (FaultKind::DropBefore, 0),
        (FaultKind::DropAfter, 1),
        (
            {
                let (status, code, message) = error("X");
                FaultKind::Error { status, code, message }
            },
            0,
        ),
        (
            {
                let (status, code, message) = error("X");
                FaultKind::ErrorAfter { status, code, message }
            },
            1,
        ),
    ];
    for (kind, effect) in kinds {
        let emulator = Emulator::new(Options::default());
        emulator.inject(fault(kind));
        let answer = emulator.handle(create_cluster()).await;
        assert!(answer.is_err() || answer.unwrap().status == 400);
        assert_eq!(clusters(&emulator), effect);
        assert_eq!(emulator.handle(create_cluster()).await.unwrap().status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_can_be_given_up_and_has_no_effect() {
    let emulator = Emulator::new(Options::default());
    emulator.inject(Fault { skip: 1, ..fault(FaultKind::Hang) });
    assert!(emulator.handle(create_cluster()).await.is_ok());
    let hung = tokio::time::timeout(Duration::from_secs(9), emulator.handle(create_cluster())).await;
    assert!(hung.is_err());
    let calls = emulator.calls();
    assert_eq!((calls[1].status, calls[1].finished - calls[1].started), (0, Duration::from_secs(9)));
}

#[tokio::test(start_paused = true)]
async fn round_trips_count_calls_that_waited_for_one_another() {
    let emulator = Emulator::new(Options { per_call_delay: Duration::from_millis(50), ..Options::default() });
    for _ in 0..2 {
        let both = tokio::join!(emulator.handle(create_cluster()), emulator.handle(create_cluster()));
        assert!(both.0.is_ok() && both.1.is_ok());
    }
    assert_eq!((emulator.calls().len(), emulator.round_trips()), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn registrations_above_the_rate_are_throttled_and_refill_one_a_second() {
    let emulator = Emulator::new(Options { enforce_rate_limits: true, ..Options::default() });
    let body = json!({"family": "f", "containerDefinitions": [{"name": "a", "image": "i"}]});
    let request = post("AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition", &body);
    for _ in 0..21 {
        emulator.handle(request.clone()).await.unwrap();
    }
    let codes: Vec<_> = emulator.calls().into_iter().filter_map(|call| call.code).collect();
    assert_eq!(codes, ["ThrottlingException"]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(emulator.handle(request).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_log_keeps_no_parameter_value() {
    let emulator = Emulator::new(Options::default());
    let body = json!({"Name": "/a", "Value": "hunter2", "Type": "SecureString"});
    emulator.handle(post("AmazonSSM.PutParameter", &body)).await.unwrap();
    assert!(!format!("{:?}", emulator.calls()).contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_action_is_answered_with_the_actions_that_exist() {
    let emulator = Emulator::new(Options::default());
    let answer = emulator.handle(post("AmazonEC2ContainerServiceV20141113.RunTask", &json!({}))).await.unwrap();
    let body = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 501);
    assert!(body.contains("ecs:RunTask") && body.contains("ecs:StopTask"));
}

#[tokio::test(start_paused = true)]
async fn a_token_in_use_names_its_access_point_until_that_is_deleted() {
    let emulator = Emulator::new(Options::default());
    let fs = emulator.call("efs", "CreateFileSystem", json!({})).unwrap()["FileSystemId"].clone();
    let body = json!({"ClientToken": "t", "FileSystemId": fs, "RootDirectory": {"Path": "/users/a"}}).to_string();
    let request = Request {
        method: "POST".into(),
        uri: "/2015-02-01/access-points".into(),
        headers: vec![],
        body: body.into_bytes(),
    };
    let made = emulator.handle(request.clone()).await.unwrap();
    let id = serde_json::from_slice::<Value>(&made.body).unwrap()["AccessPointId"].clone();
    let again = emulator.handle(request.clone()).await.unwrap();
    let error: Value = serde_json::from_slice(&again.body).unwrap();
    assert_eq!(
        (again.status, &error["ErrorCode"], &error["AccessPointId"]),
        (409, &json!("AccessPointAlreadyExists"), &id)
    );
    emulator.call("efs", "DeleteAccessPoint", json!({"AccessPointId": id})).unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(emulator.handle(request).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_admin_paths_choose_behaviours_and_faults() {
    let emulator = Emulator::new(Options::default());
    let admin = |method: &str, uri: &str, body: Value| Request {
        method: method.into(),
        uri: uri.into(),
        headers: vec![],
        body: body.to_string().into_bytes(),
    };
    let status = async |request| emulator.handle(request).await.unwrap().status;
    assert_eq!(status(admin("PUT", "/_emulator/behaviours/s", json!({"behaviour": "oom"}))).await, 200);
    assert_eq!(status(admin("PUT", "/_emulator/behaviours/s", json!({"behaviour": "?"}))).await, 400);
    assert_eq!(
        status(admin("POST", "/_emulator/faults", json!({"action": "*", "code": "X", "status": 503}))).await,
        200
    );
    assert_eq!(status(create_cluster()).await, 503);
    let help = emulator.handle(admin("GET", "/_emulator", json!({}))).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&help.body).unwrap()["behaviours"], json!({"s": "oom"}));
}

#[tokio::test(start_paused = true)]
async fn startedby_and_servicename_together_are_refused() {
    let emulator = Emulator::new(Options::default());
    emulator.call("ecs", "CreateCluster", json!({})).unwrap();
    let error = emulator.call("ecs", "ListTasks", json!({"serviceName": "s", "startedBy": "x"})).unwrap_err();
    assert_eq!(error.0, "InvalidParameterException");
}

#[tokio::test(start_paused = true)]
async fn a_bare_family_is_its_latest_active_revision_and_no_number_is_used_twice() {
    let emulator = Emulator::new(Options::default());
    let register = || {
        let body = json!({"family": "f", "containerDefinitions": [{"name": "a", "image": "i"}]});
        emulator.call("ecs", "RegisterTaskDefinition", body).unwrap()["taskDefinition"]["revision"].clone()
    };
    assert_eq!((register(), register()), (json!(1), json!(2)));
    emulator.call("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": "f:2"})).unwrap();
    let described = emulator.call("ecs", "DescribeTaskDefinition", json!({"taskDefinition": "f"})).unwrap();
    assert_eq!((&described["taskDefinition"]["revision"], register()), (&json!(1), json!(3)));
}

/// A misspelt word would otherwise do nothing, and a test that uses it would pass.
#[tokio::test(start_paused = true)]
async fn admin_calls_refuse_unknown_words() {
    let emulator = Emulator::new(Options::default());
    let call = async |method: &str, uri: &str, body: Value| {
        let body = body.to_string().into_bytes();
        let request = Request { method: method.into(), uri: uri.into(), headers: vec![], body };
        let answer = emulator.handle(request).await.unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let refused = [
        ("POST", "/_emulator/faults", json!({"action": "CreateServices"}), "unknown action CreateServices"),
        ("POST", "/_emulator/faults", json!({"service": "ecs", "action": "CreateAccessPoint"}), "unknown action"),
        ("POST", "/_emulator/faults", json!({"service": "ec2", "action": "*"}), "unknown service ec2"),
        ("POST", "/_emulator/faults", json!({"action": "*", "tims": 3}), "unknown member tims"),
        ("POST", "/_emulator/faults", json!({"action": "*", "times": "3"}), "times must be a whole number"),
        ("POST", "/_emulator/faults", json!({"action": "*", "kind": "Dealy"}), "unknown kind Dealy"),
        ("POST", "/_emulator/faults", json!({"action": "*", "kind": 5}), "kind must be a string"),
        ("PUT", "/_emulator/behaviours/f", json!({"behaviour": "no_capacity"}), "no-capacity"),
        ("PUT", "/_emulator/behaviours/f", json!({"behavior": "oom"}), "unknown member behavior"),
        ("PUT", "/_emulator/behaviours/", json!({"behaviour": "oom"}), "name a service or a family"),
    ];
    for (method, uri, body, words) in refused {
        let (status, said) = call(method, uri, body.clone()).await;
        assert!(status == 400 && said.contains(words), "{body}: {status} {said}");
    }
    assert!(emulator.faults().is_empty());
    assert_eq!(call("POST", "/_emulator/faults", json!({"action": "CreateAccessPoint"})).await.0, 200);
    assert_eq!(call("PUT", "/_emulator/behaviours/f", json!({"behaviour": "vcpu-limit"})).await.0, 200);
}

/// Calls through HTTP, where reads may be stale; [`Emulator::call`] always sees the present.
async fn ask(emulator: &Emulator, action: &str, body: Value) -> (u16, Value) {
    let target = format!("AmazonEC2ContainerServiceV20141113.{action}");
    let answer = emulator.handle(post(&target, &body)).await.unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn stale(seed: u64) -> Emulator {
    let stale_reads = Some(super::StaleReads { seed, up_to: Duration::from_secs(2) });
    let conduct = super::Conduct { stale_reads, ..super::Conduct::default() };
    let pace = super::Pace { deleting: Duration::from_secs(5), ..super::Pace::default() };
    let emulator = Emulator::new(Options { conduct, pace, ..Options::default() });
    emulator.call("ecs", "CreateCluster", json!({"clusterName": "default"})).unwrap();
    emulator
}

/// Right after a change, some reads show it and some do not; two seconds later all do. The same seed gives the same answers.
#[tokio::test(start_paused = true)]
async fn a_read_may_be_older_than_the_last_change_but_never_by_more_than_two_seconds() {
    let definition = json!({"family": "f", "containerDefinitions": [{"name": "a", "image": "i"}]});
    let mut told = Vec::new();
    for seed in [1, 1, 2] {
        let emulator = stale(seed);
        let family = json!({"taskDefinition": "f"});
        assert_eq!(ask(&emulator, "RegisterTaskDefinition", definition.clone()).await.0, 200);
        let mut seen = Vec::new();
        for _ in 0..20 {
            seen.push(ask(&emulator, "DescribeTaskDefinition", family.clone()).await.0);
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        assert!(seen.contains(&400) && seen.contains(&200), "seed {seed}: {seen:?}");
        tokio::time::advance(Duration::from_secs(2)).await;
        let create = json!({"serviceName": "s", "taskDefinition": "f", "desiredCount": 1});
        assert_eq!(ask(&emulator, "CreateService", create).await.0, 200);
        let (mut missing, mut unlisted) = (0, 0);
        for _ in 0..20 {
            let (_, found) = ask(&emulator, "DescribeServices", json!({"services": ["s"]})).await;
            missing += usize::from(found["failures"][0]["reason"] == "MISSING");
            let (_, listed) = ask(&emulator, "ListServices", json!({})).await;
            unlisted += usize::from(listed["serviceArns"] == json!([]));
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        assert!((1..20).contains(&missing) && (1..20).contains(&unlisted), "seed {seed}: {missing} {unlisted}");
        tokio::time::advance(Duration::from_secs(2)).await;
        ask(&emulator, "UpdateService", json!({"service": "s", "desiredCount": 0})).await;
        let mut counts = Vec::new();
        for _ in 0..20 {
            let (_, found) = ask(&emulator, "DescribeServices", json!({"services": ["s"]})).await;
            counts.push(found["services"][0]["desiredCount"].as_u64().unwrap());
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        assert!(counts.contains(&0) && counts.contains(&1), "seed {seed}: {counts:?}");
        assert_eq!(
            emulator.call("ecs", "DescribeServices", json!({"services": ["s"]})).unwrap()["services"][0]["desiredCount"],
            0
        );
        tokio::time::advance(Duration::from_secs(2)).await;
        let (_, found) = ask(&emulator, "DescribeServices", json!({"services": ["s"]})).await;
        assert_eq!(found["services"][0]["desiredCount"], 0);
        told.push((seen, missing, counts));
    }
    assert_eq!(told[0], told[1]);
    assert_ne!(told[0], told[2]);
}

#[tokio::test(start_paused = true)]
async fn a_new_access_point_may_not_show_yet_and_a_deleted_one_may_still_show() {
    let emulator = stale(7);
    let fs = emulator.call("efs", "CreateFileSystem", json!({})).unwrap()["FileSystemId"].clone();
    let http = async |method: &str, uri: &str, body: Value| {
        let body = if body.is_null() { vec![] } else { body.to_string().into_bytes() };
        let request = Request { method: method.into(), uri: uri.into(), headers: vec![], body };
        let answer = emulator.handle(request).await.unwrap();
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap_or_default())
    };
    let wanted = json!({"ClientToken": "t", "FileSystemId": fs, "RootDirectory": {"Path": "/users/a"}});
    let (_, made) = http("POST", "/2015-02-01/access-points", wanted).await;
    let path = format!("/2015-02-01/access-points?AccessPointId={}", made["AccessPointId"].as_str().unwrap());
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(http("GET", &path, Value::Null).await.0);
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    assert!(statuses.contains(&404) && statuses.contains(&200), "{statuses:?}");
    tokio::time::advance(Duration::from_secs(2)).await;
    let one = format!("/2015-02-01/access-points/{}", made["AccessPointId"].as_str().unwrap());
    http("DELETE", &one, Value::Null).await;
    let mut states = Vec::new();
    for _ in 0..20 {
        states.push(http("GET", &path, Value::Null).await.1["AccessPoints"][0]["LifeCycleState"].clone());
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    assert!(states.contains(&json!("available")) && states.contains(&json!("deleting")), "{states:?}");
}
