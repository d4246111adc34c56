//! What a rollout asks for one user. It goes behind everybody who waits for an answer.

use std::sync::Arc;

use tokio::time::Instant;

use super::error::ConvergeError;
use super::status::ContainerView;
use super::{Converged, Intent, Reconciler};
use crate::aws::{Class, Scope};
use crate::domain::{BaseSource, UserId};

impl Reconciler {
    /// Carries out an intent as [`Self::apply`] does, at the pace of a rollout: users whose callers wait go first, and none
    /// is turned away.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn take_along(self: &Arc<Self>, intent: Intent) -> Result<Converged, ConvergeError> {
        self.carry_out(intent, Class::Rollout).await
    }

    /// Looks at a user at the pace of a rollout. Also returns whether they have to sign in again, as far as the files show.
    ///
    /// # Errors
    /// `Refused(NotFound)` when there is none.
    pub async fn look_for_rollout(&self, user: &UserId) -> Result<(ContainerView, bool), ConvergeError> {
        let scope = Scope::new(Class::Rollout, Instant::now() + self.options.answer_within);
        let look = async {
            let view = self.in_time(self.look(user)).await?;
            let reauth_required = self.sign_in_state(user, &view).await == Some("missing");
            Ok((view, reauth_required))
        };
        scope.run(look).await
    }

    /// The image of a base that a rollout may go to: ACTIVE, of the family, and fit to be cloned.
    ///
    /// # Errors
    /// The reason why it is not fit.
    pub async fn base_image(&self, revision: &str) -> Result<String, ConvergeError> {
        let at = self.coordinates();
        let base = self.in_time(self.base_of(&at, BaseSource::Named(revision.to_owned()))).await?;
        Ok(base.image().to_owned())
    }
}
