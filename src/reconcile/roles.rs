//! The steps that create, write and delete a user's own role.

use jiff::Timestamp;

use super::error::ConvergeError;
use super::execute::Taken;
use super::plan::Observed;
use super::{Reconciler, names};
use crate::aws::{EnsuredRole, FoundRole, Role};
use crate::domain::{Coordinates, RoleGrants, UserId, UserRoles, has_tags, region_of};

impl Reconciler {
    /// Creates the user's role, or finds it.
    pub(super) async fn ensure_role(
        &self,
        at: &Coordinates,
        user: &UserId,
        observed: &mut Observed,
    ) -> Result<Taken, ConvergeError> {
        let Some(roles) = &at.release.user_roles else { return Ok(Taken::Folded) };
        let region = observed.base.as_ref().and_then(|base| region_of(base.arn())).unwrap_or("*");
        let wanted = Role {
            name: roles.name(user, &at.file_system_id),
            path: roles.path().to_owned(),
            boundary: roles.boundary().to_owned(),
            trust_policy: roles.trust_policy(region),
            tags: names::role_tags(at, user),
        };
        match self.aws.iam.ensure_role(&wanted).await? {
            EnsuredRole::Made => observed.role_changed_at = Some(Timestamp::now().as_millisecond()),
            // A process that was killed may have created it a moment ago.
            EnsuredRole::Found { created_at_seconds } if !runs_with_own(observed) => {
                let (created_at, now) = (created_at_seconds.saturating_mul(1_000), Timestamp::now().as_millisecond());
                let settled = i64::try_from(self.options.role_settles_after.as_millis()).unwrap_or(i64::MAX);
                if created_at.saturating_add(settled) > now {
                    observed.role_changed_at = observed.role_changed_at.max(Some(created_at));
                }
            }
            EnsuredRole::Found { .. } => {}
            EnsuredRole::NotSeen => return Ok(Taken::Conflict("the user's role does not show yet".into())),
        }
        observed.done.role = true;
        Ok(Taken::Folded)
    }

    /// Writes the policy of the user's role.
    pub(super) async fn put_role_policy(
        &self,
        at: &Coordinates,
        user: &UserId,
        grants: &RoleGrants,
        observed: &mut Observed,
    ) -> Result<Taken, ConvergeError> {
        let Some(roles) = &at.release.user_roles else { return Ok(Taken::Folded) };
        let policy = roles.policy(grants, self.options.enable_execute_command);
        if !self.aws.iam.put_policy(&roles.name(user, &at.file_system_id), &policy).await? {
            observed.done.role = false;
            return Ok(Taken::Conflict("the user's role is gone, or does not show yet".into()));
        }
        let access_point_id = grants.access_points.first();
        // A running revision proves that ECS has seen a policy for its access point.
        let mounted = observed.current.as_ref().and_then(|current| current.access_point_id.as_ref());
        if !(runs_with_own(observed) && mounted == access_point_id) {
            observed.role_changed_at = Some(Timestamp::now().as_millisecond());
        }
        observed.done.role_mounts = access_point_id.cloned();
        Ok(Taken::Folded)
    }

    /// Deletes the user's role. A role of that name without the user's marks stays.
    pub(super) async fn delete_role(
        &self,
        at: &Coordinates,
        user: &UserId,
        observed: &mut Observed,
    ) -> Result<Taken, ConvergeError> {
        let Some(roles) = &at.release.user_roles else { return Ok(Taken::Folded) };
        let name = roles.name(user, &at.file_system_id);
        match self.aws.iam.find_role(&name).await? {
            // This converge created it or found it a moment ago, and it is too new to show.
            None if observed.role_changed_at.is_some() => self.aws.iam.delete_role(&name).await?,
            None => {}
            Some(found) if is_of(roles, at, user, &found) => self.aws.iam.delete_role(&name).await?,
            Some(_) => {
                tracing::warn!(role = name, user_id = %user, "it does not carry the user's marks; it is left alone")
            }
        }
        observed.done.role_deleted = true;
        observed.role_changed_at = None;
        Ok(Taken::Folded)
    }
}

/// Whether the user's current revision has their own role, so that ECS has seen it.
fn runs_with_own(observed: &Observed) -> bool {
    observed.current.as_ref().is_some_and(|current| current.has_own_role)
}

/// Whether a role has the path, boundary and tags that this service gives to the user's role.
pub(super) fn is_of(roles: &UserRoles, at: &Coordinates, user: &UserId, found: &FoundRole) -> bool {
    let is_ours = found.path == roles.path() && found.boundary.as_deref() == Some(roles.boundary());
    is_ours && has_tags(&found.tags, &names::role_tags(at, user))
}
