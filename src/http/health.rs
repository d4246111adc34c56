//! Liveness, readiness and metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};

use super::App;
use crate::config::Freshness;
use crate::domain::with_causes;
use crate::metrics;

/// How long the file system may take to show that it works.
const FILES_WITHIN: Duration = Duration::from_secs(3);

/// What `/readyz` looks at.
#[derive(Debug, Clone)]
pub struct Readiness {
    coordinates: watch::Receiver<Freshness>,
    checking: Arc<Mutex<()>>,
}

impl Readiness {
    /// With the coordinates as fresh as that.
    #[must_use]
    pub fn new(coordinates: watch::Receiver<Freshness>) -> Self {
        Self { coordinates, checking: Arc::default() }
    }

    /// Looks at the file system, one look at a time: on a wedged NFS mount each hangs for good and takes a thread with
    /// it, and probes go on coming (incident 22).
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

#[derive(Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// The process answers.
pub(super) async fn healthz() -> Response {
    Json(serde_json::json!({"status": "live"})).into_response()
}

/// What was counted and timed, in OpenMetrics text. Behind a token as everything else: it tells how many users there are
/// and how they fare.
pub(super) async fn metrics(State(app): State<App>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], app.metrics.encode()).into_response()
}

/// Whether requests can be served. Stale coordinates are a warning and no reason to take a replica out: the last good
/// ones are in force, and all replicas lose SSM together.
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let files = match app.readiness.files(&app).await {
        Ok(()) => Check { name: "efs_root", status: "pass", message: None },
        Err(message) => Check { name: "efs_root", status: "fail", message: Some(message) },
    };
    let freshness = app.readiness.coordinates.borrow().clone();
    let coordinates = match freshness.error {
        None => Check { name: "coordinates", status: "pass", message: None },
        Some(error) => {
            let age = freshness.read_at.elapsed().as_secs();
            let message = format!("read {age} s ago; since then: {error}; the last good values are in force");
            Check { name: "coordinates", status: "warn", message: Some(message) }
        }
    };
    let ready = files.status != "fail";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, checks: vec![files, coordinates] })).into_response()
}
