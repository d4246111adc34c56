//! More requests than AWS's rate limits allow: which wait, which are refused, and which go first.

use std::time::Duration;

use aws_emulator::Options as EmulatorOptions;
use axum::body::Body;
use futures_util::future::{join, join_all};
use openclaw_provisioner::reconcile::Options;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{Answer, TestApp};
use crate::interruptions::slow;

fn limited() -> EmulatorOptions {
    EmulatorOptions { enforce_rate_limits: true, ..slow() }
}

/// Options with a queue of this many seconds.
fn queue_of(seconds: u64) -> Options {
    Options { max_queue: Duration::from_secs(seconds), ..Options::default() }
}

async fn provision(app: &TestApp, n: usize) -> Answer {
    app.provision(&format!("user-{n}")).await
}

async fn timed(answer: impl Future<Output = Answer>) -> (Answer, Duration) {
    let start = Instant::now();
    let answer = answer.await;
    (answer, start.elapsed())
}

/// The value of a series at `/metrics`; 0 if it does not exist yet.
async fn metric(app: &TestApp, series: &str) -> f64 {
    let text = app.raw("GET", "/metrics", &[], Body::empty()).await.text;
    let found = text.lines().find_map(|line| line.strip_prefix(&format!("openclaw_provisioner_{series} ")));
    found.map_or(0.0, |value| value.parse().unwrap())
}

const REGISTRATIONS: &str = r#"limiter_queue_depth{bucket="task-definition-write"}"#;

#[tokio::test(start_paused = true)]
async fn each_of_500_callers_gets_an_answer_or_is_refused_at_once_and_left_unchanged() {
    let app = TestApp::with(limited()).await;
    let users: Vec<String> = (0..500).map(|n| format!("user-{n}")).collect();
    let calls = join_all(users.iter().map(|user| timed(app.provision(user))));
    let watched = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        metric(&app, REGISTRATIONS).await
    };
    let (answers, depth) = join(calls, watched).await;
    assert!((50.0..=60.0).contains(&depth), "everybody who waits is seen: {depth}");
    let refused = |answer: &Answer| answer.status == 429;
    for (user, (answer, took)) in users.iter().zip(&answers) {
        if !refused(answer) {
            assert!([201, 202].contains(&answer.status), "{user}: {}", answer.body);
            continue;
        }
        assert_eq!((&answer.body["code"], &answer.body["retryable"]), (&json!("queue_full"), &json!(true)));
        let position = answer.body["position"].as_u64().unwrap();
        let retry_after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        // One a second: number 61 waits for 61 s.
        assert_eq!((position, retry_after), (61, 61), "{}", answer.body);
        assert!(*took < Duration::from_secs(1), "refused at once: {took:?}");
        for left in [format!("users/{user}"), format!(".provisioner/locks/{user}")] {
            assert!(!app.path(&left).exists(), "{left}");
        }
    }
    let let_in = answers.iter().filter(|(answer, _)| !refused(answer)).count();
    assert_eq!(let_in, 80, "a burst of twenty, and one a second for a minute");
    // And callers with 202 have their containers in time.
    app.pass_seconds(62).await;
    assert_eq!((app.services().len(), app.user_revisions().len(), app.access_points().len()), (80, 80, 80));
    assert_eq!(metric(&app, REGISTRATIONS).await, 0.0);
    assert_eq!(metric(&app, r#"operations_total{kind="provision",outcome="failed",reason="queue_full"}"#).await, 420.0);
    let again = app.provision("user-499").await;
    assert_eq!(again.status, 201, "{}", again.body);
}

#[tokio::test(start_paused = true)]
async fn many_requests_for_one_user_count_once() {
    let app = TestApp::with_both(limited(), queue_of(3)).await;
    let first = join_all((0..20).map(|n| provision(&app, n))).await;
    assert!(first.iter().all(|answer| answer.status == 201));
    let alice = join_all((0..30).map(|_| app.provision("alice")));
    let others = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        join_all(["bob", "carol", "dave"].map(|user| app.provision(user))).await
    };
    let (alice, others) = join(alice, others).await;
    assert!(alice.iter().all(|answer| answer.status < 300), "{:?}", alice.last().map(|answer| &answer.body));
    let said: Vec<_> = others.iter().map(|answer| (answer.status, answer.body["position"].as_u64())).collect();
    let refused = said.iter().filter(|(status, _)| *status == 429).count();
    assert!(refused <= 1 && said.iter().all(|(_, position)| position.is_none_or(|at| at == 4)), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn looks_and_unchanged_users_are_served_while_the_queue_is_full() {
    let app = TestApp::with_both(limited(), queue_of(2)).await;
    assert_eq!(app.provision("alice").await.status, 201);
    app.pass_seconds(30).await;
    let crowd = join_all((0..40).map(|n| provision(&app, n)));
    let alice = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let size = json!({"cpu": 1024, "memory_mib": 4096});
        let before = app.newest_definition();
        let resized = app.post("/containers/alice/resize", size).await;
        assert_eq!((resized.status, &resized.body["code"]), (429, &json!("queue_full")), "{}", resized.body);
        assert!(resized.body["position"].as_u64().unwrap() >= 1);
        assert_eq!(before["family"], app.newest_definition()["family"]);
        [app.provision("alice").await, app.get("/containers/alice").await]
    };
    let (_, [again, shown]) = join(crowd, alice).await;
    assert_eq!((again.status, shown.status), (200, 200), "{}", again.body);
    app.pass_seconds(10).await;
    let resized = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 4096})).await;
    assert_eq!(resized.status, 202, "{}", resized.body);
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_longer_than_the_deadline_of_its_operation() {
    let options = Options { deadline: Duration::from_secs(30), ..queue_of(600) };
    let app = TestApp::with_both(limited(), options).await;
    let answers = join_all((0..100).map(|n| provision(&app, n))).await;
    let refused = answers.iter().filter(|answer| ![201, 202].contains(&answer.status));
    assert_eq!(refused.map(|answer| &answer.body).collect::<Vec<_>>(), Vec::<&Value>::new());
    app.pass_seconds(6).await;
    let registered = app.count("RegisterTaskDefinition");
    assert!((48..=51).contains(&registered), "twenty at once and one a second for half a minute: {registered}");
    assert_eq!(metric(&app, REGISTRATIONS).await, 0.0);
    let late = async || {
        let failed = r#"operations_total{kind="provision",outcome="failed",reason="deadline_exceeded"}"#;
        metric(&app, failed).await as usize
    };
    // Their staged files are removed first.
    while late().await < 100 - registered {
        app.pass_millis(100).await;
    }
    assert_eq!(late().await, 100 - registered);
    // All got 202, and the work continues in another turn.
    app.pass_seconds(300).await;
    assert_eq!((app.services().len(), app.user_revisions().len()), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn deleting_many_users_does_not_block_new_users() {
    let app = TestApp::with(limited()).await;
    let users: Vec<String> = (0..60).map(|n| format!("user-{n}")).collect();
    join_all(users.iter().map(|user| app.provision(user))).await;
    app.pass_seconds(60).await;
    assert_eq!(app.services().len(), 60);
    let paths: Vec<String> = users.iter().map(|user| format!("/containers/{user}?force=true")).collect();
    let deletes = join_all(paths.iter().map(|path| app.delete(path)));
    let signing_up = async {
        tokio::time::sleep(Duration::from_secs(15)).await;
        timed(app.provision("alice")).await
    };
    let (_, (answer, took)) = join(deletes, signing_up).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn registrations_run_concurrently_as_far_as_ecs_accepts_them() {
    for most in [1, 2, 3, 8] {
        let app = TestApp::with(EmulatorOptions { most_registrations_at_once: Some(most), ..slow() }).await;
        let answers = join_all((0..20).map(|n| provision(&app, n))).await;
        assert!(answers.iter().all(|answer| answer.status == 201), "with {most} at once");
        assert_eq!((app.services().len(), app.user_revisions().len()), (20, 20));
        let calls = app.emulator.calls();
        let refused = calls.iter().filter(|call| call.code.as_deref() == Some("ClientException")).count();
        // Of four at first all but one or two; then a smaller window, with a retry now and then.
        assert!(refused <= 8, "{refused} refused with {most} at once");
    }
}
