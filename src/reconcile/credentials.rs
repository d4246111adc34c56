//! A user's sign-in: shown and repaired. Changes to it are converges like any other.

use openclaw::freshness::SignIn;
use openclaw::{CredentialPlan, Provider, Release, Warning};

use super::Reconciler;
use super::error::ConvergeError;
use super::plan::Refusal;
use super::status::ContainerView;
use crate::domain::{CurrentDefinition, UserId};
use crate::staging::Location;

/// A user's sign-in, wherever it is, without any token.
#[derive(Debug)]
pub struct Credentials {
    /// What the user's container runs.
    pub release: Release,
    /// How the user signs in.
    pub kind: Provider,
    /// The plan that is in force; `None` where the provider takes no sign-in.
    pub plan: Option<CredentialPlan>,
    /// The sign-in that the release uses or would use.
    pub live: Option<SignIn>,
    /// The user has to sign in again.
    pub reauth_required: bool,
    /// A sign-in waits for a task to start.
    pub waits_for_start: bool,
    /// Every known place.
    pub locations: Vec<Location>,
    /// What may keep the release from using the sign-in.
    pub warnings: Vec<Warning>,
}

impl Reconciler {
    /// Looks at a user's sign-in.
    ///
    /// # Errors
    /// `Refused(NotFound)` when the user has no container.
    pub async fn credentials(&self, user: &UserId) -> Result<Credentials, ConvergeError> {
        self.in_time(self.credentials_of(user)).await
    }

    async fn credentials_of(&self, user: &UserId) -> Result<Credentials, ConvergeError> {
        let CurrentDefinition { release, spec, .. } = self.current_of(user).await?;
        let found = self.staging.look(user, &release).await?;
        let mut locations = self.staging.locations(user, &release).await?;
        let is_used = spec.provider == Provider::Chatgpt;
        if !is_used {
            for location in &mut locations {
                location.authoritative = false;
                location.shadowing = location.refresh_token_fingerprint.is_some();
            }
        }
        let mut warnings = release.warnings(spec.provider);
        if is_used {
            let of_files = |warning: &Warning| matches!(warning, Warning::CodexConfiguration { .. });
            warnings.extend(found.warnings.into_iter().filter(of_files));
            warnings.extend(self.staging.agent_elsewhere(user, found.plan.profile_in_use()).await?);
        }
        Ok(Credentials {
            warnings,
            kind: spec.provider,
            plan: is_used.then_some(found.plan),
            live: found.live,
            reauth_required: is_used && found.reauth_required,
            waits_for_start: found.pending_since.is_some(),
            locations,
            release,
        })
    }

    /// The state of a user's sign-in, in one word; `None` when the files do not answer.
    pub async fn sign_in_state(&self, user: &UserId, view: &ContainerView) -> Option<&'static str> {
        let current = view.current.as_ref()?;
        if current.spec.provider != Provider::Chatgpt {
            return Some("not_needed");
        }
        let found = self.hints.take(self.staging.as_hint().look(user, &current.release).await)?;
        Some(match (found.live, found.reauth_required) {
            (Some(_), _) => "present",
            (None, false) => "access_token_only",
            (None, true) => "missing",
        })
    }

    async fn current_of(&self, user: &UserId) -> Result<CurrentDefinition, ConvergeError> {
        Ok(self.look(user).await?.current.ok_or(Refusal::NotFound)?)
    }
}
