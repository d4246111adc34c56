//! IAM: one role per user. IAM is a global service with its control plane in one Region; the SDK knows the endpoint.
//!
//! Its rate limits count for the whole account, are low and not documented, so every call takes a turn of the limiter.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_iam::types::{Role as SdkRole, SummaryKeyType, Tag};

use super::attempts::Attempts;
use super::{AwsError, Bucket, Limiter};
use crate::domain::has_tags;

/// The one inline policy of a user's role.
const POLICY: &str = "openclaw-user";
/// Roles on a page; IAM may answer with fewer (API reference, ListRoles).
const LISTED: i32 = 1_000;

/// IAM, as far as the service uses it.
#[derive(Debug, Clone)]
pub struct Iam {
    client: aws_sdk_iam::Client,
    limiter: Arc<Limiter>,
}

/// The role that a user should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name, of 64 characters at most.
    pub name: String,
    /// Its path.
    pub path: String,
    /// ARN of its permissions boundary.
    pub boundary: String,
    /// Who may assume it, as a policy document.
    pub trust_policy: String,
    /// Key and value.
    pub tags: Vec<(String, String)>,
}

/// A role that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRole {
    /// Its path.
    pub path: String,
    /// ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// Key and value.
    pub tags: Vec<(String, String)>,
    /// When it was created, in seconds of the Unix epoch.
    pub created_at_seconds: i64,
}

/// The result of [`Iam::ensure_role`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnsuredRole {
    /// The role was created.
    Made,
    /// A role of that name exists.
    Found {
        /// When it was created, in seconds of the Unix epoch.
        created_at_seconds: i64,
    },
    /// CreateRole says that the name is taken, and GetRole does not show the role: it is new, or was deleted a moment ago.
    NotSeen,
}

/// The number of roles in the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleCount {
    /// How many exist.
    pub used: u32,
    /// How many there may be.
    pub limit: u32,
}

impl Iam {
    pub(super) fn new(config: &SdkConfig, limiter: Arc<Limiter>, attempts: Attempts) -> Self {
        let config = aws_sdk_iam::config::Builder::from(config).interceptor(attempts).build();
        Self { client: aws_sdk_iam::Client::from_conf(config), limiter }
    }

    /// Creates a role, or finds the existing one of that name.
    ///
    /// # Errors
    /// Also if the existing role has another path, boundary or other tags: it was not made for this user and is not changed.
    pub async fn ensure_role(&self, wanted: &Role) -> Result<EnsuredRole, AwsError> {
        const OPERATION: &str = "iam:CreateRole";
        let tags = wanted.tags.iter().filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok());
        let call = self
            .client
            .create_role()
            .role_name(&wanted.name)
            .path(&wanted.path)
            .permissions_boundary(&wanted.boundary)
            .assume_role_policy_document(&wanted.trust_policy)
            .set_tags(Some(tags.collect()));
        self.turn(Bucket::RoleWrite, OPERATION).await?;
        match call.send().await {
            Ok(_) => Ok(EnsuredRole::Made),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_entity_already_exists_exception()) => {
                let Some(found) = self.find_role(&wanted.name).await? else { return Ok(EnsuredRole::NotSeen) };
                check(wanted, &found)?;
                Ok(EnsuredRole::Found { created_at_seconds: found.created_at_seconds })
            }
            Err(error) => Err(AwsError::from_sdk(OPERATION, error)),
        }
    }

    /// The role of that name; `None` if there is none, or if it is too new to show.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn find_role(&self, name: &str) -> Result<Option<FoundRole>, AwsError> {
        const OPERATION: &str = "iam:GetRole";
        self.turn(Bucket::RoleRead, OPERATION).await?;
        match self.client.get_role().role_name(name).send().await {
            Ok(answer) => match answer.role() {
                Some(role) => Ok(Some(found(role))),
                None => Err(AwsError::malformed(OPERATION, "has no Role")),
            },
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_entity_exception()) => Ok(None),
            Err(error) => Err(AwsError::from_sdk(OPERATION, error)),
        }
    }

    /// Writes the one inline policy of a role, replacing the former one. `false`: the role does not exist, or is too new to show.
    ///
    /// # Errors
    /// Any other error of AWS.
    pub async fn put_policy(&self, role: &str, document: &str) -> Result<bool, AwsError> {
        const OPERATION: &str = "iam:PutRolePolicy";
        self.turn(Bucket::RoleWrite, OPERATION).await?;
        let call = self.client.put_role_policy().role_name(role).policy_name(POLICY).policy_document(document);
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_entity_exception()) => {
                Ok(false)
            }
            Err(error) => Err(AwsError::from_sdk(OPERATION, error)),
        }
    }

    /// Deletes a role and its policy. A role that is already gone is a success.
    ///
    /// # Errors
    /// Any other error of AWS, for example if somebody has attached other policies to the role.
    pub async fn delete_role(&self, name: &str) -> Result<(), AwsError> {
        const OPERATION: &str = "iam:DeleteRole";
        // A role with a policy cannot be deleted.
        self.delete_policy(name).await?;
        self.turn(Bucket::RoleWrite, OPERATION).await?;
        match self.client.delete_role().role_name(name).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_entity_exception()) => Ok(()),
            Err(error) => Err(AwsError::from_sdk(OPERATION, error)),
        }
    }

    async fn delete_policy(&self, role: &str) -> Result<(), AwsError> {
        const OPERATION: &str = "iam:DeleteRolePolicy";
        self.turn(Bucket::RoleWrite, OPERATION).await?;
        match self.client.delete_role_policy().role_name(role).policy_name(POLICY).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_entity_exception()) => Ok(()),
            Err(error) => Err(AwsError::from_sdk(OPERATION, error)),
        }
    }

    /// The names of the roles under a path. ListRoles does not return tags and boundaries (API reference).
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn roles_under(&self, path: &str) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "iam:ListRoles";
        let (mut names, mut marker) = (Vec::new(), None);
        loop {
            self.turn(Bucket::RoleRead, OPERATION).await?;
            let call = self.client.list_roles().path_prefix(path).max_items(LISTED);
            let answer = call.set_marker(marker).send().await;
            let answer = answer.map_err(|error| AwsError::from_sdk(OPERATION, error))?;
            names.extend(answer.roles().iter().map(|role| role.role_name().to_owned()));
            // A page may hold fewer than asked for, and still not be the last.
            marker = answer.marker.filter(|_| answer.is_truncated);
            if marker.is_none() {
                return Ok(names);
            }
        }
    }

    /// How many roles the account has, and may have.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn count_roles(&self) -> Result<RoleCount, AwsError> {
        const OPERATION: &str = "iam:GetAccountSummary";
        self.turn(Bucket::RoleRead, OPERATION).await?;
        let answer = self.client.get_account_summary().send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk(OPERATION, error))?;
        let summary = answer.summary_map();
        let number = |key: &str| {
            let found = summary.and_then(|summary| summary.get(&SummaryKeyType::from(key)));
            found.and_then(|number| u32::try_from(*number).ok())
        };
        match (number("Roles"), number("RolesQuota")) {
            (Some(used), Some(limit)) => Ok(RoleCount { used, limit }),
            _ => Err(AwsError::malformed(OPERATION, "has no number of roles")),
        }
    }

    async fn turn(&self, bucket: Bucket, operation: &'static str) -> Result<(), AwsError> {
        self.limiter.acquire(bucket).await.map_err(|late| AwsError::not_sent(operation, late))
    }
}

/// Refuses a role that has the user's name and was not made for them.
fn check(wanted: &Role, found: &FoundRole) -> Result<(), AwsError> {
    let differs = if found.path != wanted.path {
        "another path"
    } else if found.boundary.as_deref() != Some(&wanted.boundary) {
        "another permissions boundary"
    } else if !has_tags(&found.tags, &wanted.tags) {
        "other tags"
    } else {
        return Ok(());
    };
    let name = &wanted.name;
    let problem = format!("shows a role {name} with {differs} than this service gives a user's: delete it, or mend it");
    Err(AwsError::unusable("iam:GetRole", &problem))
}

fn found(role: &SdkRole) -> FoundRole {
    let boundary = role.permissions_boundary().and_then(|boundary| boundary.permissions_boundary_arn());
    FoundRole {
        path: role.path().to_owned(),
        boundary: boundary.map(str::to_owned),
        tags: role.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
        created_at_seconds: role.create_date().secs(),
    }
}
