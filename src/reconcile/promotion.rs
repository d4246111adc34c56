//! Promoting a base for new users. [`crate::domain::BaseChoice`] says who keeps theirs.

use jiff::Timestamp;
use openclaw::Invalid;

use super::error::ConvergeError;
use super::plan::Refusal;
use super::{Caller, Reconciler};
use crate::domain::{Promotion, base_revision, with_causes};
use crate::ledger::LedgerError;

/// How often a promotion is tried again when another one was faster.
const TRIES: u32 = 5;

/// The base of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetBase {
    /// The bare family.
    pub family: String,
    /// The promotion; `None`: the newest base is used.
    pub promotion: Option<Promotion>,
    /// The newest ACTIVE revision, `family:revision`, if there is one.
    pub newest: Option<String>,
    /// When that was registered.
    pub newest_registered_at: Option<Timestamp>,
}

impl Reconciler {
    /// The promotion and the newest base, both read now.
    ///
    /// # Errors
    /// When the file system or AWS does not answer, or the file is not understood.
    pub async fn fleet_base(&self) -> Result<FleetBase, ConvergeError> {
        self.in_time(async {
            let at = self.coordinates();
            let family = at.base_family.as_str().to_owned();
            let newest = async { Ok(self.newest_active(&family, None).await?) };
            let promotion = async { Ok::<_, ConvergeError>(self.ledger.promotion().await?) };
            let (newest, promotion) = tokio::try_join!(newest, promotion)?;
            let registered_at = newest.as_ref().and_then(|newest| newest.document["registeredAt"].as_f64());
            Ok(FleetBase {
                promotion,
                newest_registered_at: registered_at.and_then(|at| Timestamp::from_second(at as i64).ok()),
                newest: newest.map(|newest| short(&newest.arn).to_owned()),
                family,
            })
        })
        .await
    }

    /// Reads which revision of the base family is meant, see [`crate::domain::base_revision`].
    ///
    /// # Errors
    /// The text names none.
    pub fn base_revision(&self, text: &str) -> Result<String, Invalid> {
        base_revision(text, &self.coordinates().base_family)
    }

    /// Promotes a revision, or the newest for `None`. It must be fit to be cloned. No user is moved.
    ///
    /// # Errors
    /// The reason why it cannot be promoted. Nothing is changed then.
    pub async fn promote(&self, by: &Caller, revision: Option<String>) -> Result<FleetBase, ConvergeError> {
        let at = self.coordinates();
        let is_named = revision.is_some();
        let revision = match revision {
            Some(revision) => revision,
            None => {
                let family = at.base_family.as_str().to_owned();
                let newest = self.fleet_base().await?.newest;
                newest.ok_or(ConvergeError::BaseMissing { family })?
            }
        };
        self.in_time(self.promoted_base(&at, revision.clone())).await.map_err(|error| match error {
            ConvergeError::Promoted(why) if is_named => Refusal::Invalid(why.of_field("revision")).into(),
            other => other,
        })?;
        for _ in 0..TRIES {
            let before = self.ledger.promotion().await?;
            let is_ours = |before: &Promotion| before.revision == revision && before.at_end_of.is_none();
            if before.as_ref().is_some_and(is_ours) {
                return self.fleet_base().await;
            }
            refuse_during_a_rollout(before.as_ref())?;
            let (promoted_at, by_name) = (Timestamp::now(), by.name().to_owned());
            let revision = revision.clone();
            let after =
                Promotion { revision: revision.clone(), promoted_at, by: by_name, rollout: None, at_end_of: None };
            if self.ledger.promote(before.clone(), Some(after)).await? {
                audit(by, "promote", before.as_ref(), Some(&revision));
                return self.fleet_base().await;
            }
        }
        Err(ConvergeError::Contended)
    }

    /// Removes the promotion: everybody follows the newest base again, at their next provision. Also repairs a file that
    /// cannot be understood.
    ///
    /// # Errors
    /// When the file system does not answer.
    pub async fn follow_newest(&self, by: &Caller) -> Result<FleetBase, ConvergeError> {
        for _ in 0..TRIES {
            let before = match self.ledger.promotion().await {
                Ok(before) => before,
                Err(error @ LedgerError::FleetNotUnderstood { .. }) => {
                    tracing::warn!(error = %with_causes(&error), "the promotion is not understood, and is removed");
                    None
                }
                Err(error) => return Err(error.into()),
            };
            refuse_during_a_rollout(before.as_ref())?;
            if self.ledger.promote(before.clone(), None).await? {
                audit(by, "follow", before.as_ref(), None);
                return self.fleet_base().await;
            }
        }
        Err(ConvergeError::Contended)
    }
}

/// Refuses during a rollout: users who have not been moved yet keep the promoted base until it is over.
fn refuse_during_a_rollout(before: Option<&Promotion>) -> Result<(), ConvergeError> {
    match before.and_then(|before| before.rollout.as_ref()) {
        Some(rollout) => Err(ConvergeError::RolloutUnderWay { id: rollout.id.clone() }),
        None => Ok(()),
    }
}

fn audit(by: &Caller, operation: &'static str, before: Option<&Promotion>, after: Option<&str>) {
    let before_base = before.map(|before| before.revision.as_str());
    tracing::info!(target: "audit", caller = by.name(), operation, before_base, after_base = after, "audit");
}

fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
