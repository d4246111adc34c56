//! What a user should have. The spec travels as JSON in the task definition that was rendered from it, so it is the
//! only thing that survives from one revision to the next; everything else comes from the base.

mod maps;

use std::collections::BTreeMap;

use openclaw::{Invalid, OpenClawVersion, Provider};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub(super) use maps::LABEL_PREFIX;
pub use maps::{Labels, Secrets, Variables, is_secret_arn};

use super::{ImageRef, Size};
use maps::STORE_IT;

/// The environment variable that announces the codex home to the container. It is ours alone.
pub const CODEX_HOME: &str = "CODEX_HOME";

/// What one user should have, beyond what the base gives everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The task size; `None` = the base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The image pin of the container that runs OpenClaw; `None` = the base's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// The release of an image whose tag does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openclaw_version: Option<OpenClawVersion>,
    /// How the user reaches a model; written down under its first name.
    #[serde(default, rename = "sign_in")]
    pub provider: Provider,
    /// Plain environment variables of that container. Not for secrets: anybody who may describe a task
    /// definition reads them.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub variables: Variables,
    /// Environment variables whose values ECS fetches when a task starts.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// Docker labels of that container, for the operator's own bookkeeping.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Members that a newer release of this service wrote: kept, so that an old replica in the middle of a rolling
    /// deployment loses nothing (incident 4 by another road).
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A partial spec, as a caller sends it: `None` leaves what the user has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecPatch {
    /// A new size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// `Some(None)` unpins.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub image: Option<Option<ImageRef>>,
    /// The release of the image, where its tag does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openclaw_version: Option<OpenClawVersion>,
    /// How the user is to reach a model; written down under its first name.
    #[serde(rename = "sign_in", skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Whether a ChatGPT sign-in came along.
    pub has_auth: bool,
    /// The whole new set of variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<Variables>,
    /// After that, single variables: `None` takes one away.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set_variables: BTreeMap<String, Option<String>>,
    /// The whole new set of secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Secrets>,
    /// The whole new set of labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

/// Null is given too.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<ImageRef>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Spec {
    /// The spec of a user who has none yet.
    ///
    /// # Errors
    /// As of [`Self::patched`], and when a ChatGPT user is to be made without a sign-in.
    pub fn of_new_user(patch: &SpecPatch) -> Result<Self, Invalid> {
        Self::default().after(None, patch)
    }

    /// The spec after a caller's patch.
    ///
    /// # Errors
    /// When a name would be both a variable and a secret: ECS refuses such a definition. When the provider lacks what
    /// it needs, or is sent what it has no use for.
    pub fn patched(self, patch: &SpecPatch) -> Result<Self, Invalid> {
        let before = self.provider;
        self.after(Some(before), patch)
    }

    fn after(mut self, before: Option<Provider>, patch: &SpecPatch) -> Result<Self, Invalid> {
        let provider = patch.provider_after(before)?;
        if let Some(size) = patch.size {
            self.size = Some(size);
        }
        if let Some(image) = &patch.image
            && *image != self.image
        {
            self.image.clone_from(image);
            // It was said of another image.
            self.openclaw_version = None;
        }
        self.openclaw_version = patch.openclaw_version.or(self.openclaw_version);
        if let Some(variables) = &patch.variables {
            self.variables.clone_from(variables);
        }
        self.variables.set(&patch.set_variables);
        if let Some(labels) = &patch.labels {
            self.labels.clone_from(labels);
        }
        match (&patch.secrets, self.provider.key()) {
            (Some(secrets), _) => self.secrets.clone_from(secrets),
            // A key without a use is only there to be lost.
            (None, Some(key)) if provider != self.provider => self.secrets.remove(key),
            (None, Some(_) | None) => {}
        }
        if let Some(key) = provider.key()
            && !self.secrets.contains(key)
        {
            let problem = format!("is missing, and provider {} needs it", provider.name());
            return Err(Invalid::new(format!("secrets.{key}"), problem, STORE_IT));
        }
        self.provider = provider;
        no_name_twice(&self.variables, &self.secrets)?;
        Ok(self)
    }
}

impl SpecPatch {
    /// Refuses what contradicts itself, whatever the user has.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), Invalid> {
        match self.provider {
            Some(kind) if self.has_auth => kind.takes_auth()?,
            Some(_) | None => {}
        }
        match (&self.variables, &self.secrets) {
            (Some(variables), Some(secrets)) => no_name_twice(variables, secrets),
            (Some(_), None) | (None, Some(_) | None) => Ok(()),
        }
    }

    /// This patch and then `later`, as one.
    ///
    /// # Errors
    /// When the two together contradict themselves.
    pub fn then(self, later: Self) -> Result<Self, Invalid> {
        let (before, now) = (self.provider, later.provider.or(self.provider));
        let has_auth = match later.provider {
            // The sign-in has no use any more.
            Some(kind) if kind != Provider::Chatgpt => later.has_auth,
            Some(_) | None => self.has_auth || later.has_auth,
        };
        let mut secrets = self.secrets;
        match (later.secrets, before.and_then(Provider::key)) {
            (Some(later), _) => secrets = Some(later),
            (None, Some(key)) if now != before => {
                if let Some(secrets) = &mut secrets {
                    secrets.remove(key);
                }
            }
            (None, Some(_) | None) => {}
        }
        // A release is said of an image.
        let is_other_image = later.image.is_some() && later.image != self.image;
        let mut set_variables = self.set_variables;
        if later.variables.is_some() {
            set_variables.clear();
        }
        set_variables.extend(later.set_variables);
        let merged = Self {
            set_variables,
            size: later.size.or(self.size),
            image: later.image.or(self.image),
            openclaw_version: later.openclaw_version.or(self.openclaw_version.filter(|_| !is_other_image)),
            provider: now,
            has_auth,
            variables: later.variables.or(self.variables),
            secrets,
            labels: later.labels.or(self.labels),
        };
        merged.check()?;
        Ok(merged)
    }

    /// A sign-in that is sent along changes no provider: that would take the other one's key away unasked, at the next
    /// call of a web app that sends the sign-in with every provision.
    fn provider_after(&self, before: Option<Provider>) -> Result<Provider, Invalid> {
        let now = self.provider.or(before).unwrap_or_default();
        if self.has_auth {
            now.takes_auth()?;
        } else if now == Provider::Chatgpt && before != Some(now) {
            return Err(Invalid::new(
                "auth",
                "is missing, and the user has no ChatGPT sign-in yet",
                "send the auth.json of the user's sign-in, or another `provider`",
            ));
        }
        Ok(now)
    }
}

fn no_name_twice(variables: &Variables, secrets: &Secrets) -> Result<(), Invalid> {
    match secrets.iter().find(|(name, _)| variables.contains(name)) {
        Some((name, _)) => Err(Invalid::new(
            format!("secrets.{name}"),
            "the same name is among the variables",
            "give it once, as a secret or as a variable",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
