//! Liveness and readiness.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::watch;

use super::App;
use crate::config::Freshness;

/// What `/readyz` looks at beside the file system.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// How fresh the coordinates are.
    pub coordinates: watch::Receiver<Freshness>,
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

/// Whether requests can be served. Stale coordinates are a warning and no reason to take a replica out: the last good
/// ones are in force, and all replicas lose SSM together.
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let files = app.reconciler.check_files().await;
    let files = match files {
        Ok(()) => Check { name: "efs_root", status: "pass", message: None },
        Err(error) => Check { name: "efs_root", status: "fail", message: Some(error.to_string()) },
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
