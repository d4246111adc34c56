//! `GET /containers/{user_id}/events`.

use std::time::Duration;

use aws_emulator::Behaviour;
use openclaw_provisioner::fleet::Options;
use serde_json::json;

use super::{follow, lines};
use crate::harness::{TestApp, USER_FAMILY, fresh_reads};

#[tokio::test(start_paused = true)]
async fn a_new_container_is_watched_until_it_runs() {
    // Often enough to see every phase of the simulated task.
    let options = Options { watch_every: Duration::from_millis(100), ..Options::default() };
    let app = TestApp::with_fleet(fresh_reads(), options).await;
    app.provision("alice").await;
    let events = follow(&app, "alice", None).await.unwrap().all().await;
    insta::assert_snapshot!(lines(&events), @r#"
    provisioning task_pending 40 ready false
    provisioning task_running 80 ready false
    running healthy 100 ready true
    done running
    "#);
    let ids: std::collections::BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), events.len(), "every event has an id of its own");
    assert_eq!(app.fleet.watchers.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_container_is_stopped_failed_or_deleted() {
    let app = TestApp::with(fresh_reads()).await;
    let mut told = Vec::new();
    app.provision("alice").await;
    app.pass_seconds(5).await;
    app.post("/containers/alice/stop", json!({})).await;
    told.push(lines(&follow(&app, "alice", None).await.unwrap().all().await));
    app.emulator.set_behaviour(USER_FAMILY, Some(Behaviour::PullError));
    app.provision("bob").await;
    let failed = follow(&app, "bob", None).await.unwrap().all().await;
    // The number of readings on the way is chance.
    told.push(lines(&failed[failed.len() - 2..]));
    let reason = failed.iter().rev().find(|event| event.name == "status").unwrap().data["reason"].clone();
    assert_eq!((&reason["code"], reason["message"].is_string()), (&json!("image_pull"), true), "{reason}");
    app.delete("/containers/alice").await;
    // The first delete answers before the service has drained.
    app.delete("/containers/alice").await;
    match follow(&app, "alice", Some("an-id-of-before")).await {
        Ok(stream) => told.push(lines(&stream.all().await)),
        Err(status) => told.push(status.to_string()),
    }
    insta::assert_snapshot!(told.join("\n\n"), @r#"
    stopping - 50 ready false
    stopped - 100 ready false
    done stopped

    failed - - ready false
    done failed

    done deleted
    "#);
}

#[tokio::test(start_paused = true)]
async fn without_a_container_events_are_404_and_after_a_delete_they_say_deleted() {
    let app = TestApp::start().await;
    assert_eq!(follow(&app, "alice", None).await.err(), Some(404));
    let events = follow(&app, "alice", Some("0123456789ab")).await.unwrap().all().await;
    assert_eq!(lines(&events), "done deleted");
    assert_eq!(follow(&app, "alice", Some(&events[0].id)).await.err(), Some(204));
}

/// The ids depend on the content, not on a count: they are the same on every replica that reads the same.
#[tokio::test(start_paused = true)]
async fn a_client_that_changes_the_replica_gets_new_events_and_none_twice() {
    let app = TestApp::with(fresh_reads()).await;
    let other = app.replica().await;
    app.provision("alice").await;
    let whole = follow(&app, "alice", None).await.unwrap();
    let mut cut = follow(&app, "alice", None).await.unwrap();
    let first = cut.next().await.unwrap();
    drop(cut);
    let again = follow(&other, "alice", Some(&first.id)).await.unwrap().all().await;
    let whole = whole.all().await;
    assert_eq!(whole[0], first);
    assert!(again.iter().all(|event| event.id != first.id), "{}", lines(&again));
    assert_eq!(again.last(), whole.last());
    // After the last status only `done` is left; a client that has `done` has everything.
    let [.., last, done] = whole.as_slice() else { panic!("{}", lines(&whole)) };
    let rest = follow(&other, "alice", Some(&last.id)).await.unwrap().all().await;
    assert_eq!(rest, std::slice::from_ref(done));
    assert_eq!(follow(&other, "alice", Some(&done.id)).await.err(), Some(204));
    // Until it changes.
    app.post("/containers/alice/stop", json!({})).await;
    let changed = follow(&other, "alice", Some(&done.id)).await.unwrap().all().await;
    assert_eq!(changed.last().unwrap().line(), "done stopped");
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_status_is_not_repeated_and_a_comment_keeps_the_stream_alive() {
    let app = TestApp::start().await;
    app.emulator.set_behaviour(USER_FAMILY, Some(Behaviour::Slow));
    app.provision("alice").await;
    let mut stream = follow(&app, "alice", None).await.unwrap();
    let mut seen = vec![stream.next().await.unwrap()];
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(61), stream.next()).await {
        seen.push(event);
    }
    assert_eq!(seen.last().unwrap().line(), "provisioning task_pending 40 ready false");
    assert!(seen.len() <= 2, "{}", lines(&seen));
    assert_eq!(stream.comments, 6);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_stream_without_done_so_that_the_client_reconnects() {
    let app = TestApp::start().await;
    app.emulator.set_behaviour(USER_FAMILY, Some(Behaviour::Slow));
    app.provision("alice").await;
    let mut stream = follow(&app, "alice", None).await.unwrap();
    stream.next().await.unwrap();
    app.fleet.shut_down();
    let rest = stream.all().await;
    assert!(rest.iter().all(|event| event.name == "status"), "{}", lines(&rest));
    assert_eq!(follow(&app, "alice", None).await.err(), Some(503));
}
