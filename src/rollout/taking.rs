//! One user of a rollout: what they have, what they should have, and whether they have it.

use super::plan::Seen;
use super::words::{Change, Event, Former, Rollout};
use crate::domain::service::ServiceStatus;
use crate::domain::{BaseChoice, CurrentDefinition, RawSize, Size, Spec, State};
use crate::reconcile::{ContainerView, ConvergeError, ConvergeOutcome, FailureKind, Redeploy, Target, Verb};

/// The label of users that every rollout leaves out: `rollout` = `exclude`.
pub(super) const EXCLUDES: (&str, &str) = ("rollout", "exclude");

/// The result of looking at a user before they are moved.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Write these lines.
    Only(Vec<Event>),
    /// Write these lines, and then do this.
    Take(Vec<Event>, Box<Target>),
}

fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn size_of(current: &CurrentDefinition) -> Option<Size> {
    let (cpu, memory_mib) = current.cpu.zip(current.memory_mib)?;
    Size::parse(RawSize { cpu, memory_mib }, "size").ok()
}

/// What the user has, needed for the way back.
fn former(rollout: &Rollout, view: &ContainerView, current: &CurrentDefinition, reauth_required: bool) -> Former {
    let variable = match &rollout.change {
        Change::Variable { name, .. } => current.spec.variables.get(name).map(str::to_owned),
        Change::Base(_) | Change::Image(_) | Change::Size(_) | Change::Restart | Change::Redeploy { .. } => None,
    };
    Former {
        variable,
        revision: current.arn.clone(),
        base: current.base.as_deref().map(|base| short(base).to_owned()),
        image: current.spec.image.clone(),
        openclaw_version: current.spec.openclaw_version,
        size: size_of(current),
        deployment: view.service.primary().map(|primary| primary.id.clone()),
        reauth_required,
    }
}

/// Whether the user's service was told to run what the rollout wants now, on the way there or back.
fn is_as_wanted(rollout: &Rollout, had: Option<&Former>, view: &ContainerView) -> bool {
    match rollout.is_back {
        true => is_as_before(rollout, had, view),
        false => is_moved(rollout, had, view),
    }
}

/// Whether the user has the change of the rollout.
fn is_moved(rollout: &Rollout, had: Option<&Former>, view: &ContainerView) -> bool {
    let Some(current) = &view.current else { return false };
    match brings(&rollout.change, &current.spec, current.base.as_deref(), size_of(current)) {
        Some(has) => has,
        None => had.is_some_and(|had| {
            let deployment = view.service.primary().map(|primary| &primary.id);
            had.revision != current.arn || had.deployment.is_some() && deployment != had.deployment.as_ref()
        }),
    }
}

/// Whether a user with that spec, base and size has the change; `None`: these do not show it.
pub(super) fn brings(change: &Change, spec: &Spec, base: Option<&str>, size: Option<Size>) -> Option<bool> {
    match change {
        Change::Base(to) => Some(base.map(short) == Some(to)),
        Change::Image(image) => Some(spec.image == *image),
        Change::Size(wanted) => Some(size == Some(*wanted)),
        Change::Variable { name, value } => Some(spec.variables.get(name) == value.as_deref()),
        Change::Restart | Change::Redeploy { .. } => None,
    }
}

/// Whether the user has what they had before the rollout.
fn is_as_before(rollout: &Rollout, had: Option<&Former>, view: &ContainerView) -> bool {
    let Some((current, had)) = view.current.as_ref().zip(had) else { return false };
    let has_base = had.base.as_deref() == current.base.as_deref().map(short);
    match &rollout.change {
        Change::Base(_) => has_base,
        Change::Image(_) => had.image == current.spec.image,
        Change::Size(_) => had.size == size_of(current),
        Change::Variable { name, .. } => current.spec.variables.get(name) == had.variable.as_deref(),
        Change::Redeploy { .. } => has_base && had.image == current.spec.image,
        Change::Restart => true,
    }
}

/// The verb for moving one user, or for taking them back.
pub(super) const fn verb(change: &Change) -> Verb {
    match change {
        Change::Base(_) | Change::Image(_) | Change::Variable { .. } | Change::Redeploy { .. } => Verb::Redeploy,
        Change::Size(_) => Verb::Resize,
        Change::Restart => Verb::Restart,
    }
}

/// The target for a user who is moved.
pub(super) fn forward(rollout: &Rollout) -> Target {
    let target = match &rollout.change {
        Change::Base(to) => Target::redeploy(Redeploy::default()).on(BaseChoice::Named(to.clone())),
        Change::Image(image) => {
            Target::redeploy(Redeploy { image: Some(image.clone()), ..Redeploy::default() }).on(BaseChoice::Kept)
        }
        Change::Size(size) => Target::resize(*size),
        Change::Variable { name, value } => Target::with_variable(name.clone(), value.clone()),
        Change::Restart => Target::restart(),
        Change::Redeploy { image, openclaw_version, force } => {
            let (image, openclaw_version) = (image.clone(), *openclaw_version);
            Target::redeploy(Redeploy { image, openclaw_version, restart: *force })
        }
    };
    target.in_order(rollout.strategy.order)
}

/// The target for a user who is taken back; `None`: there is nothing to do.
pub(super) fn back(rollout: &Rollout, had: &Former) -> Option<Target> {
    let target = match &rollout.change {
        Change::Base(_) => Target::redeploy(Redeploy::default()),
        Change::Image(_) | Change::Redeploy { .. } => {
            let (image, openclaw_version) = (Some(had.image.clone()), had.openclaw_version);
            Target::redeploy(Redeploy { image, openclaw_version, restart: false })
        }
        Change::Size(_) => Target::resize(had.size?),
        Change::Variable { name, .. } => Target::with_variable(name.clone(), had.variable.clone()),
        Change::Restart => return None,
    };
    // If no base is promoted, any change takes a user to the newest base.
    let base = had.base.clone().map_or(BaseChoice::Kept, BaseChoice::Former);
    Some(target.on(base).in_order(rollout.strategy.order))
}

/// What to do with a user whose turn it is. `had`: what they had, if that is already written down, because somebody has
/// begun with them before.
pub(super) fn prepare(
    rollout: &Rollout,
    had: Option<&Former>,
    view: &ContainerView,
    reauth_required: bool,
    now: i64,
) -> Prepared {
    let skipped = |why: &str| Prepared::Only(vec![Event::Skipped { why: why.to_owned() }]);
    let Some(current) = view.current.as_ref().filter(|_| view.service.status == ServiceStatus::Active) else {
        return skipped("gone");
    };
    if had.is_some() && !rollout.is_back && is_moved(rollout, had, view) {
        // Its service was already told; only that was not written down.
        return Prepared::Only(vec![Event::Sent { at: now }]);
    }
    let is_stopped = view.service.desired == 0;
    match (rollout.is_back, had) {
        // Somebody has asked for something else since, which this rollout must not take back.
        (true, Some(_)) if !is_moved(rollout, had, view) && !is_as_before(rollout, had, view) => skipped("changed"),
        // Also for a user who does not look moved: accepted work may be about to move them.
        (true, Some(had)) => match back(rollout, had) {
            Some(target) => Prepared::Take(Vec::new(), Box::new(target)),
            None => skipped("not_moved"),
        },
        (true, None) => skipped("not_moved"),
        (false, _) if is_stopped && (rollout.select.only_running || rollout.change == Change::Restart) => {
            skipped("stopped")
        }
        (false, _) if current.spec.labels.iter().any(|label| label == EXCLUDES) => skipped("excluded"),
        (false, None) if is_moved(rollout, had, view) => skipped("unchanged"),
        (false, had) => {
            let from = match had {
                Some(had) => had.clone(),
                None => former(rollout, view, current, reauth_required),
            };
            Prepared::Take(vec![Event::From(Box::new(from))], Box::new(forward(rollout)))
        }
    }
}

/// What to write down after a user was moved, or after the try failed.
pub(super) enum Taken {
    /// The user has no container any more.
    Gone,
    /// It would be refused again.
    Failed {
        /// Why, as a code.
        code: String,
        /// The reason in words.
        detail: String,
    },
    /// Nothing: the problem passes, and it is tried again.
    Again(String),
}

/// What an error of a converge means for a rollout.
pub(super) fn refused(error: &ConvergeError) -> Taken {
    let kind = error.kind();
    match kind {
        FailureKind::ContainerNotFound => Taken::Gone,
        FailureKind::InvalidField
        | FailureKind::ForeignService
        | FailureKind::ImageNotFound
        | FailureKind::BaseUnusable
        | FailureKind::PromotedBaseUnusable
        | FailureKind::FilesUnreadable
        | FailureKind::GatewayTokenNotOurs
        | FailureKind::AwsQuotaExceeded
        | FailureKind::AwsAccessDenied
        | FailureKind::AwsRefused
        | FailureKind::Cancelled
        | FailureKind::RolloutUnderWay
        | FailureKind::RolloutNotUnderstood
        | FailureKind::Internal => Taken::Failed { code: kind.name().to_owned(), detail: error.to_string() },
        FailureKind::OperationInProgress
        | FailureKind::QueueFull
        | FailureKind::FilesUnavailable
        | FailureKind::FilesMisconfigured
        | FailureKind::LockLost
        | FailureKind::Contended
        | FailureKind::AwsThrottled
        | FailureKind::AwsUnavailable
        | FailureKind::DeadlineExceeded
        | FailureKind::ShuttingDown => Taken::Again(error.to_string()),
    }
}

/// What to write down for a user after a converge answered, by how they look in its answer. `None`: it answered before any
/// effect showed, and may have none; it is asked again, and then reports the result.
pub(super) fn after(outcome: ConvergeOutcome, seen: Option<&Seen>, now: i64) -> Option<Event> {
    match (outcome, seen) {
        // The base has another number and the same content.
        (ConvergeOutcome::Unchanged, Some(Seen::Other)) => Some(Event::Skipped { why: "unchanged".to_owned() }),
        (ConvergeOutcome::Waiting, Some(Seen::Other) | None) => None,
        (
            ConvergeOutcome::Created | ConvergeOutcome::Changed | ConvergeOutcome::Unchanged | ConvergeOutcome::Waiting,
            Some(_) | None,
        ) => Some(Event::Sent { at: now }),
    }
}

/// What the look at a user on the way shows.
pub(super) fn seen(rollout: &Rollout, had: Option<&Former>, view: &ContainerView, reauth_required: bool) -> Seen {
    let status = &view.status;
    if view.service.status != ServiceStatus::Active || status.state == State::Deleting {
        return Seen::Gone;
    }
    let is_untouched = had.is_some_and(|had| {
        // A deployment that ECS has given up is listed beside the one that it went back to.
        let mut deployments = view.service.deployments.iter();
        let is_alone = deployments.all(|deployment| Some(&deployment.id) == had.deployment.as_ref());
        !rollout.is_back && view.asked_for == had.revision && is_alone
    });
    if is_untouched {
        // The change has not been begun: whatever is wrong was wrong before.
        return Seen::Other;
    }
    if status.state == State::Failed {
        let reason = status.reason.as_ref();
        let code = reason.and_then(|reason| serde_json::to_value(reason.code).ok()?.as_str().map(str::to_owned));
        let code = code.unwrap_or_else(|| "failed".to_owned());
        let detail = reason.map_or_else(|| "ECS gave it up".to_owned(), |reason| reason.message.clone());
        return Seen::Failed { code, detail };
    }
    if !is_as_wanted(rollout, had, view) {
        return Seen::Other;
    }
    if view.service.desired == 0 {
        return Seen::Stopped;
    }
    if status.ready && view.asked_for == view.service.task_definition {
        return Seen::Ready { reauth_required };
    }
    let message = status.reason.as_ref().map_or_else(|| "it is not ready".to_owned(), |reason| reason.message.clone());
    Seen::NotYet { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The converge waited for AWS's rates for longer than a caller is kept waiting, and then had nothing to change: the
    /// user did not fail to become ready in time.
    #[test]
    fn a_converge_that_answered_before_any_effect_showed_is_asked_again() {
        let not_yet = Seen::NotYet { message: String::new() };
        let sent = Some(Event::Sent { at: 7 });
        let unchanged = Some(Event::Skipped { why: "unchanged".to_owned() });
        let of = |outcome, seen| after(outcome, seen, 7);
        assert_eq!(
            [of(ConvergeOutcome::Waiting, None), of(ConvergeOutcome::Waiting, Some(&Seen::Other))],
            [None, None]
        );
        assert_eq!(of(ConvergeOutcome::Waiting, Some(&not_yet)), sent);
        assert_eq!(of(ConvergeOutcome::Unchanged, Some(&Seen::Other)), unchanged);
        // A change shows a little later.
        assert_eq!(
            [of(ConvergeOutcome::Changed, Some(&Seen::Other)), of(ConvergeOutcome::Changed, None)],
            [sent.clone(), sent]
        );
    }
}
