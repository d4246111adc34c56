//! Check of the promoted base.

use jiff::Timestamp;
use tokio::time::timeout;

use super::{Check, DEADLINE, timed_out};
use crate::aws::{AwsError, Ecs, RegisteredDefinition};
use crate::config::KnownCoordinates;
use crate::domain::{BaseDefinition, Promotion, with_causes};
use crate::files::Files;
use crate::ledger::{LedgerError, promotion_in};

const NAME: &str = "promoted_base";
/// How long promoted and newest may differ: a canary and a rollout take days.
const DIFFER_FOR_SECONDS: i64 = 7 * 24 * 3600;

/// Checks that the promoted base can be cloned, and has not been behind the newest for too long.
pub(super) async fn check(files: Option<&Files>, ecs: &Ecs, at: &KnownCoordinates) -> Check {
    let Some(files) = files else { return Check::skip(NAME, "not known", Some("set PROVISIONER_EFS_ROOT")) };
    match timeout(DEADLINE, promotion_in(files)).await {
        Err(_) => timed_out(NAME),
        Ok(Err(error @ LedgerError::FleetNotUnderstood { .. })) => {
            let fix = "remove the promotion with `promote --follow`, then promote the right base";
            Check::fail(NAME, "not_understood", error.to_string(), Some(fix.into()))
        }
        // The file system has its own check.
        Ok(Err(error)) => Check::skip(NAME, with_causes(&error), Some("fix efs_root first")),
        Ok(Ok(None)) => Check::pass(NAME, "none is promoted; every user follows the newest at their next provision"),
        Ok(Ok(Some(promotion))) => match timeout(DEADLINE, look(ecs, at, &promotion)).await {
            Err(_) => timed_out(NAME),
            Ok(Err(error)) => Check::aws(NAME, &error),
            Ok(Ok(check)) => check,
        },
    }
}

async fn look(ecs: &Ecs, at: &KnownCoordinates, promotion: &Promotion) -> Result<Check, AwsError> {
    let revision = &promotion.revision;
    let (Some(family), Some(file_system_id)) = (&at.base_family, &at.file_system_id) else {
        return Ok(Check::skip(NAME, "the base family or the file system is not known", None));
    };
    let family = family.as_str();
    let fail = |finding, problem: String| {
        let fix = "promote another revision (`promote REVISION`), or follow the newest again (`promote --follow`)";
        Ok(Check::fail(NAME, finding, format!("{revision} is promoted, and {problem}"), Some(fix.into())))
    };
    if revision.rsplit_once(':').is_none_or(|(of, _)| of != family) {
        return fail("other_family", format!("the base family is {family}"));
    }
    let (promoted, newest) =
        tokio::try_join!(ecs.describe_task_definition(revision), ecs.describe_task_definition(family))?;
    let Some(promoted) = promoted else { return fail("no_such_revision", "there is no such revision".into()) };
    if !promoted.is_active() {
        return fail("not_active", "is deregistered".into());
    }
    let RegisteredDefinition { document, tags, arn } = promoted;
    if let Err(error) = BaseDefinition::parse_with(document, tags, family, file_system_id, at.release.clone()) {
        return fail("unusable", format!("cannot be cloned: {error}"));
    }
    let newest = newest.filter(RegisteredDefinition::is_active).filter(|newest| newest.arn != arn);
    let registered_at = newest.as_ref().and_then(|newest| newest.document["registeredAt"].as_f64());
    let since = registered_at.map(|at| (at as i64).max(promotion.promoted_at.as_second()));
    let differ_for = since.map_or(0, |since| Timestamp::now().as_second().saturating_sub(since));
    Ok(match newest.map(|newest| newest.arn.rsplit('/').next().unwrap_or_default().to_owned()) {
        None => Check::pass(NAME, format!("{revision} is promoted, which is the newest")),
        Some(newest) if differ_for > DIFFER_FOR_SECONDS => {
            let days = differ_for / (24 * 3600);
            let message = format!("{revision} is promoted, and {newest} has been the newest for {days} days");
            let fix = "roll the newest out and promote it, or deregister it".to_owned();
            Check::warn(NAME, "behind_newest", message, Some(fix))
        }
        Some(newest) => Check::pass(NAME, format!("{revision} is promoted; the newest is {newest}")),
    })
}
