//! The base that a user is rendered from: which revision it is, described live every time.

use std::time::Duration;

use super::Reconciler;
use super::error::ConvergeError;
use super::target::Target;
use crate::aws::RegisteredDefinition;
use crate::domain::{BaseDefinition, BaseSource, Coordinates, PromotedBaseError, Promotion};

/// How long to wait, look by look, until a base is there.
const BASE_PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What is known of the base before the user's own definition is known.
pub(super) enum BaseBeside {
    /// The target needs no base.
    None,
    /// Read.
    Read(Box<BaseDefinition>),
    /// The newest one that was read; the user's definition may name a newer one.
    Newest(Box<BaseDefinition>),
    /// With this promotion, the base depends on what the user has.
    HangsOnOwn(Promotion),
}

impl Reconciler {
    /// Reads the base of a target beside everything else, unless it depends on what the user has. The promotion is in a file
    /// that is read on every call.
    pub(super) async fn base_beside(&self, at: &Coordinates, target: &Target) -> Result<BaseBeside, ConvergeError> {
        let Some(choice) = target.base() else { return Ok(BaseBeside::None) };
        let promotion = self.ledger.promotion().await?;
        match promotion {
            Some(promotion) if choice.hangs_on_own(Some(&promotion)) => Ok(BaseBeside::HangsOnOwn(promotion)),
            promotion => {
                let source = choice.source(promotion.as_ref(), None, at.base_family.as_str());
                let is_newest = source == BaseSource::Newest;
                let base = Box::new(self.base_of(at, source).await?);
                Ok(if is_newest { BaseBeside::Newest(base) } else { BaseBeside::Read(base) })
            }
        }
    }

    /// Describes the revision that `source` names.
    pub(super) async fn base_of(&self, at: &Coordinates, source: BaseSource) -> Result<BaseDefinition, ConvergeError> {
        match source {
            BaseSource::Newest => self.newest_base(at, None).await,
            BaseSource::Promoted(revision) | BaseSource::Named(revision) => {
                Ok(self.promoted_base(at, revision).await?)
            }
            BaseSource::Former(revision) => match self.own_base(at, &revision).await? {
                Some(base) => Ok(base),
                None => Err(PromotedBaseError::Gone { revision }.into()),
            },
            BaseSource::Own { own, promoted } => match self.own_base(at, &own).await? {
                Some(base) => Ok(base),
                None => {
                    tracing::info!(own, promoted, "the user's base cannot be used any more; using the promoted one");
                    Ok(self.promoted_base(at, promoted).await?)
                }
            },
        }
    }

    /// The newest ACTIVE base. `known`: a base revision that a user was rendered from.
    pub(super) async fn newest_base(
        &self,
        at: &Coordinates,
        known: Option<&str>,
    ) -> Result<BaseDefinition, ConvergeError> {
        let family = at.base_family.as_str();
        let mut pauses = BASE_PAUSES.iter();
        let found = loop {
            if let Some(found) = self.newest_active(family, known).await? {
                break found;
            }
            // Infrastructure replaces the base by deregistering one and registering the next: for a moment there is none.
            let Some(pause) = pauses.next() else {
                return Err(ConvergeError::BaseMissing { family: family.to_owned() });
            };
            tracing::info!(family, pause_ms = pause.as_millis(), "no ACTIVE base; looking again");
            tokio::time::sleep(*pause).await;
        };
        parsed(at, found)
    }

    /// A base that is named. It must exist, be ACTIVE, be of the family, and be fit to be cloned: nothing else takes its
    /// place.
    pub(super) async fn promoted_base(
        &self,
        at: &Coordinates,
        revision: String,
    ) -> Result<BaseDefinition, ConvergeError> {
        let family = at.base_family.as_str();
        if revision.rsplit_once(':').is_none_or(|(of, _)| of != family) {
            return Err(PromotedBaseError::OtherFamily { revision, family: family.to_owned() }.into());
        }
        let Some(found) = self.aws.ecs.describe_task_definition(&revision).await? else {
            return Err(PromotedBaseError::Gone { revision }.into());
        };
        if !found.is_active() {
            let status = found.document["status"].as_str().unwrap_or("INACTIVE").to_owned();
            return Err(PromotedBaseError::NotActive { revision, status }.into());
        }
        parsed(at, found).map_err(|error| match error {
            ConvergeError::Base(why) => PromotedBaseError::Unusable { revision, why: Box::new(why) }.into(),
            other => other,
        })
    }

    /// The base that a user has, deregistered or not; `None` when it can no longer be cloned.
    async fn own_base(&self, at: &Coordinates, own: &str) -> Result<Option<BaseDefinition>, ConvergeError> {
        let Some(found) = self.aws.ecs.describe_task_definition(own).await? else { return Ok(None) };
        match parsed(at, found) {
            Ok(base) => Ok(Some(base)),
            Err(ConvergeError::Base(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn parsed(at: &Coordinates, found: RegisteredDefinition) -> Result<BaseDefinition, ConvergeError> {
    let RegisteredDefinition { document, tags, .. } = found;
    let (family, release) = (at.base_family.as_str(), at.release.clone());
    Ok(BaseDefinition::parse_with(document, tags, family, &at.file_system_id, release)?)
}
