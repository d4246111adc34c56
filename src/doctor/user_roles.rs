//! Roles of users' own: whether those that there are can be looked at. The room left for more is among the quotas.

use tokio::time::timeout;

use super::{Check, DEADLINE, timed_out};
use crate::aws::Aws;
use crate::config::KnownCoordinates;

const NAME: &str = "user_roles";

/// One line where there are such roles, and none where there are not.
pub(super) async fn check(aws: &Aws, at: &KnownCoordinates) -> Option<Check> {
    let roles = at.release.user_roles.as_ref()?;
    let path = roles.path();
    Some(match timeout(DEADLINE, aws.iam.roles_under(path)).await {
        Ok(Ok(names)) => {
            let given = if roles.is_given() { "each user gets one with their next change" } else { "nobody gets one" };
            Check::pass(NAME, format!("{} under {path}, and {given}", names.len()))
        }
        Ok(Err(error)) => Check::aws(NAME, &error),
        Err(_) => timed_out(NAME),
    })
}
