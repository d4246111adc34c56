//! The list of all containers.

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::App;
use super::error::Problem;
use super::query::Parameters;
use crate::domain::{OpenClawVersion, RawSize, ReasonCode, State as ContainerState, UserId};
use crate::fleet::{Listed, Query};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1_000;
/// Begins every cursor, so that one of another form can be told from it one day.
const CURSOR_PREFIX: &str = "after:";

#[derive(Serialize)]
struct ListResponse {
    containers: Vec<ListedBody>,
    next_cursor: Option<String>,
    snapshot: SnapshotBody,
}

#[derive(Serialize)]
struct ListedBody {
    user_id: UserId,
    state: ContainerState,
    reason_code: Option<ReasonCode>,
    openclaw_version: Option<String>,
    base_revision: Option<String>,
    size: Option<RawSize>,
}

#[derive(Serialize)]
struct SnapshotBody {
    /// RFC 3339.
    taken_at: String,
    age_seconds: u64,
    unread_definitions: usize,
}

/// `GET /containers`.
pub(super) async fn list(State(app): State<App>, uri: Uri) -> Result<Response, Problem> {
    const KNOWN: [&str; 6] = ["state", "openclaw_version", "base_revision", "limit", "cursor", "fresh"];
    let parameters = Parameters::parse(&uri, &KNOWN)?;
    let version = |text: &str| OpenClawVersion::from_tag(text).ok();
    let query = Query {
        state: parameters.state("state")?,
        version: parameters.get("openclaw_version", version, "a release, such as 2026.4.25")?,
        base: parameters.get("base_revision", base, "a base revision, such as openclaw-dev:42, or its number alone")?,
        after: parameters.get("cursor", after, "the next_cursor of an answer, as it was there")?,
        limit: parameters.get("limit", limit, "a whole number from 1 to 1000")?.unwrap_or(DEFAULT_LIMIT),
    };
    let fresh = parameters.get("fresh", |text| text.parse().ok(), "true or false")?.unwrap_or(false);
    let page = app.fleet.roster.list(&query, fresh).await?;
    let snapshot = SnapshotBody {
        taken_at: page.taken_at.to_string(),
        age_seconds: page.age.as_secs(),
        unread_definitions: page.unread_definitions,
    };
    let containers = page.containers.into_iter().map(ListedBody::new).collect();
    let next_cursor = page.next.map(|last| URL_SAFE_NO_PAD.encode(format!("{CURSOR_PREFIX}{last}")));
    Ok(axum::Json(ListResponse { containers, next_cursor, snapshot }).into_response())
}

impl ListedBody {
    fn new(listed: Listed) -> Self {
        let Listed { user, state, reason, definition } = listed;
        let facts = definition.unwrap_or_default();
        Self {
            user_id: user,
            state,
            reason_code: reason,
            openclaw_version: facts.version.map(|version| version.to_string()),
            base_revision: facts.base.map(|base| base.to_string()),
            size: facts.size,
        }
    }
}

fn limit(text: &str) -> Option<usize> {
    text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit))
}

fn base(text: &str) -> Option<String> {
    let number = text.rsplit_once(':').map_or(text, |(_, number)| number);
    number.parse::<u32>().is_ok().then(|| text.to_owned())
}

fn after(text: &str) -> Option<UserId> {
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    UserId::parse(decoded.strip_prefix(CURSOR_PREFIX)?).ok()
}
