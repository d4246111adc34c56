//! Events of a rollout, for callers that follow it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use tokio::time::sleep;

use super::answer::RolloutBody;
use super::{IdPath, id_in};
use crate::fleet::WatchRefused;
use crate::http::App;
use crate::http::error::Problem;
use crate::http::openapi::{self, schemas};
use crate::http::query::{NoParameters, Query};
use crate::http::server_sent::{Telling, as_events};
use crate::rollout::{Follower, RolloutError, Rollouts};

/// How often it looks for changes.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Follow a rollout
///
/// Server-sent events: `rollout` with a `Rollout` whenever there is progress, a comment every 10 s, and at the end `done` with `id` and
/// `state`. The id of a `rollout` event is a digest of its content without the pace, the same from every replica; that of `done` ends in
/// `-done`, and a client that reconnects with it gets 204, which tells it to stop. The stream of a paused rollout stays open.
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
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = id_in(path);
    let follower = match app.rollouts.follow() {
        Ok(follower) => follower,
        Err(max) => return Err(WatchRefused::TooMany { max }.into()),
    };
    let rollouts = app.rollouts.clone();
    let telling = Telling::new("rollout", &headers);
    let mut events = Events { rollouts, id, telling, _follower: follower };
    events.look().await?;
    if events.telling.knows_all() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(as_events(events.into_stream()))
}

/// The events still to be sent to one client.
struct Events {
    rollouts: Rollouts,
    id: String,
    telling: Telling,
    _follower: Follower,
}

impl Events {
    async fn look(&mut self) -> Result<(), RolloutError> {
        let glance = self.rollouts.glance(&self.id).await?;
        let (rollout, journal) = glance.as_ref();
        let body = || RolloutBody::with_progress(rollout, journal, self.rollouts.now());
        let says = serde_json::to_string(&body().without_pace()).unwrap_or_default();
        let data = serde_json::to_string(&body()).unwrap_or_default();
        let state = &rollout.state;
        let end = state.is_over().then(|| serde_json::json!({"id": self.id, "state": state.name()}));
        self.telling.take_in(&says, Some(data), end.as_ref());
        Ok(())
    }

    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut events| async move {
            loop {
                if let Some(event) = events.telling.next() {
                    return Some((Ok(event), events));
                }
                if events.telling.is_over() {
                    return None;
                }
                let stopped = events.rollouts.stopped();
                tokio::select! {
                    // Without `done`, so that the client reconnects, to another replica.
                    () = stopped => return None,
                    () = sleep(LOOKS_EVERY) => {}
                }
                match events.look().await {
                    Ok(()) => {}
                    // The rollout was removed.
                    Err(RolloutError::NotFound { .. }) => return None,
                    // The next look may succeed.
                    Err(error) => {
                        tracing::info!(%error, rollout_id = events.id, "a rollout that is followed could not be read")
                    }
                }
            }
        })
    }
}
