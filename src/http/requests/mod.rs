//! What travels in requests: parsed whole, before anything is touched. The command line makes the same values and sends them.

mod queries;
mod rollout;

use std::collections::BTreeMap;
use std::fmt;

use openclaw::{ChatGptAuth, Invalid, OpenClawVersion, Provider};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub(crate) use super::body::Object;
use super::openapi::schemas;
use crate::domain::{ImageRef, Labels, RawSize, RolloutOrder, Secrets, Size, SpecPatch, UserId, Variables};
use crate::reconcile::{Caller, Intent, Redeploy};
use crate::rollout::words::Change;
pub(crate) use queries::{BaseRevision, Cursor, Data, DeleteQuery, Limit, ListQuery, OnTimeout, Seconds, WaitQuery};
pub(crate) use rollout::{ChangeBody, RolloutRequest, SelectBody, ShareBody, StrategyBody, VariableBody, WindowBody};

/// `POST /provision`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProvisionRequest {
    #[schema(schema_with = schemas::user_id)]
    pub(crate) user_id: String,
    /// Needed for a ChatGPT user who has none yet.
    #[schema(schema_with = schemas::optional_auth, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<Value>,
    /// Left out: what the user has, and ChatGPT for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<Provider>,
    #[schema(schema_with = schemas::optional_size, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<Object<RawSize>>,
    /// Pins an image, by its tag or digest. Left out or null: as it is.
    #[schema(schema_with = schemas::image, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    /// The release of an image whose tag does not say it.
    #[schema(schema_with = schemas::release, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) openclaw_version: Option<String>,
    /// Environment variables, in plain sight of whoever may describe a task definition. Replaces the former ones.
    #[schema(schema_with = schemas::variables, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variables: Option<BTreeMap<String, String>>,
    /// ARNs in Secrets Manager or SSM by variable, fetched when a task starts. Replaces the former ones.
    #[schema(schema_with = schemas::secrets, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secrets: Option<BTreeMap<String, String>>,
    /// Docker labels, for the operator's own bookkeeping. Replaces the former ones.
    #[schema(schema_with = schemas::labels, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// In which order a task is replaced: `strict` waits for the old one's end. Left out: as the service is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollout_order: Option<RolloutOrder>,
}

impl fmt::Debug for ProvisionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProvisionRequest").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

impl ProvisionRequest {
    /// Parses every field, before anything is changed. An `image` of null sets no pin and removes none: a caller
    /// that provisions at every sign-in must not undo what an operator pinned (incident 5).
    pub(super) fn parse(self, caller: &Caller) -> Result<Intent, Invalid> {
        let user = UserId::parse(&self.user_id)?;
        let auth = self.auth.map(ChatGptAuth::parse).transpose()?;
        let patch = SpecPatch {
            set_variables: BTreeMap::new(),
            provider: self.provider,
            has_auth: auth.is_some(),
            size: self.size.map(|Object(raw)| Size::parse(raw, "size")).transpose()?,
            image: self.image.map(|image| pin(&image)).transpose()?.map(Some),
            openclaw_version: release(self.openclaw_version)?,
            variables: self.variables.map(Variables::parse).transpose()?,
            secrets: self.secrets.map(Secrets::parse).transpose()?,
            labels: self.labels.map(Labels::parse).transpose()?,
        };
        // A request that contradicts itself is refused without a look at the user's container.
        patch.check()?;
        Ok(Intent::provision(caller, user, patch, auth).in_order(self.rollout_order))
    }
}

/// `POST /containers/{user_id}/redeploy`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedeployRequest {
    /// Left out: keep the pin. Null: unpin.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::image, required = false)]
    pub(crate) image: Option<Option<String>>,
    /// The release of an image whose tag does not say it.
    #[schema(schema_with = schemas::release, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) openclaw_version: Option<String>,
    /// Restarts the container although nothing changed.
    #[serde(default)]
    pub(crate) force: bool,
    /// In which order a task is replaced: `strict` waits for the old one's end. Left out: as the service is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollout_order: Option<RolloutOrder>,
}

/// `POST /containers/{user_id}/start`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRequest {
    /// Whether it waits for a task that is still stopping: `strict` does. Left out: as the service is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollout_order: Option<RolloutOrder>,
}

impl StartRequest {
    pub(super) fn parse(self, caller: &Caller, user: UserId) -> Intent {
        Intent::start(caller, user).in_order(self.rollout_order)
    }
}

/// `POST /containers/{user_id}/resize`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResizeRequest {
    pub(crate) cpu: u32,
    pub(crate) memory_mib: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollout_order: Option<RolloutOrder>,
}

impl ResizeRequest {
    pub(super) fn parse(self, caller: &Caller, user: UserId) -> Result<Intent, Invalid> {
        let size = Size::parse(RawSize { cpu: self.cpu, memory_mib: self.memory_mib }, "")?;
        Ok(Intent::resize(caller, user, size).in_order(self.rollout_order))
    }
}

impl RedeployRequest {
    pub(super) fn parse(self, caller: &Caller, user: UserId) -> Result<Intent, Invalid> {
        let image = match self.image {
            None => None,
            Some(None) => Some(None),
            Some(Some(image)) => Some(Some(pin(&image)?)),
        };
        let openclaw_version = release(self.openclaw_version)?;
        let redeploy = Redeploy { image, openclaw_version, restart: self.force };
        Ok(Intent::redeploy(caller, user, redeploy).in_order(self.rollout_order))
    }

    /// Parses it as the change of a rollout; there the strategy sets the order.
    pub(super) fn parse_change(self) -> Result<Change, Invalid> {
        let within =
            |error: Invalid| Invalid::new(format!("change.redeploy.{}", error.field()), error.problem(), error.fix());
        if self.rollout_order.is_some() {
            let fix = "leave it out, and send strategy.rollout_order";
            return Err(Invalid::new("change.redeploy.rollout_order", "the strategy says the order", fix));
        }
        let image = self.image.map(|image| image.map(|image| pin(&image)).transpose()).transpose().map_err(within)?;
        let openclaw_version = release(self.openclaw_version).map_err(within)?;
        Ok(Change::Redeploy { image, openclaw_version, force: self.force })
    }
}

/// `PUT /containers/{user_id}/credentials`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutCredentialsRequest)]
pub(crate) struct PutRequest {
    #[schema(schema_with = schemas::auth)]
    pub(crate) auth: Value,
    /// Write it also over a fresher one.
    #[serde(default)]
    pub(crate) force: bool,
}

impl fmt::Debug for PutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutRequest").field("force", &self.force).finish_non_exhaustive()
    }
}

/// `PUT /fleet/base`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromoteRequest {
    /// A revision of the base family, such as `openclaw-dev:42` or `42`, or `newest`.
    #[schema(pattern = "^(newest|([A-Za-z0-9_-]+:)?[1-9][0-9]{0,8})$", example = "42")]
    pub(crate) revision: String,
}

impl PromoteRequest {
    /// What promotes the newest.
    pub(crate) const NEWEST: &str = "newest";
}

/// A body that holds nothing.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoFields {}

/// A pinned image of a release that can be signed in to. A tag that names no release is the operator's own business.
fn pin(text: &str) -> Result<ImageRef, Invalid> {
    let image = ImageRef::parse(text, "image")?;
    if let Ok(version) = OpenClawVersion::from_image(text) {
        version.supported()?;
    }
    Ok(image)
}

/// Parses the release of an image whose tag does not name it.
fn release(text: Option<String>) -> Result<Option<OpenClawVersion>, Invalid> {
    let parsed = text.map(|text| OpenClawVersion::from_tag(&text)?.supported()).transpose();
    parsed.map_err(|invalid| {
        let fix = format!("send {} or later, as in 2026.4.25", OpenClawVersion::MINIMUM);
        Invalid::new("openclaw_version", invalid.problem(), fix)
    })
}

pub(super) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
