//! Service Quotas: the quotas of this account.

use aws_config::SdkConfig;

use super::AwsError;
use super::attempts::Attempts;

/// Service Quotas, as far as the service uses it.
#[derive(Debug, Clone)]
pub struct ServiceQuotas {
    client: aws_sdk_servicequotas::Client,
}

impl ServiceQuotas {
    pub(super) fn new(config: &SdkConfig, attempts: Attempts) -> Self {
        let config = aws_sdk_servicequotas::config::Builder::from(config).interceptor(attempts).build();
        Self { client: aws_sdk_servicequotas::Client::from_conf(config) }
    }

    /// The value of a quota in this account and Region. `None` if AWS has no value: then the default is in force
    /// (API reference, GetServiceQuota: "NoSuchResourceException").
    ///
    /// # Errors
    /// When the call fails, or the answer is not usable.
    pub async fn in_force(&self, service: &str, code: &str) -> Result<Option<f64>, AwsError> {
        const OPERATION: &str = "servicequotas:GetServiceQuota";
        match self.client.get_service_quota().service_code(service).quota_code(code).send().await {
            Ok(answer) => match answer.quota().and_then(|quota| quota.value()) {
                // A quota is never negative.
                Some(value) if value.is_finite() && value >= 0.0 => Ok(Some(value)),
                _ => Err(AwsError::malformed(OPERATION, "has no value")),
            },
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_resource_exception()) => {
                Ok(None)
            }
            Err(error) => Err(AwsError::from_sdk(OPERATION, error)),
        }
    }
}
