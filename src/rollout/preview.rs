//! Predicts what a rollout would do to each user, with the same choices and the same render as when it is carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use openclaw::sha256_hex;
use serde_json::{Value, json};

use super::forecast::{self, Load};
use super::taking::{self, Taken};
use super::words::{Change, Rollout};
use super::{Inner, RolloutError};
use crate::domain::{Size, State, UserId};
use crate::fleet::Listed;
use crate::reconcile::Foreseen;

/// What a rollout would do.
#[derive(Debug, Clone)]
pub struct Preview {
    /// What it would do to each user.
    pub users: BTreeMap<UserId, Effect>,
    /// Revisions that it would register; a user whose digest stays the same needs none.
    pub registrations: u32,
    /// UpdateService calls that it would make.
    pub updates: u32,
    /// A digest of everything that it would do, and to which users: another plan has another digest.
    pub digest: String,
}

/// What a rollout would do to one user.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Nothing.
    LeftOut {
        /// Why, as a code.
        why: &'static str,
    },
    /// It would be refused.
    Fails {
        /// Why, as a code.
        code: String,
        /// The reason in words.
        detail: String,
    },
    /// Another task of the same revision.
    Replaces,
    /// Another revision.
    Registers {
        /// Its digest.
        digest: String,
        /// What changes in the definition, as a JSON Patch; users with the same patch share it.
        patch: Arc<Value>,
    },
}

impl Effect {
    /// Its kind, and what it depends on.
    fn key(&self) -> String {
        match self {
            Self::LeftOut { why } => format!("left out: {why}"),
            Self::Fails { code, .. } => format!("fails: {code}"),
            Self::Replaces => "replaces".to_owned(),
            Self::Registers { digest, .. } => digest.clone(),
        }
    }
}

impl Inner {
    /// What the rollout would do, and how long it takes. For 5,000 users it makes a call only for those whose revision
    /// differs from what this version would have rendered.
    pub(super) async fn preview(
        &self,
        rollout: &Rollout,
        waves: &BTreeMap<UserId, u32>,
        listed: &[Listed],
    ) -> Result<(Preview, u64), RolloutError> {
        let mut foresight = self.reconciler.foresight().await?;
        let target = taking::forward(rollout);
        let by_user: BTreeMap<&UserId, &Listed> = listed.iter().map(|listed| (&listed.user, listed)).collect();
        let mut users = BTreeMap::new();
        let mut patches: BTreeMap<String, Arc<Value>> = BTreeMap::new();
        let mut loads: BTreeMap<u32, Load> = BTreeMap::new();
        for (user, wave) in waves {
            let load = loads.entry(*wave).or_default();
            // Rendering thousands must not delay callers who wait for an answer.
            tokio::task::yield_now().await;
            let Some(listed) = by_user.get(user) else { continue };
            let effect = match left_out(rollout, listed) {
                Some(effect) => effect,
                None => match listed.definition.as_ref().and_then(|facts| facts.origin.as_ref()) {
                    None => Effect::Fails {
                        code: "foreign_service".to_owned(),
                        detail: "the user's service runs a revision that this service did not make".to_owned(),
                    },
                    Some(origin) => match foresight.of(user, origin, &target).await {
                        Ok(Foreseen::Unchanged) => Effect::LeftOut { why: "unchanged" },
                        Ok(Foreseen::Replaces) => Effect::Replaces,
                        Ok(Foreseen::Registers { digest, patch }) => {
                            let shared = patches.entry(patch.to_string()).or_insert_with(|| Arc::new(patch));
                            Effect::Registers { digest, patch: Arc::clone(shared) }
                        }
                        Err(error) => match taking::refused(&error) {
                            Taken::Failed { code, detail } => Effect::Fails { code, detail },
                            Taken::Gone => Effect::LeftOut { why: "gone" },
                            Taken::Again(_) => return Err(error.into()),
                        },
                    },
                },
            };
            let is_running = !is_stopped(listed);
            let calls = if is_running { self.updates_of_running(rollout) } else { 1 };
            match &effect {
                Effect::LeftOut { .. } | Effect::Fails { .. } => {}
                Effect::Replaces => load.add(0, calls, is_running),
                Effect::Registers { .. } => load.add(1, calls, is_running),
            }
            users.insert(user.clone(), effect);
        }
        let loads: Vec<Load> = loads.into_values().collect();
        let seconds = forecast::seconds(&loads, &rollout.strategy, self.reconciler.limits());
        let preview = Preview {
            digest: digest(rollout, waves, &users),
            registrations: loads.iter().map(|load| load.registrations).sum(),
            updates: loads.iter().map(|load| load.updates).sum(),
            users,
        };
        Ok((preview, seconds))
    }
}

/// Whether the container was stopped when the list was read.
pub(super) const fn is_stopped(listed: &Listed) -> bool {
    matches!(listed.state, State::Stopped | State::Stopping)
}

/// The reason to leave a user out, checked in the order of [`taking::prepare`].
fn left_out(rollout: &Rollout, listed: &Listed) -> Option<Effect> {
    let left_out = |why| Some(Effect::LeftOut { why });
    let Some(facts) = &listed.definition else { return left_out("gone") };
    let origin = facts.origin.as_ref()?;
    if is_stopped(listed) && (rollout.select.only_running || rollout.change == Change::Restart) {
        return left_out("stopped");
    }
    if origin.spec.labels.iter().any(|label| label == taking::EXCLUDES) {
        return left_out("excluded");
    }
    let size = facts.size.and_then(|raw| Size::try_from(raw).ok());
    match taking::brings(&rollout.change, &origin.spec, facts.base.as_deref(), size) {
        Some(true) => left_out("unchanged"),
        Some(false) | None => None,
    }
}

fn digest(rollout: &Rollout, waves: &BTreeMap<UserId, u32>, users: &BTreeMap<UserId, Effect>) -> String {
    let users = users.iter().map(|(user, effect)| json!([user, waves.get(user), effect.key()]));
    let all = json!({
        "select": rollout.select, "change": rollout.change, "strategy": rollout.strategy,
        "promotes": rollout.promotes, "promoted_before": rollout.promoted_before, "users": users.collect::<Vec<_>>(),
    });
    sha256_hex(all.to_string().as_bytes())
}
