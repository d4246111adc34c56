//! A release in its container, with everything that decides its plan.

use std::ops::Range;

use super::openclaw_json::{GatewaySecrets, TokenSource};
use super::table::{NEWEST_KNOWN, model_entries, reads_store_of};
use super::{CredentialPlan, ModelEntries, PlanInputs, Warning, credential_plan};
use crate::OpenClawVersion;
use crate::Provider;

/// The variable that names the release of the `codex` plugin that an image includes. It counts only for the very same
/// release of OpenClaw, so that a pin to another image does not inherit the base's plugin.
const OPENCLAW_CODEX_PLUGIN: &str = "OPENCLAW_CODEX_PLUGIN";
/// The variable with the key with which 2026.5.12 encrypts sign-ins.
pub const AUTH_PROFILE_SECRET_KEY: &str = "OPENCLAW_AUTH_PROFILE_SECRET_KEY";
/// The variable with the gateway's token, if the definition has one.
pub const GATEWAY_TOKEN: &str = "OPENCLAW_GATEWAY_TOKEN";
/// The variable with the gateway's password, if the definition has one.
const GATEWAY_PASSWORD: &str = "OPENCLAW_GATEWAY_PASSWORD";
/// The variable that says where a release unpacks its plugins and their packages, if not in the user's directory.
const PLUGIN_STAGE_DIR: &str = "OPENCLAW_PLUGIN_STAGE_DIR";
/// The releases that unpack plugins at their start, and hang while doing so on network file systems: openclaw/openclaw
/// #71818 (4.24), #78860 (4.26, on EFS), #73339 (the way out: elsewhere). 2026.5.2 no longer does so. The variable is not
/// set for them: an image may set it, with the packages included, and a definition would silently override that.
const UNPACK_PLUGINS: Range<OpenClawVersion> = OpenClawVersion::new(2026, 4, 24)..OpenClawVersion::new(2026, 5, 0);

/// Bundled in 2026.5.7, a plugin to install in 5.12 and later; no release in between was checked.
const BEDROCK_IS_A_PLUGIN_FROM: OpenClawVersion = OpenClawVersion::new(2026, 5, 12);

/// The value of a variable of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentValue<'a> {
    /// A value that everybody can read.
    Plain(&'a str),
    /// A value that comes from a store of secrets when the container starts.
    Secret,
}

/// A release of OpenClaw, with the parts of a container's image and environment that decide its plan.
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

impl Release {
    /// What a container runs: its image, the release if anything names it, and a look-up of its variables.
    #[must_use]
    pub fn new<'a>(
        image: &str,
        version: Option<OpenClawVersion>,
        environment: impl Fn(&str) -> Option<EnvironmentValue<'a>>,
    ) -> Self {
        let plugin = match environment(OPENCLAW_CODEX_PLUGIN) {
            Some(EnvironmentValue::Plain(text)) => OpenClawVersion::from_tag(text).ok(),
            Some(EnvironmentValue::Secret) | None => None,
        };
        let has = |name: &str| environment(name).is_some();
        Self {
            image: image.to_owned(),
            version,
            has_codex_plugin: plugin.is_some() && plugin == version,
            has_secret_key: has(AUTH_PROFILE_SECRET_KEY),
            has_gateway_token: has(GATEWAY_TOKEN),
            has_gateway_password: has(GATEWAY_PASSWORD),
            has_plugin_stage_dir: has(PLUGIN_STAGE_DIR),
        }
    }

    /// A release as its npm package or a plain image has it, for questions without a definition.
    #[must_use]
    pub fn plain(version: OpenClawVersion) -> Self {
        Self::new(&format!("openclaw:{version}"), Some(version), |_| None)
    }

    /// The release, if anything names it.
    #[must_use]
    pub const fn version(&self) -> Option<OpenClawVersion> {
        self.version
    }

    /// Whether the environment has the key with which 2026.5.12 encrypts sign-ins.
    #[must_use]
    pub const fn has_secret_key(&self) -> bool {
        self.has_secret_key
    }

    /// Whether the environment has the gateway's token.
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

    /// The plan; that of the newest known release if nothing names the release.
    #[must_use]
    pub fn plan(&self) -> CredentialPlan {
        credential_plan(self.or_newest(), PlanInputs { has_codex_plugin: self.has_codex_plugin })
    }

    /// The plan of the same release without its plugin. It applies as long as the store holds the live sign-in.
    #[must_use]
    pub fn plan_without_plugin(&self) -> CredentialPlan {
        credential_plan(self.or_newest(), PlanInputs::default())
    }

    /// The model in `openclaw.json`.
    #[must_use]
    pub fn model_entries(&self, sign_in: Provider) -> ModelEntries {
        model_entries(self.or_newest(), sign_in, PlanInputs { has_codex_plugin: self.has_codex_plugin })
    }

    /// Whether it can read the store that another release filled, if need be after a migration; `None` means itself.
    #[must_use]
    pub fn reads_store_of(&self, by: Option<OpenClawVersion>) -> bool {
        self.plan().needs_entry && by.is_none_or(|by| reads_store_of(self.or_newest(), by))
    }

    fn or_newest(&self) -> OpenClawVersion {
        self.version.unwrap_or(NEWEST_KNOWN)
    }

    /// What the caller should know about this release and definition, for a user of that provider.
    #[must_use]
    pub fn warnings(&self, sign_in: Provider) -> Vec<Warning> {
        let of_version = match self.version {
            None => Some(Warning::ReleaseUnknown { image: self.image.clone() }),
            Some(version) if version > NEWEST_KNOWN => Some(Warning::ReleaseNewerThanKnown { version }),
            Some(version) if UNPACK_PLUGINS.contains(&version) && !self.has_plugin_stage_dir => {
                Some(Warning::HangsOnNetworkFileSystems { version })
            }
            Some(_) => None,
        };
        let is_encrypted = sign_in == Provider::Chatgpt && self.plan().needs_profile_secret_key;
        let no_key = is_encrypted && !self.has_secret_key;
        let needs_plugin = sign_in == Provider::Bedrock && self.or_newest() >= BEDROCK_IS_A_PLUGIN_FROM;
        let of_definition =
            [no_key.then_some(Warning::ProfileSecretKeyMissing), needs_plugin.then_some(Warning::BedrockPluginNeeded)];
        of_version.into_iter().chain(of_definition.into_iter().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Authority;
    use super::EnvironmentValue::{Plain, Secret};
    use super::*;

    const fn v(month: u16, patch: u16) -> OpenClawVersion {
        OpenClawVersion::new(2026, month, patch)
    }

    fn release(image: &str, environment: &[(&str, &str)]) -> Release {
        let value = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| Plain(value));
        Release::new(image, OpenClawVersion::from_image(image).ok(), value)
    }

    fn codes(release: &Release) -> Vec<&'static str> {
        release.warnings(Provider::Chatgpt).iter().map(Warning::code).collect()
    }

    #[test]
    fn an_unknown_release_gets_the_newest_plan_and_says_so() {
        let unknown = release("openclaw:latest", &[]);
        assert_eq!(unknown.plan(), credential_plan(NEWEST_KNOWN, PlanInputs::default()));
        assert_eq!(codes(&unknown), ["release_unknown"]);
        assert_eq!(codes(&release("o:2027.1.1", &[])), ["release_newer_than_known"]);
    }

    #[test]
    fn the_plugin_counts_only_for_the_release_that_it_belongs_to() {
        let plan = |plugin| release("o:2026.9.6", &[(OPENCLAW_CODEX_PLUGIN, plugin)]).plan().authority;
        assert_eq!(plan("2026.9.6"), Authority::CodexPlugin);
        assert_eq!(plan("2026.9.5"), Authority::Store);
        let unknown = release("o:latest", &[(OPENCLAW_CODEX_PLUGIN, "yes")]);
        assert_eq!(unknown.plan().authority, Authority::Store);
    }

    #[test]
    fn what_the_definition_lacks_is_reported() {
        for unpacks in ["o:2026.4.24", "o:2026.4.25", "o:2026.4.29"] {
            assert_eq!(codes(&release(unpacks, &[])), ["release_hangs_on_network_file_systems"], "{unpacks}");
            let elsewhere = [(PLUGIN_STAGE_DIR, "/tmp/plugins")];
            assert!(codes(&release(unpacks, &elsewhere)).is_empty(), "{unpacks}");
        }
        for other in ["o:2026.4.23", "o:2026.5.2"] {
            assert!(codes(&release(other, &[])).is_empty(), "{other}");
        }
        let encrypting = release("o:2026.5.12", &[]);
        assert_eq!(codes(&encrypting), ["auth_profile_secret_key_missing"]);
        assert_eq!(encrypting.warnings(Provider::OpenaiKey), []);
        assert_eq!(encrypting.warnings(Provider::Bedrock), [Warning::BedrockPluginNeeded]);
        assert_eq!(release("o:2026.5.7", &[]).warnings(Provider::Bedrock), []);
        let is_key = |name: &str| (name == AUTH_PROFILE_SECRET_KEY).then_some(Secret);
        assert_eq!(Release::new("o:2026.5.12", Some(v(5, 12)), is_key).warnings(Provider::Chatgpt), []);
    }

    #[test]
    fn a_store_is_read_by_a_release_that_has_one() {
        assert!(Release::plain(v(9, 6)).reads_store_of(Some(v(6, 35))));
        assert!(!Release::plain(v(7, 35)).reads_store_of(Some(v(9, 6))));
        assert!(!Release::plain(v(5, 7)).reads_store_of(Some(v(6, 35))));
    }
}
