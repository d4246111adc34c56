//! `openclaw-version.json`: the only file that says which OpenClaw release each environment runs.

use std::collections::BTreeMap;

use openclaw::{Invalid, OpenClawVersion};
use serde::Deserialize;

use super::ImageRef;

/// A checked `openclaw-version.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFile {
    /// The upstream image.
    pub upstream: ImageRef,
    /// The release in the upstream image's tag.
    pub version: OpenClawVersion,
    /// The repository of the extended image, without a tag.
    pub extended_image: String,
    /// The extended image's tag by environment; `None` = not built yet, the environment runs upstream.
    pub environments: BTreeMap<String, Option<String>>,
    /// The oldest release that may be deployed.
    pub minimum: OpenClawVersion,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    /// Path of the schema, for editors.
    #[serde(rename = "$schema", default)]
    _schema: Option<String>,
    upstream: String,
    extended_image: String,
    environments: BTreeMap<String, RawEnvironment>,
    minimum: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnvironment {
    tag: Option<String>,
}

impl VersionFile {
    /// Parses and checks the file.
    ///
    /// # Errors
    /// Names the first wrong member, the reason, and what to write.
    pub fn parse(json: &str) -> Result<Self, Invalid> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let raw: Raw = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            let fix = "see openclaw-version.schema.json for the members and their types";
            Invalid::new(path, error.into_inner().to_string(), fix)
        })?;
        deserializer.end().map_err(|error| Invalid::new("the file", error.to_string(), "keep one JSON object"))?;
        let minimum = version_in(&raw.minimum, "minimum")?;
        if minimum < OpenClawVersion::MINIMUM {
            let problem = format!("{minimum} is older than {}", OpenClawVersion::MINIMUM);
            let fix = format!(
                "no release before {} reads a staged sign-in; write that one or a newer",
                OpenClawVersion::MINIMUM
            );
            return Err(Invalid::new("minimum", problem, fix));
        }
        let (upstream, version) = upstream(&raw.upstream, minimum)?;
        check_repository(&raw.extended_image)?;
        if raw.environments.is_empty() {
            return Err(Invalid::new("environments", "is empty", "add one, such as \"dev\": {\"tag\": null}"));
        }
        let mut environments = BTreeMap::new();
        for (name, environment) in raw.environments {
            if let Some(tag) = &environment.tag {
                check_tag(tag, &format!("environments.{name}.tag"), version)?;
            }
            environments.insert(name, environment.tag);
        }
        Ok(Self { upstream, version, extended_image: raw.extended_image, environments, minimum })
    }

    /// The image that an environment runs: the extended one if it is built, otherwise upstream. `None`: there is no
    /// such environment.
    #[must_use]
    pub fn image_for(&self, environment: &str) -> Option<String> {
        Some(match self.environments.get(environment)? {
            Some(tag) => format!("{}:{tag}", self.extended_image),
            None => self.upstream.to_string(),
        })
    }
}

fn upstream(text: &str, minimum: OpenClawVersion) -> Result<(ImageRef, OpenClawVersion), Invalid> {
    const FIELD: &str = "upstream";
    let image = ImageRef::parse(text, FIELD)?;
    let Some(tag) = image.tag() else {
        let fix = "write registry/repository:<release>, such as ghcr.io/openclaw/openclaw:2026.4.21";
        return Err(Invalid::new(FIELD, "the image has no tag, so nobody can tell the release", fix));
    };
    refuse_placeholder(tag, FIELD)?;
    // Incident 7: a -slim image replaced a fat one and broke the skills baked on top.
    if tag.split('-').any(|part| part == "slim") {
        let fix = format!("use {}, the image with the runtime packages", tag.replace("-slim", ""));
        return Err(Invalid::new(
            FIELD,
            format!("{tag:?} is a slim image: the extended image's skills need more"),
            fix,
        ));
    }
    let version = version_in(tag, FIELD)?;
    if version < minimum {
        let fix = format!("write {minimum} or a newer release");
        return Err(Invalid::new(FIELD, format!("{version} is below the minimum {minimum}"), fix));
    }
    Ok((image, version))
}

fn check_repository(text: &str) -> Result<(), Invalid> {
    const FIELD: &str = "extendedImage";
    let with_tag = ImageRef::parse(&format!("{text}:x"), FIELD)?;
    if with_tag.name() != text {
        return Err(Invalid::new(
            FIELD,
            "has a tag or a digest",
            "write the repository alone; tags stand under environments",
        ));
    }
    Ok(())
}

fn check_tag(tag: &str, field: &str, upstream: OpenClawVersion) -> Result<(), Invalid> {
    refuse_placeholder(tag, field)?;
    ImageRef::parse(&format!("x:{tag}"), field)?;
    let version = version_in(tag, field)?;
    if version != upstream {
        let problem = format!("the tag says {version}, upstream is {upstream}");
        let fix = format!("build the extended image from {upstream} and write its tag, {upstream}-<commit>");
        return Err(Invalid::new(field, problem, fix));
    }
    Ok(())
}

/// Incident 6: a placeholder tag reached production, where no task could pull it.
fn refuse_placeholder(tag: &str, field: &str) -> Result<(), Invalid> {
    if tag == "bootstrap" || tag.ends_with("-bootstrap") {
        let fix = "write the tag that the build pushed, <release>-<commit>; null while there is none";
        return Err(Invalid::new(field, format!("{tag:?} is a placeholder, not an image"), fix));
    }
    Ok(())
}

fn version_in(text: &str, field: &str) -> Result<OpenClawVersion, Invalid> {
    OpenClawVersion::from_tag(text)
        .map_err(|error| Invalid::new(field, error.problem().to_owned(), error.fix().to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn file() -> Value {
        json!({
            "$schema": "./openclaw-version.schema.json",
            "upstream": "ghcr.io/openclaw/openclaw:2026.4.21",
            "extendedImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/openclaw-extended",
            "environments": {"dev": {"tag": null}, "prod": {"tag": "2026.4.21-71624b4"}},
            "minimum": "2026.4.7"
        })
    }

    fn with(pointer: &str, value: Value) -> Result<VersionFile, Invalid> {
        let mut file = file();
        *file.pointer_mut(pointer).unwrap() = value;
        VersionFile::parse(&file.to_string())
    }

    #[test]
    fn an_environment_without_a_tag_runs_upstream() {
        let parsed = VersionFile::parse(&file().to_string()).unwrap();
        assert_eq!(parsed.image_for("dev").as_deref(), Some("ghcr.io/openclaw/openclaw:2026.4.21"));
        assert!(parsed.image_for("prod").unwrap().ends_with("/openclaw-extended:2026.4.21-71624b4"));
        assert_eq!(parsed.image_for("staging"), None);
    }

    /// Incident 6: a placeholder tag and a tag that upstream never published both reached production.
    #[test]
    fn a_placeholder_is_refused_in_every_member() {
        for tag in ["bootstrap", "2026.4.21-bootstrap"] {
            let error = with("/environments/prod/tag", json!(tag)).unwrap_err();
            assert_eq!(error.field(), "environments.prod.tag");
            assert!(error.problem().contains("placeholder"), "{error}");
            let error = with("/upstream", json!(format!("ghcr.io/openclaw/openclaw:{tag}"))).unwrap_err();
            assert!(error.problem().contains("placeholder"), "{error}");
        }
    }

    /// Incident 7: a `-slim` image replaced a fat one and broke the skills baked on top.
    #[test]
    fn a_slim_upstream_is_refused() {
        let error = with("/upstream", json!("ghcr.io/openclaw/openclaw:2026.4.21-slim")).unwrap_err();
        assert!(error.problem().contains("slim"), "{error}");
    }

    #[test]
    fn versions_must_be_new_enough_and_match_each_other() {
        let field = |result: Result<VersionFile, Invalid>| result.unwrap_err().field().to_owned();
        assert_eq!(field(with("/upstream", json!("o/o:2026.4.6"))), "upstream");
        assert_eq!(field(with("/minimum", json!("2026.3.1"))), "minimum");
        assert_eq!(field(with("/environments/prod/tag", json!("2026.4.25-71624b4"))), "environments.prod.tag");
        assert_eq!(field(with("/upstream", json!("o/o:latest"))), "upstream");
        assert_eq!(field(with("/extendedImage", json!("o/o:1"))), "extendedImage");
        assert_eq!(field(with("/environments", json!({}))), "environments");
    }

    #[test]
    fn a_member_that_is_not_in_the_schema_is_named() {
        let error = with("/environments/prod", json!({"tags": "x"})).unwrap_err();
        assert!(error.field().starts_with("environments.prod"), "{error}");
    }

    #[test]
    fn the_shipped_file_is_accepted() {
        VersionFile::parse(include_str!("../../openclaw-version.json")).unwrap();
    }
}
