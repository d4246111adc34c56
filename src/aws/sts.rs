//! STS: the identity of this service in AWS, and AWS's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

use super::AwsError;

/// STS, as far as the service uses it.
#[derive(Debug, Clone)]
pub struct Sts {
    client: aws_sdk_sts::Client,
    region: Option<String>,
}

/// The result of GetCallerIdentity.
#[derive(Debug)]
pub struct CallerIdentity {
    /// ARN of the identity that AWS sees.
    pub arn: Result<String, AwsError>,
    /// How far this machine's clock is ahead of AWS's, in seconds; negative when it is behind. `None` when no answer
    /// came. A refusal contains AWS's time, too, and a wrong clock is a reason to refuse.
    pub clock_ahead_seconds: Option<i64>,
}

impl Sts {
    pub(super) fn new(config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string);
        Self { client: aws_sdk_sts::Client::new(config), region }
    }

    /// The region of every call, if one is configured.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Asks AWS for the caller's identity. This needs no permission (IAM user guide, sts:GetCallerIdentity).
    pub async fn caller(&self) -> CallerIdentity {
        const OPERATION: &str = "sts:GetCallerIdentity";
        let clock = CompareClocks::default();
        let answer = self.client.get_caller_identity().customize().interceptor(clock.clone()).send().await;
        let arn = match answer {
            Ok(answer) => answer.arn.ok_or_else(|| AwsError::malformed(OPERATION, "has no Arn")),
            Err(error) => Err(AwsError::from_sdk(OPERATION, error)),
        };
        CallerIdentity { arn, clock_ahead_seconds: clock.ahead_seconds() }
    }
}

/// Compares this machine's clock with the `Date` of the last answer.
#[derive(Debug, Clone)]
struct CompareClocks(Arc<AtomicI64>);

impl CompareClocks {
    /// The value when no answer came, or it has no date.
    const UNKNOWN: i64 = i64::MIN;

    fn ahead_seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ahead| *ahead != Self::UNKNOWN)
    }
}

impl Default for CompareClocks {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(Self::UNKNOWN)))
    }
}

impl Intercept for CompareClocks {
    fn name(&self) -> &'static str {
        "CompareClocks"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok());
        if let (Some(date), Some(now)) = (date, now) {
            self.0.store(now - date.secs(), Ordering::Relaxed);
        }
        Ok(())
    }
}
