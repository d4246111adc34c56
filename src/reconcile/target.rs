//! What a caller wants a user's container to become.

use openclaw::OpenClawVersion;
use serde::{Deserialize, Serialize};

use crate::domain::{BaseChoice, ImageRef, RolloutOrder, Size, Spec, SpecPatch, State};

/// The end that a converge works towards. Provision, resize, redeploy, start, stop and delete differ only in this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there is one for an operation, and nearly always the large one")]
pub enum Target {
    /// There should be a service.
    Present {
        /// What to do if there is no service.
        if_missing: IfMissing,
        /// What it should run.
        definition: Definition,
        /// How many tasks it should have.
        desired: Desired,
        /// Replace the running task even when nothing changed.
        restart: bool,
        /// The order in which tasks are replaced; `None` leaves it to the settings.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollout_order: Option<RolloutOrder>,
        /// The base that it is rendered from.
        #[serde(default, skip_serializing_if = "BaseChoice::is_kept")]
        base: BaseChoice,
    },
    /// There should be nothing.
    Absent {
        /// Whether the user's files go too.
        purge: bool,
        /// Whether to delete without waiting for the tasks to stop, and past what cannot be removed.
        force: bool,
    },
}

/// What to do when there is no service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfMissing {
    /// Create it.
    Create,
    /// Report that there is none.
    Refuse,
}

/// What the service should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    /// What it runs now.
    Keep,
    /// What the live base and the patched spec render to.
    Render(SpecPatch),
}

/// How many tasks the service should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// One.
    Running,
    /// None.
    Stopped,
    /// As many as it has: a stopped container stays stopped through a resize (incident 12).
    Unchanged,
}

/// What a redeploy changes besides the base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redeploy {
    /// As in [`SpecPatch::image`].
    pub image: Option<Option<ImageRef>>,
    /// As in [`SpecPatch::openclaw_version`].
    pub openclaw_version: Option<OpenClawVersion>,
    /// Replace the running task even when nothing changed.
    pub restart: bool,
}

impl Target {
    /// Running, from the live base and the patched spec; created if need be.
    #[must_use]
    pub const fn provision(patch: SpecPatch) -> Self {
        Self::Present {
            if_missing: IfMissing::Create,
            definition: Definition::Render(patch),
            desired: Desired::Running,
            restart: false,
            rollout_order: None,
            base: BaseChoice::Kept,
        }
    }

    /// The same target, replacing tasks in that order.
    #[must_use]
    pub fn in_order(mut self, order: Option<RolloutOrder>) -> Self {
        if let Self::Present { rollout_order, .. } = &mut self {
            *rollout_order = order.or(*rollout_order);
        }
        self
    }

    /// The same target, replacing tasks in that order if it names none itself.
    #[must_use]
    pub fn by_default_in(self, order: RolloutOrder) -> Self {
        match self {
            Self::Present { rollout_order: None, .. } => self.in_order(Some(order)),
            Self::Present { .. } | Self::Absent { .. } => self,
        }
    }

    /// Whether there must never be two tasks.
    #[must_use]
    pub const fn is_strict(&self) -> bool {
        matches!(self, Self::Present { rollout_order: Some(RolloutOrder::Strict), .. })
    }

    /// Another size.
    #[must_use]
    pub fn resize(size: Size) -> Self {
        Self::rendered(SpecPatch { size: Some(size), ..SpecPatch::default() }, false)
    }

    /// Another value of one variable; `None` removes it.
    #[must_use]
    pub fn with_variable(name: String, value: Option<String>) -> Self {
        let set_variables = [(name, value)].into();
        Self::rendered(SpecPatch { set_variables, ..SpecPatch::default() }, false)
    }

    /// Rendered from the promoted base, or from the newest where none is promoted.
    #[must_use]
    pub fn redeploy(Redeploy { image, openclaw_version, restart }: Redeploy) -> Self {
        let patch = SpecPatch { image, openclaw_version, ..SpecPatch::default() };
        Self::rendered(patch, restart).on(BaseChoice::Promoted)
    }

    /// The same target, rendered from that base.
    #[must_use]
    pub fn on(mut self, choice: BaseChoice) -> Self {
        if let Self::Present { base, .. } = &mut self {
            *base = choice;
        }
        self
    }

    /// The base that it is rendered from; `None`: it is not rendered.
    #[must_use]
    pub const fn base(&self) -> Option<&BaseChoice> {
        match self {
            Self::Present { definition: Definition::Render(_), base, .. } => Some(base),
            Self::Present { definition: Definition::Keep, .. } | Self::Absent { .. } => None,
        }
    }

    /// One task of the registered revision. Never a forced deployment: that would replace a task that already runs
    /// (incident 11).
    #[must_use]
    pub const fn start() -> Self {
        Self::scaled(Desired::Running)
    }

    /// No task.
    #[must_use]
    pub const fn stop() -> Self {
        Self::scaled(Desired::Stopped)
    }

    /// The container as it is; for changes to the user's files.
    #[must_use]
    pub const fn unchanged() -> Self {
        Self::scaled(Desired::Unchanged)
    }

    /// The container as it is, with another task.
    #[must_use]
    pub const fn restart() -> Self {
        Self::Present {
            if_missing: IfMissing::Refuse,
            definition: Definition::Keep,
            desired: Desired::Unchanged,
            restart: true,
            rollout_order: None,
            base: BaseChoice::Kept,
        }
    }

    /// Nothing is left of the container.
    #[must_use]
    pub const fn delete(purge: bool, force: bool) -> Self {
        Self::Absent { purge, force }
    }

    const fn rendered(patch: SpecPatch, restart: bool) -> Self {
        Self::Present {
            if_missing: IfMissing::Refuse,
            definition: Definition::Render(patch),
            desired: Desired::Unchanged,
            restart,
            rollout_order: None,
            base: BaseChoice::Kept,
        }
    }

    const fn scaled(desired: Desired) -> Self {
        Self::Present {
            if_missing: IfMissing::Refuse,
            definition: Definition::Keep,
            desired,
            restart: false,
            rollout_order: None,
            base: BaseChoice::Kept,
        }
    }

    /// Whether the live base has to be read for it.
    #[must_use]
    pub const fn needs_base(&self) -> bool {
        matches!(self, Self::Present { definition: Definition::Render(_), .. })
    }

    /// Whether it removes the user's files and definitions.
    #[must_use]
    pub const fn purges(&self) -> bool {
        matches!(self, Self::Absent { purge: true, .. })
    }

    /// Whether it stops what runs. That must be possible even while the user's files cannot be reached.
    #[must_use]
    pub const fn needs_no_files(&self) -> bool {
        match self {
            Self::Present { definition: Definition::Keep, desired: Desired::Stopped, .. } => true,
            Self::Present { .. } => false,
            Self::Absent { force, .. } => *force,
        }
    }

    /// Whether it creates a service where there is none; not when its spec is refused for a new user.
    #[must_use]
    pub fn makes_new_user(&self) -> bool {
        match self {
            Self::Present { definition: Definition::Render(patch), .. } => {
                self.may_create() && Spec::of_new_user(patch).is_ok()
            }
            Self::Present { definition: Definition::Keep, .. } | Self::Absent { .. } => false,
        }
    }

    /// Whether it may create a service.
    #[must_use]
    pub const fn may_create(&self) -> bool {
        matches!(self, Self::Present { if_missing: IfMissing::Create, .. })
    }

    /// Whether it asks for a container that runs, is stopped or is gone.
    #[must_use]
    pub const fn asks_for_state(&self) -> bool {
        !matches!(self, Self::Present { desired: Desired::Unchanged, .. })
    }

    /// The state that a container is in until it is reached, whatever the state was before.
    #[must_use]
    pub const fn on_the_way(&self) -> State {
        match self {
            Self::Present { desired: Desired::Running | Desired::Unchanged, .. } => State::Provisioning,
            Self::Present { desired: Desired::Stopped, .. } => State::Stopping,
            Self::Absent { .. } => State::Deleting,
        }
    }
}
