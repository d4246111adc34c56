//! SSM parameters.

use std::collections::BTreeMap;

use aws_config::SdkConfig;

use super::AwsError;
use super::attempts::Attempts;

/// SSM, as far as the service uses it.
#[derive(Debug, Clone)]
pub struct Ssm {
    client: aws_sdk_ssm::Client,
}

impl Ssm {
    pub(super) fn new(config: &SdkConfig, attempts: Attempts) -> Self {
        let config = aws_sdk_ssm::config::Builder::from(config).interceptor(attempts).build();
        Self { client: aws_sdk_ssm::Client::from_conf(config) }
    }

    /// Every parameter directly under `path`, by its last name part.
    ///
    /// # Errors
    /// AWS's answer, when it is not one.
    pub async fn parameters_under(&self, path: &str) -> Result<BTreeMap<String, String>, AwsError> {
        let mut found = BTreeMap::new();
        let mut next_token = None;
        // A page holds at most 10, and an empty one may still have a NextToken: only its absence is the end.
        loop {
            let call = self.client.get_parameters_by_path().path(path).with_decryption(true);
            let answer = call.set_next_token(next_token).send().await;
            let answer = answer.map_err(|error| AwsError::from_sdk("ssm:GetParametersByPath", error))?;
            for parameter in answer.parameters() {
                if let (Some(name), Some(value)) = (parameter.name(), parameter.value()) {
                    let leaf = name.rsplit('/').next().unwrap_or(name);
                    found.insert(leaf.to_owned(), value.to_owned());
                }
            }
            next_token = answer.next_token;
            if next_token.is_none() {
                return Ok(found);
            }
        }
    }
}
