//! The user's files during a converge: in place before a task can start, and staged once for each release.

use jiff::Timestamp;
use openclaw::openclaw_json::{Entries, Surroundings};
use openclaw::{CredentialPlan, Provider, Release};

use super::run::{Did, Run};
use crate::domain::service::ServiceStatus;
use crate::domain::{CurrentDefinition, Rendered, with_causes};
use crate::reconcile::error::ConvergeError;
use crate::reconcile::execute::Taken;
use crate::reconcile::plan::{Observed, Refusal, Step};
use crate::reconcile::target::{Desired, Target};
use crate::reconcile::work::Work;
use crate::reconcile::{SignInChange, StagedSignIn};
use crate::staging::{StagingResult, ToStage};

impl Run<'_> {
    /// Puts the sign-in where the present service looks for it. Not on a stop: a file system that does not answer is no
    /// reason to keep a container running.
    pub(super) async fn place_for_current(&mut self) -> Result<(), ConvergeError> {
        let stops = matches!(self.target, Target::Present { desired: Desired::Stopped, .. } | Target::Absent { .. });
        if stops { Ok(()) } else { self.place_for(None).await }
    }

    /// Puts the sign-in where that revision will look for it, or removes it where the provider is another one. It does so
    /// once for each release and provider that this converge meets.
    pub(super) async fn place_for(&mut self, task_definition: Option<&str>) -> Result<(), ConvergeError> {
        let Observed { current, done, .. } = &self.observed;
        let registered = done.registered.as_ref().filter(|revision| Some(revision.arn.as_str()) == task_definition);
        let Some(revision) = registered.or(current.as_ref()) else { return Ok(()) };
        let (release, kind, around) = (revision.release.clone(), revision.spec.provider, revision.surroundings());
        if self.did.staged.as_ref().is_some_and(|before| before.release == release && before.kind == kind) {
            return Ok(());
        }
        let (mut done, mut moved_aside) = (None::<StagingResult>, Vec::new());
        // Even without a change, the sign-in is put where the release looks for it.
        let none = [SignInChange::None];
        let changes = if self.changes.is_empty() { &none[..] } else { &self.changes };
        for change in changes {
            let mut result = self.place_one(change, &release, kind, around.clone(), &mut moved_aside).await?;
            if let Some(before) = done {
                result.staged = result.staged.or(before.staged);
                result.needs_start |= before.needs_start;
            }
            done = Some(result);
        }
        let Some(mut result) = done else { return Ok(()) };
        // Placed for one release and then for another, the sign-in was written all the same.
        if let Some(StagedSignIn { result: earlier, moved_aside: before, .. }) = self.did.staged.take() {
            result.staged = earlier.staged;
            result.needs_start |= earlier.needs_start;
            moved_aside.splice(..0, before);
        }
        self.did.staged = Some(StagedSignIn { release, kind, result, moved_aside });
        self.cross_off_changes().await;
        Ok(())
    }

    /// Drops the pending copy of the sign-in, which is now where it belongs.
    async fn cross_off_changes(&self) {
        if !self.changes.is_empty() {
            self.accepting.advance(Work::signed_in).await;
        }
    }

    /// Makes one change of the user's sign-in.
    async fn place_one(
        &self,
        change: &SignInChange,
        release: &Release,
        kind: Provider,
        around: Surroundings,
        moved_aside: &mut Vec<(String, String)>,
    ) -> Result<StagingResult, ConvergeError> {
        let (staging, user) = (&self.staging(), self.user);
        if matches!(change, SignInChange::RotateGatewayToken) && release.has_gateway_token() {
            return Err(ConvergeError::TokenOfEnvironment);
        }
        if matches!(change, SignInChange::RotateGatewayToken) {
            staging.rotate_gateway_token(user).await?;
            tracing::info!(user_id = %user, "made a new gateway token");
        }
        match change {
            SignInChange::Repair => moved_aside.extend(staging.repair(user, release).await?),
            SignInChange::None
            | SignInChange::Send { .. }
            | SignInChange::Remove
            | SignInChange::RotateGatewayToken => {}
        }
        let what = to_stage(change, kind)?;
        let is_removed = matches!((kind, change), (Provider::Chatgpt, SignInChange::Remove));
        let needs_start = is_removed && staging.remove_sign_in(user, release).await?;
        let mut result = staging.stage(user, release, what, entries(release, kind), around).await?;
        if is_removed {
            result.needs_start = needs_start;
        }
        Ok(result)
    }

    /// Registers a revision for a user without a running container, and stages their files at the same time. The files are
    /// in place before anything can start, and the round trips of the file system no longer delay the AWS call. Only for a
    /// user who has no directory yet. A refused request leaves nothing, and what another revision would need is not touched.
    pub(super) async fn register_and_stage(&mut self, rendered: Rendered) -> Result<Taken, ConvergeError> {
        let staging = self.staging();
        let Self { reconciler, at, user, changes, observed, did: Did { staged: of_user, .. }, .. } = self;
        let sign_in = changes.first().unwrap_or(&SignInChange::None);
        let revision = CurrentDefinition::parse(&rendered.request, user)?;
        let (around, release, kind) = (revision.surroundings(), revision.release, revision.spec.provider);
        let stage = staging.stage_new(user, &release, to_stage(sign_in, kind)?, entries(&release, kind), around);
        let register = reconciler.execute(at, user, Step::RegisterTaskDefinition(rendered), observed);
        let (registered, staged) = tokio::join!(register, stage);
        match (registered, staged) {
            (Ok(taken), Ok(None)) => Ok(taken),
            (Ok(taken), Ok(Some(staged))) => {
                *of_user = Some(StagedSignIn { release, kind, result: staged, moved_aside: Vec::new() });
                self.cross_off_changes().await;
                Ok(taken)
            }
            // The registered revision is remembered, and is deregistered because nothing can run it.
            (Ok(_), Err(error)) => Err(error.into()),
            (Err(error), staged) => {
                if let Ok(Some(_)) = staged
                    && let Err(error) = staging.purge(user).await
                {
                    tracing::warn!(error = %with_causes(&error), "files of a refused user stay behind");
                }
                Err(error)
            }
        }
    }

    /// Whether the user's files can be staged before the registration has succeeded.
    pub(super) fn can_stage_beside(&self) -> bool {
        let runs = self.observed.service.as_ref().is_some_and(|service| service.status != ServiceStatus::Inactive);
        !runs && matches!(self.changes[..], [] | [SignInChange::None | SignInChange::Send { .. }])
    }

    /// Whether what was staged needs a task to start, and none is about to.
    pub(super) fn needs_start(&self) -> bool {
        let Some(StagedSignIn { result, .. }) = &self.did.staged else { return false };
        let Some(service) = self.observed.service.as_ref().filter(|service| service.desired > 0) else { return false };
        let waits_since = result.pending_since.map(Timestamp::as_second);
        let deployed = service.primary().and_then(|primary| primary.created_at_seconds);
        // An earlier converge handed it over and did not get as far as restarting the container.
        let is_left_over = waits_since.zip(deployed).is_some_and(|(since, deployed)| deployed < since);
        (result.needs_start || is_left_over) && !self.observed.done.restarted
    }

    pub(super) fn count_sign_in(&self) {
        let Some(StagedSignIn { result, .. }) = &self.did.staged else { return };
        for change in &self.changes {
            let outcome = match change {
                SignInChange::None | SignInChange::RotateGatewayToken => None,
                SignInChange::Repair => Some("repaired"),
                SignInChange::Send { .. } => result.staged.map(|staged| staged.outcome.name()),
                SignInChange::Remove => Some("removed"),
            };
            if let Some(outcome) = outcome {
                self.reconciler.metrics.credentials(outcome);
            }
        }
    }
}

/// What is staged, depending on how the user signs in.
fn to_stage(sign_in: &SignInChange, kind: Provider) -> Result<ToStage<'_>, ConvergeError> {
    Ok(match (kind, sign_in) {
        (
            Provider::Chatgpt,
            SignInChange::None | SignInChange::Remove | SignInChange::Repair | SignInChange::RotateGatewayToken,
        ) => ToStage::SignIn { sent: None, force: false },
        (Provider::Chatgpt, SignInChange::Send { auth, force }) => ToStage::SignIn { sent: Some(auth), force: *force },
        (Provider::OpenaiKey | Provider::AnthropicKey | Provider::Bedrock, sign_in) => {
            if let SignInChange::Send { .. } = sign_in {
                kind.takes_auth().map_err(Refusal::from)?;
            }
            ToStage::Nothing
        }
    })
}

/// The entries that `openclaw.json` needs.
fn entries(release: &Release, kind: Provider) -> impl Fn(&CredentialPlan) -> Entries + Send + Sync + 'static {
    let release = release.clone();
    move |plan| {
        let (model, profile) = match kind {
            Provider::Chatgpt => (plan.model, plan.profile_in_use()),
            Provider::OpenaiKey | Provider::AnthropicKey | Provider::Bedrock => (release.model_entries(kind), None),
        };
        Entries { model, secrets: release.gateway_secrets(), profile }
    }
}
