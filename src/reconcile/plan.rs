//! The planner: pure, synchronous, and the only place that chooses. It compares the observed with the desired state and
//! returns one next step; the executor takes it, folds the answer in, and asks again. So an interruption at any point needs
//! no recovery of its own: the next call plans from whatever it finds.

use std::collections::BTreeSet;

use openclaw::Invalid;
use thiserror::Error;

use super::target::{Definition, Desired, IfMissing, Target};
use crate::domain::service::{Deployment, Rollout, Service, ServiceStatus, is_newer_revision, revision};
use crate::domain::{
    Accepted, BaseDefinition, CurrentDefinition, EcrImage, Phase, RenderError, Rendered, RoleGrants, Spec, SpecPatch,
    UserId, render,
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
    /// ARNs of revisions that were registered for the user and may still be, as the lock file remembers them. Nothing else
    /// finds those that no service names.
    pub revisions: BTreeSet<String>,
    /// ARNs of the user's deregistered revisions. They can be deleted once nothing else of the user is left.
    pub deregistered: BTreeSet<String>,
    /// Whether nothing of the user was ever here: no service, no lock file of an earlier call, no files to purge.
    pub never_seen: bool,
    /// Whether a task of the service has not stopped yet; `None`: not checked.
    pub has_live_tasks: Option<bool>,
    /// What ECS last accepted for the user, if it is remembered.
    pub accepted: Option<Accepted>,
    /// Whether that was long enough ago to show in every reading.
    pub is_settled: bool,
    /// Whether there is a service of which nothing is remembered. It may have been deleted a moment ago.
    pub is_unremembered: bool,
    /// Whether a service may exist that does not show: somebody was about to create it a moment ago, and the result is not
    /// remembered.
    pub may_appear: bool,
    /// The desired count after a replacement that has stopped the former task.
    pub resume: Option<u32>,
    /// The remembered access point. It may be gone, so it is used only for removing it.
    pub remembered_access_point: Option<String>,
    /// Whether roles of users' own go with their users.
    pub has_roles: bool,
    /// When the user's own role, or what it may do, was last made another one, in milliseconds of the Unix epoch; nothing once that
    /// is long ago.
    pub role_changed_at: Option<i64>,
    /// Whether that was so short a time ago that ECS may not see it.
    pub is_role_young: bool,
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
    /// The user's own role is there.
    pub role: bool,
    /// The access point through which the user's own role mounts.
    pub role_mounts: Option<String>,
    /// It deleted the user's own role, or there was none.
    pub role_deleted: bool,
    /// What it, or a converge shortly before it, told the service to run, whose role ECS may not see yet.
    pub deployed: Option<CurrentDefinition>,
    /// How often it told the service to run something while the user's role was young.
    pub deploys: u32,
    /// It staged something that only the start of a task takes up.
    pub needs_start: bool,
    /// It deleted the access point.
    pub access_point_deleted: bool,
    /// It purged the files.
    pub purged: bool,
    /// It deleted these revisions, or AWS refused to.
    pub deleted: BTreeSet<String>,
    /// What it could not remove before it went on.
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
    /// `task_definition`, `role`, `access_point`, `files` or `lock`.
    pub what: &'static str,
    /// ARN or id, where it has one.
    pub id: Option<String>,
    /// Why.
    pub error: String,
}

impl NotRemoved {
    /// Its ARN or id, where callers may see it.
    #[must_use]
    pub fn shown_id(&self) -> Option<String> {
        self.id.clone().filter(|_| self.what != ACCESS_POINT)
    }

    /// What a delete leaves without the user's lock: what is remembered beside the lock is not known, and files are left
    /// alone.
    pub(super) fn without_lock(purge: bool, error: &str) -> Vec<Self> {
        let left = |what| Self { what, id: None, error: error.to_owned() };
        [LOCK].into_iter().chain(purge.then_some(FILES)).map(left).collect()
    }
}

const LOCK: &str = "lock";
const TASK_DEFINITION: &str = "task_definition";
const ACCESS_POINT: &str = "access_point";
const ROLE: &str = "role";
const FILES: &str = "files";

/// Revisions that one call deletes (aws-facts §1).
const DELETED_AT_A_TIME: usize = 10;
/// How often a deployment is begun that ECS gives up while the user's role is young.
const MOST_DEPLOYS: u32 = 6;

/// The next thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Take this step, then plan again.
    Step(Box<Step>),
    /// Only time helps: the service is draining, its tasks are stopping, or the reading may be older than the last accepted
    /// change. Observe again later.
    WaitForDrain,
    /// Only time tells: ECS may not see the user's new role yet. Observe again later.
    WaitForRole,
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
    /// Make the user's own role, or find it.
    EnsureRole,
    /// Have the user's own role allow this and nothing else.
    PutRolePolicy(RoleGrants),
    /// Register a revision in the user family.
    RegisterTaskDefinition(Rendered),
    /// Create the service.
    CreateService {
        /// ARN of the revision.
        task_definition: String,
        /// Its digest, for the client token.
        digest: String,
        /// What the deleted service of that name ran last, while ECS remembers it. Part of the client token; without it ECS
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
        /// ARNs of revisions that nothing can go back to any more. They are deregistered if capacity is left over.
        superseded: Vec<String>,
    },
    /// Stop the task before another one takes its place.
    StopTasks {
        /// The desired count after that.
        resume: u32,
    },
    /// Delete the service, tasks and all.
    DeleteService,
    /// Deregister a revision of the user.
    DeregisterRevision(String),
    /// Delete the user's own role, with what it allows.
    DeleteRole,
    /// Delete the access point.
    DeleteAccessPoint(String),
    /// Remove the user's files.
    PurgeFiles,
    /// Delete revisions of the user that are INACTIVE.
    DeleteRevisions(Vec<String>),
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
    /// The spec as a whole is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The spec does not fit the base.
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
        // A service may still appear. Its files, revision and access point must not be removed under it, and it must not be
        // left behind.
        (
            Target::Absent { .. } | Target::Present { if_missing: IfMissing::Refuse, .. },
            None | Some(ServiceStatus::Inactive),
        ) if observed.may_appear => Ok(Plan::WaitForDrain),
        (Target::Present { if_missing, definition, .. }, None | Some(ServiceStatus::Inactive)) => match if_missing {
            IfMissing::Refuse => Err(Refusal::NotFound),
            // The name is free before the last task has ended, and that task's last write must not meet newly staged files.
            IfMissing::Create if observed.has_live_tasks == Some(true) => Ok(Plan::WaitForDrain),
            IfMissing::Create => create(user, definition, observed),
        },
        (Target::Present { if_missing, .. }, Some(ServiceStatus::Draining)) => match if_missing {
            IfMissing::Refuse => Err(Refusal::NotFound),
            // The name cannot be used before the last task is gone (incident 10).
            IfMissing::Create => Ok(Plan::WaitForDrain),
        },
        (Target::Present { definition, desired, restart, .. }, Some(ServiceStatus::Active)) => {
            if has_failed_by_itself(observed) {
                return Ok(Plan::Converged);
            }
            let planned = change(user, definition, *desired, *restart, observed)?;
            let planned = if target.is_strict() { strictly(planned, observed) } else { planned };
            Ok(if planned == Plan::Converged && awaits_role(observed) { Plan::WaitForRole } else { planned })
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

/// Stops the tasks before the service is deleted: a service is INACTIVE before its tasks have ended, and ECS may not report
/// them any more then.
fn take_down(observed: &Observed) -> Plan {
    let desired = observed.service.as_ref().map_or(0, |service| service.desired);
    // A count that is sent is compared with the true one; a count that was read may be old.
    let must_send = desired > 0 || !observed.is_settled && !observed.done.counted;
    match observed.has_live_tasks {
        _ if must_send => step(Step::UpdateService {
            task_definition: None,
            desired: Some(0),
            restart: false,
            superseded: Vec::new(),
        }),
        // If the look was too early, a task that has just started does not show.
        Some(false) if observed.is_settled => step(Step::DeleteService),
        Some(_) | None => Plan::WaitForDrain,
    }
}

fn create(user: &UserId, definition: &Definition, observed: &Observed) -> Result<Plan, Refusal> {
    let patch = match definition {
        Definition::Render(patch) => patch.clone(),
        Definition::Keep => SpecPatch::default(),
    };
    let spec = Spec::of_new_user(&patch)?;
    let Some(access_point_id) = &observed.access_point_id else { return Ok(step(Step::EnsureAccessPoint)) };
    let base = base(observed)?;
    let rendered = render(base, user, &spec, access_point_id, None)?;
    let digest = rendered.digest.clone();
    Ok(match ready(rendered, base, access_point_id, observed) {
        Ok(task_definition) => {
            let after = observed.service.as_ref().map(|deleted| deleted.task_definition.clone());
            step(Step::CreateService { task_definition, digest, after })
        }
        Err(first) => first,
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
    let wanted = match desired {
        Desired::Running => 1,
        Desired::Stopped => 0,
        Desired::Unchanged => observed.resume.unwrap_or(service.desired),
    };
    let task_definition = match definition {
        Definition::Keep => None,
        Definition::Render(patch) => {
            let spec = current.spec.clone().patched(patch)?;
            let base = base(observed)?;
            let Some(access_point_id) = &observed.access_point_id else { return Ok(step(Step::EnsureAccessPoint)) };
            // Always from the base: drift in the previous revision is not carried on (incident 3).
            let rendered = render(base, user, &spec, access_point_id, Some(&current.arn))?;
            if rendered.digest == current.digest && current.active {
                // A newer revision was wanted once and is not any more: ECS went back from it, or an interrupted converge
                // left it. As long as it stays, the container counts as rolled back.
                let newer = observed.revisions.iter().find(|arn| is_newer_revision(arn, &current.arn));
                match newer {
                    Some(arn) if observed.is_settled => return Ok(step(Step::DeregisterRevision(arn.clone()))),
                    // It may be the one that is being deployed, by a call whose result nobody has seen.
                    Some(_) => return Ok(Plan::WaitForDrain),
                    None => {}
                }
                // Somebody's hand may have undone the role, and another task does not start without it.
                if (restart || service.is_stalled())
                    && wanted > 0
                    && let Some(role) = own_role(base, access_point_id, observed)
                {
                    return Ok(role);
                }
                None
            } else {
                match ready(rendered, base, access_point_id, observed) {
                    Ok(arn) => Some(arn),
                    Err(first) => return Ok(first),
                }
            }
        }
    };
    // ECS starts nothing more for a deployment that the circuit breaker gave up (incident 16).
    let stuck = service.is_stalled() && wanted > 0;
    let is_for_the_role = stuck && observed.done.deployed.is_some();
    let restart = ((restart || observed.done.needs_start) && wanted > 0 || stuck)
        && task_definition.is_none()
        && (!observed.done.restarted || is_for_the_role);
    // A count that was read may be an old one: whoever asks for a count and for nothing else has it sent. An equal one
    // starts no deployment.
    let is_asked_for = matches!((definition, desired), (Definition::Keep, Desired::Running | Desired::Stopped));
    let must_send = (is_asked_for || observed.is_unremembered) && !observed.done.counted;
    let desired = (wanted != service.desired || must_send).then_some(wanted);
    if task_definition.is_none() && desired.is_none() && !restart {
        return Ok(Plan::Converged);
    }
    let superseded = superseded(observed, service, current, task_definition.as_deref());
    Ok(step(Step::UpdateService { task_definition, desired, restart, superseded }))
}

/// What the user's own role still needs before anything can be registered or run that names it.
fn own_role(base: &BaseDefinition, access_point_id: &str, observed: &Observed) -> Option<Plan> {
    base.user_roles()?;
    if !observed.done.role {
        return Some(step(Step::EnsureRole));
    }
    let mounts = observed.done.role_mounts.as_deref() == Some(access_point_id);
    (!mounts).then(|| step(Step::PutRolePolicy(base.role_grants(access_point_id))))
}

/// Whether ECS gave up, or went back from, what it was told to run. As long as the user's role is young, that may be because
/// ECS did not see it, and is no reason to end.
fn is_given_up(observed: &Observed) -> bool {
    let (Some(service), Some(deployed)) = (&observed.service, &observed.done.deployed) else { return false };
    service.is_stalled() || service.task_definition != deployed.arn
}

/// Whether what this converge had deployed was given up so often, or so long after the role was made, that it is not for the role.
/// Never where a task was stopped for a replacement that has yet to start: the container would stay stopped.
fn has_failed_by_itself(observed: &Observed) -> bool {
    let Done { deploys, needs_start, .. } = observed.done;
    let is_role = observed.is_role_young && deploys < MOST_DEPLOYS;
    deploys > 0 && is_given_up(observed) && !is_role && !needs_start && observed.resume.is_none()
}

/// Whether what ECS was told to run may still be given up because ECS does not see the user's role.
fn awaits_role(observed: &Observed) -> bool {
    let (Some(service), Some(_)) = (&observed.service, &observed.done.deployed) else { return false };
    observed.is_role_young && service.desired > 0 && !has_seen_role(observed) && !is_given_up(observed)
}

/// Whether what ECS was told to run is up, so that ECS has seen its role.
pub(super) fn has_seen_role(observed: &Observed) -> bool {
    let (Some(service), Some(deployed)) = (&observed.service, &observed.done.deployed) else { return false };
    let is_up = |primary: &Deployment| primary.rollout == Rollout::Completed;
    service.primary().is_some_and(|primary| primary.task_definition == deployed.arn && is_up(primary))
}

/// The same, one after the other: ECS starts the new task while the old one is still stopping.
fn strictly(planned: Plan, observed: &Observed) -> Plan {
    let (Plan::Step(next), Some(service)) = (&planned, &observed.service) else { return planned };
    let Step::UpdateService { task_definition, desired, restart, superseded } = next.as_ref() else { return planned };
    let replaces = task_definition.is_some() || *restart;
    let starts = desired.unwrap_or(service.desired);
    match (service.desired, starts) {
        // No task runs after it.
        (_, 0) => planned,
        (1.., _) if replaces => step(Step::StopTasks { resume: starts }),
        // It only repeats the present count.
        (1.., _) => planned,
        (0, _) if observed.has_live_tasks == Some(false) && observed.is_settled => step(Step::UpdateService {
            task_definition: task_definition.clone(),
            desired: Some(starts),
            // ECS starts nothing more for a deployment that it gave up.
            restart: task_definition.is_none(),
            superseded: superseded.clone(),
        }),
        (0, _) => Plan::WaitForDrain,
    }
}

/// Revisions of the user that nothing can go back to once `next` is deployed.
fn superseded(observed: &Observed, service: &Service, current: &CurrentDefinition, next: Option<&str>) -> Vec<String> {
    let Some(next) = next else { return Vec::new() };
    // The circuit breaker goes back to the last revision that was completely deployed. Only if that is the current one, all
    // earlier ones are useless. A failed one is always useless.
    let settled = service
        .primary()
        .is_some_and(|primary| primary.rollout == Rollout::Completed && primary.task_definition == current.arn);
    let failed =
        service.deployments.iter().filter(|deployment| deployment.rollout == Rollout::Failed && !deployment.primary);
    let older = observed.revisions.iter().chain(&current.previous).filter(|_| settled).cloned();
    let unused: BTreeSet<String> = older.chain(failed.map(|deployment| deployment.task_definition.clone())).collect();
    unused.into_iter().filter(|arn| arn != next && *arn != current.arn).collect()
}

/// Deletes what a service leaves behind, one thing at a time. A service that is already gone is no reason to stop
/// (incident 19).
fn clean_up(purge: bool, observed: &Observed) -> Result<Plan, Refusal> {
    if observed.never_seen {
        return Err(Refusal::NotFound);
    }
    let done = &observed.done;
    let current = observed.current.as_ref().filter(|current| current.active).map(|current| &current.arn);
    let mut registered = current.into_iter().chain(&observed.revisions);
    if let Some(arn) = registered.find(|arn| !done.gave_up(TASK_DEFINITION, Some(arn))) {
        return Ok(step(Step::DeregisterRevision(arn.clone())));
    }
    // Before the access point: nobody who has its credentials is to mount through what is being deleted.
    if observed.has_roles && !done.role_deleted && !done.gave_up(ROLE, None) {
        return Ok(step(Step::DeleteRole));
    }
    match &observed.access_point_id {
        Some(id) if !done.access_point_deleted && !done.gave_up(ACCESS_POINT, Some(id)) => {
            return Ok(step(Step::DeleteAccessPoint(id.clone())));
        }
        None if !done.access_point_deleted
            && observed.remembered_access_point.as_ref().is_some_and(|id| !done.gave_up(ACCESS_POINT, Some(id))) =>
        {
            return Ok(step(Step::DeleteAccessPoint(observed.remembered_access_point.clone().unwrap_or_default())));
        }
        // Only this call finds it, by the deterministic token.
        None if !done.access_point_deleted && !done.gave_up(ACCESS_POINT, None) => {
            return Ok(step(Step::EnsureAccessPoint));
        }
        Some(_) | None => {}
    }
    if purge && !done.purged && !done.gave_up(FILES, None) {
        return Ok(step(Step::PurgeFiles));
    }
    // Last, because it may wait for a long time: the whole account has one call a second for it.
    match purge.then(|| deletable(observed)).filter(|batch| !batch.is_empty()) {
        Some(batch) => Ok(step(Step::DeleteRevisions(batch))),
        None => Ok(Plan::Converged),
    }
}

/// The next revisions to delete, oldest first.
fn deletable(observed: &Observed) -> Vec<String> {
    let done = &observed.done;
    let last = observed.current.as_ref().filter(|current| !current.active).map(|current| &current.arn);
    let mut left: Vec<&String> = observed
        .deregistered
        .iter()
        .chain(last.filter(|arn| !observed.deregistered.contains(*arn)))
        .filter(|arn| !done.deleted.contains(*arn) && !done.gave_up(TASK_DEFINITION, Some(arn)))
        .collect();
    left.sort_by_key(|arn| revision(arn).map(|(_, number)| number));
    left.into_iter().take(DELETED_AT_A_TIME).cloned().collect()
}

fn base(observed: &Observed) -> Result<&BaseDefinition, Refusal> {
    observed.base.as_ref().ok_or(Refusal::NoBase)
}

/// The revision that this converge registered, if it is the one that should run.
fn registered(rendered: &Rendered, observed: &Observed) -> Option<String> {
    let known = [&observed.done.registered, &observed.done.deployed].into_iter().flatten();
    let mut it = known.filter(|known| known.digest == rendered.digest && known.active);
    it.next().map(|known| known.arn.clone())
}

/// ARN of the revision that a service can be told to run, or what has to be done first.
fn ready(
    rendered: Rendered,
    base: &BaseDefinition,
    access_point_id: &str,
    observed: &Observed,
) -> Result<String, Plan> {
    let known = registered(&rendered, observed);
    // What is refused for its image leaves no role.
    if known.is_none()
        && let Some(image) = rendered.image_ref().and_then(|image| image.ecr())
        && observed.done.image.as_ref() != Some(&image)
    {
        return Err(step(Step::CheckImage(image)));
    }
    match own_role(base, access_point_id, observed) {
        Some(role) => Err(role),
        None => known.ok_or_else(|| step(Step::RegisterTaskDefinition(rendered))),
    }
}

impl Step {
    /// The effects of the step, and what has to hold before it.
    #[must_use]
    pub fn effects(&self) -> Effects<'_> {
        let nothing = Effects::of;
        match self {
            Self::EnsureAccessPoint => Effects {
                removes: Some((ACCESS_POINT, None)),
                reaches: Some(Phase::AccessPoint),
                ..nothing("ensure_access_point")
            },
            Self::CheckImage(_) => nothing("check_image"),
            Self::EnsureRole => nothing("ensure_role"),
            Self::PutRolePolicy(_) => nothing("put_role_policy"),
            Self::RegisterTaskDefinition(_) => {
                Effects { reaches: Some(Phase::TaskDefinition), ..nothing("register_task_definition") }
            }
            Self::CreateService { task_definition, .. } => Effects {
                starts_task: true,
                changes_container: true,
                task_definition: Some(task_definition),
                ..nothing("create_service")
            },
            Self::UpdateService { task_definition, desired, restart, .. } => Effects {
                starts_task: task_definition.is_some() || *restart || matches!(desired, Some(1..)),
                changes_container: true,
                task_definition: task_definition.as_deref(),
                ..nothing("update_service")
            },
            Self::StopTasks { .. } => Effects { changes_container: true, ..nothing("stop_tasks") },
            Self::DeleteService => Effects { changes_container: true, ..nothing("delete_service") },
            Self::DeregisterRevision(arn) => {
                Effects { removes: Some((TASK_DEFINITION, Some(arn))), ..nothing("deregister_revision") }
            }
            Self::DeleteRole => Effects { removes: Some((ROLE, None)), ..nothing("delete_role") },
            Self::DeleteAccessPoint(id) => {
                Effects { removes: Some((ACCESS_POINT, Some(id))), ..nothing("delete_access_point") }
            }
            Self::PurgeFiles => Effects { removes: Some((FILES, None)), ..nothing("purge_files") },
            Self::DeleteRevisions(arns) => Effects {
                removes: Some((TASK_DEFINITION, arns.first().map(String::as_str))),
                ..nothing("delete_task_definitions")
            },
        }
    }

    /// The step's name, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.effects().name
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effects<'a> {
    /// The step's name, for logs.
    pub name: &'static str,
    /// What it removes, or finds in order to remove it: kind and id.
    pub removes: Option<(&'static str, Option<&'a str>)>,
    /// Whether it makes ECS start a task. The user's files are staged right before it and not earlier: a refused request
    /// leaves no sign-in of a user who never gets a container, and takes none away from where the running release looks for
    /// it.
    pub starts_task: bool,
    /// ARN of the revision that it makes the service run, if it changes.
    pub task_definition: Option<&'a str>,
    /// The phase that a user without a service reaches with it.
    pub reaches: Option<Phase>,
    /// Whether it changes or removes the user's container.
    pub changes_container: bool,
}

impl Effects<'_> {
    const fn of(name: &'static str) -> Self {
        Self { name, removes: None, starts_task: false, task_definition: None, reaches: None, changes_container: false }
    }
}
