//! Predicts what a target would do to users' definitions, with the same render from the same base as a converge.

use std::sync::Arc;

use serde_json::Value;

use super::Reconciler;
use super::error::ConvergeError;
use super::plan::Refusal;
use super::target::{Definition, Target};
use crate::aws::RateLimits;
use crate::domain::{
    BaseDefinition, BaseSource, Coordinates, CurrentDefinition, Promotion, RolloutOrder, Spec, UserId, difference,
    render,
};

/// Stands for an access point that would be created.
const NEW_ACCESS_POINT: &str = "fsap-new";

/// What a user's next revision would be rendered from, taken from their present one.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// ARN of the present revision.
    pub arn: Box<str>,
    /// Whether a service can run it.
    pub active: bool,
    /// Digest of what was rendered.
    pub digest: Box<str>,
    /// The spec it was rendered from.
    pub spec: Spec,
    /// The base it was rendered from.
    pub base: Option<Arc<str>>,
    access_point_id: Option<Box<str>>,
    file_system_id: Option<Arc<str>>,
}

impl Origin {
    /// The origin in a user's present revision. Thousands of users share `base` and the file system.
    #[must_use]
    pub fn of(current: &CurrentDefinition, base: Option<Arc<str>>, file_system_id: Option<Arc<str>>) -> Self {
        Self {
            arn: current.arn.as_str().into(),
            active: current.active,
            digest: current.digest.as_str().into(),
            spec: current.spec.clone(),
            base,
            access_point_id: current.access_point_id.as_deref().map(Into::into),
            file_system_id,
        }
    }
}

/// What a target would do to one user's definition.
#[derive(Debug, Clone, PartialEq)]
pub enum Foreseen {
    /// Nothing.
    Unchanged,
    /// Another task of the same revision.
    Replaces,
    /// Another revision.
    Registers {
        /// Its digest.
        digest: String,
        /// What changes, as [`difference`] shows it.
        patch: Value,
    },
}

/// A preview for many users: each base is described once.
#[derive(Debug)]
pub struct Foresight<'a> {
    reconciler: &'a Reconciler,
    at: Coordinates,
    promotion: Option<Promotion>,
    bases: Vec<(BaseSource, Arc<BaseDefinition>)>,
}

impl Reconciler {
    /// A preview, with what is promoted now.
    ///
    /// # Errors
    /// When the file system does not answer.
    pub async fn foresight(&self) -> Result<Foresight<'_>, ConvergeError> {
        let promotion = self.ledger.promotion().await?;
        Ok(Foresight { reconciler: self, at: self.coordinates(), promotion, bases: Vec::new() })
    }

    /// The order in which tasks are replaced if the request names none.
    #[must_use]
    pub const fn rollout_order(&self) -> RolloutOrder {
        self.options.rollout_order
    }

    /// The AWS rate limits that this process keeps to.
    #[must_use]
    pub fn limits(&self) -> &RateLimits {
        self.aws.ecs.limits()
    }
}

impl Foresight<'_> {
    /// What `target` would do to the user's definition.
    ///
    /// # Errors
    /// The error that a converge would return, or the reason why this could not look.
    pub async fn of(&mut self, user: &UserId, origin: &Origin, target: &Target) -> Result<Foreseen, ConvergeError> {
        let Target::Present { definition, restart, base, .. } = target else { return Ok(Foreseen::Unchanged) };
        let replaced = if *restart { Foreseen::Replaces } else { Foreseen::Unchanged };
        let Definition::Render(patch) = definition else { return Ok(replaced) };
        let spec = origin.spec.clone().patched(patch).map_err(Refusal::from)?;
        let source = base.source(self.promotion.as_ref(), origin.base.as_deref(), self.at.base_family.as_str());
        let base = self.base(source).await?;
        let is_on_it = origin.file_system_id.as_deref() == Some(&self.at.file_system_id);
        let access_point = origin.access_point_id.as_deref().filter(|_| is_on_it).unwrap_or(NEW_ACCESS_POINT);
        let rendered = render(&base, user, &spec, access_point, Some(&origin.arn)).map_err(Refusal::from)?;
        if *rendered.digest == *origin.digest && origin.active {
            return Ok(replaced);
        }
        let before = self.before(user, origin).await?;
        let patch = difference(&before, &rendered.request);
        Ok(Foreseen::Registers { digest: rendered.digest, patch })
    }

    async fn base(&mut self, source: BaseSource) -> Result<Arc<BaseDefinition>, ConvergeError> {
        if let Some((_, known)) = self.bases.iter().find(|(known, _)| *known == source) {
            return Ok(Arc::clone(known));
        }
        let base = Arc::new(self.reconciler.base_of(&self.at, source.clone()).await?);
        self.bases.push((source, Arc::clone(&base)));
        Ok(base)
    }

    /// The present revision: rendered again, which costs no call for each user, or described if the result is not the same.
    async fn before(&mut self, user: &UserId, origin: &Origin) -> Result<Value, ConvergeError> {
        if let (Some(base), Some(access_point)) = (&origin.base, &origin.access_point_id) {
            let base = self.base(BaseSource::Former(base.to_string())).await.ok();
            let rendered = base.and_then(|base| render(&base, user, &origin.spec, access_point, None).ok());
            if let Some(rendered) = rendered.filter(|rendered| *rendered.digest == *origin.digest) {
                return Ok(rendered.request);
            }
        }
        let found = self.reconciler.aws.ecs.describe_definition_in_bulk(&origin.arn).await?;
        Ok(found.map_or(Value::Null, |found| {
            let mut document = found.document;
            document["tags"] = Value::Array(found.tags);
            document
        }))
    }
}
