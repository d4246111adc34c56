//! The user's files in the course of a converge: in place before a task can start, and once for each release.

use jiff::Timestamp;

use super::Run;
use crate::domain::SignInKind;
use crate::domain::credential_plan::CredentialPlan;
use crate::domain::credential_plan::openclaw_json::Entries;
use crate::reconcile::error::ConvergeError;
use crate::reconcile::plan::{Observed, Refusal};
use crate::reconcile::target::{Desired, Target};
use crate::reconcile::{PlacedSignIn, SignInChange};
use crate::staging::ToStage;

impl Run<'_> {
    /// Puts the sign-in where the service, as it is, looks for it. Not on a stop: a file system that does not answer is
    /// no reason to let a container run.
    pub(super) async fn place_for_current(&mut self) -> Result<(), ConvergeError> {
        let stops = matches!(self.target, Target::Present { desired: Desired::Stopped, .. } | Target::Absent { .. });
        if stops { Ok(()) } else { self.place_for(None).await }
    }

    /// Puts the sign-in where that revision will look for it, or takes it away where the provider is another one; once
    /// for each release and provider that this converge comes to.
    pub(super) async fn place_for(&mut self, task_definition: Option<&str>) -> Result<(), ConvergeError> {
        let Observed { current, done, .. } = &self.observed;
        let registered = done.registered.as_ref().filter(|revision| Some(revision.arn.as_str()) == task_definition);
        let Some(revision) = registered.or(current.as_ref()) else { return Ok(()) };
        let (release, kind, around) = (revision.release.clone(), revision.spec.sign_in, revision.surroundings());
        if self.placed.as_ref().is_some_and(|before| before.release == release && before.kind == kind) {
            return Ok(());
        }
        let (staging, user) = (&self.staging(), self.user);
        if matches!(self.sign_in, SignInChange::RotateGatewayToken) && release.has_gateway_token() {
            return Err(ConvergeError::TokenOfEnvironment);
        }
        if matches!(self.sign_in, SignInChange::RotateGatewayToken) {
            staging.rotate_gateway_token(user).await?;
            tracing::info!(user_id = %user, "made a new gateway token");
        }
        let moved_aside = match self.sign_in {
            SignInChange::Repair => staging.repair(user, &release).await?,
            SignInChange::None
            | SignInChange::Send { .. }
            | SignInChange::Remove
            | SignInChange::RotateGatewayToken => Vec::new(),
        };
        let what = match (kind, &self.sign_in) {
            (
                SignInKind::Chatgpt,
                SignInChange::None | SignInChange::Remove | SignInChange::Repair | SignInChange::RotateGatewayToken,
            ) => ToStage::SignIn { sent: None, force: false },
            (SignInKind::Chatgpt, SignInChange::Send { auth, force }) => {
                ToStage::SignIn { sent: Some(auth), force: *force }
            }
            (SignInKind::OpenaiKey | SignInKind::AnthropicKey | SignInKind::Bedrock, sign_in) => {
                if let SignInChange::Send { .. } = sign_in {
                    kind.takes_auth().map_err(Refusal::from)?;
                }
                ToStage::Nothing
            }
        };
        let is_removed = matches!((kind, &self.sign_in), (SignInKind::Chatgpt, SignInChange::Remove));
        let needs_start = is_removed && staging.remove_sign_in(user, &release).await?;
        let runs = release.clone();
        let entries = move |plan: &CredentialPlan| {
            let (model, profile) = match kind {
                SignInKind::Chatgpt => (plan.model, plan.profile_in_use()),
                SignInKind::OpenaiKey | SignInKind::AnthropicKey | SignInKind::Bedrock => {
                    (runs.model_entries(kind), None)
                }
            };
            Entries { model, secrets: runs.gateway_secrets(), profile }
        };
        // Where something was written since, what was prepared is not as it was.
        let is_as_prepared = matches!(self.sign_in, SignInChange::None | SignInChange::Send { .. });
        let prepared = self.prepared.take().filter(|_| is_as_prepared);
        let mut placed = staging.stage(user, &release, what, entries, around, prepared).await?;
        if is_removed {
            placed.needs_start = needs_start;
        }
        // Placed for one release and then for another, it was written all the same.
        let mut moved_aside = moved_aside;
        if let Some(PlacedSignIn { placed: earlier, moved_aside: before, .. }) = self.placed.take() {
            placed.staged = earlier.staged;
            placed.needs_start |= earlier.needs_start;
            moved_aside.splice(..0, before);
        }
        self.placed = Some(PlacedSignIn { release, kind, placed, moved_aside });
        Ok(())
    }

    /// Whether what was staged waits for a task to start, and none is about to.
    pub(super) fn needs_start(&self) -> bool {
        let Some(PlacedSignIn { placed, .. }) = &self.placed else { return false };
        let Some(service) = self.observed.service.as_ref().filter(|service| service.desired > 0) else { return false };
        let waits_since = placed.pending_since.map(Timestamp::as_second);
        let deployed = service.primary().and_then(|primary| primary.created_at_seconds);
        // Handed over by a converge that did not come to restart the container.
        let is_left_over = waits_since.zip(deployed).is_some_and(|(since, deployed)| deployed < since);
        (placed.needs_start || is_left_over) && !self.observed.done.restarted
    }

    pub(super) fn count_sign_in(&self) {
        let Some(PlacedSignIn { placed, .. }) = &self.placed else { return };
        let outcome = match &self.sign_in {
            SignInChange::None | SignInChange::RotateGatewayToken => None,
            SignInChange::Repair => Some("repaired"),
            SignInChange::Send { .. } => placed.staged.map(|staged| staged.outcome.name()),
            SignInChange::Remove => Some("removed"),
        };
        if let Some(outcome) = outcome {
            self.reconciler.metrics.credentials(outcome);
        }
    }
}
