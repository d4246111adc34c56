//! Events of a rollout.

use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{act, app, release, running, start, until};
use crate::harness::{READ_TOKEN, TestApp};

/// A stream of events, with its reader.
struct Stream {
    body: axum::body::BodyDataStream,
    text: String,
}

async fn follow(app: &TestApp, id: &str, last_id: Option<&str>) -> (u16, axum::http::HeaderMap, Stream) {
    let mut request = Request::builder().uri(format!("/rollouts/{id}/events"));
    request = request.header("authorization", format!("Bearer {READ_TOKEN}"));
    if let Some(last_id) = last_id {
        request = request.header("last-event-id", last_id);
    }
    let (parts, body) = app.send(request.body(Body::empty()).unwrap()).await.into_parts();
    (parts.status.as_u16(), parts.headers, Stream { body: body.into_data_stream(), text: String::new() })
}

impl Stream {
    /// The next event: type, id and data. `None` at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.clone().split_once("\n\n") {
                self.text = rest.to_owned();
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
                    line.map(str::to_owned)
                };
                let Some(kind) = field("event") else { continue };
                return Some((kind, field("id").unwrap(), serde_json::from_str(&field("data").unwrap()).unwrap()));
            }
            let chunk = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_is_followed_to_its_end_and_a_client_gets_no_event_twice() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let to = release(&app, "2026.4.25");
    let strategy = json!({"soak_seconds": 5});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    let (status, headers, mut stream) = follow(&app, &id, None).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    assert_eq!(headers["cache-control"], "no-cache, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    let (mut seen, mut ids) = (Vec::new(), Vec::new());
    while let Some((kind, id, data)) = stream.next().await {
        ids.push(id);
        match kind.as_str() {
            "rollout" => seen.push(data["progress"]["users"].clone()),
            "done" => assert_eq!(data["state"], "done"),
            other => panic!("{other}"),
        }
    }
    assert_eq!((&seen[0]["done"], &seen.last().unwrap()["done"]), (&json!(0), &json!(2)), "{seen:?}");
    assert!(seen.iter().any(|users| users["soaking"] == 1) && seen.len() >= 4, "{seen:?}");
    let done = ids.last().unwrap();
    assert!(done.ends_with("-done") && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    let (status, _, _) = follow(&app, &id, Some(done)).await;
    assert_eq!(status, 204);
    let (status, _, _) = follow(&app, "none", None).await;
    assert_eq!(status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_sent_within_seconds_and_the_stream_stays_open() {
    let app = app().await;
    running(&app, &["alice", "bob"]).await;
    let to = release(&app, "2026.4.25");
    let strategy = json!({"soak_seconds": 600});
    let id = start(&app, json!({"change": {"base_revision": to}, "strategy": strategy})).await;
    app.pass_seconds(60).await;
    let (_, _, mut stream) = follow(&app, &id, None).await;
    let (_, last, first) = stream.next().await.unwrap();
    assert_eq!(first["state"], "running");
    act(&app, &id, "pause").await;
    let (_, _, paused) = stream.next().await.unwrap();
    assert_eq!((&paused["state"], &paused["progress"]["waits_for"]), (&json!("paused"), &json!("resume")));
    // A client that reconnects with its last id gets the new event.
    let (_, _, mut again) = follow(&app, &id, Some(&last)).await;
    assert_eq!(again.next().await.unwrap().2["state"], "paused");
    act(&app, &id, "abort").await;
    until(&app, &id, "aborted").await;
    assert_eq!(stream.next().await.unwrap().2["state"], "aborted");
    assert_eq!(stream.next().await.unwrap().0, "done");
}
