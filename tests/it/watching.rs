//! Waiting for a container and following it, by one caller or by thousands.

mod costs;
mod events;
mod gateways;
mod sockets;
mod waiting;

use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt;
use serde_json::Value;

use crate::harness::{TOKEN, TestApp};

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Event {
    /// The event in one line, with the values of a progress bar.
    fn line(&self) -> String {
        let text = |member: &str| match &self.data[member] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.name.as_str() {
            "status" => format!("{} {} {} ready {}", text("state"), text("phase"), text("percent"), text("ready")),
            name => format!("{name} {}", text("state")),
        }
    }
}

/// A stream of events whose comments are counted.
struct Stream {
    body: axum::body::BodyDataStream,
    rest: String,
    comments: usize,
}

impl Stream {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.rest.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.rest = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
                if block.starts_with(':') {
                    self.comments += 1;
                    continue;
                }
                let data = serde_json::from_str(field("data:")).unwrap();
                return Some(Event { name: field("event:").into(), id: field("id:").into(), data });
            }
            let bytes = self.body.next().await?.unwrap();
            self.rest += std::str::from_utf8(&bytes).unwrap();
        }
    }

    /// All events to the end.
    async fn all(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

fn lines(events: &[Event]) -> String {
    events.iter().map(Event::line).collect::<Vec<_>>().join("\n")
}

/// Follows a user, as a client that last saw the event `last_id`. `Err` is the status where there is no stream.
async fn follow(app: &TestApp, user: &str, last_id: Option<&str>) -> Result<Stream, u16> {
    let mut request =
        Request::get(format!("/containers/{user}/events")).header("authorization", format!("Bearer {TOKEN}"));
    if let Some(id) = last_id {
        request = request.header("last-event-id", id);
    }
    let response = app.send(request.body(Body::empty()).unwrap()).await;
    if response.status() != 200 {
        return Err(response.status().as_u16());
    }
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    // Compressing proxies and nginx must not hold events back.
    assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    Ok(Stream { body: response.into_body().into_data_stream(), rest: String::new(), comments: 0 })
}

/// Waits for a user with these parameters; status and state, or the code of the problem.
async fn wait(app: &TestApp, user: &str, query: &str) -> (u16, String) {
    let answer = app.get(&format!("/containers/{user}/wait?{query}")).await;
    let said = answer.body["state"].as_str().or(answer.body["code"].as_str()).unwrap_or_default();
    (answer.status, said.to_owned())
}
