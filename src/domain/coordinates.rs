//! The coordinates that infrastructure publishes and that this service only reads.

use openclaw::{Invalid, OpenClawVersion};

use super::UserRoles;

/// The cluster, file system and network that users' containers live in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinates {
    /// Cluster name or ARN.
    pub cluster: String,
    /// The bare base family.
    pub base_family: BaseFamily,
    /// EFS file system id.
    pub file_system_id: String,
    /// Subnet ids, at least one.
    pub subnets: Vec<String>,
    /// Security group ids, at least one.
    pub security_groups: Vec<String>,
    /// ARN of a Cloud Map service to register tasks in.
    pub cloud_map_service_arn: Option<String>,
    /// Values for every user's definition where neither the base nor the user sets one.
    pub release: ReleaseDefaults,
}

/// Defaults of the whole fleet, where neither the base nor the user says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseDefaults {
    /// The OpenClaw release of images that do not name theirs.
    pub openclaw_version: Option<OpenClawVersion>,
    /// ARN of the secret that OpenClaw 2026.5.12 – 5.28 encrypts sign-ins with.
    pub auth_profile_secret_arn: Option<String>,
    /// Name of the base's container that runs OpenClaw, where the base does not say.
    pub container: Option<String>,
    /// Roles of users' own, where there are any.
    pub user_roles: Option<UserRoles>,
}

/// The name of a base family, without a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFamily(String);

impl BaseFamily {
    /// Accepts a bare family name only. With a revision in it, clones would keep an image that infrastructure has
    /// long replaced (incident 2); with `-user` at its end, it would be the family that we write (incident 1).
    ///
    /// # Errors
    /// Says which rule the name breaks.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse =
            |problem: String| Invalid::new("base-family", problem, "give the bare family name, such as openclaw-dev");
        if text.starts_with("arn:") {
            return Err(refuse(format!("{text:?} is an ARN, and an ARN names one revision")));
        }
        if text.contains(':') {
            return Err(refuse(format!("{text:?} names one revision")));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        // The user family is five characters longer, and ECS accepts at most 255.
        if text.is_empty() || text.len() > 250 || !text.bytes().all(allowed) {
            return Err(refuse(format!("{text:?} is not a family name")));
        }
        if text.ends_with("-user") {
            return Err(refuse(format!("{text:?} is a user family, which this service writes")));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Incident 2: the base ARN was read once, and clones kept an image tag that did not exist.
    #[test]
    fn a_base_family_must_be_bare() {
        assert_eq!(BaseFamily::parse("openclaw-dev").unwrap().as_str(), "openclaw-dev");
        for (bad, word) in [
            ("arn:aws:ecs:us-east-1:1:task-definition/openclaw-dev:3", "ARN"),
            ("openclaw-dev:3", "one revision"),
            ("openclaw-dev-user", "user family"),
            ("", "not a family name"),
            ("a b", "not a family name"),
        ] {
            let error = BaseFamily::parse(bad).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
