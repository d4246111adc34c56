//! The SDK's configuration, with deadlines that the SDK does not set by itself.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
#[cfg(feature = "emulator")]
use aws_config::{Region, environment::EnvironmentVariableRegionProvider, meta::region::ProvideRegion};

/// Time limits of one AWS call. The SDK's only default is the connect timeout: a connection that accepts and never
/// answers would block a request for ever (aws-config 1.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To open a connection.
    pub connect: Duration,
    /// One attempt, from sending to the last byte of the answer.
    pub attempt: Duration,
    /// All attempts of one call together.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), attempt: Duration::from_secs(6), operation: Duration::from_secs(20) }
    }
}

impl Timeouts {
    /// The same as an SDK type.
    #[must_use]
    pub fn to_sdk(self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(self.connect)
            .read_timeout(self.attempt)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.operation)
            .build()
    }
}

/// Loads region, credentials and endpoints like every AWS tool: environment, profile, ECS task role.
/// `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` point it at an emulator.
pub async fn load(timeouts: Timeouts) -> SdkConfig {
    // Standard, not adaptive: adaptive uses one limiter for a whole AWS service, so throttled registrations would
    // slow down every describe. The buckets of `Limiter` keep them apart.
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts.to_sdk())
        .load()
        .await
}

/// A configuration that sends everything to `client`, with made-up credentials: without them the SDK would ask the
/// instance metadata address.
#[cfg(feature = "emulator")]
pub async fn in_process(
    client: impl aws_smithy_runtime_api::client::http::HttpClient + 'static,
    timeouts: Timeouts,
) -> SdkConfig {
    let defaults =
        aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(client).timeout_config(timeouts.to_sdk());
    defaults.region(Region::from_static("us-east-1")).endpoint_url("http://in-process").test_credentials().load().await
}

/// A configuration for an emulator at `url`; region and credentials from the environment, else made-up ones.
#[cfg(feature = "emulator")]
pub async fn for_endpoint(url: &str) -> SdkConfig {
    let region = EnvironmentVariableRegionProvider::new().region().await;
    let region = region.unwrap_or_else(|| Region::from_static("us-east-1"));
    let mut config = aws_config::defaults(BehaviorVersion::v2026_01_12()).endpoint_url(url).region(region);
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
        config = config.test_credentials();
    }
    config.timeout_config(Timeouts::default().to_sdk()).load().await
}
