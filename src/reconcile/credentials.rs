//! A user's files: staged for the release that will run, and the sign-in alone put, shown and removed.

use std::sync::Arc;

use tracing::Instrument;

use super::Reconciler;
use super::converge::retire;
use super::error::ConvergeError;
use super::plan::{Observed, Refusal, release_to_run};
use super::target::Target;
use crate::aws::RegisteredDefinition;
use crate::domain::credential_plan::{Release, Warning};
use crate::domain::service::ServiceStatus;
use crate::domain::{ChatGptAuth, CurrentDefinition, CurrentError, UserId};
use crate::staging::{Location, Outcome, Staged};

/// What a converge has staged so far.
pub(super) struct Files {
    sign_in: Option<ChatGptAuth>,
    /// The release that they are staged for.
    pub(super) release: Option<Release>,
    pub(super) staged: Option<Staged>,
    pub(super) warnings: Vec<Warning>,
}

impl Files {
    pub(super) const fn new(sign_in: Option<ChatGptAuth>) -> Self {
        Self { sign_in, release: None, staged: None, warnings: Vec::new() }
    }
}

/// What became of a sign-in that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutCredentials {
    /// Written or kept, and why.
    pub staged: Staged,
    /// What the caller should know.
    pub warnings: Vec<Warning>,
}

/// Where a user's sign-ins are.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// What the user's container runs.
    pub release: Release,
    /// Every place that is known, whether there is something or not.
    pub locations: Vec<Location>,
}

impl Reconciler {
    /// Stages the user's files for the release that will run; nothing when they are staged for it already.
    pub(super) async fn stage(
        &self,
        user: &UserId,
        target: &Target,
        observed: &Observed,
        files: &mut Files,
    ) -> Result<(), ConvergeError> {
        let Some(release) = release_to_run(user, target, observed)? else { return Ok(()) };
        if files.release.as_ref() == Some(&release) {
            return Ok(());
        }
        let (staged, warnings) = self.stage_for(user, &release, files.sign_in.clone(), false).await?;
        // A second time only confirms the first, unless the container's own was overtaken.
        if files.staged.as_ref().is_none_or(|before| before.outcome == Outcome::KeptFresher) {
            files.staged = staged;
        }
        files.warnings = warnings;
        files.release = Some(release);
        Ok(())
    }

    async fn stage_for(
        &self,
        user: &UserId,
        release: &Release,
        sign_in: Option<ChatGptAuth>,
        force: bool,
    ) -> Result<(Option<Staged>, Vec<Warning>), ConvergeError> {
        let plan = release.plan();
        let mut warnings = release.warnings();
        let (staged, not_carried_over) = match sign_in {
            Some(sign_in) => {
                let staged = self.staging.stage_sign_in(user, &plan, sign_in, force).await?;
                let not_carried_over = staged.not_carried_over;
                (Some(staged), not_carried_over)
            }
            None => (None, !self.staging.carry_over(user, &plan).await?),
        };
        if not_carried_over {
            warnings.push(Warning::NotCarriedOver);
        }
        let makes_token = !release.has_gateway_token();
        warnings.extend(self.staging.stage_configuration(user, plan.model, makes_token).await?);
        for warning in &warnings {
            tracing::warn!(user_id = %user, code = warning.code(), %warning, "the user may not be signed in");
        }
        Ok((staged, warnings))
    }

    /// Stages a newer sign-in for what the user's service runs. The container finds it by itself.
    ///
    /// # Errors
    /// `Refused(NotFound)` when there is no service.
    pub async fn put_credentials(
        self: &Arc<Self>,
        user: UserId,
        sign_in: ChatGptAuth,
        force: bool,
    ) -> Result<PutCredentials, ConvergeError> {
        let this = Arc::clone(self);
        self.in_a_task("put_credentials", user, move |user| async move {
            let release = this.running_release(&user).await?;
            let (staged, warnings) = this.stage_for(&user, &release, Some(sign_in), force).await?;
            // One was sent, so something became of it.
            let staged = staged.ok_or(ConvergeError::Contended)?;
            Ok(PutCredentials { staged, warnings })
        })
        .await
    }

    /// Removes what was staged of the user's sign-in, with or without a service; nothing there is success.
    ///
    /// # Errors
    /// When the file system does not let it be removed.
    pub async fn remove_credentials(self: &Arc<Self>, user: UserId) -> Result<(), ConvergeError> {
        let this = Arc::clone(self);
        self.in_a_task("remove_credentials", user, move |user| async move {
            let removed = this.staging.remove_sign_in(&user).await?;
            tracing::info!(removed, "removed a sign-in");
            Ok(())
        })
        .await
    }

    /// Where the user's sign-ins are, and which the release uses. Changes nothing.
    ///
    /// # Errors
    /// `Refused(NotFound)` when there is no service.
    pub async fn credentials(&self, user: &UserId) -> Result<Credentials, ConvergeError> {
        let release = self.running_release(user).await?;
        let locations = self.staging.locations(user, &release.plan()).await?;
        Ok(Credentials { release, locations })
    }

    async fn running_release(&self, user: &UserId) -> Result<Release, ConvergeError> {
        let at = self.coordinates();
        let found = self.aws.ecs.describe_service(&at.cluster, &user.service_name()).await?;
        let service = found.filter(|service| service.status == ServiceStatus::Active).ok_or(Refusal::NotFound)?;
        let found = self.aws.ecs.describe_task_definition(&service.task_definition).await?;
        let Some(RegisteredDefinition { document, .. }) = found else {
            return Err(CurrentError::NoSpec { arn: service.task_definition }.into());
        };
        // Only what is this user's own.
        CurrentDefinition::parse(&document, user)?;
        Ok(Release::of_definition(&document).map_err(Refusal::Invalid)?)
    }

    /// Works on a user under their lock, in a task of its own: a caller that goes away interrupts nothing.
    async fn in_a_task<T, F>(
        self: &Arc<Self>,
        operation: &'static str,
        user: UserId,
        work: impl FnOnce(UserId) -> F + Send + 'static,
    ) -> Result<T, ConvergeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ConvergeError>> + Send + 'static,
    {
        if self.stopping.is_cancelled() {
            return Err(ConvergeError::ShuttingDown);
        }
        let this = Arc::clone(self);
        let span = tracing::info_span!("credentials", operation, user_id = %user);
        let locked = async move {
            let lock = this.locks.acquire(&user, this.options.lock_timeout).await?;
            let result = work(user).await;
            // Nobody has been here before, and nothing of them is left: the lock file would say otherwise.
            if lock.is_new() {
                retire(lock).await;
            }
            result
        };
        let done = self.running.spawn(locked.instrument(span.or_current())).await;
        done.unwrap_or(Err(ConvergeError::ShuttingDown))
    }
}
