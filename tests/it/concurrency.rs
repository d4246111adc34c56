//! Many calls at once: for one user, for many users, at one replica and at two.

use aws_emulator::{Behaviour, Fault, FaultKind, Options};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{TestApp, auth, provision_body, variable};
use crate::interruptions::slow;

fn service_of(app: &TestApp) -> Value {
    let services = app.services();
    assert_eq!(services.len(), 1, "{services:?}");
    let input = json!({"cluster": crate::harness::CLUSTER, "services": services});
    app.aws("ecs", "DescribeServices", input)["services"][0].clone()
}

#[track_caller]
fn assert_one_of_everything(app: &TestApp) {
    let counts = (app.access_points().len(), app.services().len(), app.user_revisions().len());
    assert_eq!(counts, (1, 1, 1), "access points, services, revisions");
    let calls = app.calls();
    for once in ["efs:CreateAccessPoint", "ecs:RegisterTaskDefinition", "ecs:CreateService"] {
        assert_eq!(calls.iter().filter(|call| *call == once).count(), 1, "{once}");
    }
}

/// Incident 31: two concurrent provisions of one user made two of everything.
#[tokio::test(start_paused = true)]
async fn a_hundred_concurrent_provisions_of_one_user_make_one_of_everything() {
    let app = TestApp::with(slow()).await;
    let answers = join_all((0..100).map(|_| app.provision("alice"))).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    let rest = count(200) + count(202);
    assert_eq!((count(201), rest), (1, 99), "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert_one_of_everything(&app);
}

/// Incident 31, with the two calls at two replicas, which only the file system synchronizes.
#[tokio::test(start_paused = true)]
async fn concurrent_provisions_at_two_replicas_make_one_of_everything() {
    let one = TestApp::with(slow()).await;
    let two = one.replica().await;
    let answers =
        join_all((0..20).map(|n| if n % 2 == 0 { one.provision("alice") } else { two.provision("alice") })).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(count(201), 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert_eq!(count(200) + count(202), 19);
    assert_one_of_everything(&one);
}

/// Incident 28, at its worst: of many sign-ins that arrive at once, the freshest stays, whatever the order.
#[tokio::test(start_paused = true)]
async fn the_freshest_of_concurrent_sign_ins_at_two_replicas_stays() {
    let one = TestApp::with(slow()).await;
    let two = one.replica().await;
    let sign_in = |n: i64| {
        let body = json!({"user_id": "alice", "auth": auth("acc_1", &format!("rt_{n}"), 1_770_000_000 + n)});
        if n % 2 == 0 { one.post("/provision", body) } else { two.post("/provision", body) }
    };
    let answers = join_all([7, 3, 9, 1, 8, 2, 6].map(sign_in)).await;
    assert!(answers.iter().all(|answer| (200..300).contains(&answer.status)));
    let stored: Value = serde_json::from_str(&one.file("users/alice/codex/auth.json")).unwrap();
    assert_eq!(stored["tokens"]["refresh_token"], "rt_9");
}

/// aws-facts §1: the account's rates are shared; this service has to stay below them.
#[tokio::test(start_paused = true)]
async fn fifty_users_at_once_are_all_made_within_the_accounts_rates() {
    let app = TestApp::with(Options { enforce_rate_limits: true, ..slow() }).await;
    let users: Vec<String> = (0..50).map(|n| format!("user-{n}")).collect();
    let answers = join_all(users.iter().map(|user| app.provision(user))).await;
    // The account registers 20 at once and then one a second: a caller whose turn is later than its 25 s of waiting gets
    // 202, and the work goes on.
    for (user, answer) in users.iter().zip(&answers) {
        let said = (answer.status, &answer.body["state"], &answer.body["ready"]);
        assert!([201, 202].contains(&said.0), "{user}: {}", answer.body);
        assert_eq!((said.1, said.2), (&json!("provisioning"), &json!(false)), "{user}");
    }
    assert!(answers.iter().filter(|answer| answer.status == 201).count() >= 40);
    app.pass_seconds(20).await;
    let calls = app.emulator.calls();
    let throttled = calls.iter().filter(|call| call.code.as_deref() == Some("ThrottlingException")).count();
    // Our bucket is refilled on its own clock, AWS's from its first call: a token may come up to one refill too early.
    assert!(throttled <= 1, "{throttled} calls were throttled, though nobody else draws from the account's buckets");
    let registrations: Vec<_> = calls.iter().filter(|call| call.action == "RegisterTaskDefinition").collect();
    let at_once = |at| registrations.iter().filter(|call| call.started <= at && at < call.finished).count();
    let most = registrations.iter().map(|call| at_once(call.started)).max();
    assert!((2..=8).contains(&most.unwrap()), "side by side, and never too many: {most:?}, {registrations:?}");
    let counts = (app.access_points().len(), app.services().len(), app.user_revisions().len());
    assert_eq!(counts, (50, 50, 50));
    app.pass_seconds(10).await;
    for user in &users {
        let shown = app.get(&format!("/containers/{user}")).await;
        assert_eq!((&shown.body["state"], &shown.body["user_id"]), (&json!("running"), &json!(user)));
    }
}

/// Two replicas do not share a bucket, so AWS throttles them; callers do not notice it.
#[tokio::test(start_paused = true)]
async fn callers_do_not_notice_throttling_between_two_replicas() {
    let one = TestApp::with(Options { enforce_rate_limits: true, ..slow() }).await;
    let two = one.replica().await;
    let users: Vec<String> = (0..30).map(|n| format!("user-{n}")).collect();
    let made =
        users.iter().enumerate().map(|(n, user)| if n % 2 == 0 { one.provision(user) } else { two.provision(user) });
    let answers = join_all(made).await;
    for (user, answer) in users.iter().zip(&answers) {
        assert_eq!(answer.status, 201, "{user}: {}", answer.body);
    }
    assert_eq!((one.services().len(), one.user_revisions().len()), (30, 30));
}

/// Incident 33: a read-modify-write update lost a concurrent one.
#[tokio::test(start_paused = true)]
async fn concurrent_changes_of_one_user_are_all_in_the_end_result() {
    for at_two_replicas in [false, true] {
        let one = TestApp::with(slow()).await;
        let other = one.replica().await;
        let two = if at_two_replicas { &other } else { &one };
        assert_eq!(one.provision("alice").await.status, 201);
        one.pass_seconds(5).await;
        one.register_base(|base| {
            let environment = base["containerDefinitions"][0]["environment"].as_array_mut().unwrap();
            environment.push(json!({"name": "NEW_IN_BASE", "value": "yes"}));
        });
        one.emulator.clear_calls();
        let size = json!({"cpu": 1024, "memory_mib": 4096});
        let image = json!({"image": "ghcr.io/openclaw/openclaw:2026.4.25"});
        let (resized, redeployed, stopped) = tokio::join!(
            one.post("/containers/alice/resize", size.clone()),
            two.post("/containers/alice/redeploy", image),
            one.post("/containers/alice/stop", json!({})),
        );
        for answer in [&resized, &redeployed, &stopped] {
            assert_eq!(answer.status, 202, "{}", answer.body);
        }
        one.pass_seconds(20).await;
        let shown = one.get("/containers/alice").await.body;
        assert_eq!((&shown["state"], &shown["size"]), (&json!("stopped"), &size));
        assert_eq!(shown["image"], "ghcr.io/openclaw/openclaw:2026.4.25");
        let arn = service_of(&one)["taskDefinition"].clone();
        let definition =
            one.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn}))["taskDefinition"].clone();
        assert_eq!(variable(&definition, "NEW_IN_BASE"), ["yes"]);
        assert_never_at_once(&one);
    }
}

/// Checks that the changes came one after the other: no mutating call overlaps a call of another request. With one user,
/// mutating calls come in sequence.
fn assert_never_at_once(app: &TestApp) {
    let calls = app.emulator.calls();
    let mutating: Vec<_> = calls.iter().filter(|call| call.mutating).collect();
    assert!(mutating.len() >= 4, "{mutating:?}");
    assert!(mutating.windows(2).all(|pair| pair[0].finished <= pair[1].started), "{mutating:?}");
}

/// Incident 33 for one field of the spec: of two concurrent resizes the last one is in force, whole.
#[tokio::test(start_paused = true)]
async fn one_of_two_concurrent_resizes_is_in_force_as_a_whole() {
    let one = TestApp::with(slow()).await;
    let two = one.replica().await;
    assert_eq!(one.provision("alice").await.status, 201);
    one.pass_seconds(5).await;
    let sizes = [json!({"cpu": 1024, "memory_mib": 4096}), json!({"cpu": 2048, "memory_mib": 8192})];
    let (first, second) = tokio::join!(
        one.post("/containers/alice/resize", sizes[0].clone()),
        two.post("/containers/alice/resize", sizes[1].clone()),
    );
    assert_eq!((first.status, second.status), (202, 202));
    let shown = one.get("/containers/alice").await.body["size"].clone();
    assert!(sizes.contains(&shown), "{shown}");
}

/// Provision and delete of one user at once: the last one counts.
#[tokio::test(start_paused = true)]
async fn a_provision_that_meets_a_delete_leaves_all_or_nothing() {
    let one = TestApp::with(slow()).await;
    let two = one.replica().await;
    assert_eq!(one.provision("alice").await.status, 201);
    one.pass_seconds(5).await;
    let (deleted, provisioned) = tokio::join!(one.delete("/containers/alice?data=purge"), two.provision("alice"));
    assert_eq!(deleted.status, 202, "{}", deleted.body);
    assert!((200..300).contains(&provisioned.status), "{}", provisioned.body);
    one.pass_seconds(60).await;
    let shown = one.get("/containers/alice").await;
    let counts = (one.access_points().len(), one.services().len(), one.user_revisions().len());
    match shown.status {
        404 => {
            assert_eq!(counts, (0, 0, 0));
            assert!(!one.path("users/alice").exists());
        }
        200 => {
            assert_eq!((&shown.body["state"], counts), (&json!("running"), (1, 1, 1)));
            assert!(one.file("users/alice/codex/auth.json").contains("rt_1"));
        }
        status => panic!("{status} {}", shown.body),
    }
}

/// Incident 35: one user's failed start tore down a client shared by all the others.
#[tokio::test(start_paused = true)]
async fn failures_of_one_user_do_not_affect_others() {
    let app = TestApp::with(slow()).await;
    // All of alice's calls fail; carol's container crashes for ever; requests for all others come at the same time.
    let crashing = app.provision("carol").await.body["service"].clone();
    app.emulator.set_behaviour(crashing.as_str().unwrap(), Some(Behaviour::Crash));
    let kind = FaultKind::Error { status: 400, code: "ClientException".into(), message: "by a test".into() };
    let action = "RegisterTaskDefinition".into();
    app.emulator.inject(Fault { service: None, action, skip: 0, times: 1, kind });
    let mut users = vec!["alice".to_owned()];
    users.extend((0..20).map(|n| format!("user-{n}")));
    let answers = join_all(users.iter().map(|user| app.provision(user))).await;
    let failed: Vec<&String> =
        users.iter().zip(&answers).filter(|(_, answer)| answer.status != 201).map(|(user, _)| user).collect();
    assert_eq!(failed.len(), 1, "exactly one registration was struck: {failed:?}");
    app.pass_seconds(10).await;
    for user in users.iter().filter(|user| !failed.contains(user)) {
        assert_eq!(app.get(&format!("/containers/{user}")).await.body["state"], "running", "{user}");
    }
    assert_eq!(app.provision(failed[0]).await.status, 201);
}

/// A call that hangs for one user delays no other user.
#[tokio::test(start_paused = true)]
async fn a_hanging_call_delays_no_other_user() {
    let app = TestApp::with(slow()).await;
    let action = "CreateService".into();
    app.emulator.inject(Fault { service: None, action, skip: 0, times: 1_000, kind: FaultKind::Hang });
    let stuck = app.provision("alice");
    tokio::pin!(stuck);
    let others = async {
        while app.emulator.faults()[0].times == 1_000 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        app.emulator.clear_faults();
        join_all(["bob", "carol"].map(|user| app.post("/provision", provision_body(user)))).await
    };
    let answers = tokio::select! {
        answer = &mut stuck => panic!("alice was answered first: {}", answer.body),
        answers = others => answers,
    };
    assert!(answers.iter().all(|answer| answer.status == 201));
    assert_eq!(stuck.await.status, 201, "the SDK gives the hanging attempt up and tries again");
}
