//! The spec: what a user should have. It is stored as JSON in the task definition that was rendered from it, and is the
//! only thing that is kept from one revision to the next; everything else comes from the base.

mod maps;

use std::collections::BTreeMap;

use openclaw::{Invalid, OpenClawVersion, Provider};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub(super) use maps::LABEL_PREFIX;
pub use maps::{Labels, Secrets, Variables, is_secret_arn};

use super::{ImageRef, Size};
use maps::STORE_IT;

/// The environment variable that tells the container its codex home. Only this service sets it.
pub const CODEX_HOME: &str = "CODEX_HOME";

/// What one user should have in addition to the base.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The task size; `None` = the base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The pinned image of the container that runs OpenClaw; `None` = the base's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// The release of an image whose tag does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openclaw_version: Option<OpenClawVersion>,
    /// How the user reaches a model; stored under its old name, `sign_in`.
    #[serde(default, rename = "sign_in")]
    pub provider: Provider,
    /// Plain environment variables of that container. Not for secrets: anybody who may describe a task
    /// definition reads them.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub variables: Variables,
    /// ARNs of secrets whose values ECS fetches into environment variables when a task starts.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// Docker labels of that container, for the operator's own bookkeeping.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Members that a newer release of this service wrote. They are kept, so that an old replica loses nothing during a
    /// rolling deployment (incident 4 in another form).
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A partial spec, as a caller sends it: `None` keeps what the user has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecPatch {
    /// A new size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// `Some(None)` unpins.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub image: Option<Option<ImageRef>>,
    /// The release of the image, if its tag does not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openclaw_version: Option<OpenClawVersion>,
    /// How the user should reach a model; stored under its old name, `sign_in`.
    #[serde(rename = "sign_in", skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Whether the request contains a ChatGPT sign-in.
    pub has_auth: bool,
    /// The whole new set of variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<Variables>,
    /// Single variables, set after `variables`: `None` removes one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set_variables: BTreeMap<String, Option<String>>,
    /// The whole new set of secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Secrets>,
    /// The whole new set of labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

/// Keeps an explicit null, which unpins, apart from a missing member.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<ImageRef>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Spec {
    /// The spec of a new user.
    ///
    /// # Errors
    /// As in [`Self::patched`], and when a new ChatGPT user has no sign-in.
    pub fn of_new_user(patch: &SpecPatch) -> Result<Self, Invalid> {
        Self::default().after(None, patch)
    }

    /// The spec after a caller's patch.
    ///
    /// # Errors
    /// When a name would be both a variable and a secret: ECS refuses such a definition. When the provider's key or
    /// sign-in is missing, or one is sent that the provider does not use.
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
            // The release was given for another image.
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
            // The old provider's key is no longer used; keeping it is only a risk.
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
    /// Refuses a patch that contradicts itself, independent of the user's spec.
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

    /// Combines this patch with a later one.
    ///
    /// # Errors
    /// When the two contradict each other.
    pub fn then(self, later: Self) -> Result<Self, Invalid> {
        let (before, now) = (self.provider, later.provider.or(self.provider));
        let has_auth = match later.provider {
            // The new provider does not use the sign-in.
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
        // A release belongs to the image that it was given for.
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

    /// The provider after this patch. A sign-in alone does not change it: otherwise the next call of a web app that sends
    /// the sign-in with every provision would remove the other provider's key, which nobody asked for.
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
