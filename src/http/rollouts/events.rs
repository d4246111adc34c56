//! Following a rollout.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use tokio::time::sleep;

use super::answer::RolloutBody;
use super::{IdPath, id_in};
use crate::domain::user_id::sha256_hex12;
use crate::fleet::WatchRefused;
use crate::http::App;
use crate::http::error::Problem;
use crate::http::openapi::{self, schemas};
use crate::http::query::Parameters;
use crate::http::watching::{LAST_EVENT_ID, as_events};
use crate::rollout::{Follower, RolloutError, Rollouts};

/// How often it is looked whether something is new.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Follow a rollout
///
/// Server-sent events: `rollout` with a `Rollout` whenever it has got further, a comment every 10 s, and at the end `done` with `id` and
/// `state`. The id of a `rollout` event is a digest of what it says, but for the pace, the same from every replica; that of `done` ends in
/// `-done`, and a client that comes back with it is told by 204 to stay away. A paused rollout goes on being followed.
#[utoipa::path(get, path = "/rollouts/{rollout_id}/events", operation_id = "follow_rollout", tag = "fleet",
    params(openapi::OfRollout,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client has")),
    responses(
        (status = 200, description = "Events, until it is over", body = schemas::RolloutEvent, content_type = "text/event-stream"),
        (status = 204, description = "Nothing new after `done`"),
        openapi::FollowsRollout))]
pub(in crate::http) async fn events(
    State(app): State<App>,
    path: IdPath,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = id_in(path);
    Parameters::parse(&uri, &[])?;
    let last_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let follower = match app.rollouts.follow() {
        Ok(follower) => follower,
        Err(max) => return Err(WatchRefused::TooMany { max }.into()),
    };
    let rollouts = app.rollouts.clone();
    let mut events = Events { rollouts, id, last_id, queued: VecDeque::new(), is_over: false, _follower: follower };
    events.look().await?;
    if events.is_over && events.queued.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(as_events(events.into_stream()))
}

/// What is still to be told to one client.
struct Events {
    rollouts: Rollouts,
    id: String,
    last_id: Option<String>,
    queued: VecDeque<Event>,
    is_over: bool,
    _follower: Follower,
}

impl Events {
    /// Queues what a look adds to what the client knows.
    async fn look(&mut self) -> Result<(), RolloutError> {
        let glance = self.rollouts.glance(&self.id).await?;
        let (rollout, journal) = glance.as_ref();
        let body = RolloutBody::with_progress(rollout, journal, self.rollouts.now());
        let told = serde_json::to_string(&body.without_pace()).unwrap_or_default();
        let id = sha256_hex12(told.as_bytes());
        let done_id = format!("{id}-done");
        self.is_over = rollout.state.is_over();
        if self.is_over && self.last_id.as_ref() == Some(&done_id) {
            return Ok(());
        }
        if self.last_id.as_ref() != Some(&id) {
            let body = RolloutBody::with_progress(rollout, journal, self.rollouts.now());
            let data = serde_json::to_string(&body).unwrap_or_default();
            self.queued.push_back(Event::default().event("rollout").id(&id).data(data));
        }
        if self.is_over {
            let body = serde_json::json!({"id": self.id, "state": rollout.state.name()}).to_string();
            self.queued.push_back(Event::default().event("done").id(done_id).data(body));
        }
        self.last_id = Some(id);
        Ok(())
    }

    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut events| async move {
            loop {
                if let Some(event) = events.queued.pop_front() {
                    return Some((Ok(event), events));
                }
                if events.is_over {
                    return None;
                }
                let stopped = events.rollouts.stopped();
                tokio::select! {
                    // Without `done`: the client comes back, to another replica.
                    () = stopped => return None,
                    () = sleep(LOOKS_EVERY) => {}
                }
                match events.look().await {
                    Ok(()) => {}
                    // It was forgotten.
                    Err(RolloutError::NotFound { .. }) => return None,
                    // The next look may tell.
                    Err(error) => {
                        tracing::info!(%error, rollout_id = events.id, "a rollout that is followed could not be read")
                    }
                }
            }
        })
    }
}
