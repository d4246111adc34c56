//! Export of traces over OTLP, configured by the OpenTelemetry variables. It never blocks: spans wait in a queue that drops
//! what it cannot hold, and a receiver that is down is logged once when it goes down and once when it is back.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, SpanExporter, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// How long one export may take.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

/// How long the last export may take, at shutdown: of the 30 s that ECS grants, work under way may take 25, and file work
/// that hangs 2.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Largest answer to an export that is read; its content is not used.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The export, if the environment asks for one.
pub(super) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Exports when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) is set. OpenTelemetry's SDK reads its other
    /// variables (headers, service name, sampler, batches). Needs a running tokio runtime.
    ///
    /// # Errors
    /// When a variable cannot be parsed, or there is no trusted certificate.
    pub(super) fn from_environment() -> anyhow::Result<Self> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !is_set(OTEL_EXPORTER_OTLP_ENDPOINT) && !is_set(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) {
            return Ok(Self(None));
        }
        let exporter = SpanExporter::builder().with_http().with_http_client(Client::new()?).build();
        let exporter = exporter.context("the variables OTEL_EXPORTER_OTLP_…")?;
        let mut resource = Resource::builder();
        let attributes = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        if !is_set("OTEL_SERVICE_NAME") && !attributes.contains("service.name=") {
            resource = resource.with_service_name(env!("CARGO_PKG_NAME"));
        }
        let provider = SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter);
        Ok(Self(Some(provider.build())))
    }

    /// Exports this crate's own spans and the events in them, whatever the log shows. Spans of other crates may hold whole
    /// requests, so they are left out.
    pub(super) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.0.as_ref()?.tracer(env!("CARGO_PKG_NAME"));
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
        let own = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
        Some(layer.with_filter(own.with_target("audit", LevelFilter::INFO)))
    }

    /// Exports what has not been exported yet, if that is possible within [`FLUSH_WITHIN`].
    pub(super) async fn flush(self) {
        let Some(provider) = self.0 else { return };
        // Blocking: it waits for a thread that waits for the runtime. The client has logged a receiver that is down.
        drop(tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_WITHIN)).await);
    }
}

/// Sends exports from the SDK's own thread over the runtime.
struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Body>,
    runtime: Handle,
    is_down: AtomicBool,
}

impl Client {
    fn new() -> anyhow::Result<Self> {
        let tls = rustls::crypto::aws_lc_rs::default_provider();
        let connector = HttpsConnectorBuilder::new().with_provider_and_native_roots(tls);
        let connector = connector.context("trusted certificates")?.https_or_http().enable_http1().build();
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, runtime: Handle::current(), is_down: AtomicBool::new(false) })
    }

    /// Logs when the receiver goes down and when it is back, and nothing in between.
    fn tell(&self, result: Result<&Response<Bytes>, &HttpError>) {
        let problem = match result {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("HTTP {}", answer.status().as_u16())),
            Err(error) => Some(crate::domain::with_causes(&**error)),
        };
        let was_down = self.is_down.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(error) if !was_down => tracing::warn!(error, "traces cannot be exported; spans are dropped meanwhile"),
            None if was_down => tracing::info!("traces are exported again"),
            Some(_) | None => {}
        }
    }
}

/// Shows nothing of the HTTP client: headers of a request may hold a token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.http.request(request.map(Body::from));
        let answered = async move {
            let (parts, body) = sent.await?.into_parts();
            Ok(Response::from_parts(parts, to_bytes(Body::new(body), MAX_ANSWER_BYTES).await?))
        };
        // The SDK's thread has no reactor, which requests and timers need, so the runtime sends.
        let answered = self.runtime.spawn(async move { tokio::time::timeout(EXPORT_WITHIN, answered).await });
        let result = answered.await.map_err(HttpError::from).and_then(|in_time| in_time?);
        self.tell(result.as_ref());
        result
    }
}
