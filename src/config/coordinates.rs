//! The coordinates of infrastructure, from the environment or from SSM.

use std::collections::BTreeMap;

use clap::Args;
use openclaw::{Invalid, OpenClawVersion};
use thiserror::Error;

use crate::domain::{BaseFamily, Coordinates, ReleaseDefaults, UserRoles, is_secret_arn};

/// Coordinates of users' containers. Those that are not set are read from the SSM path, at start and every 60 s.
#[derive(Debug, Clone, Default, Args)]
pub struct CoordinatesArgs {
    /// SSM path under which infrastructure publishes its coordinates, such as /openclaw/dev
    #[arg(long, env = "PROVISIONER_SSM_PATH", value_name = "PATH")]
    pub ssm_path: Option<String>,
    /// Cluster name or ARN [SSM: cluster]
    #[arg(long, env = "PROVISIONER_CLUSTER", value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// Bare base family, without a revision [SSM: base-family]
    #[arg(long, env = "PROVISIONER_BASE_FAMILY", value_name = "FAMILY")]
    pub base_family: Option<String>,
    /// EFS file system id [SSM: file-system-id]
    #[arg(long, env = "PROVISIONER_FILE_SYSTEM_ID", value_name = "ID")]
    pub file_system_id: Option<String>,
    /// Subnet ids, comma-separated [SSM: subnets]
    #[arg(long, env = "PROVISIONER_SUBNETS", value_name = "IDS")]
    pub subnets: Option<String>,
    /// Security group ids, comma-separated [SSM: security-groups]
    #[arg(long, env = "PROVISIONER_SECURITY_GROUPS", value_name = "IDS")]
    pub security_groups: Option<String>,
    /// ARN of a Cloud Map service to register tasks in, optional [SSM: cloud-map-service-arn]
    #[arg(long, env = "PROVISIONER_CLOUD_MAP_SERVICE_ARN", value_name = "ARN")]
    pub cloud_map_service_arn: Option<String>,
    /// OpenClaw release of images that do not name theirs, such as 2026.4.21, optional [SSM: openclaw-version]
    #[arg(long, env = "PROVISIONER_OPENCLAW_VERSION", value_name = "RELEASE")]
    pub openclaw_version: Option<String>,
    /// ARN of the secret that OpenClaw 2026.5.12 to 2026.5.28 encrypts sign-ins with, optional [SSM: auth-profile-secret-arn]
    #[arg(long, env = "PROVISIONER_AUTH_PROFILE_SECRET_ARN", value_name = "ARN")]
    pub auth_profile_secret_arn: Option<String>,
    /// Container of the base that runs OpenClaw, if the base does not say, optional [SSM: container]
    #[arg(long, env = "PROVISIONER_CONTAINER", value_name = "NAME")]
    pub container: Option<String>,
    /// Roles of users' own.
    #[command(flatten)]
    pub user_roles: UserRolesArgs,
}

/// A role for each user, in place of the base's.
#[derive(Debug, Clone, Default, Args)]
pub struct UserRolesArgs {
    /// Give each user a role of their own, which mounts through their access point alone
    #[arg(long, env = "PROVISIONER_USER_ROLES")]
    pub user_roles: bool,
    /// Path that users' roles are under, such as /openclaw/dev/users/; it stays set for as long as there are roles
    #[arg(long, env = "PROVISIONER_USER_ROLES_PATH", value_name = "PATH")]
    pub user_roles_path: Option<String>,
    /// ARN of the managed policy that is the permissions boundary of users' roles; it stays set for as long as there are roles
    #[arg(long, env = "PROVISIONER_USER_ROLES_BOUNDARY", value_name = "ARN")]
    pub user_roles_boundary: Option<String>,
}

impl UserRolesArgs {
    /// What is set, and what is missing or wrong of it.
    fn known(&self) -> Result<Option<UserRoles>, Invalid> {
        let given = |value: &Option<String>| value.as_deref().map(str::trim).unwrap_or_default().to_owned();
        let (path, boundary) = (given(&self.user_roles_path), given(&self.user_roles_boundary));
        let missing = |variable: &str, fix: &str| Err(Invalid::new(variable, NOT_SET, fix));
        match (path.is_empty(), boundary.is_empty()) {
            (true, true) if !self.user_roles => Ok(None),
            (true, _) => missing(
                "PROVISIONER_USER_ROLES_PATH",
                "set it to the path of users' roles, such as /openclaw/dev/users/; or leave all three out",
            ),
            (_, true) => missing(
                "PROVISIONER_USER_ROLES_BOUNDARY",
                "set it to the ARN of the permissions boundary that infrastructure made; or leave all three out",
            ),
            (false, false) => UserRoles::parse(self.user_roles, &path, &boundary).map(Some),
        }
    }
}

/// All settings that are missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct MissingSettings(Vec<Invalid>);

/// The coordinates that are set and valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownCoordinates {
    /// Cluster name or ARN.
    pub cluster: Option<String>,
    /// The bare base family.
    pub base_family: Option<BaseFamily>,
    /// EFS file system id.
    pub file_system_id: Option<String>,
    /// Subnet ids; empty when not set.
    pub subnets: Vec<String>,
    /// Security group ids; empty when not set.
    pub security_groups: Vec<String>,
    /// ARN of a Cloud Map service.
    pub cloud_map_service_arn: Option<String>,
    /// Defaults of the whole fleet.
    pub release: ReleaseDefaults,
}

impl From<Coordinates> for KnownCoordinates {
    fn from(at: Coordinates) -> Self {
        Self {
            cluster: Some(at.cluster),
            base_family: Some(at.base_family),
            file_system_id: Some(at.file_system_id),
            subnets: at.subnets,
            security_groups: at.security_groups,
            cloud_map_service_arn: at.cloud_map_service_arn,
            release: at.release,
        }
    }
}

/// The problem text of a missing setting, as opposed to a wrong one.
pub const NOT_SET: &str = "is not set";

/// The SSM parameters that are read, by the last part of their names. Each has a variable of the same name:
/// `PROVISIONER_BASE_FAMILY` for `base-family`.
pub const PARAMETERS: [&str; 9] = [
    "cluster",
    "base-family",
    "file-system-id",
    "subnets",
    "security-groups",
    "cloud-map-service-arn",
    "openclaw-version",
    "auth-profile-secret-arn",
    "container",
];

impl CoordinatesArgs {
    /// The SSM path, if there is one.
    #[must_use]
    pub fn ssm_path(&self) -> Option<&str> {
        self.ssm_path.as_deref().filter(|path| !path.trim().is_empty())
    }

    /// Combines the coordinates; those that are set here win over `parameters`, the SSM parameters by the last part of
    /// their names.
    ///
    /// # Errors
    /// Names every missing or wrong setting, by its variable and its SSM parameter.
    pub fn resolve(&self, parameters: &BTreeMap<String, String>) -> Result<Coordinates, MissingSettings> {
        match self.known(parameters) {
            (
                KnownCoordinates {
                    cluster: Some(cluster),
                    base_family: Some(base_family),
                    file_system_id: Some(file_system_id),
                    subnets,
                    security_groups,
                    cloud_map_service_arn,
                    release,
                },
                wrong,
            ) if wrong.is_empty() => Ok(Coordinates {
                cluster,
                base_family,
                file_system_id,
                subnets,
                security_groups,
                cloud_map_service_arn,
                release,
            }),
            (_, wrong) => Err(MissingSettings(wrong)),
        }
    }

    /// The valid coordinates, and the settings that are missing or wrong.
    #[must_use]
    pub fn known(&self, parameters: &BTreeMap<String, String>) -> (KnownCoordinates, Vec<Invalid>) {
        let mut wrong = Vec::new();
        let given = |own: &Option<String>, parameter: &str| {
            let own = own.as_deref().map(str::trim).filter(|value| !value.is_empty());
            let published = parameters.get(parameter).map(|value| value.trim()).filter(|value| !value.is_empty());
            own.or(published).map(str::to_owned)
        };
        let mut required = |own: &Option<String>, variable: &str, parameter: &str| {
            // A list of only commas counts as not set.
            let found = given(own, parameter).filter(|value| value.chars().any(|c| c != ',' && c != ' '));
            if found.is_none() {
                let fix = match &self.ssm_path {
                    Some(path) => format!("set {variable}, or publish the SSM parameter {path}/{parameter}"),
                    None => {
                        format!("set {variable}, or PROVISIONER_SSM_PATH to where infrastructure publishes {parameter}")
                    }
                };
                wrong.push(Invalid::new(variable, NOT_SET, fix));
            }
            found
        };
        let cluster = required(&self.cluster, "PROVISIONER_CLUSTER", "cluster");
        let base_family = required(&self.base_family, "PROVISIONER_BASE_FAMILY", "base-family");
        let file_system_id = required(&self.file_system_id, "PROVISIONER_FILE_SYSTEM_ID", "file-system-id");
        let subnets = required(&self.subnets, "PROVISIONER_SUBNETS", "subnets");
        let security_groups = required(&self.security_groups, "PROVISIONER_SECURITY_GROUPS", "security-groups");
        let base_family = base_family.and_then(|text| {
            let refuse = |error: Invalid| Invalid::new("PROVISIONER_BASE_FAMILY", error.problem(), error.fix());
            BaseFamily::parse(&text).map_err(|error| wrong.push(refuse(error))).ok()
        });
        let openclaw_version = given(&self.openclaw_version, "openclaw-version").and_then(|text| {
            let parsed = OpenClawVersion::from_tag(&text).and_then(OpenClawVersion::supported);
            let refuse = |error: Invalid| Invalid::new("PROVISIONER_OPENCLAW_VERSION", error.problem(), error.fix());
            parsed.map_err(|error| wrong.push(refuse(error))).ok()
        });
        let auth_profile_secret_arn = given(&self.auth_profile_secret_arn, "auth-profile-secret-arn");
        if auth_profile_secret_arn.as_deref().is_some_and(|arn| !is_secret_arn(arn)) {
            let fix = "give the ARN of a Secrets Manager secret or an SSM parameter; never the key itself";
            wrong.push(Invalid::new("PROVISIONER_AUTH_PROFILE_SECRET_ARN", "is not the ARN of a secret", fix));
        }
        let user_roles = self.user_roles.known().unwrap_or_else(|error| {
            wrong.push(error);
            None
        });
        let known = KnownCoordinates {
            cluster,
            base_family,
            file_system_id,
            subnets: subnets.as_deref().map(split).unwrap_or_default(),
            security_groups: security_groups.as_deref().map(split).unwrap_or_default(),
            cloud_map_service_arn: given(&self.cloud_map_service_arn, "cloud-map-service-arn"),
            release: ReleaseDefaults {
                openclaw_version,
                auth_profile_secret_arn,
                container: given(&self.container, "container"),
                user_roles,
            },
        };
        (known, wrong)
    }
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> BTreeMap<String, String> {
        [
            ("cluster", "c"),
            ("base-family", "openclaw-dev"),
            ("file-system-id", "fs-1"),
            ("subnets", "subnet-a, subnet-b"),
            ("security-groups", "sg-a"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn the_environment_wins_over_ssm_and_an_empty_variable_is_not_set() {
        let args = CoordinatesArgs {
            cluster: Some("mine".into()),
            file_system_id: Some("  ".into()),
            ..CoordinatesArgs::default()
        };
        let at = args.resolve(&parameters()).unwrap();
        assert_eq!((at.cluster.as_str(), at.file_system_id.as_str()), ("mine", "fs-1"));
        assert_eq!(at.subnets, ["subnet-a", "subnet-b"]);
        assert_eq!(at.cloud_map_service_arn, None);
    }

    #[test]
    fn all_missing_settings_are_named_at_once_by_variable_and_parameter() {
        let args = CoordinatesArgs { ssm_path: Some("/openclaw/dev".into()), ..CoordinatesArgs::default() };
        let message = args.resolve(&BTreeMap::new()).unwrap_err().to_string();
        for part in
            ["PROVISIONER_CLUSTER", "/openclaw/dev/subnets", "PROVISIONER_SECURITY_GROUPS", "/openclaw/dev/base-family"]
        {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn roles_of_users_own_need_a_path_and_a_boundary_and_are_known_while_they_are_off() {
        let known = |given: bool, path: &str, boundary: &str| {
            let user_roles = UserRolesArgs {
                user_roles: given,
                user_roles_path: Some(path.to_owned()),
                user_roles_boundary: Some(boundary.to_owned()),
            };
            let args = CoordinatesArgs { user_roles, ..CoordinatesArgs::default() };
            args.resolve(&parameters()).map(|at| at.release.user_roles).map_err(|error| error.to_string())
        };
        let (path, boundary) = ("/openclaw/dev/users/", "arn:aws:iam::123456789012:policy/boundary");
        assert_eq!(known(false, "", " "), Ok(None));
        assert!(known(true, path, boundary).unwrap().unwrap().is_given());
        assert!(!known(false, path, boundary).unwrap().unwrap().is_given());
        for (given, path, boundary, variable) in [
            (true, "", "", "PROVISIONER_USER_ROLES_PATH"),
            (false, "", boundary, "PROVISIONER_USER_ROLES_PATH"),
            (true, path, "", "PROVISIONER_USER_ROLES_BOUNDARY"),
            (true, path, "boundary", "PROVISIONER_USER_ROLES_BOUNDARY"),
        ] {
            let error = known(given, path, boundary).unwrap_err();
            assert!(error.starts_with(variable), "{error}");
        }
    }

    #[test]
    fn a_base_family_with_a_revision_is_refused_by_its_variable() {
        let args = CoordinatesArgs { base_family: Some("openclaw-dev:3".into()), ..CoordinatesArgs::default() };
        let message = args.resolve(&parameters()).unwrap_err().to_string();
        assert!(message.contains("PROVISIONER_BASE_FAMILY") && message.contains("one revision"), "{message}");
    }
}
