//! 202 means that it will happen: any replica finishes accepted work, answers show it meanwhile, and it ends with its reason if
//! only another request can repair it.

use std::sync::Arc;
use std::time::Duration;

use aws_emulator::{Fault, FaultKind, Options, Pace};
use futures_util::future::join_all;
use openclaw_provisioner::reconcile;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::harness::{Answer, TestApp, auth, provision_body};
use crate::interruptions::slow;

const PENDING: &str = ".provisioner/pending";
/// Longer than anything here takes.
const LONG_SECONDS: u64 = 300;

/// A deleted service drains for half a minute.
fn draining() -> Options {
    Options { pace: Pace { stopping: Duration::from_secs(30), ..Pace::default() }, ..Options::default() }
}

fn told(answer: &Answer) -> (u16, &str) {
    {
        let body = &answer.body;
        (answer.status, body["code"].as_str().or_else(|| body["state"].as_str()).unwrap_or_default())
    }
}

fn pending_files(app: &TestApp) -> Vec<String> {
    let names = std::fs::read_dir(app.path(PENDING)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // A request to the lock's holder is not accepted work.
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".ask")).collect();
    names.sort();
    names
}

fn with_sign_in(user: &str, refresh_token: &str, issued_at: i64) -> Value {
    json!({"user_id": user, "auth": auth("acc_1", refresh_token, issued_at)})
}

async fn running(app: &TestApp, user: &str) {
    assert_eq!(app.provision(user).await.status, 201);
    app.pass_seconds(5).await;
    assert_eq!(told(&app.get(&format!("/containers/{user}")).await), (200, "running"));
}

fn process() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Does `before` in a process that is then killed, and `after` in another one that knows nothing of it.
fn killed<F: Future<Output = TestApp>, G: Future<Output = ()>>(
    before: impl FnOnce() -> F,
    after: impl FnOnce(TestApp) -> G,
) {
    let first = process();
    let (dead, lived) = first.block_on(async {
        let born = Instant::now();
        (before().await, born.elapsed())
    });
    drop(first);
    process().block_on(async {
        // The emulator's clock continues at the time of the first process.
        tokio::time::advance(lived).await;
        let other = dead.replica().await;
        drop(dead);
        after(other).await;
    });
}

#[test]
fn a_delete_that_was_accepted_is_finished_after_a_kill_and_nothing_is_sent_again() {
    killed(
        || async {
            let app = TestApp::with(draining()).await;
            running(&app, "alice").await;
            assert_eq!(told(&app.delete("/containers/alice?data=purge").await), (202, "deleting"));
            assert_eq!(pending_files(&app), ["alice.pending"]);
            app
        },
        |other| async move {
            // Nobody works on it, but the answer shows it.
            let shown = other.get("/containers/alice").await;
            assert_eq!(told(&shown), (200, "deleting"), "{}", shown.body);
            assert_eq!(shown.body["accepted"]["operation"], "delete", "{}", shown.body);
            other.reconciler.pursue_in_background();
            other.pass_seconds(LONG_SECONDS).await;
            assert_eq!(told(&other.get("/containers/alice").await), (404, "container_not_found"));
            let left = (other.services().len(), other.access_points().len(), other.user_revisions().len());
            assert_eq!((left, pending_files(&other)), ((0, 0, 0), vec![]));
            assert!(!other.path("users/alice").exists() && !other.path(".provisioner/locks/alice.lock").exists());
        },
    );
}

/// For example because an operator removed it.
#[test]
fn accepted_work_is_finished_even_if_the_lock_file_is_lost() {
    killed(
        || async {
            let app = TestApp::with(draining()).await;
            running(&app, "alice").await;
            assert_eq!(told(&app.delete("/containers/alice?data=purge").await), (202, "deleting"));
            std::fs::remove_file(app.path(".provisioner/locks/alice.lock")).unwrap();
            app
        },
        |other| async move {
            other.reconciler.pursue_in_background();
            other.pass_seconds(LONG_SECONDS).await;
            assert_eq!(told(&other.get("/containers/alice").await), (404, "container_not_found"));
            assert_eq!((other.services().len(), other.access_points().len(), pending_files(&other)), (0, 0, vec![]));
            assert!(!other.path("users/alice").exists() && !other.path(".provisioner/locks/alice.lock").exists());
        },
    );
}

#[test]
fn a_provision_after_a_delete_is_finished_after_a_kill_with_its_own_sign_in() {
    killed(
        || async {
            let app = TestApp::with(draining()).await;
            running(&app, "alice").await;
            assert_eq!(app.delete("/containers/alice?data=purge").await.status, 202);
            let answer = app.post("/provision", with_sign_in("alice", "rt_2", 1_770_000_100)).await;
            assert_eq!(answer.status, 202, "{}", answer.body);
            let names = pending_files(&app);
            assert!(names.len() == 2 && names[0].ends_with(".sign-in") && names[1] == "alice.pending", "{names:?}");
            assert!(!app.file(&format!("{PENDING}/alice.pending")).contains("rt_2"));
            app
        },
        |other| async move {
            other.reconciler.pursue_in_background();
            other.pass_seconds(LONG_SECONDS).await;
            let shown = other.get("/containers/alice").await;
            assert_eq!(told(&shown), (200, "running"), "{}", shown.body);
            assert_eq!((&shown.body["accepted"], pending_files(&other)), (&Value::Null, vec![]));
            let stored: Value = serde_json::from_str(&other.file("users/alice/codex/auth.json")).unwrap();
            assert_eq!(stored["tokens"]["account_id"], "acc_1");
            let staged =
                other.files().into_iter().any(|(_, content)| String::from_utf8_lossy(&content).contains("rt_2"));
            assert!(staged, "the sign-in that came with the last request");
            let purged =
                other.files().into_iter().all(|(_, content)| !String::from_utf8_lossy(&content).contains("rt_1"));
            assert!(purged, "what was to be purged is purged first");
            assert_eq!((other.access_points().len(), other.user_revisions().len()), (1, 1));
        },
    );
}

/// Work that waits for AWS's rate limits for longer than its caller is accepted, and has a phase and a place.
#[test]
fn users_who_wait_for_their_turn_show_their_place_and_are_created_after_a_kill() {
    const USERS: usize = 60;
    let users = || (0..USERS).map(|n| format!("user-{n:02}")).collect::<Vec<_>>();
    killed(
        || async {
            let app = TestApp::with(Options { enforce_rate_limits: true, ..slow() }).await;
            let answers = join_all(users().iter().map(|user| app.provision(user)).collect::<Vec<_>>()).await;
            let accepted = answers.iter().filter(|answer| answer.status == 202).count();
            assert!(accepted >= 5, "{accepted}");
            assert!(answers.iter().all(|answer| [201, 202].contains(&answer.status)));
            app
        },
        |other| async move {
            let mut waiting = Vec::new();
            for user in users() {
                let body = other.get(&format!("/containers/{user}")).await.body;
                if body["accepted"].is_object() {
                    waiting.push(body);
                }
            }
            assert!(waiting.len() >= 5, "{}", waiting.len());
            for body in &waiting {
                assert_eq!((&body["state"], &body["ready"]), (&json!("provisioning"), &json!(false)), "{body}");
                assert!(["queued", "access_point"].contains(&body["phase"].as_str().unwrap()), "{body}");
            }
            other.reconciler.pursue_in_background();
            other.pass_seconds(LONG_SECONDS).await;
            for user in users() {
                assert_eq!(told(&other.get(&format!("/containers/{user}")).await), (200, "running"), "{user}");
            }
            let counts = (other.services().len(), other.user_revisions().len(), other.access_points().len());
            assert_eq!((counts, pending_files(&other)), ((USERS, USERS, USERS), vec![]));
        },
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_accepted_request_wins_over_earlier_ones_that_contradict_it() {
    let last_deletes = [true, false];
    for last_deletes in last_deletes {
        let one = TestApp::with(draining()).await;
        let two = one.replica().await;
        running(&one, "alice").await;
        let mut requests: Vec<&str> = vec!["delete", "provision", "delete", "provision"];
        if last_deletes {
            requests.push("delete");
        }
        for (n, request) in requests.iter().enumerate() {
            let app = if n % 2 == 0 { &one } else { &two };
            let answer = match *request {
                "delete" => app.delete("/containers/alice?data=purge").await,
                _ => app.post("/provision", with_sign_in("alice", &format!("rt_{n}"), 1_770_000_000)).await,
            };
            assert_eq!(answer.status, 202, "{n} {request}: {}", answer.body);
        }
        two.reconciler.pursue_in_background();
        one.pass_seconds(LONG_SECONDS).await;
        let shown = two.get("/containers/alice").await;
        assert_eq!(pending_files(&two), Vec::<String>::new(), "{}", shown.body);
        match last_deletes {
            true => assert_eq!((told(&shown).0, two.services().len(), two.access_points().len()), (404, 0, 0)),
            false => {
                assert_eq!(told(&shown), (200, "running"), "{}", shown.body);
                let staged = |token: &str| {
                    two.files().into_iter().any(|(_, content)| String::from_utf8_lossy(&content).contains(token))
                };
                assert!(staged("rt_3") && !staged("rt_1"), "the sign-in of the last request alone");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_only_another_request_can_repair_ends_and_shows_its_reason_until_then() {
    let app = TestApp::with(draining()).await;
    app.reconciler.pursue_in_background();
    running(&app, "alice").await;
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    app.aws("ecr", "CreateRepository", json!({"repositoryName": "openclaw"}));
    let mut body = with_sign_in("alice", "rt_2", 1_770_000_100);
    body["image"] = json!("123456789012.dkr.ecr.us-east-1.amazonaws.com/openclaw:2026.4.25");
    let answer = app.post("/provision", body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    app.pass_seconds(LONG_SECONDS).await;
    let shown = app.get("/containers/alice").await;
    assert_eq!(told(&shown), (200, "failed"), "{}", shown.body);
    let (reason, accepted) = (&shown.body["reason"], &shown.body["accepted"]);
    assert_eq!(
        (&reason["code"], &accepted["code"]),
        (&json!("request_failed"), &json!("image_not_found")),
        "{}",
        shown.body
    );
    assert!(reason["message"].as_str().unwrap().contains("has no tag 2026.4.25"), "{reason}");
    assert_eq!(pending_files(&app), ["alice.ended"], "no sign-in outlives it");
    let listed = app.get("/containers?fresh=true").await.body["containers"].clone();
    assert_eq!((&listed[0]["user_id"], &listed[0]["state"]), (&json!("alice"), &json!("failed")), "{listed}");
    assert_eq!(listed[0]["reason_code"], "request_failed");

    assert_eq!(app.post("/provision", with_sign_in("alice", "rt_2", 1_770_000_100)).await.status, 201);
    app.pass_seconds(10).await;
    let shown = app.get("/containers/alice").await;
    assert_eq!((told(&shown), &shown.body["accepted"]), ((200, "running"), &Value::Null), "{}", shown.body);
    assert_eq!(pending_files(&app), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_being_deleted_is_in_the_list_of_every_replica() {
    let app = TestApp::with(draining()).await;
    running(&app, "alice").await;
    running(&app, "bob").await;
    let other = app.replica().await;
    other.reconciler.pursue_in_background();
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    app.pass_seconds(5).await;
    for replica in [&app, &other] {
        replica.reconciler.pursue_in_background();
        replica.pass_seconds(4).await;
        let listed = replica.get("/containers?fresh=true").await.body["containers"].clone();
        let states: Vec<_> =
            listed.as_array().unwrap().iter().map(|one| (one["user_id"].clone(), one["state"].clone())).collect();
        assert_eq!(states, [(json!("alice"), json!("deleting")), (json!("bob"), json!("running"))]);
        let only = replica.get("/containers?state=deleting").await.body["containers"].clone();
        assert_eq!(only.as_array().unwrap().len(), 1, "{only}");
    }
}

/// The lock is released at once, and another replica continues.
#[tokio::test(start_paused = true)]
async fn a_replica_that_is_drained_hands_its_accepted_work_over_at_once() {
    let app = TestApp::with(draining()).await;
    running(&app, "alice").await;
    assert_eq!(app.delete("/containers/alice?data=purge").await.status, 202);
    let other = app.replica().await;
    other.reconciler.pursue_in_background();
    let before = Instant::now();
    app.reconciler.shut_down().await;
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    other.pass_seconds(LONG_SECONDS).await;
    assert_eq!(other.get("/containers/alice").await.status, 404);
    assert_eq!((other.access_points().len(), pending_files(&other)), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_revokes_accepted_work_in_every_replica() {
    for is_at_it in [true, false] {
        let app = Arc::new(TestApp::with(draining()).await);
        running(&app, "alice").await;
        assert_eq!(app.delete("/containers/alice").await.status, 202);
        if !is_at_it {
            app.reconciler.shut_down().await;
        }
        let other = app.replica().await;
        let answer = other.post("/containers/alice/cancel", json!({})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let cancelled = json!({"operations": 1, "at_work_elsewhere": is_at_it, "deployment": null});
        assert_eq!(answer.body["cancelled"], cancelled);
        other.reconciler.pursue_in_background();
        other.pass_seconds(LONG_SECONDS).await;
        assert_eq!((other.access_points().len(), pending_files(&other)), (1, vec![]), "nothing of it went on");
        // Later requests are not affected.
        let again = other.post("/provision", provision_body("alice")).await;
        assert!((200..300).contains(&again.status), "{}", again.body);
    }
}

/// An accepted resize is stuck because of a missing permission.
#[tokio::test(start_paused = true)]
async fn a_container_stopped_while_accepted_work_is_stuck_stays_stopped_after_it() {
    let impatient = reconcile::Options { answer_within: Duration::from_secs(3), ..reconcile::Options::default() };
    let app = TestApp::with_both(Options::default(), impatient).await;
    running(&app, "alice").await;
    let fault = |times, kind| {
        let action = "RegisterTaskDefinition".to_owned();
        app.emulator.inject(Fault { service: None, action, skip: 0, times, kind });
    };
    fault(1, FaultKind::Hang);
    fault(1_000, FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() });
    let size = json!({"cpu": 1024, "memory_mib": 4096});
    let resized = app.post("/containers/alice/resize", size.clone()).await;
    assert_eq!(resized.status, 202, "{}", resized.body);
    app.pass_seconds(60).await;
    assert_eq!(app.get("/containers/alice").await.body["accepted"]["operation"], "resize");

    let stopped = app.post("/containers/alice/stop", json!({})).await;
    assert_eq!(stopped.status, 202, "{}", stopped.body);
    app.pass_seconds(60).await;
    let shown = app.get("/containers/alice").await.body;
    assert_eq!((&shown["state"], shown["size"] == size), (&json!("stopped"), false), "{shown}");
    assert!(shown["accepted"].is_object(), "{shown}");

    app.emulator.clear_faults();
    app.pass_seconds(LONG_SECONDS).await;
    let shown = app.get("/containers/alice").await.body;
    assert_eq!(
        (&shown["state"], &shown["size"], &shown["accepted"]),
        (&json!("stopped"), &size, &Value::Null),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_sees_accepted_work_before_there_is_a_service() {
    let app = TestApp::with(draining()).await;
    running(&app, "alice").await;
    assert_eq!(app.delete("/containers/alice").await.status, 202);
    assert_eq!(app.provision("alice").await.status, 202);
    let waited = app.get("/containers/alice/wait?timeout_seconds=55").await;
    assert_eq!((waited.status, &waited.body["state"]), (200, &json!("running")), "{}", waited.body);
}

/// A user is resized in strict order; the process is killed when ECS has stopped the task, and the caller got no answer. The
/// container stayed stopped until the next request. Found by the search in `src/reconcile/model`.
#[test]
fn a_strict_replacement_continues_after_a_kill_while_the_task_is_stopped() {
    killed(
        || async {
            let app = TestApp::with(slow()).await;
            running(&app, "alice").await;
            app.emulator.clear_calls();
            let (action, kind) = ("UpdateService".into(), FaultKind::DropAfter);
            app.emulator.inject(Fault { service: None, action, skip: 0, times: 1000, kind });
            let body = json!({"cpu": 1024, "memory_mib": 4096, "rollout_order": "strict"});
            let stopped = async {
                while app.count("UpdateService") == 0 {
                    app.pass_millis(1).await;
                }
                app.pass_millis(15).await;
            };
            tokio::select! {
                answer = app.post("/containers/alice/resize", body) => panic!("{}", answer.body),
                () = stopped => {}
            }
            app.emulator.clear_faults();
            app
        },
        async |other| {
            other.reconciler.pursue_in_background();
            other.pass_seconds(LONG_SECONDS).await;
            let shown = other.get("/containers/alice").await;
            assert_eq!((told(&shown), &shown.body["size"]["memory_mib"]), ((200, "running"), &json!(4096)));
            assert_eq!(pending_files(&other), Vec::<String>::new());
        },
    );
}
