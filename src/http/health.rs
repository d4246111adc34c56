//! Liveness, readiness and metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::error::Problem;
use super::{App, auth, openapi};
use crate::config::{Freshness, Scope};
use crate::doctor::{self, Infrastructure};
use crate::domain::with_causes;
use crate::metrics;

/// How long the file system may take to show that it works.
const FILES_WITHIN: Duration = Duration::from_secs(3);

/// Replaces the reason in answers to callers without a token that may read: the reason names paths, roles and the account.
const ASK: &str = "ask with a token of scope read for the reason";

/// The state that `/readyz` checks.
#[derive(Debug, Clone)]
pub struct Readiness {
    coordinates: watch::Receiver<Freshness>,
    infrastructure: Infrastructure,
    checking: Arc<Mutex<()>>,
}

impl Readiness {
    /// `coordinates` says how fresh the coordinates are; `infrastructure` makes the checks that `?verbose` adds.
    #[must_use]
    pub fn new(coordinates: watch::Receiver<Freshness>, infrastructure: Infrastructure) -> Self {
        Self { coordinates, infrastructure, checking: Arc::default() }
    }

    /// Checks the file system, one check at a time: on a hanging NFS mount each check blocks a thread for ever, and probes
    /// keep coming (incident 22).
    async fn files(&self, app: &App) -> Result<(), String> {
        let slow = || format!("it has not answered within {} s", FILES_WITHIN.as_secs());
        let deadline = Instant::now() + FILES_WITHIN;
        let turn = timeout_at(deadline, self.checking.clone().lock_owned()).await.map_err(|_| slow())?;
        let reconciler = Arc::clone(&app.reconciler);
        let look = tokio::spawn(async move {
            let _turn = turn;
            reconciler.check_files().await
        });
        match timeout_at(deadline, look).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(with_causes(&error)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(slow()),
        }
    }
}

/// The process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Live {
    /// Always `live`.
    status: &'static str,
}

/// Whether requests can be served.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

/// One check. A check that finds several things is listed several times.
#[derive(Serialize, ToSchema)]
struct Check {
    /// The stable name of the check.
    name: &'static str,
    #[schema(value_type = doctor::Verdict)]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<&'static str>,
}

impl Check {
    const fn new(name: &'static str, status: &'static str, message: Option<String>) -> Self {
        Self { name, status, message, fix: None, finding: None }
    }
}

impl From<doctor::Check> for Check {
    fn from(check: doctor::Check) -> Self {
        let doctor::Check { name, verdict, message, fix, finding } = check;
        Self { name, status: verdict.name(), message: Some(message), fix, finding }
    }
}

/// Whether the process answers
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "operations",
    responses((status = 200, description = "It does", body = Live)))]
pub(super) async fn healthz() -> Json<Live> {
    Json(Live { status: "live" })
}

/// Metrics
///
/// OpenMetrics text, for Prometheus. It needs a token: it shows how many users there are and in which states.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operations",
    responses((status = 200, description = "Metrics", body = String, content_type = metrics::CONTENT_TYPE), openapi::Guarded))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], app.metrics.encode()).into_response()
}

/// Whether requests can be served
///
/// Stale coordinates are a warning and no reason to remove a replica: the last good ones are in force, and all replicas
/// lose SSM together. For the same reason nothing that `?verbose` adds changes `ready`; it names the account's resources, so it
/// needs a token that may read. Without a token the answer says what is wrong, but not why.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "operations",
    params(("verbose" = Option<String>, Query, allow_reserved,
        description = "Adds `doctor`'s checks of cluster, base family, image and network; the value does not matter")),
    security((), ("token" = ["read"])),
    responses(
        (status = 200, description = "They can", body = Ready),
        (status = 503, description = "They cannot", body = Ready),
        openapi::Guarded))]
pub(super) async fn readyz(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let verbose = query.unwrap_or_default().split('&').any(|pair| pair.split('=').next() == Some("verbose"));
    let authorized = auth::authorize(Scope::Read, &app, &headers);
    let tells = authorized.is_ok();
    if verbose {
        authorized?;
    }
    let infrastructure = async {
        match verbose {
            true => app.readiness.infrastructure.checks().await,
            false => vec![],
        }
    };
    let (files, infrastructure) = tokio::join!(app.readiness.files(&app), infrastructure);
    let files = match files {
        Ok(()) => Check::new("efs_root", "pass", None),
        Err(problem) => {
            tracing::warn!(problem, "not ready: the file system cannot be used");
            let message = if tells { problem } else { format!("the file system cannot be used; {ASK}") };
            Check::new("efs_root", "fail", Some(message))
        }
    };
    let ready = files.status != "fail";
    let coordinates = coordinates(&app.readiness.coordinates.borrow(), verbose, tells);
    let checks = [files, coordinates].into_iter().chain(infrastructure.into_iter().map(Check::from)).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(Ready { ready, checks })).into_response())
}

fn coordinates(freshness: &Freshness, verbose: bool, tells: bool) -> Check {
    const NAME: &str = "coordinates";
    let age = freshness.read_at.elapsed().as_secs();
    match &freshness.error {
        None => Check::new(NAME, "pass", verbose.then(|| format!("read {age} s ago"))),
        Some(error) => {
            // AWS's message names account, role and path.
            let since = if tells { error.as_str() } else { ASK };
            let message = format!("read {age} s ago; since then: {since}; the last good values are in force");
            Check::new(NAME, "warn", Some(message))
        }
    }
}
