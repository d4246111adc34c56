//! A request id for every request: the caller's own if it is valid, otherwise a new one. It is in the response's
//! `X-Request-Id`, in every log line of the request and in every problem document. The caller's trace continues, too.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tokio::time::Instant;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::error::Problem;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id accepted from a caller, in bytes.
const MAX_BYTES: usize = 128;

pub(super) async fn assign(request: Request, next: Next) -> Response {
    let id = accepted(request.headers().get(HEADER)).unwrap_or_else(random_id);
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(256).collect();
    // At error level, so that every log line has these fields, whatever the filter.
    let span = tracing::error_span!("request", request_id = %id, %method, path);
    // If spans are exported, the caller's trace continues here (W3C Trace Context). An invalid one is ignored.
    let callers = TraceContextPropagator::new().extract(&HeaderExtractor(request.headers()));
    if callers.has_active_span() {
        // Fails only when nothing is exported.
        drop(span.set_parent(callers));
    }
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = response.status().as_u16();
    span.in_scope(|| tracing::info!(status, elapsed_ms, "answered"));
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = with_body(response, problem.with_request_id(&id)).await;
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// The response to a request that is refused before it has an id.
pub(super) fn refused(problem: Problem) -> Response {
    let id = random_id();
    let mut response = problem.with_request_id(&id).into_response();
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// Writes the problem document as the body, once the request id is known; status and headers stay.
async fn with_body(response: Response, problem: Problem) -> Response {
    let (mut parts, body) = response.into_parts();
    drop(to_bytes(body, 0).await);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(problem.to_json()))
}

fn accepted(header: Option<&HeaderValue>) -> Option<String> {
    let text = header?.to_str().ok()?;
    let sane = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(&b);
    (!text.is_empty() && text.len() <= MAX_BYTES && text.bytes().all(sane)).then(|| text.to_owned())
}

/// A new request id.
pub(super) fn random_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}
