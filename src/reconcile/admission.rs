//! Admission: a converge whose turn at AWS's rate limits is too far away is refused before it changes anything.
//!
//! The check is made under the user's lock, so that many requests for one user are one in the queue.

use super::Reconciler;
use super::plan::{Plan, Step};
use super::target::{Definition, Target};
use crate::aws::QueueFull;

impl Reconciler {
    /// Admits a converge that is sure to register, before anything is read or made: that of a new user, whose access point
    /// is made during the first reading, and a change that was asked for by name. A refused caller should not first have to
    /// wait for readings.
    pub(super) fn admit_before_it_looks(&self, target: &Target, is_new: bool) -> Result<(), QueueFull> {
        let is_change = match target {
            Target::Present { definition: Definition::Render(_), .. } => !target.may_create(),
            Target::Present { definition: Definition::Keep, .. } | Target::Absent { .. } => false,
        };
        if (is_new && target.makes_new_user()) || (is_change && !is_new) {
            self.aws.ecs.admit(true, self.options.max_queue)?;
        }
        Ok(())
    }

    /// Admits a converge that was observed and needs AWS to change something, before its first step. One that needs nothing
    /// gives up its place in the queue.
    pub(super) fn admit_before_it_changes(&self, plan: &Plan, target: &Target) -> Result<(), QueueFull> {
        match plan {
            Plan::Converged => {
                self.aws.ecs.give_up_places();
                Ok(())
            }
            Plan::WaitForDrain | Plan::WaitForRole => Ok(()),
            Plan::Step(step) => match (&**step, target) {
                (Step::RegisterTaskDefinition(_) | Step::EnsureRole | Step::PutRolePolicy(_), _)
                | (Step::EnsureAccessPoint | Step::CheckImage(_), Target::Present { .. }) => {
                    self.aws.ecs.admit(true, self.options.max_queue)
                }
                (
                    Step::CreateService { .. }
                    | Step::UpdateService { .. }
                    | Step::StopTasks { .. }
                    | Step::DeleteService,
                    _,
                ) => self.aws.ecs.admit(false, self.options.max_queue),
                (
                    Step::EnsureAccessPoint
                    | Step::CheckImage(_)
                    | Step::DeregisterRevision(_)
                    | Step::DeleteRole
                    | Step::DeleteAccessPoint(_)
                    | Step::PurgeFiles
                    | Step::DeleteRevisions(_),
                    _,
                ) => Ok(()),
            },
        }
    }
}
