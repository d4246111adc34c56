//! Connections: no more than there are descriptors for, each with a deadline on what its client has to send and take, and
//! ended in time when the process goes down.
//!
//! What is over the bound is not left in the kernel's backlog, where the health check would wait behind it. It is
//! accepted into a few *spare* connections that answer `/healthz`, and everything else with `too_many_connections`; each
//! lives for a moment, and a new one takes the place of the oldest. So the process can always be asked whether it
//! lives, by whoever does ask.

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
/// Connections beyond the bound at a time.
const SPARE: usize = 64;
/// How long each is left alone: its request may be on its way. With [`SPARE`] this makes 3,200 a second, so that who comes
/// behind a full backlog (1,024) is still answered within a second.
const SPARE_FOR: Duration = Duration::from_millis(20);
/// Between two tries to accept when the system has no descriptor or memory for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// How many connections there may be, and how long each may take over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// From the first byte of a request's head, or from the beginning of the connection, to the end of the head.
    pub head: Duration,
    /// From the end of a request's head to the end of its body.
    pub body: Duration,
    /// Between two requests. Longer than the 60 s of common load balancers: the side that knows of no request under way
    /// has to be the one that closes.
    pub idle: Duration,
    /// In which the client takes nothing of what is sent to it.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connections: 1_024, head: seconds(10), body: seconds(30), idle: seconds(75), write: seconds(30) }
    }
}

impl Limits {
    /// With as many connections as `descriptors` leave room for. What is kept back is for files and locks, for AWS, and
    /// for `SPARE` connections.
    #[must_use]
    pub fn within(descriptors: u64) -> Self {
        let reserve = (descriptors / 4).clamp(160, 1_024);
        // A handful where there are hardly any descriptors; a semaphore takes fewer than that many.
        let connections = descriptors.saturating_sub(reserve).clamp(16, 1_000_000);
        Self { connections: usize::try_from(connections).unwrap_or(16), ..Self::default() }
    }
}

/// Serves `router` until `stopping` turns true, and then until every connection has ended: those without a whole request
/// at once, the others when they are answered.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, mut stopping: watch::Receiver<bool>) {
    let (slots, tasks) = (Arc::new(Semaphore::new(limits.connections)), TaskTracker::new());
    // Put together once: a bare router is put together for each connection anew, at 240 KB.
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

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut is_told = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Gone before it was accepted.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(%error, "no connection can be accepted; it is tried again");
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
    /// Ends the oldest where there is no room for another one.
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

/// Answers whether the process lives, and nothing else.
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
