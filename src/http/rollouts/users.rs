//! Response bodies for the users of a rollout and their progress.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::openapi::schemas;
use crate::rollout::words::{Journal, Rollout, Stage};

/// The users of a rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutUserList)]
pub(super) struct RolloutUsersBody {
    id: String,
    #[schema(schema_with = schemas::rollout_state)]
    state: &'static str,
    users: Vec<RolloutUserBody>,
}

/// A user of a rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutUser)]
struct RolloutUserBody {
    #[schema(schema_with = schemas::user_id)]
    user_id: String,
    wave: u32,
    /// `waiting`, `on_the_way`, `soaking`, `done`, `failed` or `skipped`.
    #[schema(schema_with = schemas::rollout_outcome)]
    outcome: &'static str,
    /// Why they failed or were left out.
    #[schema(required)]
    code: Option<String>,
    /// The same in words, for a user who failed.
    #[schema(required)]
    detail: Option<String>,
    /// Whether a user who failed is back on what they had; null for all others.
    #[schema(required)]
    is_back: Option<bool>,
}

impl RolloutUsersBody {
    pub(super) fn new(rollout: &Rollout, journal: &Journal) -> Self {
        let users = journal.people.iter().map(|(user, person)| {
            let (code, detail, is_back) = match &person.stage {
                Stage::Failed { code, detail, is_back } => (Some(code), Some(detail), Some(*is_back)),
                Stage::Skipped { why } => (Some(why), None, None),
                Stage::Waiting | Stage::Begun | Stage::Sent { .. } | Stage::Ready { .. } | Stage::Done => {
                    (None, None, None)
                }
            };
            let (code, detail) = (code.cloned(), detail.cloned());
            let outcome = person.stage.name();
            RolloutUserBody { user_id: user.to_string(), wave: person.wave, outcome, code, detail, is_back }
        });
        Self { id: rollout.id.clone(), state: rollout.state.name(), users: users.collect() }
    }
}
