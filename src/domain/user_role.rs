//! One IAM role per user: its name, its trust policy and its permissions.
//!
//! Without these roles every user's container has the task role of the base. With them a user's container has a role that mounts the
//! file system only through that user's access point, below a permissions boundary that infrastructure makes.

use openclaw::{Invalid, sha256_hex12};
use serde_json::json;

use super::UserId;

/// The tag that names the file system which a role is for.
pub const TAG_FILE_SYSTEM: &str = "openclaw:file-system";
/// What users' containers mount with.
const MOUNT: [&str; 2] = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"];
/// What the agent of ECS Exec calls in a task (ECS developer guide, "Task role for Amazon ECS Exec").
const EXEC: [&str; 4] = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];
/// What the OpenClaw of a base that keeps the role calls on Bedrock; as `infra/` allows it to the shared role.
const CALL_MODELS: [&str; 2] = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"];
const LIST_MODELS: [&str; 2] = ["bedrock:ListFoundationModels", "bedrock:ListInferenceProfiles"];

/// The settings of users' roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRoles {
    is_given: bool,
    path: String,
    boundary: String,
    partition: String,
    account: String,
}

impl UserRoles {
    /// Reads the settings. `is_given`: whether new revisions name the user's role. Existing roles are deleted with their users in any case.
    ///
    /// # Errors
    /// Names the variable that is wrong.
    pub fn parse(is_given: bool, path: &str, boundary: &str) -> Result<Self, Invalid> {
        let wrong_path = |problem: String| {
            let fix = "write it like /openclaw/dev/users/, one for each environment";
            Invalid::new("PROVISIONER_USER_ROLES_PATH", problem, fix)
        };
        // IAM takes any printable character; these need no escaping anywhere. The whole account is under `/`.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-_.+=,@".contains(&b);
        if !(path.starts_with('/') && path.ends_with('/') && path.len() > 2 && path.bytes().all(allowed)) {
            return Err(wrong_path(format!("{path:?} is no path with a slash at both ends")));
        }
        if path.contains("//") || path.len() > 512 {
            return Err(wrong_path(format!("{path:?} has an empty part, or more than 512 characters")));
        }
        let parts: Vec<&str> = boundary.splitn(6, ':').collect();
        let is_account = |account: &str| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        match parts.as_slice() {
            ["arn", partition, "iam", "", account, policy]
                if is_account(account) && policy.strip_prefix("policy/").is_some_and(|name| !name.is_empty()) =>
            {
                let (partition, account) = ((*partition).to_owned(), (*account).to_owned());
                Ok(Self { is_given, path: path.to_owned(), boundary: boundary.to_owned(), partition, account })
            }
            _ => Err(Invalid::new(
                "PROVISIONER_USER_ROLES_BOUNDARY",
                "is not the ARN of a managed policy of this account",
                "give what infrastructure made: arn:aws:iam::ACCOUNT:policy/NAME",
            )),
        }
    }

    /// Whether new revisions name the user's own role.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        self.is_given
    }

    /// The path of all users' roles, with a slash at both ends.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// ARN of the permissions boundary of every user's role.
    #[must_use]
    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// ARN of a user's role on that file system.
    #[must_use]
    pub fn arn(&self, user: &UserId, file_system_id: &str) -> String {
        let Self { partition, account, path, .. } = self;
        format!("arn:{partition}:iam::{account}:role{path}{}", role_name(path, user, file_system_id))
    }

    /// The name of a user's role on that file system.
    #[must_use]
    pub fn name(&self, user: &UserId, file_system_id: &str) -> String {
        role_name(&self.path, user, file_system_id)
    }

    /// The trust policy: only ECS may assume the role, for tasks of this account in that Region (ECS developer guide, "Task IAM role").
    #[must_use]
    pub fn trust_policy(&self, region: &str) -> String {
        let Self { partition, account, .. } = self;
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": account},
                    "ArnLike": {"aws:SourceArn": format!("arn:{partition}:ecs:{region}:{account}:*")},
                },
            }],
        })
        .to_string()
    }

    /// The inline policy of a user's role. The permissions boundary limits it further.
    #[must_use]
    pub fn policy(&self, grants: &RoleGrants, opens_shells: bool) -> String {
        let Self { partition, account, .. } = self;
        let RoleGrants { region, file_system_id, access_points, calls_models } = grants;
        let efs = |resource: &str| format!("arn:{partition}:elasticfilesystem:{region}:{account}:{resource}");
        let access_points: Vec<String> = access_points.iter().map(|id| efs(&format!("access-point/{id}"))).collect();
        let mut statements = vec![json!({
            "Sid": "MountOwnFiles",
            "Effect": "Allow",
            "Action": MOUNT,
            "Resource": efs(&format!("file-system/{file_system_id}")),
            "Condition": {"ArnEquals": {"elasticfilesystem:AccessPointArn": access_points}},
        })];
        if opens_shells {
            // These have no resource types (service authorization reference).
            statements.push(json!({"Sid": "EcsExec", "Effect": "Allow", "Action": EXEC, "Resource": "*"}));
        }
        if *calls_models {
            let models = [
                format!("arn:{partition}:bedrock:*::foundation-model/*"),
                format!("arn:{partition}:bedrock:*:*:inference-profile/*"),
            ];
            statements.push(json!({"Sid": "CallModels", "Effect": "Allow", "Action": CALL_MODELS, "Resource": models}));
            statements.push(json!({"Sid": "ListModels", "Effect": "Allow", "Action": LIST_MODELS, "Resource": "*"}));
        }
        json!({"Version": "2012-10-17", "Statement": statements}).to_string()
    }
}

/// The permissions of a user's role that depend on the user and the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleGrants {
    /// The Region of the file system.
    pub region: String,
    /// The file system.
    pub file_system_id: String,
    /// Ids of the access points: the user's own first, then those that the base mounts for everybody.
    pub access_points: Vec<String>,
    /// Whether OpenClaw calls models with the role (Bedrock).
    pub calls_models: bool,
}

/// `openclaw-<at most 40 characters of the id>-<12 hex>`: at most 62 of the 64 characters of a role's name. The hex is of the path, the
/// file system and the whole id: a name is unique in an account whatever the path and the Region, and has no case for IAM.
fn role_name(path: &str, user: &UserId, file_system_id: &str) -> String {
    user.short_name(&sha256_hex12(format!("{path}|{file_system_id}|{user}").as_bytes()))
}

/// Whether an ARN is that of the user's role on that file system, under any path.
#[must_use]
pub fn is_own_role(arn: &str, user: &UserId, file_system_id: &str) -> bool {
    let Some((_, resource)) = arn.split_once(":role/") else { return false };
    let Some((path, name)) = resource.rsplit_once('/') else { return false };
    name == role_name(&format!("/{path}/"), user, file_system_id)
}

/// Whether all wanted tags are among the found ones; `Name`, which people change, does not count.
#[must_use]
pub fn has_tags(found: &[(String, String)], wanted: &[(String, String)]) -> bool {
    wanted.iter().filter(|(key, _)| key != "Name").all(|tag| found.contains(tag))
}

/// The Region in an ARN.
#[must_use]
pub fn region_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(3).filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const BOUNDARY: &str = "arn:aws:iam::123456789012:policy/openclaw-dev-users";
    const FILE_SYSTEM: &str = "fs-0123456789abcdef0";

    fn statements(policy: &str) -> Vec<Value> {
        let document: Value = serde_json::from_str(policy).unwrap();
        document["Statement"].as_array().unwrap().clone()
    }

    fn roles() -> UserRoles {
        UserRoles::parse(true, "/openclaw/dev/users/", BOUNDARY).unwrap()
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    #[test]
    fn what_is_wrong_is_said_by_its_variable() {
        for (path, boundary, word) in [
            ("/", BOUNDARY, "PATH"),
            ("//", BOUNDARY, "PATH"),
            ("openclaw/", BOUNDARY, "PATH"),
            ("/openclaw", BOUNDARY, "PATH"),
            ("/openclaw//users/", BOUNDARY, "PATH"),
            ("/open claw/", BOUNDARY, "PATH"),
            ("/a/", "", "BOUNDARY"),
            ("/a/", "arn:aws:iam::123456789012:role/x", "BOUNDARY"),
            ("/a/", "arn:aws:iam::aws:policy/AdministratorAccess", "BOUNDARY"),
            ("/a/", "arn:aws:iam::123456789012:policy/", "BOUNDARY"),
        ] {
            let error = UserRoles::parse(true, path, boundary).unwrap_err().to_string();
            assert!(error.starts_with(&format!("PROVISIONER_USER_ROLES_{word}: ")), "{path} {boundary}: {error}");
        }
        assert!(UserRoles::parse(true, "/openclaw/", "arn:aws-us-gov:iam::123456789012:policy/a/b").is_ok());
    }

    #[test]
    fn a_role_is_readable_and_another_one_for_each_user_file_system_and_environment() {
        let of = |path: &str, user_id: &str, file_system: &str| {
            UserRoles::parse(true, path, BOUNDARY).unwrap().name(&user(user_id), file_system)
        };
        let alice = of("/openclaw/dev/users/", "alice", FILE_SYSTEM);
        assert!(alice.starts_with("openclaw-alice-"), "{alice}");
        let others = [
            of("/openclaw/dev/users/", "Alice", FILE_SYSTEM),
            of("/openclaw/prod/users/", "alice", FILE_SYSTEM),
            of("/openclaw/dev/users/", "alice", "fs-0123456789abcdef1"),
        ];
        for other in others {
            // IAM's names have no case.
            assert_ne!(alice.to_lowercase(), other.to_lowercase());
        }
    }

    #[test]
    fn only_the_users_own_role_is_taken_for_it() {
        let arn = roles().arn(&user("alice"), FILE_SYSTEM);
        assert!(is_own_role(&arn, &user("alice"), FILE_SYSTEM), "{arn}");
        for (user_id, file_system) in [("bob", FILE_SYSTEM), ("alice", "fs-2")] {
            assert!(!is_own_role(&arn, &user(user_id), file_system));
        }
        for other in ["", "arn:aws:iam::123456789012:role/task", "arn:aws:iam::123456789012:role/openclaw/dev/users/x"]
        {
            assert!(!is_own_role(other, &user("alice"), FILE_SYSTEM), "{other}");
        }
    }

    #[test]
    fn a_role_mounts_through_the_users_access_point_and_does_nothing_else() {
        let grants = RoleGrants {
            region: "eu-central-1".into(),
            file_system_id: FILE_SYSTEM.into(),
            access_points: vec!["fsap-1".into()],
            calls_models: false,
        };
        let policy = roles().policy(&grants, false);
        let efs = "arn:aws:elasticfilesystem:eu-central-1:123456789012";
        assert_eq!(
            statements(&policy),
            [json!({
                "Sid": "MountOwnFiles",
                "Effect": "Allow",
                "Action": ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
                "Resource": format!("{efs}:file-system/{FILE_SYSTEM}"),
                "Condition": {"ArnEquals": {"elasticfilesystem:AccessPointArn": [format!("{efs}:access-point/fsap-1")]}},
            })]
        );
        let with_all = statements(&roles().policy(&RoleGrants { calls_models: true, ..grants }, true));
        let sids: Vec<&str> = with_all.iter().filter_map(|statement| statement["Sid"].as_str()).collect();
        assert_eq!(sids, ["MountOwnFiles", "EcsExec", "CallModels", "ListModels"]);
    }

    #[test]
    fn only_tasks_of_this_account_and_region_assume_it() {
        let trust = statements(&roles().trust_policy("us-east-1"));
        assert_eq!(trust[0]["Principal"], json!({"Service": "ecs-tasks.amazonaws.com"}));
        let condition = json!({
            "StringEquals": {"aws:SourceAccount": "123456789012"},
            "ArnLike": {"aws:SourceArn": "arn:aws:ecs:us-east-1:123456789012:*"},
        });
        assert_eq!((trust.len(), &trust[0]["Condition"]), (1, &condition));
    }

    proptest! {
        #[test]
        fn every_user_id_makes_a_name_that_iam_takes(id in "[A-Za-z0-9_-]{1,64}") {
            let name = roles().name(&user(&id), FILE_SYSTEM);
            prop_assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
        }
    }
}
