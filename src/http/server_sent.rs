//! Server-sent events: each event reaches a client once, and a client that reconnects continues where it stopped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::Stream;
use openclaw::sha256_hex12;
use serde_json::Value;

/// How often a comment is sent: it shows a proxy that the stream is alive, and this service that the client is.
const COMMENT_EVERY: Duration = Duration::from_secs(10);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A stream of events as a response.
pub(super) fn as_events(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let comments = KeepAlive::new().interval(COMMENT_EVERY).text("still here");
    let mut response = Sse::new(events).keep_alive(comments).into_response();
    let headers = response.headers_mut();
    // Compressing proxies and nginx would hold events back until a buffer is full.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The last event that a client has, and the events still to be sent to it.
pub(super) struct Telling {
    kind: &'static str,
    last_id: Option<String>,
    queued: VecDeque<Event>,
    is_over: bool,
}

impl Telling {
    /// For the client that sent these headers, with events of this name.
    pub(super) fn new(kind: &'static str, headers: &HeaderMap) -> Self {
        let last_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        Self { kind, last_id, queued: VecDeque::new(), is_over: false }
    }

    /// Whether the client has received an event before.
    pub(super) const fn has_begun(&self) -> bool {
        self.last_id.is_some()
    }

    /// Queues the events that a reading makes necessary. `says` identifies the event, the same on every replica: `data` is sent when
    /// `says` has changed; `end` is sent after it with `done`.
    pub(super) fn take_in(&mut self, says: &str, data: Option<String>, end: Option<&Value>) {
        let id = sha256_hex12(says.as_bytes());
        let done_id = format!("{id}-done");
        self.is_over = end.is_some();
        if self.is_over && self.last_id.as_ref() == Some(&done_id) {
            return;
        }
        if let Some(data) = data.filter(|_| self.last_id.as_ref() != Some(&id)) {
            self.queued.push_back(Event::default().event(self.kind).id(&id).data(data));
        }
        if let Some(end) = end {
            self.queued.push_back(Event::default().event("done").id(done_id).data(end.to_string()));
        }
        self.last_id = Some(id);
    }

    /// The next queued event.
    pub(super) fn next(&mut self) -> Option<Event> {
        self.queued.pop_front()
    }

    /// Whether nothing more will be queued.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the client has received every event, and no more will come.
    pub(super) fn knows_all(&self) -> bool {
        self.is_over && self.queued.is_empty()
    }
}
