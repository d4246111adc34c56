//! The planner: pure, synchronous, and the only place that chooses. It looks at what is and answers the one next step
//! to what should be; the executor takes it, folds the answer in, and asks again. So an interruption at any point
//! needs no recovery of its own: the next call plans from whatever it finds.

use std::collections::BTreeSet;

use thiserror::Error;

use super::target::{Definition, Desired, IfMissing, Target};
use crate::domain::service::{Rollout, Service, ServiceStatus, is_newer_revision};
use crate::domain::{
    BaseDefinition, CurrentDefinition, EcrImage, Invalid, RenderError, Rendered, Spec, SpecPatch, UserId, render,
};

/// What is known of a user.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The service; `None` when ECS knows none of that name.
    pub service: Option<Service>,
    /// The revision that the service names. While deleting: the next revision to deregister.
    pub current: Option<CurrentDefinition>,
    /// The live base, where the target needs it.
    pub base: Option<BaseDefinition>,
    /// The user's access point, once it is known.
    pub access_point_id: Option<String>,
    /// ARNs of revisions that were registered for the user and may still be, as the lock file remembers them. Those
    /// that no service names are found by nothing else.
    pub revisions: BTreeSet<String>,
    /// Whether nothing of the user was ever here: no service, no lock file of an earlier call, no files to purge.
    pub never_seen: bool,
    /// Whether a task of the service has not stopped yet; `None`: nobody has looked.
    pub has_live_tasks: Option<bool>,
    /// What this converge has done so far, that ECS does not show.
    pub done: Done,
}

/// What this converge has done so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    /// The revision that it registered.
    pub registered: Option<CurrentDefinition>,
    /// The image that it found in its registry.
    pub image: Option<EcrImage>,
    /// It forced a deployment: once is what was asked for.
    pub restarted: bool,
    /// It sent the desired count.
    pub counted: bool,
    /// It staged something that only the start of a task takes up.
    pub needs_start: bool,
    /// It deleted the access point.
    pub access_point_deleted: bool,
    /// It purged the files.
    pub purged: bool,
    /// What it could not remove, and went on.
    pub not_removed: Vec<NotRemoved>,
}

impl Done {
    fn gave_up(&self, what: &str, id: Option<&str>) -> bool {
        self.not_removed.iter().any(|left| left.what == what && left.id.as_deref() == id)
    }
}

/// Something of the user that a forced delete could not remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRemoved {
    /// `task_definition`, `access_point`, `files` or `lock`.
    pub what: &'static str,
    /// ARN or id, where it has one.
    pub id: Option<String>,
    /// Why.
    pub error: String,
}

impl NotRemoved {
    /// Without the user's lock, what is remembered beside it is not known, and files are left alone.
    pub(super) fn without_lock(purge: bool, error: &str) -> Vec<Self> {
        let left = |what| Self { what, id: None, error: error.to_owned() };
        [LOCK].into_iter().chain(purge.then_some(FILES)).map(left).collect()
    }
}

const LOCK: &str = "lock";
const TASK_DEFINITION: &str = "task_definition";
const ACCESS_POINT: &str = "access_point";
const FILES: &str = "files";

/// The next thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Take this step, then plan again.
    Step(Box<Step>),
    /// Only time helps: the service is draining, or its tasks are stopping. Observe again later.
    WaitForDrain,
    /// Nothing left to do.
    Converged,
}

/// One step; the executor makes no choice in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Create the user's access point, or find it.
    EnsureAccessPoint,
    /// Look the image up: a task that cannot pull it would never start (incident 6).
    CheckImage(EcrImage),
    /// Register a revision in the user family.
    RegisterTaskDefinition(Rendered),
    /// Create the service.
    CreateService {
        /// ARN of the revision.
        task_definition: String,
        /// Its digest, for the client token.
        digest: String,
        /// What the deleted service of that name ran last, while ECS remembers it. Part of the client token, or ECS
        /// might answer with the deleted service.
        after: Option<String>,
    },
    /// Change the service.
    UpdateService {
        /// ARN of another revision.
        task_definition: Option<String>,
        /// Another desired count.
        desired: Option<u32>,
        /// Force a new deployment.
        restart: bool,
        /// ARNs of revisions that nothing can go back to any more: deregistered if capacity is left over.
        superseded: Vec<String>,
    },
    /// Delete the service, tasks and all.
    DeleteService,
    /// Deregister a revision of the user.
    DeregisterRevision(String),
    /// Make the revision before it `current`.
    FollowToPrevious(String),
    /// Delete the access point.
    DeleteAccessPoint(String),
    /// Remove the user's files.
    PurgeFiles,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such container.
    #[error("there is no container of this user")]
    NotFound,
    /// The base was not observed, or there is none.
    #[error("the base family has no ACTIVE revision")]
    NoBase,
    /// The spec does not hold together.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The spec does not go with the base.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// Chooses the next step from `observed` to `target`.
///
/// # Errors
/// When the target cannot be reached from here, whatever is tried.
pub fn plan(user: &UserId, target: &Target, observed: &Observed) -> Result<Plan, Refusal> {
    let status = observed.service.as_ref().map(|service| service.status);
    match (target, status) {
        (Target::Present { if_missing, definition, .. }, None | Some(ServiceStatus::Inactive)) => match if_missing {
            IfMissing::Refuse => Err(Refusal::NotFound),
            // The name is free before the last task has ended, whose last write must not meet what is staged now.
            IfMissing::Create if observed.has_live_tasks == Some(true) => Ok(Plan::WaitForDrain),
            IfMissing::Create => create(user, definition, observed),
        },
        (Target::Present { if_missing, .. }, Some(ServiceStatus::Draining)) => match if_missing {
            IfMissing::Refuse => Err(Refusal::NotFound),
            // The name cannot be used before the last task is gone (incident 10).
            IfMissing::Create => Ok(Plan::WaitForDrain),
        },
        (Target::Present { definition, desired, restart, .. }, Some(ServiceStatus::Active)) => {
            change(user, definition, *desired, *restart, observed)
        }
        (Target::Absent { force: true, .. }, Some(ServiceStatus::Active)) => Ok(step(Step::DeleteService)),
        (Target::Absent { force: false, .. }, Some(ServiceStatus::Active)) => Ok(take_down(observed)),
        (Target::Absent { force: false, .. }, Some(ServiceStatus::Draining)) => Ok(Plan::WaitForDrain),
        (Target::Absent { force: false, .. }, None | Some(ServiceStatus::Inactive))
            if observed.has_live_tasks == Some(true) =>
        {
            Ok(Plan::WaitForDrain)
        }
        (Target::Absent { purge, .. }, None | Some(ServiceStatus::Draining | ServiceStatus::Inactive)) => {
            clean_up(*purge, observed)
        }
    }
}

fn step(step: Step) -> Plan {
    Plan::Step(Box::new(step))
}

/// Has the tasks stop before the service goes: once it is INACTIVE, which it is before they have ended, ECS may not tell of
/// them any more.
fn take_down(observed: &Observed) -> Plan {
    let desired = observed.service.as_ref().map_or(0, |service| service.desired);
    match observed.has_live_tasks {
        _ if desired > 0 => step(Step::UpdateService {
            task_definition: None,
            desired: Some(0),
            restart: false,
            superseded: Vec::new(),
        }),
        Some(false) => step(Step::DeleteService),
        Some(true) | None => Plan::WaitForDrain,
    }
}

fn create(user: &UserId, definition: &Definition, observed: &Observed) -> Result<Plan, Refusal> {
    let patch = match definition {
        Definition::Render(patch) => patch.clone(),
        Definition::Keep => SpecPatch::default(),
    };
    let spec = Spec::of_new_user(&patch)?;
    let Some(access_point_id) = &observed.access_point_id else { return Ok(step(Step::EnsureAccessPoint)) };
    let rendered = render(base(observed)?, user, &spec, access_point_id, None)?;
    Ok(match registered(&rendered, observed) {
        Some(task_definition) => {
            let after = observed.service.as_ref().map(|deleted| deleted.task_definition.clone());
            step(Step::CreateService { task_definition, digest: rendered.digest, after })
        }
        None => register(rendered, observed),
    })
}

fn change(
    user: &UserId,
    definition: &Definition,
    desired: Desired,
    restart: bool,
    observed: &Observed,
) -> Result<Plan, Refusal> {
    let (Some(service), Some(current)) = (&observed.service, &observed.current) else { return Err(Refusal::NotFound) };
    let task_definition = match definition {
        Definition::Keep => None,
        Definition::Render(patch) => {
            let spec = current.spec.clone().patched(patch)?;
            let base = base(observed)?;
            let Some(access_point_id) = &observed.access_point_id else { return Ok(step(Step::EnsureAccessPoint)) };
            // Always from the base: what the previous revision drifted to is not carried on (incident 3).
            let rendered = render(base, user, &spec, access_point_id, Some(&current.arn))?;
            if rendered.digest == current.digest && current.active {
                // What is newer was asked for once and is not any more: one that ECS went back from, or one that an
                // interrupted converge left. As long as it stays, the container counts as rolled back.
                let newer = observed.revisions.iter().find(|arn| is_newer_revision(arn, &current.arn));
                if let Some(arn) = newer {
                    return Ok(step(Step::DeregisterRevision(arn.clone())));
                }
                None
            } else {
                match registered(&rendered, observed) {
                    Some(arn) => Some(arn),
                    None => return Ok(register(rendered, observed)),
                }
            }
        }
    };
    let wanted = match desired {
        Desired::Running => 1,
        Desired::Stopped => 0,
        Desired::Unchanged => service.desired,
    };
    // A deployment that the circuit breaker gave up starts nothing more by itself (incident 16).
    let stuck = service.is_stalled() && wanted > 0;
    let restart = ((restart || observed.done.needs_start) && wanted > 0 || stuck)
        && task_definition.is_none()
        && !observed.done.restarted;
    // A count that was read may be an old one: whoever asks for a count and for nothing else has it sent. An equal one
    // starts no deployment.
    let is_asked_for = matches!((definition, desired), (Definition::Keep, Desired::Running | Desired::Stopped));
    let must_send = is_asked_for && !observed.done.counted;
    let desired = (wanted != service.desired || must_send).then_some(wanted);
    if task_definition.is_none() && desired.is_none() && !restart {
        return Ok(Plan::Converged);
    }
    let superseded = superseded(observed, service, current, task_definition.as_deref());
    Ok(step(Step::UpdateService { task_definition, desired, restart, superseded }))
}

/// Revisions of the user that nothing can go back to once `next` is deployed.
fn superseded(observed: &Observed, service: &Service, current: &CurrentDefinition, next: Option<&str>) -> Vec<String> {
    let Some(next) = next else { return Vec::new() };
    // The circuit breaker goes back to the last revision that was completely deployed. Only when that is the current
    // one are all before it of no use; one that failed never is of any.
    let settled = service
        .primary()
        .is_some_and(|primary| primary.rollout == Rollout::Completed && primary.task_definition == current.arn);
    let failed =
        service.deployments.iter().filter(|deployment| deployment.rollout == Rollout::Failed && !deployment.primary);
    let older = observed.revisions.iter().chain(&current.previous).filter(|_| settled).cloned();
    let unused: BTreeSet<String> = older.chain(failed.map(|deployment| deployment.task_definition.clone())).collect();
    unused.into_iter().filter(|arn| arn != next && *arn != current.arn).collect()
}

/// Deletes what a service leaves behind, one thing after the other. A service that is gone already is no reason to
/// stop (incident 19).
fn clean_up(purge: bool, observed: &Observed) -> Result<Plan, Refusal> {
    if observed.never_seen {
        return Err(Refusal::NotFound);
    }
    let done = &observed.done;
    match &observed.current {
        Some(current) if current.active && !done.gave_up(TASK_DEFINITION, Some(&current.arn)) => {
            return Ok(step(Step::DeregisterRevision(current.arn.clone())));
        }
        Some(CurrentDefinition { previous: Some(previous), .. }) if !done.gave_up(TASK_DEFINITION, Some(previous)) => {
            return Ok(step(Step::FollowToPrevious(previous.clone())));
        }
        Some(_) | None => {}
    }
    let mut remembered = observed.revisions.iter().filter(|arn| !done.gave_up(TASK_DEFINITION, Some(arn)));
    if let Some(remembered) = remembered.next() {
        return Ok(step(Step::DeregisterRevision(remembered.clone())));
    }
    match &observed.access_point_id {
        Some(id) if !done.access_point_deleted && !done.gave_up(ACCESS_POINT, Some(id)) => {
            return Ok(step(Step::DeleteAccessPoint(id.clone())));
        }
        // The deterministic token makes this the one call that finds it.
        None if !done.access_point_deleted && !done.gave_up(ACCESS_POINT, None) => {
            return Ok(step(Step::EnsureAccessPoint));
        }
        Some(_) | None => {}
    }
    if purge && !done.purged && !done.gave_up(FILES, None) {
        return Ok(step(Step::PurgeFiles));
    }
    Ok(Plan::Converged)
}

fn base(observed: &Observed) -> Result<&BaseDefinition, Refusal> {
    observed.base.as_ref().ok_or(Refusal::NoBase)
}

/// The revision that this converge registered, if it is what should run.
fn registered(rendered: &Rendered, observed: &Observed) -> Option<String> {
    let registered = observed.done.registered.as_ref()?;
    (registered.digest == rendered.digest).then(|| registered.arn.clone())
}

fn register(rendered: Rendered, observed: &Observed) -> Plan {
    match rendered.image_ref().and_then(|image| image.ecr()) {
        Some(image) if observed.done.image.as_ref() != Some(&image) => step(Step::CheckImage(image)),
        _ => step(Step::RegisterTaskDefinition(rendered)),
    }
}

impl Step {
    /// The step's name, for logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::EnsureAccessPoint => "ensure_access_point",
            Self::CheckImage(_) => "check_image",
            Self::RegisterTaskDefinition(_) => "register_task_definition",
            Self::CreateService { .. } => "create_service",
            Self::UpdateService { .. } => "update_service",
            Self::DeleteService => "delete_service",
            Self::DeregisterRevision(_) => "deregister_revision",
            Self::FollowToPrevious(_) => "follow_to_previous",
            Self::DeleteAccessPoint(_) => "delete_access_point",
            Self::PurgeFiles => "purge_files",
        }
    }

    /// What it is to remove, or to find for that: kind and id.
    #[must_use]
    pub fn removes(&self) -> Option<(&'static str, Option<String>)> {
        match self {
            Self::DeregisterRevision(arn) | Self::FollowToPrevious(arn) => Some((TASK_DEFINITION, Some(arn.clone()))),
            Self::DeleteAccessPoint(id) => Some((ACCESS_POINT, Some(id.clone()))),
            Self::EnsureAccessPoint => Some((ACCESS_POINT, None)),
            Self::PurgeFiles => Some((FILES, None)),
            Self::CheckImage(_)
            | Self::RegisterTaskDefinition(_)
            | Self::CreateService { .. }
            | Self::UpdateService { .. }
            | Self::DeleteService => None,
        }
    }

    /// Whether it makes ECS start a task, for which the user's files must be in place. Not earlier: a request that is
    /// refused leaves no sign-in of a user who never comes to be, and takes none away from where the running release
    /// looks for it.
    #[must_use]
    pub const fn starts_task(&self) -> bool {
        match self {
            Self::CreateService { .. } => true,
            Self::UpdateService { task_definition, desired, restart, .. } => {
                task_definition.is_some() || *restart || matches!(desired, Some(1..))
            }
            Self::EnsureAccessPoint
            | Self::CheckImage(_)
            | Self::RegisterTaskDefinition(_)
            | Self::DeleteService
            | Self::DeregisterRevision(_)
            | Self::FollowToPrevious(_)
            | Self::DeleteAccessPoint(_)
            | Self::PurgeFiles => false,
        }
    }

    /// ARN of the revision that it makes the service run, if it is another one.
    #[must_use]
    pub fn task_definition(&self) -> Option<&str> {
        match self {
            Self::CreateService { task_definition, .. } => Some(task_definition),
            Self::UpdateService { task_definition, .. } => task_definition.as_deref(),
            Self::EnsureAccessPoint
            | Self::CheckImage(_)
            | Self::RegisterTaskDefinition(_)
            | Self::DeleteService
            | Self::DeregisterRevision(_)
            | Self::FollowToPrevious(_)
            | Self::DeleteAccessPoint(_)
            | Self::PurgeFiles => None,
        }
    }

    /// Whether the user's container is another one, or none, after it.
    #[must_use]
    pub const fn changes_container(&self) -> bool {
        match self {
            Self::CreateService { .. } | Self::UpdateService { .. } | Self::DeleteService => true,
            Self::EnsureAccessPoint
            | Self::CheckImage(_)
            | Self::RegisterTaskDefinition(_)
            | Self::DeregisterRevision(_)
            | Self::FollowToPrevious(_)
            | Self::DeleteAccessPoint(_)
            | Self::PurgeFiles => false,
        }
    }
}
