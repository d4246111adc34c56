//! What a rollout writes beside what is promoted: that it is under way, and at its end where it went.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::words::{Change, Rollout};
use super::{Inner, RolloutError, TRIES};
use crate::domain::{Promotion, UnderWay, with_causes};
use crate::fleet::{ListRefused, Listed};
use crate::reconcile::ConvergeError;

impl Inner {
    /// The base that new users get while it goes on: the promoted one, or where none is the one that most users are on.
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

    /// Has new users get the base of before, and everybody keep theirs, for as long as a rollout to another base goes on.
    pub(super) async fn mark(&self, rollout: &Rollout) -> Result<(), RolloutError> {
        let (Change::Base(to), Some(before_it)) = (&rollout.change, &rollout.promoted_before) else { return Ok(()) };
        let goes_to = if rollout.is_back { before_it } else { to };
        for _ in 0..TRIES {
            let before = self.ledger.promotion().await?;
            let is_of_it = |promotion: &Promotion| promotion.at_end_of.as_ref() == Some(&rollout.id);
            if !rollout.is_back && before.as_ref().is_some_and(is_of_it) {
                // At its end.
                return Ok(());
            }
            if rollout.is_back && before.is_none() {
                // Since its end, somebody has had everybody follow the newest.
                return Ok(());
            }
            let under_way = UnderWay { id: rollout.id.clone(), to: goes_to.clone() };
            // What somebody has promoted since the end of the rollout that is taken back stays, also where it is the same.
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

    /// Promotes where the rollout went, `None`: what was promoted before stays. It is over.
    pub(super) async fn promote(&self, rollout: &Rollout, to: Option<&str>) -> Result<(), RolloutError> {
        for _ in 0..TRIES {
            let Some(before) = self.ledger.promotion().await? else { return Ok(()) };
            let is_of_it = before.rollout.as_ref().is_some_and(|under_way| under_way.id == rollout.id);
            if !is_of_it {
                return Ok(());
            }
            let mut after = Promotion { rollout: None, ..before.clone() };
            if let Some(to) = to {
                let by = rollout.created_by.clone();
                let at_end_of = Some(rollout.id.clone());
                after =
                    Promotion { revision: to.to_owned(), promoted_at: Timestamp::now(), by, rollout: None, at_end_of };
            }
            if self.ledger.promote(Some(before), Some(after)).await? {
                return Ok(());
            }
        }
        Err(ConvergeError::Contended.into())
    }

    /// It is over, and nobody is under way any more. Where that cannot be written, the next one that starts says so.
    pub(super) async fn unmark(&self, rollout: &Rollout) {
        if let Err(error) = self.promote(rollout, None).await {
            tracing::warn!(error = %with_causes(&error), "that a rollout is over could not be written down");
        }
    }
}
