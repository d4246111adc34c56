//! The phase of a connection: it follows from the bytes read and written, and from the bodies that pass through.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::ServiceExt as _;

/// What a connection waits for, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client has to send the rest of a request's head.
    Head { since: Instant, has_begun: bool },
    /// The client has to send the rest of a body.
    Body { since: Instant },
    /// This service has to answer.
    Answer,
    /// The client may send another request.
    Idle { since: Instant },
}

/// The phase of one connection, shared by the parts that change it.
#[derive(Debug, Clone)]
pub(super) struct Phases(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when the client has received nothing although there is data to send.
    stalled: Option<Instant>,
}

/// The deadline for a request's body, in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct BodyBy(pub(in crate::http) Instant);

impl Phases {
    pub(super) fn begin() -> Self {
        let phase = Phase::Head { since: Instant::now(), has_begun: false };
        Self(Arc::new(Mutex::new(State { phase, stalled: None })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Phase {
        self.state().phase
    }

    pub(super) fn stalled(&self) -> Option<Instant> {
        self.state().stalled
    }

    fn has_read(&self) {
        let mut state = self.state();
        state.phase = match state.phase {
            Phase::Head { since, .. } => Phase::Head { since, has_begun: true },
            Phase::Idle { .. } => Phase::Head { since: Instant::now(), has_begun: true },
            other @ (Phase::Body { .. } | Phase::Answer) => other,
        };
    }

    fn has_head(&self, has_body: bool) {
        self.state().phase = if has_body { Phase::Body { since: Instant::now() } } else { Phase::Answer };
    }

    fn has_body(&self) {
        let mut state = self.state();
        if let Phase::Body { .. } = state.phase {
            state.phase = Phase::Answer;
        }
    }

    fn is_answered(&self) {
        self.state().phase = Phase::Idle { since: Instant::now() };
    }

    fn has_written<T>(&self, written: &Poll<io::Result<T>>) {
        let mut state = self.state();
        match written {
            Poll::Ready(_) => state.stalled = None,
            Poll::Pending => {
                state.stalled.get_or_insert_with(Instant::now);
            }
        }
    }
}

/// A socket that records when data arrives, and when no data can be sent.
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) phases: Phases,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.phases.has_read();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.phases.has_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.phases.has_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The router, with records of the phase of its requests and answers.
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) phases: Phases,
    pub(super) body_within: Duration,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Told<Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (router, phases) = (self.router.clone(), self.phases.clone());
        phases.has_head(!request.body().is_end_stream());
        request.extensions_mut().insert(BodyBy(Instant::now() + self.body_within));
        let of_body = phases.clone();
        let request =
            request.map(|body| Body::new(Told { body, _end: End { phases: of_body, what: Phases::has_body } }));
        Box::pin(async move {
            let Ok(response) = router.oneshot(request).await;
            Ok(response.map(|body| Told { body, _end: End { phases, what: Phases::is_answered } }))
        })
    }
}

/// A body that records its end, whether it was read or dropped.
pub(super) struct Told<B> {
    body: B,
    _end: End,
}

struct End {
    phases: Phases,
    what: fn(&Phases),
}

impl Drop for End {
    fn drop(&mut self) {
        (self.what)(&self.phases);
    }
}

impl<B: HttpBody + Unpin> HttpBody for Told<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
