//! Facts from users' revisions, remembered by ARN: a revision never changes once it is registered.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openclaw::OpenClawVersion;

use crate::aws::{AwsError, Ecs};
use crate::domain::{Architecture, CurrentDefinition, RawSize, UserId};
use crate::reconcile::{Origin, Watched};

/// Most revisions remembered; one takes about 700 bytes, plus what its user has set. A cluster has at most 5,000 services (aws-facts §1), and
/// each listing forgets the revisions that no service runs.
const REMEMBERED: usize = 20_000;

/// The facts remembered of one revision.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The release, if anything names it.
    pub version: Option<OpenClawVersion>,
    /// Which of a task's containers decide the status.
    pub watched: Watched,
    /// The base revision that it was rendered from, `family:revision`.
    pub base: Option<Arc<str>>,
    /// Its size.
    pub size: Option<RawSize>,
    /// The CPU architecture of its task.
    pub architecture: Option<Architecture>,
    /// Whether ECS watches the health of the container that runs OpenClaw.
    pub has_health_check: bool,
    /// What the next revision is rendered from; `None` for a revision that this service did not make.
    pub origin: Option<Arc<Origin>>,
}

/// The revisions read so far.
#[derive(Debug)]
pub(super) struct Definitions {
    ecs: Ecs,
    remembered: Mutex<Remembered>,
}

/// Facts by ARN. Thousands of revisions share a few bases, so each base's name is kept once.
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

    /// The facts of a user's revision, from memory if it is there. Empty when the revision is gone or is not the user's.
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

    /// Forgets all other revisions.
    pub(super) fn keep(&self, arns: &HashSet<&str>) {
        let mut remembered = self.remembered();
        let Remembered { facts, bases, file_systems } = &mut *remembered;
        facts.retain(|arn, _| arns.contains(&**arn));
        // A name that is forgotten while somebody clones it is then kept twice, which does no harm.
        bases.retain(|base| Arc::strong_count(base) > 1);
        file_systems.retain(|id| Arc::strong_count(id) > 1);
    }

    /// Everything remembered, for many look-ups under one lock.
    pub(super) fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// The facts of a revision, if it was read.
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
