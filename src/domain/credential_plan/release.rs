//! Which release a task definition runs, and what of it decides the plan.

use std::ops::Range;

use serde_json::Value;

use super::openclaw_json::{GatewaySecrets, TokenSource};
use super::table::{NEWEST_KNOWN, model_entries, reads_store_of};
use super::{CredentialPlan, ModelEntries, PlanInputs, Warning, credential_plan};
use crate::domain::invalid::{Invalid, shown};
use crate::domain::openclaw_version::OpenClawVersion;
use crate::domain::spec::SignInKind;
use crate::domain::task_definition::container;

/// Names the release of an image whose tag does not.
const OPENCLAW_VERSION: &str = "OPENCLAW_VERSION";
/// The same as a docker label of the base's container (OCI image spec, "Pre-Defined Annotation Keys").
const OCI_VERSION: &str = "org.opencontainers.image.version";
/// Names the release of the `codex` plugin that an image has baked in. It counts only for the very same release of
/// OpenClaw, so that a pin to another image does not inherit the base's plugin.
const OPENCLAW_CODEX_PLUGIN: &str = "OPENCLAW_CODEX_PLUGIN";
/// The key that 2026.5.12 encrypts sign-ins with.
pub const AUTH_PROFILE_SECRET_KEY: &str = "OPENCLAW_AUTH_PROFILE_SECRET_KEY";
/// The gateway's token, where the definition brings it.
pub const GATEWAY_TOKEN: &str = "OPENCLAW_GATEWAY_TOKEN";
/// The gateway's password, where the definition brings it.
const GATEWAY_PASSWORD: &str = "OPENCLAW_GATEWAY_PASSWORD";
/// The docker label of ours that keeps what was resolved when the definition was rendered.
pub(in crate::domain) const LABEL_OPENCLAW_VERSION: &str = "openclaw.provisioner.openclaw-version";

/// Where a release unpacks its plugins and their packages, if not in the user's directory.
const PLUGIN_STAGE_DIR: &str = "OPENCLAW_PLUGIN_STAGE_DIR";
/// The releases that do so at their start, and hang over it on network file systems: openclaw/openclaw #71818 (4.24),
/// #78860 (4.26, on EFS), #73339 (the way out: elsewhere). It is gone in 2026.5.2. The variable is not set for them: an
/// image may bring it, with the packages baked in, and a definition would override that unseen.
const UNPACK_PLUGINS: Range<OpenClawVersion> = OpenClawVersion::new(2026, 4, 24)..OpenClawVersion::new(2026, 5, 0);

/// Bundled in 2026.5.7, a plugin to be installed in 5.12 and later; nothing in between was looked at.
const BEDROCK_IS_A_PLUGIN_FROM: OpenClawVersion = OpenClawVersion::new(2026, 5, 12);

/// What a task definition says of the release that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    image: String,
    version: Option<OpenClawVersion>,
    has_codex_plugin: bool,
    has_secret_key: bool,
    has_gateway_token: bool,
    has_gateway_password: bool,
    has_plugin_stage_dir: bool,
}

/// What names a release beside the definition itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::domain) struct Named {
    /// The image is the user's pin: what the base says of its own image says nothing of it.
    pub(in crate::domain) is_pinned: bool,
    /// By the request, kept in the spec.
    pub(in crate::domain) by_spec: Option<OpenClawVersion>,
    /// By the settings.
    pub(in crate::domain) by_settings: Option<OpenClawVersion>,
}

impl Release {
    /// The release of a container that is about to be registered: by the image's tag, else by what the base says of
    /// its image, else by the request, else by the settings.
    ///
    /// # Errors
    /// Names `image` when the release is too old for any plan.
    pub(in crate::domain) fn resolve(container: &Value, named: Named) -> Result<Self, Invalid> {
        let container = Container(container);
        let by_base = || if named.is_pinned { None } else { container.says() };
        let by_tag = OpenClawVersion::from_image(container.image()).ok();
        let version = by_tag.or_else(by_base).or(named.by_spec).or(named.by_settings);
        if let Some(version) = version.filter(|version| *version < OpenClawVersion::MINIMUM) {
            let minimum = OpenClawVersion::MINIMUM;
            let problem = format!("{} is OpenClaw {version}, older than {minimum}", shown(container.image()));
            return Err(Invalid::new("image", problem, format!("use {minimum} or later")));
        }
        Ok(Self::of(&container, version))
    }

    /// The release of a registered definition: as it was resolved when it was rendered. One that an earlier build
    /// registered does not say so, and is read anew.
    #[must_use]
    pub fn of_definition(definition: &Value) -> Self {
        let container = Container::of(definition);
        let resolved = container.label(LABEL_OPENCLAW_VERSION).and_then(|text| OpenClawVersion::from_tag(text).ok());
        let version = resolved.or_else(|| OpenClawVersion::from_image(container.image()).ok());
        Self::of(&container, version.or_else(|| container.says()))
    }

    fn of(container: &Container<'_>, version: Option<OpenClawVersion>) -> Self {
        let plugin = container.variable(OPENCLAW_CODEX_PLUGIN).and_then(|text| OpenClawVersion::from_tag(text).ok());
        Self {
            image: container.image().to_owned(),
            version,
            has_codex_plugin: plugin.is_some() && plugin == version,
            has_secret_key: container.has(AUTH_PROFILE_SECRET_KEY),
            has_gateway_token: container.has(GATEWAY_TOKEN),
            has_gateway_password: container.has(GATEWAY_PASSWORD),
            has_plugin_stage_dir: container.has(PLUGIN_STAGE_DIR),
        }
    }

    /// A release as its npm package or a plain image has it, for what is asked outside of a definition.
    #[must_use]
    pub fn plain(version: OpenClawVersion) -> Self {
        Self {
            image: format!("openclaw:{version}"),
            version: Some(version),
            has_codex_plugin: false,
            has_secret_key: false,
            has_gateway_token: false,
            has_gateway_password: false,
            has_plugin_stage_dir: false,
        }
    }

    /// The release, if anything names it.
    #[must_use]
    pub const fn version(&self) -> Option<OpenClawVersion> {
        self.version
    }

    /// Whether the environment brings the key that 2026.5.12 encrypts sign-ins with.
    pub(in crate::domain) const fn has_secret_key(&self) -> bool {
        self.has_secret_key
    }

    /// Whether the environment brings the gateway's token.
    #[must_use]
    pub const fn has_gateway_token(&self) -> bool {
        self.has_gateway_token
    }

    /// The secrets that open its gateway.
    #[must_use]
    pub const fn gateway_secrets(&self) -> GatewaySecrets {
        let token = if self.has_gateway_token { TokenSource::Environment } else { TokenSource::File };
        GatewaySecrets { token, has_password: self.has_gateway_password }
    }

    /// The plan; of the newest known release where nothing names the release.
    #[must_use]
    pub fn plan(&self) -> CredentialPlan {
        credential_plan(self.or_newest(), PlanInputs { has_codex_plugin: self.has_codex_plugin })
    }

    /// The plan of the same release without its plugin: in force as long as the store holds the live sign-in.
    #[must_use]
    pub fn plan_without_plugin(&self) -> CredentialPlan {
        credential_plan(self.or_newest(), PlanInputs::default())
    }

    /// What `openclaw.json` has to say of the model.
    #[must_use]
    pub fn model_entries(&self, sign_in: SignInKind) -> ModelEntries {
        model_entries(self.or_newest(), sign_in, PlanInputs { has_codex_plugin: self.has_codex_plugin })
    }

    /// Whether it can come to read the store that another release filled; `None` is itself.
    #[must_use]
    pub fn reads_store_of(&self, by: Option<OpenClawVersion>) -> bool {
        self.plan().needs_entry && by.is_none_or(|by| reads_store_of(self.or_newest(), by))
    }

    fn or_newest(&self) -> OpenClawVersion {
        self.version.unwrap_or(NEWEST_KNOWN)
    }

    /// What the caller should know about this release and this definition, for a user who signs in so.
    #[must_use]
    pub fn warnings(&self, sign_in: SignInKind) -> Vec<Warning> {
        let of_version = match self.version {
            None => Some(Warning::ReleaseUnknown { image: self.image.clone() }),
            Some(version) if version > NEWEST_KNOWN => Some(Warning::ReleaseNewerThanKnown { version }),
            Some(version) if UNPACK_PLUGINS.contains(&version) && !self.has_plugin_stage_dir => {
                Some(Warning::HangsOnNetworkFileSystems { version })
            }
            Some(_) => None,
        };
        let is_encrypted = sign_in == SignInKind::Chatgpt && self.plan().needs_profile_secret_key;
        let no_key = is_encrypted && !self.has_secret_key;
        let needs_plugin = sign_in == SignInKind::Bedrock && self.or_newest() >= BEDROCK_IS_A_PLUGIN_FROM;
        let of_definition =
            [no_key.then_some(Warning::ProfileSecretKeyMissing), needs_plugin.then_some(Warning::BedrockPluginNeeded)];
        of_version.into_iter().chain(of_definition.into_iter().flatten()).collect()
    }
}

/// The container that runs OpenClaw.
struct Container<'a>(&'a Value);

impl<'a> Container<'a> {
    fn of(definition: &'a Value) -> Self {
        Self(container::of_registered(definition).unwrap_or(&Value::Null))
    }

    fn image(&self) -> &'a str {
        self.0.get("image").and_then(Value::as_str).unwrap_or_default()
    }

    fn named(&self, member: &str, name: &str) -> Option<&'a Value> {
        self.0.get(member)?.as_array()?.iter().find(|entry| entry["name"] == name)
    }

    fn variable(&self, name: &str) -> Option<&'a str> {
        self.named("environment", name)?.get("value")?.as_str()
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        self.0.get("dockerLabels")?.get(name)?.as_str()
    }

    fn has(&self, name: &str) -> bool {
        self.named("environment", name).or_else(|| self.named("secrets", name)).is_some()
    }

    /// What the definition itself says of its image.
    fn says(&self) -> Option<OpenClawVersion> {
        let said = [self.variable(OPENCLAW_VERSION), self.label(OCI_VERSION)];
        said.into_iter().flatten().find_map(|text| OpenClawVersion::from_tag(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Authority;
    use super::*;

    const fn v(month: u16, patch: u16) -> OpenClawVersion {
        OpenClawVersion::new(2026, month, patch)
    }

    fn definition(image: &str, environment: &[(&str, &str)]) -> Value {
        let environment: Vec<Value> =
            environment.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({"containerDefinitions": [{"image": image, "environment": environment}]})
    }

    fn release(image: &str, environment: &[(&str, &str)]) -> Result<Release, Invalid> {
        Release::resolve(&definition(image, environment)["containerDefinitions"][0], Named::default())
    }

    fn codes(release: &Release) -> Vec<&'static str> {
        release.warnings(SignInKind::Chatgpt).iter().map(Warning::code).collect()
    }

    #[test]
    fn the_tag_names_the_release_before_the_base_the_request_and_the_settings_do() {
        let named = Named { is_pinned: false, by_spec: Some(v(6, 35)), by_settings: Some(v(7, 35)) };
        let at = |image: &str, environment: &[(&str, &str)], named| {
            Release::resolve(&definition(image, environment)["containerDefinitions"][0], named).unwrap().version()
        };
        let base = [(OPENCLAW_VERSION, "2026.5.7")];
        assert_eq!(at("openclaw:2026.4.21-slim", &base, named), Some(v(4, 21)));
        for image in ["openclaw:latest", "openclaw@sha256:00ff", ""] {
            assert_eq!(at(image, &base, named), Some(v(5, 7)), "{image}");
            assert_eq!(at(image, &[], named), Some(v(6, 35)), "{image}");
            // What the base says of its own image says nothing of a pinned one.
            assert_eq!(at(image, &base, Named { is_pinned: true, ..named }), Some(v(6, 35)), "{image}");
        }
        assert_eq!(at("openclaw:latest", &[], Named { by_spec: None, ..named }), Some(v(7, 35)));
        assert_eq!(at("openclaw:latest", &[], Named::default()), None);
    }

    #[test]
    fn a_registered_definition_is_read_as_it_was_resolved() {
        let mut registered = definition("openclaw@sha256:00ff", &[(OPENCLAW_VERSION, "2026.5.7")]);
        assert_eq!(Release::of_definition(&registered).version(), Some(v(5, 7)));
        registered["containerDefinitions"][0]["dockerLabels"] = json!({OCI_VERSION: "2026.4.7"});
        assert_eq!(Release::of_definition(&registered).version(), Some(v(5, 7)));
        registered["containerDefinitions"][0]["dockerLabels"] = json!({LABEL_OPENCLAW_VERSION: "2026.8.2"});
        assert_eq!(Release::of_definition(&registered).version(), Some(v(8, 2)));
    }

    #[test]
    fn an_unknown_release_gets_the_newest_plan_and_says_so() {
        let unknown = release("openclaw:latest", &[]).unwrap();
        assert_eq!(unknown.plan(), credential_plan(NEWEST_KNOWN, PlanInputs::default()));
        assert_eq!(codes(&unknown), ["release_unknown"]);
        assert_eq!(codes(&release("o:2027.1.1", &[]).unwrap()), ["release_newer_than_known"]);
    }

    #[test]
    fn a_release_before_the_first_plan_is_refused_by_its_image() {
        for (image, environment) in [("openclaw:2026.4.6", vec![]), ("o:latest", vec![(OPENCLAW_VERSION, "2026.3.1")])]
        {
            let error = release(image, &environment).unwrap_err();
            assert!(error.field() == "image" && error.problem().contains(image), "{error}");
        }
    }

    #[test]
    fn the_plugin_counts_only_for_the_release_that_it_belongs_to() {
        let plan = |plugin| release("o:2026.9.6", &[(OPENCLAW_CODEX_PLUGIN, plugin)]).unwrap().plan().authority;
        assert_eq!(plan("2026.9.6"), Authority::CodexPlugin);
        assert_eq!(plan("2026.9.5"), Authority::Store);
        let unknown = release("o:latest", &[(OPENCLAW_CODEX_PLUGIN, "yes")]).unwrap();
        assert_eq!(unknown.plan().authority, Authority::Store);
    }

    #[test]
    fn what_the_definition_lacks_is_said() {
        for unpacks in ["o:2026.4.24", "o:2026.4.25", "o:2026.4.29"] {
            assert_eq!(codes(&release(unpacks, &[]).unwrap()), ["release_hangs_on_network_file_systems"], "{unpacks}");
            let elsewhere = [(PLUGIN_STAGE_DIR, "/tmp/plugins")];
            assert!(codes(&release(unpacks, &elsewhere).unwrap()).is_empty(), "{unpacks}");
        }
        for other in ["o:2026.4.23", "o:2026.5.2"] {
            assert!(codes(&release(other, &[]).unwrap()).is_empty(), "{other}");
        }
        let encrypting = release("o:2026.5.12", &[]).unwrap();
        assert_eq!(codes(&encrypting), ["auth_profile_secret_key_missing"]);
        assert_eq!(encrypting.warnings(SignInKind::OpenaiKey), []);
        assert_eq!(encrypting.warnings(SignInKind::Bedrock), [Warning::BedrockPluginNeeded]);
        assert_eq!(release("o:2026.5.7", &[]).unwrap().warnings(SignInKind::Bedrock), []);
        let complete = json!({"containerDefinitions": [{
            "image": "o:2026.5.12", "secrets": [{"name": AUTH_PROFILE_SECRET_KEY, "valueFrom": "arn"}],
        }]});
        assert_eq!(Release::of_definition(&complete).warnings(SignInKind::Chatgpt), []);
    }

    #[test]
    fn a_store_is_read_by_a_release_that_has_one() {
        assert!(Release::plain(v(9, 6)).reads_store_of(Some(v(6, 35))));
        assert!(!Release::plain(v(7, 35)).reads_store_of(Some(v(9, 6))));
        assert!(!Release::plain(v(5, 7)).reads_store_of(Some(v(6, 35))));
    }
}
