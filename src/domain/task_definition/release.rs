//! Which release a task definition runs.

use openclaw::{EnvironmentValue, Invalid, OpenClawVersion, Release, shown};
use serde_json::Value;

use super::container;

/// The variable that names the release of an image whose tag does not.
const OPENCLAW_VERSION: &str = "OPENCLAW_VERSION";
/// The docker label of the base's container that names it (OCI image spec, "Pre-Defined Annotation Keys").
const OCI_VERSION: &str = "org.opencontainers.image.version";
/// The docker label in which this service keeps the release that it resolved for a definition.
pub(in crate::domain) const LABEL_OPENCLAW_VERSION: &str = "openclaw.provisioner.openclaw-version";

/// Sources of a release outside the definition itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::domain) struct Named {
    /// Whether the image is the user's pin: then the base's own release does not apply to it.
    pub(in crate::domain) is_pinned: bool,
    /// The release in the spec, from a request.
    pub(in crate::domain) by_spec: Option<OpenClawVersion>,
    /// The release in the settings.
    pub(in crate::domain) by_settings: Option<OpenClawVersion>,
}

/// The release of a container that is about to be registered: from the image's tag, else from the base, else from the
/// request, else from the settings.
///
/// # Errors
/// Names `image` when the release is too old for any plan.
pub(in crate::domain) fn resolve_release(container: &Value, named: Named) -> Result<Release, Invalid> {
    let container = Container(container);
    let by_base = || if named.is_pinned { None } else { container.says() };
    let by_tag = OpenClawVersion::from_image(container.image()).ok();
    let version = by_tag.or_else(by_base).or(named.by_spec).or(named.by_settings);
    if let Some(version) = version.filter(|version| *version < OpenClawVersion::MINIMUM) {
        let minimum = OpenClawVersion::MINIMUM;
        let problem = format!("{} is OpenClaw {version}, older than {minimum}", shown(container.image()));
        return Err(Invalid::new("image", problem, format!("use {minimum} or later")));
    }
    Ok(container.release(version))
}

/// The release of a registered definition, as it was resolved when it was rendered. Definitions of earlier builds do not
/// contain it, so it is resolved again.
#[must_use]
pub fn release_of(definition: &Value) -> Release {
    let container = Container::of(definition);
    let resolved = container.label(LABEL_OPENCLAW_VERSION).and_then(|text| OpenClawVersion::from_tag(text).ok());
    let version = resolved.or_else(|| OpenClawVersion::from_image(container.image()).ok());
    container.release(version.or_else(|| container.says()))
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

    fn release(&self, version: Option<OpenClawVersion>) -> Release {
        Release::new(self.image(), version, |name| match self.named("environment", name) {
            Some(entry) => Some(EnvironmentValue::Plain(entry["value"].as_str().unwrap_or_default())),
            None => self.named("secrets", name).map(|_| EnvironmentValue::Secret),
        })
    }

    /// The release that the definition itself names.
    fn says(&self) -> Option<OpenClawVersion> {
        let said = [self.variable(OPENCLAW_VERSION), self.label(OCI_VERSION)];
        said.into_iter().flatten().find_map(|text| OpenClawVersion::from_tag(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const fn v(month: u16, patch: u16) -> OpenClawVersion {
        OpenClawVersion::new(2026, month, patch)
    }

    fn definition(image: &str, environment: &[(&str, &str)]) -> Value {
        let environment: Vec<Value> =
            environment.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({"containerDefinitions": [{"image": image, "environment": environment}]})
    }

    #[test]
    fn the_release_comes_from_the_tag_then_the_base_the_request_and_the_settings() {
        let named = Named { is_pinned: false, by_spec: Some(v(6, 35)), by_settings: Some(v(7, 35)) };
        let at = |image: &str, environment: &[(&str, &str)], named| {
            resolve_release(&definition(image, environment)["containerDefinitions"][0], named).unwrap().version()
        };
        let base = [(OPENCLAW_VERSION, "2026.5.7")];
        assert_eq!(at("openclaw:2026.4.21-slim", &base, named), Some(v(4, 21)));
        for image in ["openclaw:latest", "openclaw@sha256:00ff", ""] {
            assert_eq!(at(image, &base, named), Some(v(5, 7)), "{image}");
            assert_eq!(at(image, &[], named), Some(v(6, 35)), "{image}");
            // The base's release does not apply to a pinned image.
            assert_eq!(at(image, &base, Named { is_pinned: true, ..named }), Some(v(6, 35)), "{image}");
        }
        assert_eq!(at("openclaw:latest", &[], Named { by_spec: None, ..named }), Some(v(7, 35)));
        assert_eq!(at("openclaw:latest", &[], Named::default()), None);
    }

    #[test]
    fn a_registered_definition_keeps_the_release_that_was_resolved() {
        let mut registered = definition("openclaw@sha256:00ff", &[(OPENCLAW_VERSION, "2026.5.7")]);
        assert_eq!(release_of(&registered).version(), Some(v(5, 7)));
        registered["containerDefinitions"][0]["dockerLabels"] = json!({OCI_VERSION: "2026.4.7"});
        assert_eq!(release_of(&registered).version(), Some(v(5, 7)));
        registered["containerDefinitions"][0]["dockerLabels"] = json!({LABEL_OPENCLAW_VERSION: "2026.8.2"});
        assert_eq!(release_of(&registered).version(), Some(v(8, 2)));
    }

    #[test]
    fn a_release_before_the_first_plan_is_refused_and_the_error_names_the_image() {
        for (image, environment) in [("openclaw:2026.4.6", vec![]), ("o:latest", vec![(OPENCLAW_VERSION, "2026.3.1")])]
        {
            let error = resolve_release(&definition(image, &environment)["containerDefinitions"][0], Named::default())
                .unwrap_err();
            assert!(error.field() == "image" && error.problem().contains(image), "{error}");
        }
    }
}
