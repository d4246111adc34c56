//! Answers and renders right after a change, with reads that may be from before it. Each test runs with three seeds.

use std::time::Duration;

use aws_emulator::{Conduct, Options, StaleReads};
use serde_json::{Value, json};

use crate::harness::{CLUSTER, TestApp};

const SEEDS: [u64; 3] = [1, 2, 3];

async fn stale(seed: u64) -> TestApp {
    let stale_reads = Some(StaleReads { seed, up_to: Duration::from_secs(2) });
    TestApp::with(Options { conduct: Conduct { stale_reads, ..Conduct::default() }, ..Options::default() }).await
}

async fn running(app: &TestApp, user: &str) {
    assert_eq!(app.provision(user).await.status, 201);
    app.pass_seconds(10).await;
    assert_eq!(app.get(&format!("/containers/{user}")).await.body["state"], "running");
}

/// The image of the revision in the user's service.
fn image(app: &TestApp, user: &str) -> Value {
    let arns = app.services();
    let arn = arns.iter().find(|arn| arn.as_str().unwrap().contains(&format!("openclaw-{user}-"))).unwrap();
    let described = app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [arn]}));
    let revision = described["services"][0]["taskDefinition"].clone();
    let found = app.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": revision}));
    found["taskDefinition"]["containerDefinitions"][0]["image"].clone()
}

fn release(number: u32) -> String {
    format!("ghcr.io/openclaw/openclaw:2026.4.{number}")
}

fn register(app: &TestApp, number: u32) -> String {
    app.register_base(|base| base["containerDefinitions"][0]["image"] = json!(release(number)))
}

/// ECS returned the old base for the bare family; it was rendered and reported as a success.
#[tokio::test(start_paused = true)]
async fn a_redeploy_right_after_a_new_base_uses_it() {
    for seed in SEEDS {
        let app = stale(seed).await;
        running(&app, "alice").await;
        for number in [22, 23, 24] {
            register(&app, number);
            let answer = app.post("/containers/alice/redeploy", json!({})).await;
            assert!([200, 202].contains(&answer.status), "{}", answer.body);
            assert_eq!(image(&app, "alice"), release(number), "seed {seed}");
            app.pass_seconds(20).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_user_right_after_a_new_base_gets_it() {
    for seed in SEEDS {
        let app = stale(seed).await;
        for number in [22, 23, 24] {
            register(&app, number);
            let user = format!("user-{number}");
            assert_eq!(app.provision(&user).await.status, 201);
            assert_eq!(image(&app, &user), release(number), "seed {seed}");
        }
    }
}

/// "newest" promoted the old base, and all users followed it.
#[tokio::test(start_paused = true)]
async fn promoting_newest_right_after_a_registration_promotes_the_new_base() {
    for seed in SEEDS {
        let app = stale(seed).await;
        for number in 22..30 {
            app.pass_seconds(10).await;
            let arn = register(&app, number);
            let promoted = app.raw("PUT", "/fleet/base", &[], json!({"revision": "newest"}).to_string()).await;
            let revision = promoted.body["promoted"]["revision"].as_str().unwrap_or_default();
            assert!(arn.ends_with(&format!("/{revision}")), "seed {seed}: {arn}, {}", promoted.body);
            assert_eq!(promoted.body["newest"]["revision"], revision, "seed {seed}");
        }
    }
}

/// A deregistered base must not be used, even if this process has seen it or a user runs it.
#[tokio::test(start_paused = true)]
async fn a_base_that_was_deregistered_is_not_rendered_from() {
    for seed in SEEDS {
        let app = stale(seed).await;
        register(&app, 22);
        app.pass_seconds(3).await;
        let bad = register(&app, 23);
        running(&app, "alice").await;
        assert_eq!(image(&app, "alice"), release(23));
        app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": bad}));
        assert_eq!(app.provision("bob").await.status, 201);
        assert_eq!(image(&app, "bob"), release(22), "seed {seed}");
        for replica in [&app, &app.replica().await] {
            replica.post("/containers/alice/redeploy", json!({})).await;
            assert_eq!(image(&app, "alice"), release(22), "seed {seed}");
        }
    }
}

/// It waits for nothing, in particular not for an old reading of the delete before it.
#[tokio::test(start_paused = true)]
async fn a_forced_delete_right_after_a_delete_is_done_at_once() {
    for seed in SEEDS {
        let app = stale(seed).await;
        running(&app, "alice").await;
        assert_eq!(app.delete("/containers/alice").await.status, 202);
        let began = tokio::time::Instant::now();
        assert_eq!(app.delete("/containers/alice?data=purge&force=true").await.status, 202);
        assert!(began.elapsed() < Duration::from_millis(1500), "seed {seed}: {:?}", began.elapsed());
        assert_eq!((app.services().len(), app.path("users/alice").exists()), (0, false), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_was_just_begun_is_cancelled_by_either_replica() {
    for seed in SEEDS {
        let app = stale(seed).await;
        running(&app, "alice").await;
        let other = app.replica().await;
        for (round, replica) in [&app, &other, &app, &other].into_iter().enumerate() {
            let slow = format!("ghcr.io/openclaw/openclaw:2026.4.2{round}-sim-slow");
            assert_eq!(app.post("/containers/alice/redeploy", json!({ "image": slow })).await.status, 202);
            let answer = replica.post("/containers/alice/cancel", json!({})).await;
            let cancelled = &answer.body["cancelled"]["deployment"];
            assert_eq!(cancelled, "rolled_back", "seed {seed}, round {round}: {}", answer.body);
            app.pass_seconds(30).await;
        }
    }
}

/// A reading from before the deployment also names the former revision, and one from before ECS went back names the other one: the
/// sign-in was put in the place of a release that never runs.
#[tokio::test(start_paused = true)]
async fn a_cancel_puts_the_sign_in_where_the_former_release_looks_for_it() {
    for seed in SEEDS {
        let app = stale(seed).await;
        running(&app, "alice").await;
        let other = app.replica().await;
        for (round, replica) in [&app, &other, &app, &other].into_iter().enumerate() {
            let slow = format!("ghcr.io/openclaw/openclaw:2026.9.6-sim-slow-{round}");
            assert_eq!(app.post("/containers/alice/redeploy", json!({ "image": slow })).await.status, 202);
            let place = || app.file("users/alice/codex/auth.json").contains("rt_1");
            assert!(!place(), "it is handed over to the newer release");
            let answer = replica.post("/containers/alice/cancel", json!({})).await;
            assert_eq!(answer.body["cancelled"]["deployment"], "rolled_back", "seed {seed}: {}", answer.body);
            assert!(place(), "seed {seed}, round {round}");
            assert_eq!(image(&app, "alice"), release(21), "seed {seed}, round {round}");
            app.pass_seconds(30).await;
        }
    }
}

/// This replica's changes are in its list, whatever ECS returns a moment later.
#[tokio::test(start_paused = true)]
async fn the_list_shows_recent_changes_of_this_replica() {
    for seed in SEEDS {
        let app = stale(seed).await;
        for user in ["a", "b", "c"] {
            running(&app, user).await;
        }
        for user in ["d", "e"] {
            assert_eq!(app.provision(user).await.status, 201);
        }
        app.post("/containers/a/stop", json!({})).await;
        let list = app.get("/containers?limit=100").await.body;
        let states: Vec<String> = list["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| format!("{} {}", entry["user_id"].as_str().unwrap(), entry["state"].as_str().unwrap()))
            .collect();
        assert_eq!(states.len(), 5, "seed {seed}: {states:?}");
        assert!(states[0] == "a stopping" || states[0] == "a stopped", "seed {seed}: {states:?}");
    }
}
