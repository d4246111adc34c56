//! Sizes of users' directories: in the answer for one user, in the list, and in metrics.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::harness::{DIRECTORY_SOFT_LIMIT, TestApp};

/// The answer for a user, once their directory was measured.
async fn measured(app: &TestApp, user: &str) -> Value {
    let looked = async {
        loop {
            let answer = app.get(&format!("/containers/{user}")).await;
            if answer.body["directory"].is_object() {
                return answer.body;
            }
            sleep(Duration::from_secs(5)).await;
        }
    };
    timeout(Duration::from_secs(24 * 3_600), looked).await.unwrap()
}

fn warnings(body: &Value) -> Vec<&str> {
    body["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn directories_without_a_measurement_are_left_out() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    assert_eq!(app.get("/containers/alice").await.body.get("directory"), None);
    let list = app.get("/containers?fresh=true").await.body;
    assert_eq!((list.get("directories"), list["containers"][0].get("directory")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn the_sizes_of_directories_are_shown_for_each_user_and_in_total() {
    let app = TestApp::start().await;
    for user in ["alice", "bob"] {
        app.provision(user).await;
    }
    app.pass_seconds(60).await;
    fs::write(app.path("users/bob/large"), vec![1; usize::try_from(2 * DIRECTORY_SOFT_LIMIT).unwrap()]).unwrap();
    let measuring = app.storage.measure_in_background();
    let (alice, bob) = (measured(&app, "alice").await, measured(&app, "bob").await);
    measuring.abort();
    let bytes = |body: &Value| body["directory"]["bytes"].as_u64().unwrap();
    assert!(bytes(&alice) < DIRECTORY_SOFT_LIMIT && bytes(&bob) >= 2 * DIRECTORY_SOFT_LIMIT, "{alice} {bob}");
    assert_eq!((&bob["directory"]["complete"], &bob["state"]), (&json!(true), &json!("running")));
    // The warning is only for users above the limit.
    let above = "directory_above_soft_limit";
    assert_eq!((warnings(&alice).contains(&above), warnings(&bob).contains(&above)), (false, true));

    let list = app.get("/containers?fresh=true").await.body;
    let of_list: Vec<&Value> = list["containers"].as_array().unwrap().iter().map(|one| &one["directory"]).collect();
    assert_eq!(of_list, [&alice["directory"], &bob["directory"]]);
    let sum = json!({"bytes": bytes(&alice) + bytes(&bob), "users": 2, "incomplete": 0});
    assert_eq!(list["directories"], sum);
    // The sum is for all users, not only for those on the page.
    assert_eq!(app.get("/containers?limit=1").await.body["directories"], sum);

    let metrics = app.get("/metrics").await.text;
    let wanted = [
        format!("openclaw_provisioner_directories_bytes{{}} {}", sum["bytes"]),
        "openclaw_provisioner_directories_measured{extent=\"whole\"} 2".to_owned(),
        "openclaw_provisioner_directories_above_soft_limit{} 1".to_owned(),
        format!("openclaw_provisioner_directories_largest_bytes{{rank=\"1\"}} {}", bytes(&bob)),
    ];
    for line in wanted {
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    assert!(!metrics.contains("bob"), "{metrics}");
}

/// Files that stay after `data=keep` cost money, too.
#[tokio::test(start_paused = true)]
async fn directories_without_a_container_are_in_the_sum() {
    let app = TestApp::start().await;
    for user in ["alice", "bob"] {
        app.provision(user).await;
    }
    app.pass_seconds(60).await;
    app.delete("/containers/bob?data=keep").await;
    app.pass_seconds(180).await;
    app.delete("/containers/bob?data=keep").await;
    let measuring = app.storage.measure_in_background();
    measured(&app, "alice").await;
    app.pass_seconds(600).await;
    measuring.abort();
    let list = app.get("/containers?fresh=true").await.body;
    assert_eq!((list["containers"].as_array().unwrap().len(), &list["directories"]["users"]), (1, &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn a_purge_removes_the_size_of_the_directory() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    app.pass_seconds(60).await;
    let measuring = app.storage.measure_in_background();
    measured(&app, "alice").await;
    let gone = async {
        while app.delete("/containers/alice?data=purge").await.status != 404 {
            sleep(Duration::from_secs(30)).await;
        }
    };
    timeout(Duration::from_secs(3_600), gone).await.unwrap();
    app.pass_seconds(180).await;
    measuring.abort();
    assert_eq!(app.get("/containers").await.body.get("directories"), None);
    assert!(!app.get("/metrics").await.text.contains("openclaw_provisioner_directories_bytes{"));
}
