//! Registering a revision: which failures are retried, which are not, and which revisions are recognized.

use aws_emulator::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};

const REGISTER: &str = "ecs:RegisterTaskDefinition";

fn strike(app: &TestApp, action: &str, times: usize, kind: FaultKind) {
    app.emulator.inject(Fault { service: Some("ecs".into()), action: action.into(), skip: 0, times, kind });
}

fn error(status: u16, code: &str, message: &str) -> FaultKind {
    FaultKind::Error { status, code: code.into(), message: message.into() }
}

fn registrations(app: &TestApp) -> usize {
    app.calls().iter().filter(|call| *call == REGISTER).count()
}

/// ECS's error when two replicas register in one family at once (aws-facts §1).
fn concurrent_attempts() -> FaultKind {
    error(400, "ClientException", "Too many concurrent attempts to create a new revision of the specified family")
}

#[track_caller]
fn assert_created(answer: &Answer) {
    assert_eq!(answer.status, 201, "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_registration_of_another_replica_is_waited_out() {
    let app = TestApp::start().await;
    strike(&app, "RegisterTaskDefinition", 5, concurrent_attempts());
    assert_created(&app.provision("alice").await);
    assert_eq!((registrations(&app), app.user_revisions().len()), (6, 1));
}

#[tokio::test(start_paused = true)]
async fn registrations_that_are_always_refused_give_an_error_and_leave_nothing_behind() {
    let app = TestApp::start().await;
    strike(&app, "RegisterTaskDefinition", 1_000, concurrent_attempts());
    let answer = app.provision("alice").await;
    assert!(answer.status >= 500, "{}", answer.body);
    assert_eq!((app.user_revisions().len(), app.services().len()), (0, 0));
    app.emulator.clear_faults();
    assert_created(&app.provision("alice").await);
    assert_eq!((app.user_revisions().len(), app.access_points().len()), (1, 1));
}

/// aws-facts §1: permanent on this call, but the SDK treats it as throttling.
#[tokio::test(start_paused = true)]
async fn a_used_up_quota_is_answered_at_once_and_after_one_call() {
    let app = TestApp::start().await;
    strike(&app, "RegisterTaskDefinition", 1_000, error(400, "LimitExceededException", "revisions of the family"));
    let answer = app.provision("alice").await;
    let told = (answer.status, &answer.body["code"], &answer.body["retryable"]);
    assert_eq!(told, (503, &json!("aws_quota_exceeded"), &json!(false)), "{}", answer.body);
    assert_eq!(registrations(&app), 1, "{:?}", app.calls());
}

#[tokio::test(start_paused = true)]
async fn a_refused_definition_is_answered_at_once_and_after_one_call() {
    let app = TestApp::start().await;
    strike(&app, "RegisterTaskDefinition", 1_000, error(400, "ClientException", "No Fargate configuration exists"));
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, &answer.body["retryable"]), (502, &json!(false)), "{}", answer.body);
    assert_eq!(registrations(&app), 1, "{:?}", app.calls());
}

#[tokio::test(start_paused = true)]
async fn throttling_is_waited_out() {
    let app = TestApp::start().await;
    strike(&app, "RegisterTaskDefinition", 4, error(400, "ThrottlingException", "Rate exceeded"));
    assert_created(&app.provision("alice").await);
    assert_eq!((registrations(&app), app.user_revisions().len()), (5, 1));
}

/// Incident 34: an update was applied but never marked as such, so it ran again.
#[tokio::test(start_paused = true)]
async fn a_registration_whose_answer_is_lost_is_recognized_and_not_repeated() {
    let app = TestApp::start().await;
    strike(&app, "RegisterTaskDefinition", 1_000, FaultKind::DropAfter);
    assert_created(&app.provision("alice").await);
    assert_eq!((registrations(&app), app.user_revisions().len()), (1, 1));
    assert_eq!(app.get("/containers/alice").await.body["task_definition"], json!(app.user_revisions()[0]));
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_took_effect_before_aws_failed_is_recognized_and_not_repeated() {
    let app = TestApp::start().await;
    let after = |code: &str| FaultKind::ErrorAfter { status: 500, code: code.into(), message: String::new() };
    strike(&app, "RegisterTaskDefinition", 1_000, after("ServerException"));
    assert_created(&app.provision("alice").await);
    assert_eq!((registrations(&app), app.user_revisions().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_was_cut_off_before_its_effect_is_repeated() {
    let app = TestApp::start().await;
    strike(&app, "RegisterTaskDefinition", 2, FaultKind::DropBefore);
    assert_created(&app.provision("alice").await);
    assert_eq!((registrations(&app), app.user_revisions().len()), (3, 1));
}

/// The newest revision of the family belongs to another user: it must not be used as the lost one.
#[tokio::test(start_paused = true)]
async fn another_users_revision_is_never_used_as_the_lost_one() {
    let app = TestApp::start().await;
    assert_created(&app.provision("bob").await);
    strike(&app, "RegisterTaskDefinition", 1, FaultKind::DropBefore);
    assert_created(&app.provision("alice").await);
    let [bobs, alices] = &app.user_revisions()[..] else { panic!("{:?}", app.user_revisions()) };
    assert_eq!(&app.get("/containers/bob").await.body["task_definition"], bobs);
    assert_eq!(&app.get("/containers/alice").await.body["task_definition"], alices);
}

/// A revision of an earlier request of the same user, with another size, does not match this request.
#[tokio::test(start_paused = true)]
async fn an_older_revision_of_the_user_is_never_used_as_the_lost_one() {
    let app = TestApp::start().await;
    assert_created(&app.provision("alice").await);
    app.emulator.clear_calls();
    strike(&app, "RegisterTaskDefinition", 1, FaultKind::DropBefore);
    let resized = app.post("/containers/alice/resize", json!({"cpu": 1024, "memory_mib": 2048})).await;
    assert_eq!(resized.status, 202, "{}", resized.body);
    assert_eq!(resized.body["size"], json!({"cpu": 1024, "memory_mib": 2048}));
    assert_eq!((registrations(&app), app.user_revisions().len()), (2, 2));
}

/// One replica sends a few at the same time, whatever the number of users.
#[tokio::test(start_paused = true)]
async fn registrations_of_one_replica_run_concurrently_within_a_limit() {
    let app = TestApp::with(crate::interruptions::slow()).await;
    let users: Vec<String> = (0..10).map(|n| format!("user-{n}")).collect();
    let answers = futures_util::future::join_all(users.iter().map(|user| app.provision(user))).await;
    answers.iter().for_each(assert_created);
    let calls = app.emulator.calls();
    let made: Vec<_> = calls.iter().filter(|call| call.action == "RegisterTaskDefinition").collect();
    assert_eq!(made.len(), 10);
    let at_once = |at| made.iter().filter(|call| call.started <= at && at < call.finished).count();
    let most = made.iter().map(|call| at_once(call.started)).max();
    assert!((4..=5).contains(&most.unwrap()), "{made:?}");
}

/// With concurrent registrations of others, the lost one is not the family's newest.
#[tokio::test(start_paused = true)]
async fn a_lost_registration_is_found_among_those_of_others() {
    for lost in 0..10 {
        let app = TestApp::with(crate::interruptions::slow()).await;
        let (service, action) = (Some("ecs".into()), "RegisterTaskDefinition".into());
        app.emulator.inject(Fault { service, action, skip: lost, times: 1, kind: FaultKind::DropAfter });
        let users: Vec<String> = (0..10).map(|n| format!("user-{n}")).collect();
        let answers = futures_util::future::join_all(users.iter().map(|user| app.provision(user))).await;
        answers.iter().for_each(assert_created);
        assert_eq!((registrations(&app), app.user_revisions().len()), (10, 10), "the answer of number {lost} is lost");
    }
}

/// OpenClaw after a container without labels, or after one whose labels are the same for all users.
fn openclaw_second(labels: Option<Value>) -> impl FnOnce(&mut Value) {
    move |base| {
        let mut router = json!({"name": "router", "image": "example/router:1", "essential": true});
        if let Some(labels) = labels {
            router["dockerLabels"] = labels;
        }
        base["containerDefinitions"].as_array_mut().unwrap().insert(0, router);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_registration_is_recognized_by_labels_of_any_container() {
    for labels in [None, Some(json!({})), Some(json!({"team": "chat"}))] {
        let app = TestApp::start().await;
        app.register_base(openclaw_second(labels.clone()));
        assert_created(&app.provision("bob").await);
        app.emulator.clear_calls();
        strike(&app, "RegisterTaskDefinition", 1, FaultKind::DropAfter);
        assert_created(&app.provision("alice").await);
        assert_eq!((registrations(&app), app.user_revisions().len()), (1, 2), "{labels:?}");

        strike(&app, "RegisterTaskDefinition", 1, FaultKind::DropBefore);
        assert_created(&app.provision("carol").await);
        let of = async |user: &str| app.get(&format!("/containers/{user}")).await.body["task_definition"].clone();
        let theirs = [of("bob").await, of("alice").await, of("carol").await];
        assert_eq!(theirs, *app.user_revisions().iter().map(|arn| json!(arn)).collect::<Vec<_>>(), "{labels:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_registration_of_a_new_user_leaves_none_of_their_files() {
    let app = TestApp::start().await;
    strike(&app, "RegisterTaskDefinition", 1, error(400, "ClientException", "Invalid setting for container openclaw"));
    let answer = app.provision("alice").await;
    assert!(answer.status >= 400, "{}", answer.body);
    assert!(!app.path("users/alice").exists());
    assert_eq!((app.user_revisions().len(), app.services().len()), (0, 0));
    assert_created(&app.provision("alice").await);
    assert!(app.path("users/alice/codex/auth.json").exists());
}

#[tokio::test(start_paused = true)]
async fn a_refused_registration_keeps_the_files_of_an_existing_user() {
    let app = TestApp::start().await;
    std::fs::create_dir_all(app.path("users/alice/notes")).unwrap();
    std::fs::write(app.path("users/alice/notes/today"), "kept").unwrap();
    strike(&app, "RegisterTaskDefinition", 1, error(400, "ClientException", "Invalid setting for container openclaw"));
    let answer = app.provision("alice").await;
    assert!(answer.status >= 400, "{}", answer.body);
    assert_eq!(std::fs::read_to_string(app.path("users/alice/notes/today")).unwrap(), "kept");
    assert!(!app.path("users/alice/codex/auth.json").exists());
}
