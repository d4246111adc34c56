//! One connection, from its first byte to its last, and its deadlines.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Limits;
use super::phase::{Phase, Phases, Service, Socket};
use crate::http::code::Code;
use crate::http::error::{PROBLEM_JSON, Problem};
use crate::http::request_id;

/// How long a body may still take after the process was asked to stop.
const BODY_AT_STOP: Duration = Duration::from_secs(2);
/// How long until a client that disappears without closing its connection counts as gone.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// How long a client may take in each phase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    head: Duration,
    body: Duration,
    idle: Duration,
    write: Duration,
}

impl Patience {
    pub(super) const fn of(limits: Limits) -> Self {
        let Limits { connections: _, head, body, idle, write } = limits;
        Self { head, body, idle, write }
    }

    /// For a connection above the limit: a health check sends its request at once.
    pub(super) const fn of_spare() -> Self {
        let second = Duration::from_secs(1);
        Self { head: second, body: second, idle: Duration::ZERO, write: second }
    }

    /// When to close the connection if its phase does not change. `stopped` is when the process was asked to stop.
    fn deadline(&self, phases: &Phases, stopped: Option<Instant>) -> Option<Instant> {
        let stalled = phases.stalled();
        let of_phase = match (phases.now(), stopped) {
            // Not really idle: the end of an answer is still being sent.
            (Phase::Idle { .. }, _) if stalled.is_some() => None,
            // No request is under way.
            (Phase::Head { .. } | Phase::Idle { .. }, Some(stopped)) => Some(stopped),
            (Phase::Head { since, .. }, None) => Some(since + self.head),
            (Phase::Idle { since }, None) => Some(since + self.idle),
            // The handler gives up at the same time, and answers.
            (Phase::Body { since }, None) => Some(since + self.body + BODY_AT_STOP),
            (Phase::Body { since }, Some(stopped)) => Some((since + self.body).min(stopped + BODY_AT_STOP)),
            (Phase::Answer, _) => None,
        };
        let of_write = stalled.map(|since| since + self.write);
        [of_phase, of_write].into_iter().flatten().min()
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, router: Router, patience: Patience, mut stopping: watch::Receiver<bool>) {
    prepare(&stream);
    let phases = Phases::begin();
    let socket = TokioIo::new(Socket { stream, phases: phases.clone() });
    let service = Service { router, phases: phases.clone(), body_within: patience.body };
    let mut connection = http1::Builder::new().serve_connection(socket, service);
    let mut timer = pin!(sleep_until(Instant::now() + patience.head));
    let (mut stop, mut stopped) = (pin!(stopping.wait_for(|stopping| *stopping)), None);
    let ended = poll_fn(|cx| {
        // A closed channel means that the process ends.
        if stopped.is_none() && stop.as_mut().poll(cx).is_ready() {
            stopped = Some(Instant::now());
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Some(ended));
        }
        let Some(deadline) = patience.deadline(&phases, stopped) else { return Poll::Pending };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| None)
    });
    match ended.await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        None => {
            tracing::debug!(phase = ?phases.now(), "a connection was closed: its client did not go on in time");
            if matches!(phases.now(), Phase::Head { has_begun: true, .. }) && stopped.is_none() {
                let socket = connection.into_parts().io.into_inner();
                // Best effort: what does not fit into the socket's buffer is lost.
                let _told_or_not = socket.stream.try_write(&head_timed_out(patience.head));
            }
        }
    }
}

/// Sets the socket's options, so that a client that is gone is noticed, also while an answer is sent to it.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(GONE_AFTER / 2).with_interval(GONE_AFTER / 6).with_retries(3);
    let prepared = stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
    #[cfg(target_os = "linux")]
    let prepared = prepared.and_then(|()| socket.set_tcp_user_timeout(Some(GONE_AFTER)));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection could not be prepared");
    }
}

/// The answer to a request whose head did not arrive whole.
fn head_timed_out(within: Duration) -> Vec<u8> {
    let id = request_id::random_id();
    let detail = format!("the request's head did not arrive within {} s", within.as_secs_f32());
    let (code, body) =
        (Code::RequestTimeout, Problem::new(Code::RequestTimeout, detail).with_request_id(&id).to_json());
    let seconds = code.retry_after_seconds().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\nretry-after: {seconds}\r\nx-request-id: \
         {id}\r\nconnection: close\r\n\r\n",
        code.status(),
        body.len(),
    );
    [head.into_bytes(), body].concat()
}
