//! The list of all containers.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::error::Problem;
use super::openapi::{self, schemas};
use super::query;
use super::requests::{BaseRevision, Cursor, Limit, ListQuery};
use super::responses::DirectoryBody;
use crate::domain::{Architecture, DirectorySizes, RawSize, ReasonCode, State as ContainerState, UserId};
use crate::fleet::{Listed, Query};
use crate::storage::Sizes;

const DEFAULT_LIMIT: usize = 50;

/// A page of the list.
#[derive(Serialize, ToSchema)]
#[schema(as = ContainerList)]
pub(super) struct ListResponse {
    containers: Vec<ListedBody>,
    /// The `cursor` of the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<String>,
    snapshot: SnapshotBody,
    /// The total size of all users' directories, also of users without a container; left out until one was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    directories: Option<DirectoriesBody>,
}

/// The total size of users' directories.
#[derive(Serialize, ToSchema)]
#[schema(as = Directories)]
struct DirectoriesBody {
    /// Bytes on the file system.
    bytes: u64,
    /// Number of directories that were measured.
    users: u64,
    /// How many of these hold more than was counted.
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
    /// The CPU architecture of its task. Null until the definition was read.
    #[schema(required)]
    architecture: Option<Architecture>,
    /// The size of the user's directory, once it was measured.
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
    /// How many containers have null members because their definition was not read yet.
    unread_definitions: usize,
}

/// List all containers, a page at a time
///
/// By user id, from a snapshot that is taken every few minutes.
#[utoipa::path(get, path = "/containers", operation_id = "list_containers", tag = "watching",
    params(ListQuery),
    responses((status = 200, description = "A page", body = ListResponse), openapi::Lists))]
pub(super) async fn list(State(app): State<App>, query: query::Query<ListQuery>) -> Result<Response, Problem> {
    let query::Query(ListQuery { state, openclaw_version, base_revision, limit, cursor, fresh }) = query;
    let query = Query {
        state,
        version: openclaw_version,
        base: base_revision.map(|BaseRevision(text)| text),
        after: cursor.map(|Cursor(last)| last),
        limit: limit.map_or(DEFAULT_LIMIT, |Limit(limit)| limit),
    };
    let fresh = fresh.unwrap_or(false);
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
    let next_cursor = page.next.map(|last| query::Parameter::to_text(&Cursor(last)));
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
