//! Endpoints that wait for a container or follow it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::App;
use super::code::Code;
use super::error::Problem;
use super::openapi::{self, schemas};
use super::query::{NoParameters, Query};
use super::requests::{OnTimeout, Seconds, WaitQuery};
use super::server_sent::{Telling, as_events};
use super::user::User;
use crate::domain::{Phase, Reason, State as ContainerState, Status, UserId};
use crate::fleet::{Sight, Watch, WatchRefused};
use crate::reconcile::{ConvergeError, Refusal};

/// Longest that an answer is held back. Common proxies give up on a silent connection after a minute, and then nobody
/// hears the answer.
const HELD_AT_MOST: Duration = Duration::from_secs(55);
/// Wait if the caller sets none, in seconds.
const DEFAULT_SECONDS: u64 = 30;
/// How long the first look at AWS may take, even if the caller's wait is shorter: without it there is no answer.
const FIRST_LOOK_WITHIN: Duration = Duration::from_secs(10);

/// A container's status, for callers that wait or follow.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContainerStatus)]
pub(super) struct StatusBody<'a> {
    #[schema(schema_with = schemas::user_id)]
    user_id: &'a str,
    state: ContainerState,
    #[schema(required)]
    phase: Option<Phase>,
    /// Progress towards the state that it changes to; null if it does not change.
    #[schema(required, maximum = 100)]
    percent: Option<u8>,
    /// The same in words.
    message: &'static str,
    /// Whether a task of the wanted revision runs and is healthy.
    ready: bool,
    #[schema(required)]
    reason: Option<&'a Reason>,
    /// Whether it is in the state that the caller waits for. Only in answers to `on_timeout=200`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<bool>,
}

impl<'a> StatusBody<'a> {
    fn new(user: &'a UserId, status: &'a Status) -> Self {
        let Status { state, phase, ready, reason } = status;
        let (percent, message) = match (phase, reason) {
            (Some(Phase::Service), Some(_)) => {
                (Some(20), "the service is there, and cannot get a task up; see the reason")
            }
            _ => progress(*state, *phase),
        };
        Self {
            user_id: user.as_str(),
            state: *state,
            phase: *phase,
            percent,
            message,
            ready: *ready,
            reason: reason.as_ref(),
            reached: None,
        }
    }

    fn reached(self, reached: bool) -> Self {
        Self { reached: Some(reached), ..self }
    }
}

/// The progress, in percent and in words, for a progress bar.
const fn progress(state: ContainerState, phase: Option<Phase>) -> (Option<u8>, &'static str) {
    match state {
        ContainerState::Provisioning => match phase {
            None => (Some(0), "on its way up"),
            Some(Phase::Queued) => (Some(0), "accepted, and waiting for its turn"),
            Some(Phase::AccessPoint) => (Some(5), "the access point is there"),
            Some(Phase::TaskDefinition) => (Some(10), "the revision is registered"),
            Some(Phase::FilesStaged) => (Some(15), "the sign-in is in the user's directory"),
            Some(Phase::Service) => (Some(20), "the service is there, and waits for its task"),
            Some(Phase::TaskPending) => (Some(40), "the task waits for its network interface, its volume or its image"),
            Some(Phase::TaskRunning) => (Some(80), "the task runs, and has yet to pass its health check"),
            Some(Phase::Healthy) => (Some(95), "the task is healthy"),
        },
        ContainerState::Running => (Some(100), "the container runs"),
        ContainerState::Stopping => (Some(50), "the task is stopping"),
        ContainerState::Stopped => (Some(100), "the container is stopped"),
        ContainerState::Failed => (None, "the container does not start; see the reason"),
        ContainerState::Deleting => (Some(50), "the service is being deleted"),
    }
}

/// The state at the end of a stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Running,
    Stopped,
    Failed,
    Deleted,
}

impl End {
    const fn of(state: ContainerState) -> Option<Self> {
        match state {
            ContainerState::Running => Some(Self::Running),
            ContainerState::Stopped => Some(Self::Stopped),
            ContainerState::Failed => Some(Self::Failed),
            ContainerState::Provisioning | ContainerState::Stopping | ContainerState::Deleting => None,
        }
    }
}

/// Wait for a user's container
///
/// Answers 200 once it is in the state, otherwise 408 with the current status. A failed container never runs by itself, so a wait
/// for `running` returns at once, with 200 and `"state": "failed"`. Every answer comes within 55 s, however long the caller wants
/// to wait, because common proxies give up after 60. With `on_timeout=200` a timeout is 200, too, and every answer has `reached`:
/// some HTTP clients retry a 408 by themselves.
#[utoipa::path(get, path = "/containers/{user_id}/wait", operation_id = "wait_for_container", tag = "watching",
    params(openapi::OfUser, WaitQuery),
    responses(
        (status = 200, description = "It is in the state, or failed; with `on_timeout=200` also a timeout", body = StatusBody),
        (status = 408, description = "A timeout, with the current status", body = StatusBody),
        openapi::Waits))]
pub(super) async fn wait(
    State(app): State<App>,
    User(user): User,
    Query(query): Query<WaitQuery>,
) -> Result<Response, Problem> {
    let wanted = query.state.unwrap_or(ContainerState::Running);
    let seconds = query.timeout_seconds.map_or(DEFAULT_SECONDS, |Seconds(seconds)| seconds);
    let on_timeout = query.on_timeout.unwrap_or(OnTimeout::RequestTimeout);
    let started = Instant::now();
    let deadline = started + Duration::from_secs(seconds).min(HELD_AT_MOST);
    let mut watch = app.fleet.watchers.watch(user)?;
    let mut status = first_look(&mut watch, deadline).await?.ok_or_else(no_container)?;
    loop {
        let is_over = status.state == ContainerState::Failed && wanted == ContainerState::Running;
        if status.state == wanted || is_over {
            let body = StatusBody::new(watch.user(), &status);
            let body = match on_timeout {
                OnTimeout::RequestTimeout => body,
                OnTimeout::Ok => body.reached(status.state == wanted),
            };
            return Ok(axum::Json(body).into_response());
        }
        match timeout_at(deadline, watch.next()).await {
            Ok(Some(Sight::Seen(now))) => status = now.as_ref().clone(),
            Ok(Some(Sight::Unreadable(_))) => {}
            Ok(Some(Sight::Gone)) => return Err(no_container()),
            Ok(None) => return Err(shutting_down()),
            Err(_) => {
                let body = StatusBody::new(watch.user(), &status);
                return Ok(match on_timeout {
                    OnTimeout::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, axum::Json(body)).into_response(),
                    OnTimeout::Ok => axum::Json(body.reached(false)).into_response(),
                });
            }
        }
    }
}

/// Follow a user's container
///
/// Server-sent events: `status` with a `ContainerStatus` whenever it changes, a comment every 10 s, and at the end `done`
/// with `user_id` and `state`: `running`, `stopped`, `failed` or `deleted`. The id of a `status` event is a digest of its
/// content, the same from every replica, so a client that reconnects with it gets only the changes after it.
/// The id of `done` ends in `-done`: a client that reconnects with it gets 204, which tells EventSource to stop.
#[utoipa::path(get, path = "/containers/{user_id}/events", operation_id = "follow_container", tag = "watching",
    params(openapi::OfUser,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client has")),
    responses(
        (status = 200, description = "Events, until it runs, is stopped, failed or deleted", body = schemas::Event, content_type = "text/event-stream"),
        (status = 204, description = "Nothing new after `done`"),
        openapi::Waits))]
pub(super) async fn events(
    State(app): State<App>,
    User(user): User,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let telling = Telling::new("status", &headers);
    let mut watch = app.fleet.watchers.watch(user)?;
    let first = match first_look(&mut watch, Instant::now()).await? {
        Some(status) => Sight::Seen(status.into()),
        // A client that reconnects saw the container before: it is gone now.
        None if telling.has_begun() => Sight::Gone,
        None => return Err(no_container()),
    };
    let mut events = Events { watch, telling };
    events.take_in(&first);
    if events.telling.knows_all() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(as_events(events.into_stream()))
}

/// The events still to be sent to one client.
struct Events {
    watch: Watch,
    telling: Telling,
}

impl Events {
    fn take_in(&mut self, sight: &Sight) {
        let (body, end) = match sight {
            Sight::Seen(status) => {
                let body = StatusBody::new(self.watch.user(), status);
                (Some(serde_json::to_string(&body).unwrap_or_default()), End::of(status.state))
            }
            Sight::Gone => (None, Some(End::Deleted)),
            // The next cycle may succeed.
            Sight::Unreadable(_) => return,
        };
        let end = end.map(|end| serde_json::json!({"user_id": self.watch.user(), "state": end}));
        self.telling.take_in(&body.clone().unwrap_or_default(), body, end.as_ref());
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
                // Without `done` when the process is going down: the client comes back, to another replica.
                let sight = events.watch.next().await?;
                events.take_in(&sight);
            }
        })
    }
}

/// The first status; `None` when there is no container. Waits for it even if the caller's deadline is shorter.
async fn first_look(watch: &mut Watch, deadline: Instant) -> Result<Option<Status>, Problem> {
    let deadline = deadline.max(Instant::now() + FIRST_LOOK_WITHIN);
    match timeout_at(deadline, watch.next()).await {
        Ok(Some(Sight::Seen(status))) => Ok(Some(status.as_ref().clone())),
        Ok(Some(Sight::Gone)) => Ok(None),
        Ok(Some(Sight::Unreadable(error))) => Err(error.as_ref().into()),
        Ok(None) => Err(shutting_down()),
        Err(_) => Err(Problem::new(Code::DeadlineExceeded, "AWS did not return the container's state in time")),
    }
}

fn no_container() -> Problem {
    ConvergeError::from(Refusal::NotFound).into()
}

fn shutting_down() -> Problem {
    WatchRefused::ShuttingDown.into()
}
