//! Which release a task definition runs, and what of it decides the plan.

use serde_json::Value;

use super::table::{NEWEST_KNOWN, plain_recipe};
use super::{CredentialPlan, PlanInputs, Warning, credential_plan};
use crate::domain::invalid::{Invalid, shown};
use crate::domain::openclaw_version::OpenClawVersion;

/// Names the release of an image whose tag does not.
const OPENCLAW_VERSION: &str = "OPENCLAW_VERSION";
/// Names the release of the `codex` plugin that an image has baked in. It counts only for the very same release of
/// OpenClaw, so that a pin to another image does not inherit the base's plugin.
const OPENCLAW_CODEX_PLUGIN: &str = "OPENCLAW_CODEX_PLUGIN";
/// The key that 2026.5.12 encrypts sign-ins with.
pub const AUTH_PROFILE_SECRET_KEY: &str = "OPENCLAW_AUTH_PROFILE_SECRET_KEY";
/// The gateway's token, where the definition brings it.
pub const GATEWAY_TOKEN: &str = "OPENCLAW_GATEWAY_TOKEN";

/// openclaw-facts §2: its event loop stalls for minutes.
const HANGS_ON_NETWORK_FILE_SYSTEMS: OpenClawVersion = OpenClawVersion::new(2026, 4, 25);

/// What a task definition says of the release that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    image: String,
    version: Option<OpenClawVersion>,
    inputs: PlanInputs,
    has_secret_key: bool,
    has_gateway_token: bool,
    mentions_import: bool,
}

impl Release {
    /// Reads the first container of a definition, as it is or will be registered. The image's tag comes first, because
    /// a variable of the base outlives a pin; then the variable, by which also a digest can name its release.
    ///
    /// # Errors
    /// Names `image` when the release is too old for any plan.
    pub fn of_definition(definition: &Value) -> Result<Self, Invalid> {
        let container = definition.pointer("/containerDefinitions/0").unwrap_or(&Value::Null);
        let list = |member: &str| container.get(member).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let named = |member: &str, name: &str| list(member).iter().find(|entry| entry["name"] == name);
        let variable = |name: &str| named("environment", name).and_then(|entry| entry["value"].as_str());
        let is_set = |name: &str| named("environment", name).or_else(|| named("secrets", name)).is_some();
        let image = container.get("image").and_then(Value::as_str).unwrap_or_default();

        let of_variable = || OpenClawVersion::from_tag(variable(OPENCLAW_VERSION)?).ok();
        let version = OpenClawVersion::from_image(image).ok().or_else(of_variable);
        if let Some(version) = version.filter(|version| *version < OpenClawVersion::MINIMUM) {
            let minimum = OpenClawVersion::MINIMUM;
            let problem = format!("{} is OpenClaw {version}, older than {minimum}", shown(image));
            return Err(Invalid::new("image", problem, format!("use {minimum} or later")));
        }
        let plugin = variable(OPENCLAW_CODEX_PLUGIN).and_then(|release| OpenClawVersion::from_tag(release).ok());
        let commands = list("entryPoint").iter().chain(list("command")).filter_map(Value::as_str);
        Ok(Self {
            image: image.to_owned(),
            version,
            inputs: PlanInputs { has_codex_plugin: plugin.is_some() && plugin == version },
            has_secret_key: is_set(AUTH_PROFILE_SECRET_KEY),
            has_gateway_token: is_set(GATEWAY_TOKEN),
            mentions_import: commands.into_iter().any(|word| word.contains("doctor")),
        })
    }

    /// The release, if anything names it.
    #[must_use]
    pub const fn version(&self) -> Option<OpenClawVersion> {
        self.version
    }

    /// Whether the environment brings the gateway's token.
    #[must_use]
    pub const fn has_gateway_token(&self) -> bool {
        self.has_gateway_token
    }

    /// The plan; of the newest known release where nothing names the release.
    ///
    /// Where the release needs an import and nothing shows that the container does it, the plain recipe: an
    /// `auth-profiles.json` that nobody imports is an error on 2026.8.2 and ends the gateway on 9.6, while a complete
    /// `codex/auth.json` signs in at least through the Codex harness (openclaw-facts §2).
    #[must_use]
    pub fn plan(&self) -> CredentialPlan {
        let plan = self.plan_of_release();
        if self.lacks_import(&plan) { plain_recipe(plan.model) } else { plan }
    }

    fn plan_of_release(&self) -> CredentialPlan {
        credential_plan(self.version.unwrap_or(NEWEST_KNOWN), self.inputs)
    }

    const fn lacks_import(&self, plan: &CredentialPlan) -> bool {
        plan.import.is_some() && !self.mentions_import
    }

    /// What the caller should know about this release and this definition.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let plan = self.plan_of_release();
        let of_version = match self.version {
            None => Some(Warning::ReleaseUnknown { image: self.image.clone() }),
            Some(version) if version > NEWEST_KNOWN => Some(Warning::ReleaseNewerThanKnown { version }),
            Some(version) if version == HANGS_ON_NETWORK_FILE_SYSTEMS => {
                Some(Warning::HangsOnNetworkFileSystems { version })
            }
            Some(_) => None,
        };
        let no_key = plan.needs_profile_secret_key && !self.has_secret_key;
        let no_import = self.lacks_import(&plan);
        let of_definition =
            [no_key.then_some(Warning::ProfileSecretKeyMissing), no_import.then_some(Warning::ImportNotSeen)];
        of_version.into_iter().chain(of_definition.into_iter().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Authority, CodexRefreshToken};
    use super::*;

    fn release(image: &str, environment: &[(&str, &str)]) -> Result<Release, Invalid> {
        let environment: Vec<Value> =
            environment.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        Release::of_definition(&json!({"containerDefinitions": [{"image": image, "environment": environment}]}))
    }

    fn codes(release: &Release) -> Vec<&'static str> {
        release.warnings().iter().map(Warning::code).collect()
    }

    #[test]
    fn the_tag_names_the_release_before_the_variable_does() {
        let at = |image: &str| release(image, &[(OPENCLAW_VERSION, "2026.5.7")]).unwrap().version();
        assert_eq!(at("openclaw:2026.4.21-slim"), Some(OpenClawVersion::new(2026, 4, 21)));
        for image in ["openclaw:latest", "openclaw@sha256:00ff", ""] {
            assert_eq!(at(image), Some(OpenClawVersion::new(2026, 5, 7)), "{image}");
        }
    }

    #[test]
    fn an_unknown_release_gets_the_newest_plan_and_says_so() {
        let unknown = release("openclaw:latest", &[]).unwrap();
        assert_eq!(unknown.plan_of_release(), credential_plan(NEWEST_KNOWN, PlanInputs::default()));
        assert_eq!(codes(&unknown), ["release_unknown", "import_not_seen"]);
        assert_eq!(codes(&release("o:2027.1.1", &[]).unwrap()), ["release_newer_than_known", "import_not_seen"]);
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
        assert_eq!(plan("2026.9.5"), Authority::CodexHome);
        let unknown = release("o:latest", &[(OPENCLAW_CODEX_PLUGIN, "yes")]).unwrap();
        assert_eq!(unknown.plan().authority, Authority::CodexHome);
    }

    #[test]
    fn what_the_definition_lacks_is_said() {
        assert_eq!(codes(&release("o:2026.4.25", &[]).unwrap()), ["release_hangs_on_network_file_systems"]);
        assert_eq!(codes(&release("o:2026.5.12", &[]).unwrap()), ["auth_profile_secret_key_missing"]);
        let complete = json!({"containerDefinitions": [{
            "image": "o:2026.5.12", "secrets": [{"name": AUTH_PROFILE_SECRET_KEY, "valueFrom": "arn"}],
        }]});
        assert_eq!(Release::of_definition(&complete).unwrap().warnings(), []);
        let imports = json!({"containerDefinitions": [{
            "image": "o:2026.8.2", "command": ["sh", "-c", "openclaw doctor --fix && exec openclaw gateway"],
        }]});
        let imports = Release::of_definition(&imports).unwrap();
        assert_eq!((imports.warnings(), imports.plan().authority), (vec![], Authority::ImportedAuthProfiles));
    }

    /// openclaw-facts §2: unimported profiles are an error on 8.2, and on 9.6 the gateway dies of them.
    #[test]
    fn without_an_import_the_plain_recipe_is_staged_and_nothing_that_wants_importing() {
        for image in ["o:2026.6.35", "o:2026.9.6", "o:latest"] {
            let release = release(image, &[]).unwrap();
            let plan = release.plan();
            assert_eq!((plan.authority, plan.profile, plan.import), (Authority::CodexHome, None, None), "{image}");
            assert_eq!(
                (plan.codex_refresh_token, plan.model),
                (CodexRefreshToken::Real, release.plan_of_release().model)
            );
        }
    }
}
