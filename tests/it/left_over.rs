//! Leftovers of users in the account: none after a purge, and forgotten ones only for a short time.

use aws_emulator::{Fault, FaultKind};
use jiff::{SignedDuration, Timestamp};
use openclaw_provisioner::reconcile::Sweep;
use serde_json::{Value, json};

use crate::harness::{TestApp, USER_FAMILY};

/// Every revision of the user family with this status, oldest first.
fn revisions(app: &TestApp, status: &str) -> Vec<String> {
    let wanted = json!({"familyPrefix": USER_FAMILY, "status": status, "maxResults": 100});
    let listed = app.aws("ecs", "ListTaskDefinitions", wanted);
    listed["taskDefinitionArns"].as_array().unwrap().iter().map(|arn| arn.as_str().unwrap().to_owned()).collect()
}

async fn resized(app: &TestApp, user: &str, times: u32) {
    app.provision(user).await;
    for round in 0..times {
        app.pass_seconds(10).await;
        let size = json!({"cpu": 512, "memory_mib": if round % 2 == 0 { 4096 } else { 2048 }});
        assert_eq!(app.post(&format!("/containers/{user}/resize"), size).await.status, 202);
    }
    app.pass_seconds(10).await;
}

async fn purge(app: &TestApp, user: &str) {
    for _ in 0..10 {
        if app.delete(&format!("/containers/{user}?data=purge")).await.status == 404 {
            return;
        }
        app.pass_seconds(10).await;
    }
    panic!("{user} is still there");
}

/// A user's variables and the names of secrets stayed in the account for ever.
#[tokio::test(start_paused = true)]
async fn a_purge_deletes_the_definitions_of_its_user_and_of_nobody_else() {
    let app = TestApp::start().await;
    resized(&app, "bob", 1).await;
    let of_bob = revisions(&app, "INACTIVE");
    resized(&app, "alice", 12).await;
    assert_eq!(revisions(&app, "INACTIVE").len(), of_bob.len() + 11);
    app.emulator.clear_calls();
    purge(&app, "alice").await;
    assert_eq!((revisions(&app, "INACTIVE"), app.user_revisions().len()), (of_bob, 2), "bob's");
    let calls = app.emulator.calls();
    let deleted = calls.iter().filter(|call| call.action == "DeleteTaskDefinitions");
    let sizes: Vec<usize> = deleted.map(|call| call.request["taskDefinitions"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [10, 3]);
}

/// Between the two deletes, a user who returns is new, and another delete finds no container.
#[tokio::test(start_paused = true)]
async fn a_purge_deletes_the_definitions_of_a_user_whose_files_were_kept_first() {
    let app = TestApp::start().await;
    for comes_back in [false, true] {
        resized(&app, "alice", 3).await;
        assert!(app.delete("/containers/alice").await.status < 300);
        app.pass_seconds(60).await;
        assert_eq!(app.delete("/containers/alice").await.status, 404);
        assert_eq!(revisions(&app, "INACTIVE").len(), 4);
        if comes_back {
            assert_eq!(app.provision("alice").await.status, 201);
            app.pass_seconds(10).await;
            assert!(app.delete("/containers/alice?data=keep").await.status < 300);
            app.pass_seconds(60).await;
        }
        purge(&app, "alice").await;
        assert_eq!((revisions(&app, "INACTIVE"), app.user_revisions().len()), (vec![], 0));
        assert!(!app.path(".provisioner/locks/alice.lock").exists());
    }
}

/// A rolled-back revision is on no chain of labels.
#[tokio::test(start_paused = true)]
async fn a_purge_also_deletes_rolled_back_revisions() {
    let app = TestApp::start().await;
    resized(&app, "alice", 1).await;
    app.post("/containers/alice/redeploy", json!({"image": "example.com/openclaw:sim-crash"})).await;
    app.pass_seconds(60).await;
    let answer = app.post("/containers/alice/resize", json!({"cpu": 512, "memory_mib": 3072})).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    app.pass_seconds(10).await;
    purge(&app, "alice").await;
    assert_eq!((revisions(&app, "INACTIVE"), app.user_revisions()), (vec![], vec![]));
}

/// Without the permission the rest of a purge is done, and the answer names what is missing.
#[tokio::test(start_paused = true)]
async fn a_purge_that_may_not_delete_definitions_says_so_after_everything_else() {
    let app = TestApp::start().await;
    resized(&app, "alice", 1).await;
    let kind = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "not authorized".into() };
    app.emulator.inject(Fault { service: None, action: "DeleteTaskDefinitions".into(), skip: 0, times: 99, kind });
    app.delete("/containers/alice?data=purge").await;
    app.pass_seconds(15).await;
    assert_eq!((app.services().len(), app.access_points().len(), app.path("users/alice").exists()), (0, 0, false));
    let again = app.delete("/containers/alice?data=purge").await;
    assert_eq!((again.status, &again.body["code"]), (500, &json!("aws_access_denied")), "{}", again.body);
    app.emulator.clear_faults();
    purge(&app, "alice").await;
    assert_eq!(revisions(&app, "INACTIVE"), Vec::<String>::new());
}

/// Registers a revision as a process that was killed before it could write it down.
fn lose(app: &TestApp, change: impl FnOnce(&mut Value)) -> String {
    let mut definition = app.newest_definition();
    let members = definition.as_object_mut().unwrap();
    for name in [
        "taskDefinitionArn",
        "revision",
        "status",
        "requiresAttributes",
        "compatibilities",
        "registeredAt",
        "registeredBy",
    ] {
        members.remove(name);
    }
    change(&mut definition);
    let registered = app.aws("ecs", "RegisterTaskDefinition", definition);
    registered["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
}

fn in_two_hours() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(2)
}

#[tokio::test(start_paused = true)]
async fn forgotten_revisions_are_found_by_their_labels_after_a_while() {
    let app = TestApp::start().await;
    resized(&app, "alice", 1).await;
    let of_alice = app.user_revisions();
    let lost = lose(&app, |_| {});
    // One of a user who has nothing else and is never named again.
    let label = |definition: &mut Value| {
        let text = definition["containerDefinitions"].to_string().replace("\"alice\"", "\"zoe\"");
        definition["containerDefinitions"] = serde_json::from_str(&text).unwrap();
    };
    let of_zoe = lose(&app, label);
    // And one without labels.
    let foreign = lose(&app, |definition| {
        definition["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
    });
    let mut sweep = Sweep::default();
    assert_eq!(app.reconciler.sweep(&mut sweep, Timestamp::now()).await.unwrap(), 0, "too young");
    assert_eq!(app.reconciler.sweep(&mut sweep, in_two_hours()).await.unwrap(), 2, "{lost} {of_zoe}");
    assert_eq!(app.user_revisions(), [of_alice, vec![foreign]].concat());
    assert!(!app.path(".provisioner/locks/zoe.lock").exists());
    app.emulator.clear_calls();
    assert_eq!(app.reconciler.sweep(&mut sweep, in_two_hours()).await.unwrap(), 0);
    assert_eq!(app.calls(), ["ecs:ListTaskDefinitions"; 2], "what is in order, or waits, is looked at once");
}

/// An operation on the user may be about to run it.
#[tokio::test(start_paused = true)]
async fn a_sweep_skips_users_with_an_operation_under_way() {
    let app = TestApp::start().await;
    resized(&app, "alice", 1).await;
    let lost = lose(&app, |_| {});
    let kind = FaultKind::Delay(std::time::Duration::from_secs(5));
    app.emulator.inject(Fault { service: None, action: "UpdateService".into(), skip: 0, times: 1, kind });
    let mut sweep = Sweep::default();
    let work = app.post("/containers/alice/stop", json!({}));
    let look = async {
        app.pass_seconds(1).await;
        app.reconciler.sweep(&mut sweep, in_two_hours()).await.unwrap()
    };
    let (_, deregistered) = tokio::join!(work, look);
    assert_eq!(deregistered, 0);
    assert!(app.user_revisions().contains(&lost));
    // The sweep does not forget it, whatever page comes next.
    assert_eq!(app.reconciler.sweep(&mut sweep, in_two_hours()).await.unwrap(), 1);
}
