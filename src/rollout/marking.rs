//! What a rollout writes into the promotion: that it is under way, and at its end its base.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::words::{Change, Rollout};
use super::{Inner, RolloutError, TRIES};
use crate::domain::{Promotion, UnderWay, with_causes};
use crate::fleet::{ListRefused, Listed};
use crate::reconcile::ConvergeError;

impl Inner {
    /// The base that new users get while the rollout goes on: the promoted one, or else the one that most users have.
    pub(super) async fn promoted_before(&self, listed: &[Listed]) -> Result<String, RolloutError> {
        let promotion = self.ledger.promotion().await?;
        if let Some(Promotion { rollout: Some(rollout), .. }) = promotion {
            return Err(RolloutError::UnderWay { id: rollout.id });
        }
        if let Some(promotion) = promotion {
            return Ok(promotion.revision);
        }
        let mut on: BTreeMap<&str, usize> = BTreeMap::new();
        for base in listed.iter().filter_map(|listed| listed.definition.as_ref()?.base.as_deref()) {
            *on.entry(base).or_default() += 1;
        }
        let most = on.into_iter().max_by_key(|(_, users)| *users).map(|(base, _)| base.to_owned());
        let base = most.ok_or(ListRefused::Reading)?;
        self.reconciler.base_image(&base).await?;
        Ok(base)
    }

    /// While a rollout to another base goes on, new users get the former base, and everybody else keeps theirs.
    pub(super) async fn mark(&self, rollout: &Rollout) -> Result<(), RolloutError> {
        let (Change::Base(to), Some(before_it)) = (&rollout.change, &rollout.promoted_before) else { return Ok(()) };
        let goes_to = if rollout.is_back { before_it } else { to };
        for _ in 0..TRIES {
            let before = self.ledger.promotion().await?;
            let is_of_it = |promotion: &Promotion| promotion.at_end_of.as_ref() == Some(&rollout.id);
            if !rollout.is_back && (rollout.is_at_end || before.as_ref().is_some_and(is_of_it)) {
                return Ok(());
            }
            if rollout.is_back && before.is_none() {
                // Since the rollout ended, somebody has removed the promotion.
                return Ok(());
            }
            let under_way = UnderWay { id: rollout.id.clone(), to: goes_to.clone() };
            // A base that somebody promoted after the end of this rollout stays, even if it is the same one.
            let revision = match &before {
                Some(promotion) if !is_of_it(promotion) => promotion.revision.clone(),
                Some(_) | None => before_it.clone(),
            };
            let at_end_of =
                before.as_ref().filter(|promotion| !is_of_it(promotion)).and_then(|before| before.at_end_of.clone());
            let is_marked = before.as_ref().is_some_and(|promotion| {
                promotion.revision == revision && promotion.rollout.as_ref() == Some(&under_way)
            });
            if is_marked {
                return Ok(());
            }
            let (promoted_at, by) = (Timestamp::now(), rollout.changed_by.clone());
            let after = Promotion { revision, promoted_at, by, rollout: Some(under_way), at_end_of };
            if self.ledger.promote(before, Some(after)).await? {
                return Ok(());
            }
        }
        Err(ConvergeError::Contended.into())
    }

    /// Promotes the base of the rollout. The rollout stays marked until `unmark`, so that nobody promotes anything in
    /// between.
    pub(super) async fn promote(&self, rollout: &Rollout, to: &str) -> Result<(), RolloutError> {
        let after = |before: &Promotion| {
            let is_promoted = before.at_end_of.as_ref() == Some(&rollout.id) && before.revision == to;
            (!is_promoted).then(|| Promotion {
                revision: to.to_owned(),
                promoted_at: Timestamp::now(),
                by: rollout.created_by.clone(),
                rollout: before.rollout.clone(),
                at_end_of: Some(rollout.id.clone()),
            })
        };
        self.change_promotion_of(rollout, after).await
    }

    /// Changes the promotion, as long as it is marked with this rollout.
    async fn change_promotion_of(
        &self,
        rollout: &Rollout,
        change: impl Fn(&Promotion) -> Option<Promotion>,
    ) -> Result<(), RolloutError> {
        for _ in 0..TRIES {
            let before = self.ledger.promotion().await?;
            let is_of_it = |promotion: &&Promotion| promotion.rollout.as_ref().is_some_and(|it| it.id == rollout.id);
            let Some(after) = before.as_ref().filter(is_of_it).and_then(&change) else { return Ok(()) };
            if self.ledger.promote(before, Some(after)).await? {
                return Ok(());
            }
        }
        Err(ConvergeError::Contended.into())
    }

    /// Removes the mark of a rollout that is over. If that cannot be written, the next rollout that is started reports it.
    pub(super) async fn unmark(&self, rollout: &Rollout) {
        let over = |before: &Promotion| Some(Promotion { rollout: None, ..before.clone() });
        if let Err(error) = self.change_promotion_of(rollout, over).await {
            tracing::warn!(error = %with_causes(&error), "the end of a rollout could not be written into the promotion");
        }
    }
}
