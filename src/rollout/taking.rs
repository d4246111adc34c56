//! One user of a rollout: what they have, what they are to have, and whether they have it.

use super::plan::Seen;
use super::words::{Change, Event, Former, Rollout};
use crate::domain::service::ServiceStatus;
use crate::domain::{BaseChoice, CurrentDefinition, RawSize, Size, Spec, State};
use crate::reconcile::{ContainerView, ConvergeError, ConvergeOutcome, FailureKind, Redeploy, Target, Verb};

/// A label of a user whom no rollout takes along: `rollout` = `exclude`.
pub(super) const EXCLUDES: (&str, &str) = ("rollout", "exclude");

/// What a look at a user before they are taken along comes to.
#[derive(Debug)]
pub(super) enum Prepared {
    /// These lines are to be written.
    Only(Vec<Event>),
    /// These lines are to be written, and then this is to be done.
    Take(Vec<Event>, Box<Target>),
}

fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn size_of(current: &CurrentDefinition) -> Option<Size> {
    let (cpu, memory_mib) = current.cpu.zip(current.memory_mib)?;
    Size::parse(RawSize { cpu, memory_mib }, "size").ok()
}

/// What the user has, for the way back.
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

/// Whether the user's service is told to run what the rollout wants at present, on the way there or back.
fn is_as_wanted(rollout: &Rollout, had: Option<&Former>, view: &ContainerView) -> bool {
    match rollout.is_back {
        true => is_as_before(rollout, had, view),
        false => is_moved(rollout, had, view),
    }
}

/// Whether the user has what the rollout brings.
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

/// Whether somebody with that spec, base and size has what is brought; `None`: that does not tell.
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

/// What it is called to do that for one user, or to take it back.
pub(super) const fn verb(change: &Change) -> Verb {
    match change {
        Change::Base(_) | Change::Image(_) | Change::Variable { .. } | Change::Redeploy { .. } => Verb::Redeploy,
        Change::Size(_) => Verb::Resize,
        Change::Restart => Verb::Restart,
    }
}

/// What is to be done for a user who is taken along.
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

/// What is to be done for a user who is taken back; `None`: nothing.
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
    // Where none is promoted, any change takes a user to the newest base.
    let base = had.base.clone().map_or(BaseChoice::Kept, BaseChoice::Former);
    Some(target.on(base).in_order(rollout.strategy.order))
}

/// What to do with a user whom it is begun with. `had`: what they had, where that is written down already: somebody has begun with
/// them before.
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
        // Its service is told so already: only its end was not written down.
        return Prepared::Only(vec![Event::Sent { at: now }]);
    }
    let is_stopped = view.service.desired == 0;
    match (rollout.is_back, had) {
        // Somebody has asked for something else since, which is not this rollout's to take back.
        (true, Some(_)) if !is_moved(rollout, had, view) && !is_as_before(rollout, had, view) => skipped("changed"),
        // Also for whoever does not show that they were moved: accepted work may be about to.
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

/// What is to be written down after a user was taken along, or tried.
pub(super) enum Taken {
    /// The user has no container any more.
    Gone,
    /// It would be refused again.
    Failed {
        /// Why, as a code.
        code: String,
        /// In words.
        detail: String,
    },
    /// Nothing: it passes, and is tried again.
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

/// What is written down of a user for whom a converge was answered, as they look in its answer. `None`: it was answered before anything of
/// it showed, and may come to nothing; asked again, it says what it came to.
pub(super) fn after(outcome: ConvergeOutcome, seen: Option<&Seen>, now: i64) -> Option<Event> {
    match (outcome, seen) {
        // Another number of the base, and the same content.
        (ConvergeOutcome::Unchanged, Some(Seen::Other)) => Some(Event::Skipped { why: "unchanged".to_owned() }),
        (ConvergeOutcome::Waiting, Some(Seen::Other) | None) => None,
        (
            ConvergeOutcome::Created | ConvergeOutcome::Changed | ConvergeOutcome::Unchanged | ConvergeOutcome::Waiting,
            Some(_) | None,
        ) => Some(Event::Sent { at: now }),
    }
}

/// How a user who is on the way looks.
pub(super) fn seen(rollout: &Rollout, had: Option<&Former>, view: &ContainerView, reauth_required: bool) -> Seen {
    let status = &view.status;
    if view.service.status != ServiceStatus::Active || status.state == State::Deleting {
        return Seen::Gone;
    }
    let is_untouched = had.is_some_and(|had| {
        // One that ECS has given up stands beside the one that it went back to.
        let mut deployments = view.service.deployments.iter();
        let is_alone = deployments.all(|deployment| Some(&deployment.id) == had.deployment.as_ref());
        !rollout.is_back && view.asked_for == had.revision && is_alone
    });
    if is_untouched {
        // What was asked for has not been begun with: whatever is wrong was so before.
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

    /// It waited for AWS's rates for longer than a caller is kept waiting, and then there was nothing to change: that is not the user's
    /// failure to become ready in time.
    #[test]
    fn what_was_answered_before_anything_showed_is_asked_again() {
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
        // What was changed shows a little later.
        assert_eq!(
            [of(ConvergeOutcome::Changed, Some(&Seen::Other)), of(ConvergeOutcome::Changed, None)],
            [sent.clone(), sent]
        );
    }
}
