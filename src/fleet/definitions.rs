//! What users' revisions say, remembered by ARN: a revision never changes once it is registered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::aws::{AwsError, Ecs};
use crate::domain::{CurrentDefinition, UserId};

/// Revisions remembered at most; one takes about 200 bytes. A cluster has at most 5,000 services (aws-facts §1).
const REMEMBERED: usize = 20_000;

/// What is remembered of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether ECS watches the health of the first container.
    pub(super) has_health_check: bool,
}

/// The revisions that were asked for so far.
#[derive(Debug)]
pub(super) struct Definitions {
    ecs: Ecs,
    facts: Mutex<HashMap<Box<str>, Facts>>,
}

impl Definitions {
    pub(super) fn new(ecs: Ecs) -> Self {
        Self { ecs, facts: Mutex::default() }
    }

    /// What a revision of that user says, from memory if it can be. One that is gone, or that is not the user's, says
    /// nothing.
    pub(super) async fn facts(&self, arn: &str, user: &UserId) -> Result<Facts, AwsError> {
        if let Some(known) = self.known(arn) {
            return Ok(known);
        }
        let found = self.ecs.describe_definition_in_bulk(arn).await?;
        let current = found.and_then(|found| CurrentDefinition::parse(&found.document, user).ok());
        let facts = current.map_or_else(Facts::default, |current| Facts { has_health_check: current.has_health_check });
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(arn.into(), facts.clone());
        Ok(facts)
    }

    /// What is remembered of a revision.
    pub(super) fn known(&self, arn: &str) -> Option<Facts> {
        self.lock().get(arn).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Facts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
