//! The base definition, which infrastructure deploys and this service only reads.

use serde_json::Value;

use super::base_error::BaseError;
use super::container::{self, Mount, OpenClawContainer, efs_mounts};
use super::isolation::Isolation;
use super::lookout::{self, Elsewhere};
use super::port::{NamedPort, named_port};
use super::{OUR_TAGS, RESERVED_TAG_PREFIX, family_of, items, text};
use crate::domain::user_role::region_of;
use crate::domain::{ReleaseDefaults, RoleGrants, UserRoles};

/// The script in the user directory that runs before the gateway, if the release needs it; `staging` writes it.
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
    openclaw: OpenClawContainer,
    isolation: Option<Isolation>,
    defaults: ReleaseDefaults,
}

impl BaseDefinition {
    /// Parses the answer of DescribeTaskDefinition for `family`; `tags` are beside the definition in the response. The base
    /// itself says which container is OpenClaw.
    ///
    /// # Errors
    /// When a user's definition cannot be rendered from it; says what infrastructure has to change.
    pub fn parse(document: Value, tags: Vec<Value>, family: &str, file_system_id: &str) -> Result<Self, BaseError> {
        Self::parse_with(document, tags, family, file_system_id, ReleaseDefaults::default())
    }

    /// As [`Self::parse`], with the defaults of the whole fleet.
    ///
    /// # Errors
    /// When a user's definition cannot be rendered from it; says what infrastructure has to change.
    pub fn parse_with(
        document: Value,
        tags: Vec<Value>,
        family: &str,
        file_system_id: &str,
        defaults: ReleaseDefaults,
    ) -> Result<Self, BaseError> {
        let arn = text(&document, "taskDefinitionArn").unwrap_or(family).to_owned();
        let containers = items(&document, "containerDefinitions");
        if family_of(&arn) != family || containers.iter().any(container::carries_our_labels) {
            return Err(BaseError::NotBare { family: family.to_owned(), found: arn });
        }
        let openclaw = container::choose(&document, &arn, file_system_id, defaults.container.as_deref())?;
        let chosen = &containers[openclaw.index];
        let (volume, container_path) = users_mount(&document, chosen, &openclaw.name, &arn, file_system_id)?;
        refuse_other_volumes(&document, &volume, &arn, file_system_id)?;
        refuse_tags(&tags, &arn)?;
        if defaults.user_roles.as_ref().is_some_and(UserRoles::is_given) {
            refuse_beyond_user_role(&document, &arn, file_system_id)?;
        }
        if let Some(Elsewhere { variable, looks_at, staged_at }) = lookout::elsewhere(chosen, &container_path) {
            return Err(BaseError::LooksElsewhere { arn, container: openclaw.name, variable, looks_at, staged_at });
        }
        let isolation = Isolation::asked_by(&document, openclaw.index, &container_path, &arn)?;
        let (image, file_system_id) = (text(chosen, "image").unwrap_or_default().to_owned(), file_system_id.to_owned());
        Ok(Self { arn, tags, volume, file_system_id, container_path, image, document, openclaw, isolation, defaults })
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

    /// The container that runs OpenClaw, and how it was identified.
    #[must_use]
    pub const fn openclaw(&self) -> &OpenClawContainer {
        &self.openclaw
    }

    /// The drop to the agent's user that the base asks for.
    #[must_use]
    pub const fn isolation(&self) -> Option<&Isolation> {
        self.isolation.as_ref()
    }

    /// The container that runs OpenClaw, as in the base.
    pub(super) fn container(&self) -> &Value {
        items(&self.document, "containerDefinitions").get(self.openclaw.index).unwrap_or(&Value::Null)
    }

    /// The port that its command or environment names, if any.
    #[must_use]
    pub fn named_port(&self) -> Option<NamedPort> {
        named_port(self.container())
    }

    /// The image of the container that runs OpenClaw.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The codex home, `<container path of the EFS mount>/codex`: not a constant, because the base may mount anywhere.
    #[must_use]
    pub fn codex_home(&self) -> String {
        format!("{}/codex", self.container_path)
    }

    /// The directory where OpenClaw must look for its state: the mount of the users' files.
    #[must_use]
    pub fn state_dir(&self) -> &str {
        if self.container_path.is_empty() { "/" } else { &self.container_path }
    }

    /// Path of the entry script inside the container.
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

    /// The roles that users have of their own, where what is rendered has them.
    #[must_use]
    pub fn user_roles(&self) -> Option<&UserRoles> {
        self.defaults.user_roles.as_ref().filter(|roles| roles.is_given())
    }

    /// What the role of a user is to allow who has that access point.
    #[must_use]
    pub fn role_grants(&self, access_point_id: &str) -> RoleGrants {
        let shared =
            items(&self.document, "volumes").iter().filter(|volume| text(volume, "name") != Some(self.volume()));
        let shared = shared.filter_map(|volume| {
            let efs = volume.get("efsVolumeConfiguration")?;
            text(efs, "fileSystemId").filter(|id| *id == self.file_system_id)?;
            text(efs.get("authorizationConfig")?, "accessPointId")
        });
        RoleGrants {
            // The id of a file system is one in all Regions.
            region: region_of(&self.arn).unwrap_or("*").to_owned(),
            file_system_id: self.file_system_id.clone(),
            access_points: [access_point_id].into_iter().chain(shared).map(str::to_owned).collect(),
            calls_models: self.isolation.as_ref().is_some_and(Isolation::keeps_role),
        }
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

/// Volume and path of the users' files in the container that runs OpenClaw.
fn users_mount(
    document: &Value,
    container: &Value,
    name: &str,
    arn: &str,
    file_system_id: &str,
) -> Result<(String, String), BaseError> {
    let arn = arn.to_owned();
    let mounts = efs_mounts(document, container);
    let ours: Vec<&Mount> = mounts.iter().filter(|mount| mount.is_of(file_system_id)).collect();
    // A volume with its own access point is shared on purpose, so the user directory's is the other one.
    let open: Vec<&Mount> = ours.iter().copied().filter(|mount| !mount.has_access_point()).collect();
    let mount = match (open.as_slice(), ours.as_slice()) {
        ([mount], _) | ([], [mount]) => **mount,
        ([], []) => {
            let file_system_id = file_system_id.to_owned();
            return Err(match mounts.first().and_then(|mount| text(mount.efs, "fileSystemId")) {
                Some(mounted) => BaseError::OtherFileSystem { arn, mounted: mounted.to_owned(), file_system_id },
                None => BaseError::NoEfsMount { arn, containers: vec![name.to_owned()], file_system_id },
            });
        }
        _ => return Err(BaseError::AmbiguousMount { arn, file_system_id: file_system_id.to_owned() }),
    };
    if mount.is_read_only() {
        return Err(BaseError::UnusableMount { arn, why: "read-only".into() });
    }
    let path = text(mount.point, "containerPath").unwrap_or_default().trim_end_matches('/').to_owned();
    if !path.is_empty() && !path.starts_with('/') {
        return Err(BaseError::UnusableMount { arn, why: format!("at the relative path {path:?}") });
    }
    Ok((text(mount.point, "sourceVolume").unwrap_or_default().to_owned(), path))
}

/// Refuses volumes that would show users' files to others, or with which ECS would start no task.
fn refuse_other_volumes(document: &Value, users: &str, arn: &str, file_system_id: &str) -> Result<(), BaseError> {
    for container in items(document, "containerDefinitions") {
        let open = efs_mounts(document, container).into_iter().find(|mount| {
            let is_users = text(mount.point, "sourceVolume") == Some(users);
            mount.is_of(file_system_id) && !mount.has_access_point() && !is_users
        });
        if let Some(mount) = open {
            return Err(BaseError::OpenVolume {
                arn: arn.to_owned(),
                container: text(container, "name").unwrap_or_default().to_owned(),
                volume: text(mount.point, "sourceVolume").unwrap_or_default().to_owned(),
                file_system_id: file_system_id.to_owned(),
            });
        }
    }
    let at_launch = |volume: &&Value| volume.get("configuredAtLaunch").and_then(Value::as_bool) == Some(true);
    match items(document, "volumes").iter().find(at_launch) {
        Some(volume) => Err(BaseError::LaunchVolume {
            arn: arn.to_owned(),
            volume: text(volume, "name").unwrap_or_default().to_owned(),
        }),
        None => Ok(()),
    }
}

/// Refuses what is mounted by IAM from elsewhere: it is beyond the boundary of users' roles, and no task would start.
fn refuse_beyond_user_role(document: &Value, arn: &str, file_system_id: &str) -> Result<(), BaseError> {
    let beyond = items(document, "volumes").iter().find_map(|volume| {
        let efs = volume.get("efsVolumeConfiguration")?;
        let is_by_iam = text(efs.get("authorizationConfig")?, "iam") == Some("ENABLED");
        let other = text(efs, "fileSystemId").filter(|id| *id != file_system_id && is_by_iam)?;
        Some((text(volume, "name").unwrap_or_default(), other))
    });
    match beyond {
        Some((volume, other)) => Err(BaseError::BeyondUserRole {
            arn: arn.to_owned(),
            volume: volume.to_owned(),
            file_system_id: other.to_owned(),
        }),
        None => Ok(()),
    }
}

/// ECS takes so many tags of a resource (service quotas); those of AWS itself do not count.
const MAX_TAGS: usize = 50;

fn refuse_tags(tags: &[Value], arn: &str) -> Result<(), BaseError> {
    let is_kept = |key: &&str| !key.starts_with(RESERVED_TAG_PREFIX) && !OUR_TAGS.contains(key);
    let found = tags.iter().filter_map(|tag| text(tag, "key")).filter(is_kept).count();
    let most = MAX_TAGS - OUR_TAGS.len();
    if found > most { Err(BaseError::TooManyTags { arn: arn.to_owned(), most, found }) } else { Ok(()) }
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
    fn of_several_mounts_the_one_without_an_access_point_is_the_users() {
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
    fn a_volume_that_shows_every_users_files_is_refused_in_any_container() {
        let with_sidecar = |efs: Value, mount: &str| {
            let mut document = base(json!({"sourceVolume": "home", "containerPath": "/data"}));
            let sidecar = json!({"name": "router", "mountPoints": [{"sourceVolume": mount, "containerPath": "/conf"}]});
            document["containerDefinitions"].as_array_mut().unwrap().push(sidecar);
            document["volumes"].as_array_mut().unwrap().push(json!({"name": "conf", "efsVolumeConfiguration": efs}));
            parse(document)
        };
        for efs in [
            json!({"fileSystemId": "fs-1", "rootDirectory": "/"}),
            json!({"fileSystemId": "fs-1", "rootDirectory": "/conf"}),
            json!({"fileSystemId": "fs-1", "transitEncryption": "ENABLED", "authorizationConfig": {"iam": "ENABLED"}}),
        ] {
            let mut document = base(json!({"sourceVolume": "home", "containerPath": "/home/node/.openclaw"}));
            let sidecar =
                json!({"name": "router", "mountPoints": [{"sourceVolume": "conf", "containerPath": "/conf"}]});
            document["containerDefinitions"].as_array_mut().unwrap().push(sidecar);
            document["volumes"].as_array_mut().unwrap().push(json!({"name": "conf", "efsVolumeConfiguration": efs}));
            let error = parse(document).unwrap_err();
            assert_eq!(error.code(), "open_volume", "{error}");
            assert!(error.to_string().contains("router") && error.to_string().contains("conf"), "{error}");
        }
        let own = json!({"fileSystemId": "fs-1", "authorizationConfig": {"accessPointId": "fsap-2"}});
        assert!(with_sidecar(own, "conf").is_ok());
        assert!(with_sidecar(json!({"fileSystemId": "fs-2", "rootDirectory": "/"}), "conf").is_ok());
        // No container mounts it.
        assert!(with_sidecar(json!({"fileSystemId": "fs-1"}), "scratch").is_ok());
    }

    #[test]
    fn a_base_that_no_user_service_could_run_is_refused() {
        let document = || base(json!({"sourceVolume": "home", "containerPath": "/data"}));
        let mut at_launch = document();
        at_launch["volumes"].as_array_mut().unwrap().push(json!({"name": "ebs", "configuredAtLaunch": true}));
        assert_eq!(parse(at_launch).unwrap_err().code(), "launch_volume");
        let tags = |count: usize| -> Vec<Value> {
            let own = (0..count).map(|n| json!({"key": format!("key-{n}"), "value": "v"}));
            // Tags that are replaced and AWS's own do not count.
            let others = ["openclaw:user-id", "openclaw:base-family", "aws:cloudformation:stack-name"];
            own.chain(others.map(|key| json!({"key": key, "value": "v"}))).collect()
        };
        let with = |count: usize| BaseDefinition::parse(document(), tags(count), "openclaw-dev", "fs-1");
        assert!(with(48).is_ok());
        assert_eq!(with(49).unwrap_err().code(), "too_many_tags");
    }

    #[test]
    fn an_environment_that_points_elsewhere_is_refused_with_both_paths() {
        let with = |name: &str, value: &str| {
            let mut document = base(json!({"sourceVolume": "home", "containerPath": "/data"}));
            document["containerDefinitions"][0]["environment"] = json!([{"name": name, "value": value}]);
            parse(document)
        };
        let error = with("OPENCLAW_STATE_DIR", "/data/.openclaw").unwrap_err();
        let message = error.to_string();
        assert_eq!(error.code(), "looks_elsewhere");
        assert!(message.contains("look at /data/.openclaw,") && message.contains("staged at /data:"), "{message}");
        assert_eq!(with("OPENCLAW_STATE_DIR", "/data/").unwrap().state_dir(), "/data");
    }

    /// It is the users' own access point that a policy names first, and nothing of another file system.
    #[test]
    fn users_roles_reach_what_the_base_mounts_of_their_file_system_and_nothing_else() {
        let boundary = "arn:aws:iam::123456789012:policy/boundary";
        let user_roles = Some(UserRoles::parse(true, "/openclaw/dev/users/", boundary).unwrap());
        let with = |others: Value| {
            let mut document = base(json!({"sourceVolume": "home", "containerPath": "/data"}));
            document["volumes"].as_array_mut().unwrap().extend(others.as_array().unwrap().clone());
            let defaults = ReleaseDefaults { user_roles: user_roles.clone(), ..ReleaseDefaults::default() };
            BaseDefinition::parse_with(document, vec![], "openclaw-dev", "fs-1", defaults)
        };
        let shared = json!([
            {"name": "skills", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "authorizationConfig": {"accessPointId": "fsap-skills"}}},
            {"name": "else", "efsVolumeConfiguration": {"fileSystemId": "fs-2", "authorizationConfig": {"accessPointId": "fsap-else"}}},
        ]);
        let grants = with(shared).unwrap().role_grants("fsap-own");
        assert_eq!(grants.access_points, ["fsap-own", "fsap-skills"]);
        assert_eq!((grants.region.as_str(), grants.calls_models), ("us-east-1", false));
        let by_iam = json!([{"name": "x", "efsVolumeConfiguration": {"fileSystemId": "fs-2", "authorizationConfig": {"iam": "ENABLED"}}}]);
        let error = with(by_iam.clone()).unwrap_err();
        assert_eq!(error.code(), "beyond_user_role", "{error}");
        let mut without = base(json!({"sourceVolume": "home", "containerPath": "/data"}));
        without["volumes"].as_array_mut().unwrap().extend(by_iam.as_array().unwrap().clone());
        assert!(parse(without).is_ok());
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
