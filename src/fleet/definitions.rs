//! What users' revisions say, remembered by ARN: a revision never changes once it is registered.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openclaw::OpenClawVersion;

use crate::aws::{AwsError, Ecs};
use crate::domain::{Architecture, CurrentDefinition, RawSize, UserId};
use crate::reconcile::{Origin, Watched};

/// Revisions remembered at most; one takes about 700 bytes, and what its user set themselves beside. A cluster has at most 5,000 services (aws-facts §1), and
/// whenever they are listed, revisions that none of them runs are forgotten.
const REMEMBERED: usize = 20_000;

/// What is remembered of one revision.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The release, if anything names it.
    pub version: Option<OpenClawVersion>,
    /// What a status follows.
    pub watched: Watched,
    /// The base revision that it was rendered from, `family:revision`.
    pub base: Option<Arc<str>>,
    /// Its size.
    pub size: Option<RawSize>,
    /// What its task runs on.
    pub architecture: Option<Architecture>,
    /// Whether ECS watches the health of the container that runs OpenClaw.
    pub has_health_check: bool,
    /// What the next revision is rendered from; `None` where it is none of this service's.
    pub origin: Option<Arc<Origin>>,
}

/// The revisions that were asked for so far.
#[derive(Debug)]
pub(super) struct Definitions {
    ecs: Ecs,
    remembered: Mutex<Remembered>,
}

/// Facts by ARN. Thousands of revisions come from a handful of bases, whose names are kept once.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    facts: HashMap<Arc<str>, Facts>,
    bases: HashSet<Arc<str>>,
    file_systems: HashSet<Arc<str>>,
}

impl Definitions {
    pub(super) fn new(ecs: Ecs) -> Self {
        Self { ecs, remembered: Mutex::default() }
    }

    /// What a revision of that user says, from memory if it can be. One that is gone, or that is not the user's, says
    /// nothing.
    pub(super) async fn facts(&self, arn: &str, user: &UserId) -> Result<Facts, AwsError> {
        if let Some(known) = self.remembered().get(arn) {
            return Ok(known.clone());
        }
        let found = self.ecs.describe_definition_in_bulk(arn).await?;
        let current = found.and_then(|found| CurrentDefinition::parse(&found.document, user).ok());
        let mut remembered = self.remembered();
        let facts = current.map_or_else(Facts::default, |current| Facts {
            version: current.release.version(),
            watched: Watched::of(&current),
            base: current.base.as_deref().map(|arn| remembered.base(arn)),
            origin: Some(remembered.origin(&current)),
            size: current.cpu.zip(current.memory_mib).map(|(cpu, memory_mib)| RawSize { cpu, memory_mib }),
            architecture: Some(current.architecture),
            has_health_check: current.has_health_check,
        });
        if remembered.facts.len() >= REMEMBERED {
            *remembered = Remembered::default();
        }
        remembered.facts.insert(arn.into(), facts.clone());
        Ok(facts)
    }

    /// Forgets every revision but these.
    pub(super) fn keep(&self, arns: &HashSet<&str>) {
        let mut remembered = self.remembered();
        let Remembered { facts, bases, file_systems } = &mut *remembered;
        facts.retain(|arn, _| arns.contains(&**arn));
        // Whoever else holds one shares it no longer, which does no harm.
        bases.retain(|base| Arc::strong_count(base) > 1);
        file_systems.retain(|id| Arc::strong_count(id) > 1);
    }

    /// Everything that is remembered, for many looks in one go.
    pub(super) fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// What is remembered of a revision.
    pub(super) fn get(&self, arn: &str) -> Option<&Facts> {
        self.facts.get(arn)
    }

    fn base(&mut self, arn: &str) -> Arc<str> {
        shared(&mut self.bases, arn.rsplit_once('/').map_or(arn, |(_, name)| name))
    }

    fn origin(&mut self, current: &CurrentDefinition) -> Arc<Origin> {
        let base = current.base.as_deref().map(|arn| self.base(arn));
        let file_system = current.file_system_id.as_deref().map(|id| shared(&mut self.file_systems, id));
        Arc::new(Origin::of(current, base, file_system))
    }
}

fn shared(known: &mut HashSet<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(known) = known.get(text) {
        return Arc::clone(known);
    }
    let text: Arc<str> = text.into();
    known.insert(Arc::clone(&text));
    text
}
