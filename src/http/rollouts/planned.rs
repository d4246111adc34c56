//! Response bodies for the plan of a rollout.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::openapi::schemas;
use crate::rollout::{Effect, Preview};

/// What a rollout would do.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutPlan)]
pub(super) struct PlanBody {
    /// A digest of the whole plan. Sent as `plan`, it starts the rollout only if it would still do the same.
    digest: String,
    /// Revisions that it would register. A user whose definition stays the same needs none.
    registrations: u32,
    /// Calls that change a service.
    updates: u32,
    /// Users whose container would change, grouped by the change.
    changes: Vec<ChangesBody>,
    /// Users who would be left out, by reason.
    left_out: BTreeMap<&'static str, Vec<String>>,
    /// Users for whom the change would be refused.
    refused: Vec<RefusedBody>,
}

/// Users whose containers would change in the same way.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutPlanChange)]
struct ChangesBody {
    users: usize,
    user_ids: Vec<String>,
    /// What changes in their definition, as a JSON Patch (RFC 6902); lists of named items in the definition appear as objects by
    /// name. Empty: only the task is replaced. Values of variables, secrets and labels are not in it.
    #[schema(schema_with = schemas::json_patch)]
    patch: Value,
}

/// A user for whom the change would be refused.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutPlanRefusal)]
struct RefusedBody {
    #[schema(schema_with = schemas::user_id)]
    user_id: String,
    code: String,
    detail: String,
}

impl PlanBody {
    pub(super) fn new(preview: Preview) -> Self {
        let Preview { users, registrations, updates, digest } = preview;
        let (mut changes, mut left_out, mut refused) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for (user, effect) in users {
            let user_id = user.to_string();
            let patch = match effect {
                Effect::LeftOut { why } => {
                    left_out.entry(why).or_default().push(user_id);
                    continue;
                }
                Effect::Fails { code, detail } => {
                    refused.push(RefusedBody { user_id, code, detail });
                    continue;
                }
                Effect::Replaces => Value::Array(Vec::new()),
                Effect::Registers { patch, .. } => Value::clone(&patch),
            };
            let alike = changes.entry(patch.to_string()).or_insert_with(|| (patch, Vec::new()));
            alike.1.push(user_id);
        }
        let alike =
            changes.into_values().map(|(patch, user_ids)| ChangesBody { users: user_ids.len(), user_ids, patch });
        let mut changes: Vec<ChangesBody> = alike.collect();
        changes.sort_by(|one, other| other.users.cmp(&one.users).then_with(|| one.user_ids.cmp(&other.user_ids)));
        Self { digest, registrations, updates, changes, left_out, refused }
    }
}
