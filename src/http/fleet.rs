//! The list of all containers.

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openclaw::OpenClawVersion;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::error::Problem;
use super::openapi::{self, schemas};
use super::query::Parameters;
use super::responses::DirectoryBody;
use crate::domain::{Architecture, DirectorySizes, RawSize, ReasonCode, State as ContainerState, UserId};
use crate::fleet::{Listed, Query};
use crate::storage::Sizes;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1_000;
/// Begins every cursor, so that one of another form can be told from it one day.
const CURSOR_PREFIX: &str = "after:";

/// A page of the list.
#[derive(Serialize, ToSchema)]
#[schema(as = ContainerList)]
pub(super) struct ListResponse {
    containers: Vec<ListedBody>,
    /// The `cursor` of the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<String>,
    snapshot: SnapshotBody,
    /// What all users' directories hold together, those without a container included; not before one was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    directories: Option<DirectoriesBody>,
}

/// What users' directories hold together.
#[derive(Serialize, ToSchema)]
#[schema(as = Directories)]
struct DirectoriesBody {
    /// Bytes on the file system.
    bytes: u64,
    /// Directories that were measured.
    users: u64,
    /// Of these, the ones that hold more than was counted.
    incomplete: u64,
}

/// A container as its service shows it, without a look at its tasks.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedContainer)]
struct ListedBody {
    #[schema(schema_with = schemas::user_id)]
    user_id: UserId,
    state: ContainerState,
    #[schema(required)]
    reason_code: Option<ReasonCode>,
    /// Null until the definition was read.
    #[schema(required)]
    openclaw_version: Option<String>,
    /// Null until the definition was read.
    #[schema(required)]
    base_revision: Option<String>,
    #[schema(required)]
    size: Option<RawSize>,
    /// What its task runs on. Null until the definition was read.
    #[schema(required)]
    architecture: Option<Architecture>,
    /// What the user's directory holds, once it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    directory: Option<DirectoryBody>,
}

/// How old the list is.
#[derive(Serialize, ToSchema)]
#[schema(as = Snapshot)]
struct SnapshotBody {
    #[schema(format = DateTime)]
    taken_at: String,
    age_seconds: u64,
    /// How many containers have null where their definition would tell.
    unread_definitions: usize,
}

/// All containers, a page at a time
///
/// By user id, from a snapshot that is taken every few minutes.
#[utoipa::path(get, path = "/containers", operation_id = "list_containers", tag = "watching",
    params(
        ("state" = Option<ContainerState>, Query, description = "Only containers in this state"),
        ("openclaw_version" = Option<String>, Query, description = "Only containers of this release, such as `2026.4.25`",
            pattern = "^v?[2-9][0-9]{3}\\.([1-9]|1[0-2])\\.(0|[1-9][0-9]{0,3})(-.*)?$"),
        ("base_revision" = Option<String>, Query, description = "Only containers of this base, such as `openclaw-dev:42`, or its number",
            pattern = "^([A-Za-z0-9_-]+:)?[0-9]{1,9}$"),
        ("limit" = Option<u32>, Query, description = "How many at most; 50 unless told otherwise", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before, as it was there", format = "cursor"),
        ("fresh" = Option<bool>, Query, description = "Takes a new snapshot first, unless the last is younger than 30 s"),
    ),
    responses((status = 200, description = "A page", body = ListResponse), openapi::Lists))]
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
    let sizes = app.storage.sizes().await;
    let containers = page.containers.into_iter().map(|listed| ListedBody::new(listed, &sizes)).collect();
    let DirectorySizes { bytes, users, incomplete } = sizes.total();
    let directories = (users > 0).then_some(DirectoriesBody { bytes, users, incomplete });
    let next_cursor = page.next.map(|last| URL_SAFE_NO_PAD.encode(format!("{CURSOR_PREFIX}{last}")));
    Ok(axum::Json(ListResponse { containers, next_cursor, snapshot, directories }).into_response())
}

impl ListedBody {
    fn new(listed: Listed, sizes: &Sizes) -> Self {
        let Listed { user, state, reason, definition } = listed;
        let facts = definition.unwrap_or_default();
        Self {
            directory: sizes.of(&user).map(DirectoryBody::from),
            user_id: user,
            state,
            reason_code: reason,
            openclaw_version: facts.version.map(|version| version.to_string()),
            base_revision: facts.base.map(|base| base.to_string()),
            size: facts.size,
            architecture: facts.architecture,
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
