//! EFS access points.

use aws_config::SdkConfig;
use aws_sdk_efs::error::SdkError;
use aws_sdk_efs::operation::create_access_point::{CreateAccessPointError, CreateAccessPointOutput};
use aws_sdk_efs::types::{CreationInfo, LifeCycleState, PosixUser, RootDirectory, Tag};

use super::AwsError;
use super::attempts::Attempts;
use super::error::STILL_BEING_DELETED;

/// Access points on one page; EFS documents no maximum, and 100 is the default (API reference, DescribeAccessPoints).
const LISTED: i32 = 1_000;

/// EFS, as far as the service uses it.
#[derive(Debug, Clone)]
pub struct Efs {
    client: aws_sdk_efs::Client,
}

/// Owner of files that are written through an access point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PosixOwner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The access point that a user should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPoint {
    /// File system.
    pub file_system_id: String,
    /// Idempotency token. It is deterministic, so that a repeated call finds the first call's access point (incident 20).
    pub client_token: String,
    /// Its root directory.
    pub path: String,
    /// Its POSIX user, and the owner of the directory if EFS has to create it.
    pub owner: PosixOwner,
    /// Octal mode of the directory if EFS has to create it.
    pub permissions: String,
    /// Tags: key and value.
    pub tags: Vec<(String, String)>,
}

/// An existing access point.
#[derive(Clone, PartialEq, Eq)]
pub struct FoundAccessPoint {
    /// `fsap-…`. Secret: with the id, somebody may be able to mount it.
    pub id: String,
    /// Its root directory.
    pub path: String,
    /// Tags: key and value.
    pub tags: Vec<(String, String)>,
}

impl std::fmt::Debug for FoundAccessPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoundAccessPoint").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Efs {
    pub(super) fn new(config: &SdkConfig, attempts: Attempts) -> Self {
        let config = aws_sdk_efs::config::Builder::from(config).interceptor(attempts).build();
        Self { client: aws_sdk_efs::Client::from_conf(config) }
    }

    /// Creates the access point, or finds the one that was created with the same token. Returns its id.
    ///
    /// # Errors
    /// When the call fails, or the access point that was found has another path or POSIX user.
    pub async fn ensure_access_point(&self, wanted: &AccessPoint) -> Result<String, AwsError> {
        const OPERATION: &str = "elasticfilesystem:CreateAccessPoint";
        match self.create(wanted).await {
            // For a repeated token EFS may also answer 200, with the first call's access point.
            Ok(made) => {
                check(OPERATION, made.root_directory(), made.posix_user(), wanted)?;
                made.access_point_id.ok_or_else(|| AwsError::malformed(OPERATION, "has no AccessPointId"))
            }
            Err(SdkError::ServiceError(context)) if context.err().is_access_point_already_exists() => {
                let found = match context.err() {
                    CreateAccessPointError::AccessPointAlreadyExists(found) => found.access_point_id().to_owned(),
                    _ => String::new(),
                };
                self.check_found(&found, wanted).await?;
                Ok(found)
            }
            Err(error) => Err(AwsError::from_sdk(OPERATION, error)),
        }
    }

    async fn create(
        &self,
        wanted: &AccessPoint,
    ) -> Result<CreateAccessPointOutput, SdkError<CreateAccessPointError, aws_sdk_efs::config::http::HttpResponse>>
    {
        let uid = i64::from(wanted.owner.uid);
        let gid = i64::from(wanted.owner.gid);
        let tags = wanted.tags.iter().filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok());
        let call = self
            .client
            .create_access_point()
            .client_token(&wanted.client_token)
            .file_system_id(&wanted.file_system_id)
            .set_posix_user(PosixUser::builder().uid(uid).gid(gid).build().ok())
            .root_directory(
                RootDirectory::builder()
                    .path(&wanted.path)
                    .set_creation_info(
                        CreationInfo::builder()
                            .owner_uid(uid)
                            .owner_gid(gid)
                            .permissions(&wanted.permissions)
                            .build()
                            .ok(),
                    )
                    .build(),
            );
        call.set_tags(Some(tags.collect())).send().await
    }

    async fn check_found(&self, id: &str, wanted: &AccessPoint) -> Result<(), AwsError> {
        const OPERATION: &str = "elasticfilesystem:DescribeAccessPoints";
        let answer = self.client.describe_access_points().access_point_id(id).send().await;
        let answer = match answer {
            // CreateAccessPoint found it a moment ago: it is not visible yet, or was just deleted.
            Err(error) if error.as_service_error().is_some_and(|error| error.is_access_point_not_found()) => {
                return Err(AwsError::malformed(OPERATION, STILL_BEING_DELETED));
            }
            answer => answer.map_err(|error| AwsError::from_sdk(OPERATION, error))?,
        };
        let Some(found) = answer.access_points().first() else {
            return Err(AwsError::malformed(OPERATION, STILL_BEING_DELETED));
        };
        if matches!(found.life_cycle_state(), Some(LifeCycleState::Deleting | LifeCycleState::Deleted)) {
            return Err(AwsError::malformed(OPERATION, STILL_BEING_DELETED));
        }
        check(OPERATION, found.root_directory(), found.posix_user(), wanted)
    }

    /// The number of access points of a file system, including those that are being deleted.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn count_access_points(&self, file_system_id: &str) -> Result<u32, AwsError> {
        let (mut count, mut page) = (0_usize, None);
        loop {
            let call = self.client.describe_access_points().file_system_id(file_system_id).max_results(LISTED);
            let answer = call.set_next_token(page).send().await;
            let answer = answer.map_err(|error| AwsError::from_sdk("elasticfilesystem:DescribeAccessPoints", error))?;
            count += answer.access_points().len();
            page = answer.next_token;
            if page.is_none() {
                return Ok(u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
    }

    /// The access points of a file system that are not being deleted.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn access_points(&self, file_system_id: &str) -> Result<Vec<FoundAccessPoint>, AwsError> {
        const OPERATION: &str = "elasticfilesystem:DescribeAccessPoints";
        let (mut found, mut page) = (Vec::new(), None);
        loop {
            let call = self.client.describe_access_points().file_system_id(file_system_id).max_results(LISTED);
            let answer =
                call.set_next_token(page).send().await.map_err(|error| AwsError::from_sdk(OPERATION, error))?;
            for point in answer.access_points() {
                let is_going =
                    matches!(point.life_cycle_state(), Some(LifeCycleState::Deleting | LifeCycleState::Deleted));
                let (Some(id), false) = (point.access_point_id(), is_going) else { continue };
                let path = point.root_directory().and_then(RootDirectory::path).unwrap_or("/").to_owned();
                let tags = point.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
                found.push(FoundAccessPoint { id: id.to_owned(), path, tags });
            }
            page = answer.next_token;
            if page.is_none() {
                return Ok(found);
            }
        }
    }

    /// Whether an access point is deleted. Until then its token still finds it, and a task that mounts it does not start.
    ///
    /// # Errors
    /// Any other failure of the call.
    pub async fn is_access_point_gone(&self, id: &str) -> Result<bool, AwsError> {
        match self.client.describe_access_points().access_point_id(id).send().await {
            Ok(answer) => Ok(answer.access_points().is_empty()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_access_point_not_found()) => Ok(true),
            Err(error) => Err(AwsError::from_sdk("elasticfilesystem:DescribeAccessPoints", error)),
        }
    }

    /// Deletes an access point; an already deleted one is success.
    ///
    /// # Errors
    /// Any other failure of the call.
    pub async fn delete_access_point(&self, id: &str) -> Result<(), AwsError> {
        match self.client.delete_access_point().access_point_id(id).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_access_point_not_found()) => Ok(()),
            Err(error) => Err(AwsError::from_sdk("elasticfilesystem:DeleteAccessPoint", error)),
        }
    }
}

/// Compares an existing access point with the wanted one: a token stays the same after a change of settings, and an access
/// point cannot be changed.
fn check(
    operation: &'static str,
    root: Option<&RootDirectory>,
    user: Option<&PosixUser>,
    wanted: &AccessPoint,
) -> Result<(), AwsError> {
    let path = root.and_then(RootDirectory::path);
    let owner = user.map(|user| (user.uid(), user.gid()));
    let same_owner = owner == Some((i64::from(wanted.owner.uid), i64::from(wanted.owner.gid)));
    if path == Some(wanted.path.as_str()) && same_owner {
        return Ok(());
    }
    let problem = "shows another root directory or POSIX user than this user's: delete that access point";
    Err(AwsError::unusable(operation, problem))
}
