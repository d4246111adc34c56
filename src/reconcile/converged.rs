//! The result of a converge.

use openclaw::{Provider, Release, Warning};

use super::plan::NotRemoved;
use super::status::ContainerView;
use super::target::Target;
use crate::domain::{CurrentDefinition, State};
use crate::staging::StagingResult;

/// The result of a converge.
#[derive(Debug)]
pub struct Converged {
    /// What it did.
    pub outcome: ConvergeOutcome,
    /// The container, where there still is one.
    pub view: Option<ContainerView>,
    /// What happened to the user's sign-in.
    pub sign_in: Option<StagedSignIn>,
    /// What a forced delete could not remove.
    pub not_removed: Vec<NotRemoved>,
    /// Whether the container is still on its way to the requested state: running, stopped or gone.
    pub is_on_its_way: bool,
    /// Why it went on without the user's lock; `None`: it had the lock.
    pub without_lock: Option<String>,
}

/// A user's files, as they were made to fit the container.
#[derive(Debug, Clone)]
pub struct StagedSignIn {
    /// The release that they were made for.
    pub release: Release,
    /// The way of signing in that they were made for.
    pub kind: Provider,
    /// What was done.
    pub result: StagingResult,
    /// Old and new paths of what a repair moved aside, relative to the user's directory.
    pub moved_aside: Vec<(String, String)>,
}

impl Converged {
    /// The answer for work that goes on and of which nothing is known yet.
    pub(super) fn waiting() -> Self {
        Self {
            outcome: ConvergeOutcome::Waiting,
            view: None,
            sign_in: None,
            not_removed: Vec::new(),
            is_on_its_way: false,
            without_lock: None,
        }
    }

    /// Adapts the answer for `target`: a caller who asks for a state learns whether the container has it.
    pub(super) fn answering(mut self, target: &Target) -> Self {
        let has_it = self.view.as_ref().is_some_and(|view| match view.status.state {
            State::Provisioning | State::Stopping | State::Deleting => false,
            State::Running | State::Stopped | State::Failed => true,
        });
        self.is_on_its_way = target.asks_for_state() && !has_it;
        self
    }

    /// What the caller should know although the operation succeeded.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let problem = self.without_lock.iter().cloned();
        let mut warnings: Vec<Warning> = problem.map(|problem| Warning::WithoutLock { problem }).collect();
        if let Some(StagedSignIn { release, kind, result, moved_aside: _ }) = &self.sign_in {
            warnings.extend(release.warnings(*kind));
            warnings.extend(result.warnings.iter().cloned());
        }
        let current = self.view.as_ref().and_then(|view| view.current.as_ref());
        warnings.extend(current.and_then(CurrentDefinition::isolation_warning));
        warnings
    }
}

/// What a converge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvergeOutcome {
    /// Made the service.
    Created,
    /// Changed something.
    Changed,
    /// Found everything as it should be.
    Unchanged,
    /// Waits (for ECS to drain, or for its turn), and goes on in the background.
    Waiting,
}

impl ConvergeOutcome {
    /// The stable name, in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Waiting => "waiting",
        }
    }
}
