//! The bare base definition: what infrastructure deploys and we only read.

use serde_json::Value;

use super::base_error::BaseError;
use super::{family_of, first_container, items, text};
use crate::domain::ReleaseDefaults;

/// What runs before the gateway where the release needs it, in the user directory; `staging` writes it.
pub(super) const ENTRY_SCRIPT: &str = ".provisioner/entry.sh";

/// A base task definition that a user's can be rendered from.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseDefinition {
    arn: String,
    document: Value,
    tags: Vec<Value>,
    volume: String,
    file_system_id: String,
    container_path: String,
    image: String,
    defaults: ReleaseDefaults,
}

impl BaseDefinition {
    /// Reads what DescribeTaskDefinition answered for `family`; `tags` stand beside the definition in the response.
    ///
    /// # Errors
    /// When a user's definition cannot be rendered from it; says what infrastructure has to change.
    pub fn parse(document: Value, tags: Vec<Value>, family: &str, file_system_id: &str) -> Result<Self, BaseError> {
        let arn = text(&document, "taskDefinitionArn").unwrap_or(family).to_owned();
        let labels = first_container(&document).and_then(|container| container.get("dockerLabels"));
        if family_of(&arn) != family || labels.is_some_and(|labels| labels.get(super::LABEL_USER).is_some()) {
            return Err(BaseError::NotBare { family: family.to_owned(), found: arn });
        }
        let Some(container) = first_container(&document) else { return Err(BaseError::NoContainer { arn }) };
        let container = Value::Object(container.clone());
        let image = text(&container, "image").unwrap_or_default().to_owned();

        let efs_of = |volume: &str| {
            let mut named = items(&document, "volumes").iter().filter(|other| text(other, "name") == Some(volume));
            named.find_map(|volume| volume.get("efsVolumeConfiguration").filter(|efs| efs.is_object()))
        };
        let mounts: Vec<(&Value, &Value)> = items(&container, "mountPoints")
            .iter()
            .filter_map(|mount| Some((mount, efs_of(text(mount, "sourceVolume")?)?)))
            .collect();
        let ours: Vec<_> = mounts.iter().filter(|(_, efs)| text(efs, "fileSystemId") == Some(file_system_id)).collect();
        // A volume with an access point of its own is shared on purpose; the user directory's is the other one.
        let has_own = |efs: &Value| efs.pointer("/authorizationConfig/accessPointId").is_some_and(Value::is_string);
        let open: Vec<_> = ours.iter().filter(|(_, efs)| !has_own(efs)).collect();
        let mount = match (open.as_slice(), ours.as_slice()) {
            ([(mount, _)], _) | ([], [(mount, _)]) => *mount,
            ([], []) => {
                let file_system_id = file_system_id.to_owned();
                return Err(match mounts.first().and_then(|(_, efs)| text(efs, "fileSystemId")) {
                    Some(mounted) => BaseError::OtherFileSystem { arn, mounted: mounted.to_owned(), file_system_id },
                    None => BaseError::NoEfsMount { arn, file_system_id },
                });
            }
            _ => return Err(BaseError::AmbiguousMount { arn, file_system_id: file_system_id.to_owned() }),
        };
        if mount.get("readOnly").and_then(Value::as_bool) == Some(true) {
            return Err(BaseError::UnusableMount { arn, why: "read-only".into() });
        }
        let container_path = text(mount, "containerPath").unwrap_or_default().trim_end_matches('/').to_owned();
        if !container_path.is_empty() && !container_path.starts_with('/') {
            return Err(BaseError::UnusableMount { arn, why: format!("at the relative path {container_path:?}") });
        }
        let volume = text(mount, "sourceVolume").unwrap_or_default().to_owned();
        let file_system_id = file_system_id.to_owned();
        Ok(Self {
            arn,
            tags,
            volume,
            file_system_id,
            container_path,
            image,
            document,
            defaults: ReleaseDefaults::default(),
        })
    }

    /// With what holds for the whole fleet.
    #[must_use]
    pub fn with_defaults(self, defaults: ReleaseDefaults) -> Self {
        Self { defaults, ..self }
    }

    pub(super) const fn defaults(&self) -> &ReleaseDefaults {
        &self.defaults
    }

    /// ARN with revision.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// The bare family.
    #[must_use]
    pub fn family(&self) -> &str {
        family_of(&self.arn)
    }

    /// The image of the first container.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// `<container path of the EFS mount>/codex`: derived, never a constant, because the base may mount anywhere.
    #[must_use]
    pub fn codex_home(&self) -> String {
        format!("{}/codex", self.container_path)
    }

    /// The entry script, as the container sees it.
    pub(super) fn entry_script(&self) -> String {
        format!("{}/{ENTRY_SCRIPT}", self.container_path)
    }

    /// The file system that the user directory is on.
    #[must_use]
    pub fn file_system_id(&self) -> &str {
        &self.file_system_id
    }

    pub(super) fn document(&self) -> &Value {
        &self.document
    }

    pub(super) fn tags(&self) -> &[Value] {
        &self.tags
    }

    /// Name of the EFS volume that holds the user directory.
    pub(super) fn volume(&self) -> &str {
        &self.volume
    }

    /// The `efsVolumeConfiguration` of that volume.
    pub(super) fn efs(&self) -> &Value {
        let named =
            items(&self.document, "volumes").iter().filter(|volume| text(volume, "name") == Some(self.volume()));
        named.map(|volume| &volume["efsVolumeConfiguration"]).find(|efs| efs.is_object()).unwrap_or(&Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:42";

    fn base(mount: Value) -> Value {
        json!({
            "taskDefinitionArn": ARN,
            "containerDefinitions": [{"name": "openclaw", "image": "openclaw:1", "mountPoints": [mount]}],
            "volumes": [
                {"name": "home", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}},
                {"name": "other", "efsVolumeConfiguration": {"fileSystemId": "fs-2"}},
                {"name": "scratch"}
            ]
        })
    }

    fn parse(document: Value) -> Result<BaseDefinition, BaseError> {
        BaseDefinition::parse(document, vec![], "openclaw-dev", "fs-1")
    }

    #[test]
    fn codex_home_follows_the_mount_point_of_the_base() {
        for (path, codex_home) in
            [("/home/node/.openclaw", "/home/node/.openclaw/codex"), ("/data/", "/data/codex"), ("/", "/codex")]
        {
            let parsed = parse(base(json!({"sourceVolume": "home", "containerPath": path}))).unwrap();
            assert_eq!(parsed.codex_home(), codex_home);
        }
    }

    /// Incident 1: base and clones shared one family, and describe-by-family returned a user's clone.
    #[test]
    fn a_clone_inside_the_base_family_is_refused() {
        let mut clone = base(json!({"sourceVolume": "home", "containerPath": "/d"}));
        clone["containerDefinitions"][0]["dockerLabels"] = json!({super::super::LABEL_USER: "somebody"});
        assert!(matches!(parse(clone), Err(BaseError::NotBare { .. })));
    }

    #[test]
    fn of_several_mounts_on_the_file_system_the_one_without_an_access_point_is_the_users() {
        let with = |shared: Value| {
            let mut several = base(json!({"sourceVolume": "shared", "containerPath": "/shared"}));
            let mounts = several["containerDefinitions"][0]["mountPoints"].as_array_mut().unwrap();
            mounts.push(json!({"sourceVolume": "home", "containerPath": "/home/node/.openclaw"}));
            several["volumes"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "shared", "efsVolumeConfiguration": shared}));
            parse(several)
        };
        let shared = json!({"fileSystemId": "fs-1", "authorizationConfig": {"accessPointId": "fsap-shared"}});
        assert_eq!(with(shared).unwrap().codex_home(), "/home/node/.openclaw/codex");
        assert!(matches!(with(json!({"fileSystemId": "fs-1"})), Err(BaseError::AmbiguousMount { .. })));
    }

    #[test]
    fn a_mount_that_cannot_hold_the_sign_in_is_refused_with_the_reason() {
        let none = parse(base(json!({"sourceVolume": "scratch", "containerPath": "/d"}))).unwrap_err();
        assert!(matches!(none, BaseError::NoEfsMount { .. }), "{none}");
        let other = parse(base(json!({"sourceVolume": "other", "containerPath": "/d"}))).unwrap_err();
        assert!(other.to_string().contains("fs-2") && other.to_string().contains("fs-1"), "{other}");
        let read_only = base(json!({"sourceVolume": "home", "containerPath": "/d", "readOnly": true}));
        assert!(matches!(parse(read_only), Err(BaseError::UnusableMount { .. })));
        let relative = base(json!({"sourceVolume": "home", "containerPath": "data"}));
        assert!(matches!(parse(relative), Err(BaseError::UnusableMount { .. })));
    }
}
