//! Creates on an emulator what infrastructure would create; used only by `dev` and `dev seed`.

use aws_config::SdkConfig;
use aws_sdk_ssm::types::ParameterType;

use super::AwsError;

/// Creates the parts of a seed, except task definitions.
#[derive(Debug, Clone)]
pub struct Seeder {
    ecs: aws_sdk_ecs::Client,
    efs: aws_sdk_efs::Client,
    ssm: aws_sdk_ssm::Client,
}

impl Seeder {
    /// A seeder for an endpoint.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        Self {
            ecs: aws_sdk_ecs::Client::new(config),
            efs: aws_sdk_efs::Client::new(config),
            ssm: aws_sdk_ssm::Client::new(config),
        }
    }

    /// Creates a cluster; an existing one of that name is success.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn cluster(&self, name: &str) -> Result<(), AwsError> {
        let answer = self.ecs.create_cluster().cluster_name(name).send().await;
        answer.map(drop).map_err(|error| AwsError::from_sdk("ecs:CreateCluster", error))
    }

    /// Creates an encrypted file system, or finds the one that was created with the same token. Returns its id.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn file_system(&self, token: &str) -> Result<String, AwsError> {
        let refused = match self.efs.create_file_system().creation_token(token).encrypted(true).send().await {
            Ok(answer) => return Ok(answer.file_system_id().to_owned()),
            Err(error) => AwsError::from_sdk("elasticfilesystem:CreateFileSystem", error),
        };
        if refused.code() != Some("FileSystemAlreadyExists") {
            return Err(refused);
        }
        // AWS's answer names the file system; the answer of some emulators does not (aws-facts §10).
        let found = self.efs.describe_file_systems().creation_token(token).send().await;
        let found = found.map_err(|error| AwsError::from_sdk("elasticfilesystem:DescribeFileSystems", error))?;
        found.file_systems().first().map(|file_system| file_system.file_system_id().to_owned()).ok_or(refused)
    }

    /// Writes a plain SSM parameter.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn parameter(&self, name: &str, value: &str) -> Result<(), AwsError> {
        let call = self.ssm.put_parameter().name(name).value(value).r#type(ParameterType::String).overwrite(true);
        call.send().await.map(drop).map_err(|error| AwsError::from_sdk("ssm:PutParameter", error))
    }
}
