//! Connections: no more than there are descriptors for, each with deadlines for what its client has to send and receive, and
//! closed in time when the process shuts down.
//!
//! Connections above the limit do not stay in the kernel's backlog, where the health check would wait behind them. They are
//! accepted as a few *spare* connections, which answer `/healthz`, and everything else with `too_many_connections`. Each
//! lives for a moment, and a new one replaces the oldest. So the process always answers a health check, from any client.

mod connection;
mod phase;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::code::Code;
use super::error::Problem;
use super::request_id;
use connection::Patience;

pub(super) use phase::BodyBy;

/// The path that answers as long as this process does, on every connection (see `health`).
pub const HEALTH_PATH: &str = "/healthz";
/// Most connections above the limit at the same time.
const SPARE: usize = 64;
/// How long each stays at least: its request may still arrive. With [`SPARE`] this makes 3,200 a second, so that a client
/// behind a full backlog (1,024) still gets an answer within a second.
const SPARE_FOR: Duration = Duration::from_millis(20);
/// Pause between two tries to accept when the system has no descriptor or memory for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// The number of connections, and the time limits of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// From the first byte of a request's head, or from the beginning of the connection, to the end of the head.
    pub head: Duration,
    /// From the end of a request's head to the end of its body.
    pub body: Duration,
    /// Between two requests. Longer than the 60 s of common load balancers, so that they close first: they know whether a
    /// request is under way.
    pub idle: Duration,
    /// Longest time in which the client receives nothing of an answer.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connections: 1_024, head: seconds(10), body: seconds(30), idle: seconds(75), write: seconds(30) }
    }
}

impl Limits {
    /// Limits with as many connections as `descriptors` allow. It reserves descriptors for files and locks, for AWS, and for
    /// `SPARE` connections.
    #[must_use]
    pub fn within(descriptors: u64) -> Self {
        let reserve = (descriptors / 4).clamp(160, 1_024);
        // At least a few when there are hardly any descriptors; at most what a semaphore can hold.
        let connections = descriptors.saturating_sub(reserve).clamp(16, 1_000_000);
        Self { connections: usize::try_from(connections).unwrap_or(16), ..Self::default() }
    }
}

/// Serves `router` until `stopping` turns true, and then until every connection has ended: connections without a whole
/// request end at once, the others when they are answered.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, mut stopping: watch::Receiver<bool>) {
    let (slots, tasks) = (Arc::new(Semaphore::new(limits.connections)), TaskTracker::new());
    // Built once: a bare router is built again for each connection, at 240 KB.
    let router = router.with_state(());
    let restricted = router.clone().layer(from_fn(health_alone)).with_state(());
    let (patience, mut spare) = (Patience::of(limits), Spare::default());
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => {
                spare.tell_that_there_is_room();
                let served = connection::serve(stream, router.clone(), patience, stopping.clone());
                tasks.spawn(async move {
                    served.await;
                    drop(slot);
                });
            }
            Err(_) => {
                let served = connection::serve(stream, restricted.clone(), Patience::of_spare(), stopping.clone());
                spare.make_room().await;
                spare.take(tasks.spawn(served).abort_handle());
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Waits for the next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut is_told = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client closed it before it was accepted.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(%error, "no connection can be accepted; trying again");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// The spare connections, oldest first.
#[derive(Default)]
struct Spare {
    connections: VecDeque<(Instant, AbortHandle)>,
    is_told: bool,
}

impl Spare {
    /// Ends the oldest if there is no room for another one.
    async fn make_room(&mut self) {
        self.connections.retain(|(_, connection)| !connection.is_finished());
        if self.connections.len() < SPARE {
            return;
        }
        if let Some((since, oldest)) = self.connections.pop_front() {
            sleep_until(since + SPARE_FOR).await;
            oldest.abort();
        }
    }

    fn take(&mut self, connection: AbortHandle) {
        if !self.is_told {
            tracing::warn!("more connections than descriptors allow; those beyond get 503 until others end");
            self.is_told = true;
        }
        self.connections.push_back((Instant::now(), connection));
    }

    fn tell_that_there_is_room(&mut self) {
        if std::mem::take(&mut self.is_told) {
            tracing::info!("there is room for connections again");
        }
    }
}

/// Answers `/healthz`, and everything else with `too_many_connections`.
async fn health_alone(request: Request, next: Next) -> Response {
    let mut response = if request.uri().path() == HEALTH_PATH {
        next.run(request).await
    } else {
        let problem = Problem::new(Code::TooManyConnections, "this replica has as many connections as it can hold");
        request_id::refused(problem)
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_kept_back_for_files_and_for_aws() {
        for (descriptors, connections) in [(64, 16), (200, 40), (256, 96), (1_024, 768), (65_536, 64_512)] {
            assert_eq!(Limits::within(descriptors).connections, connections, "{descriptors}");
        }
        assert_eq!(Limits::within(u64::MAX).connections, 1_000_000);
    }
}
