//! SSM parameters.

use std::collections::BTreeMap;
use std::fmt;

use aws_config::SdkConfig;
use aws_sdk_ssm::types::ParameterType;

use super::AwsError;
use super::attempts::Attempts;

/// SSM, as far as the service uses it.
#[derive(Debug, Clone)]
pub struct Ssm {
    client: aws_sdk_ssm::Client,
}

/// A parameter's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The decrypted value.
    pub value: String,
    /// Whether it is a SecureString: then the value must not be shown.
    pub is_secure: bool,
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter").field("is_secure", &self.is_secure).finish_non_exhaustive()
    }
}

impl Ssm {
    pub(super) fn new(config: &SdkConfig, attempts: Attempts) -> Self {
        let config = aws_sdk_ssm::config::Builder::from(config).interceptor(attempts).build();
        Self { client: aws_sdk_ssm::Client::from_conf(config) }
    }

    /// Every parameter directly under `path`, by its last name part.
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn parameters_under(&self, path: &str) -> Result<BTreeMap<String, Parameter>, AwsError> {
        let mut found = BTreeMap::new();
        let mut next_token = None;
        // A page has at most 10, and even an empty one may have a NextToken: only a page without a NextToken is the last.
        loop {
            let call = self.client.get_parameters_by_path().path(path).with_decryption(true);
            let answer = call.set_next_token(next_token).send().await;
            let answer = answer.map_err(|error| AwsError::from_sdk("ssm:GetParametersByPath", error))?;
            for parameter in answer.parameters() {
                if let (Some(name), Some(value)) = (parameter.name(), parameter.value()) {
                    let leaf = name.rsplit('/').next().unwrap_or(name);
                    let is_secure = parameter.r#type() == Some(&ParameterType::SecureString);
                    found.insert(leaf.to_owned(), Parameter { value: value.to_owned(), is_secure });
                }
            }
            next_token = answer.next_token;
            if next_token.is_none() {
                return Ok(found);
            }
        }
    }
}
