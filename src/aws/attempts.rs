//! Counts, logs and traces every request to AWS, including repeated ones. The SDK repeats a throttled request by itself, so
//! its last answer alone does not show that AWS asks to slow down.

use std::sync::Arc;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use serde_json::Value;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use super::error::{ErrorKind, Fenced, kind_of, request_id_in};
use crate::metrics::Metrics;

/// Returns whether a call that changes something may be sent now.
pub type MaySend = Arc<dyn Fn() -> bool + Send + Sync>;

tokio::task_local! {
    static MAY_SEND: MaySend;
}

/// Runs `work`. Its calls that change something are sent only if `may_send` returns true at that moment. For work under a
/// lock, which may be lost while a call waits for its turn, for a connection or to be repeated.
pub async fn fenced<T>(may_send: MaySend, work: impl Future<Output = T>) -> T {
    MAY_SEND.scope(may_send, work).await
}

/// Whether a call of that name only reads.
fn only_reads(name: &str) -> bool {
    ["Describe", "List", "Get", "BatchGet"].iter().any(|verb| name.starts_with(verb))
}

/// Counts the attempts of every call of a client.
#[derive(Debug, Clone)]
pub(super) struct Attempts(Metrics);

impl Attempts {
    pub(super) const fn new(metrics: Metrics) -> Self {
        Self(metrics)
    }
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let changes = config.load::<Metadata>().is_none_or(|call| !only_reads(call.name()));
        if changes && !MAY_SEND.try_with(|may_send| may_send()).unwrap_or(true) {
            return Err(Fenced.into());
        }
        let action = config.load::<Metadata>().map_or_else(|| "unknown".to_owned(), action);
        let attempt = config.load::<RequestAttempts>().map_or(1, RequestAttempts::attempts);
        let span =
            tracing::info_span!("aws_call", aws_action = action, attempt, aws_code = Empty, aws_request_id = Empty);
        config.interceptor_state().store_put(Sent { action, attempt, at: Instant::now(), span });
        Ok(())
    }

    // Runs even when an attempt timed out; then there is no response.
    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Sent { action, attempt, at, span }) = config.load::<Sent>() else { return Ok(()) };
        let failed = matches!(context.output_or_error(), Some(Err(_)));
        let answer = match context.response() {
            Some(response) if failed => AttemptResult::of_failure(response),
            Some(_) => AttemptResult { code: "OK".to_owned(), throttled: false },
            None => AttemptResult { code: "no_answer".to_owned(), throttled: false },
        };
        self.0.aws_call(action, &answer.code, answer.throttled);
        let (aws_code, aws_request_id) = (answer.code.as_str(), context.response().and_then(request_id_in));
        span.record("aws_code", aws_code).record("aws_request_id", aws_request_id);
        let elapsed_ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Never log AWS's message, which may repeat the content of the request.
        if failed {
            tracing::info!(aws_action = action, aws_code, aws_request_id, attempt, elapsed_ms, "an AWS call failed");
        } else {
            tracing::debug!(aws_action = action, aws_code, aws_request_id, attempt, elapsed_ms, "AWS call");
        }
        // Closes the span.
        config.interceptor_state().unset::<Sent>();
        Ok(())
    }
}

/// A running attempt.
#[derive(Debug)]
struct Sent {
    action: String,
    attempt: u32,
    at: Instant,
    span: Span,
}

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

/// The API action in the form of IAM and of [`super::AwsError::operation`].
fn action(call: &Metadata) -> String {
    let service = match call.service() {
        "EFS" => "elasticfilesystem".to_owned(),
        "Service Quotas" => "servicequotas".to_owned(),
        other => other.to_lowercase(),
    };
    format!("{service}:{}", call.name())
}

struct AttemptResult {
    code: String,
    throttled: bool,
}

impl AttemptResult {
    /// Reads the error as the protocols that AWS uses here write it: in a header (EFS), in a body of JSON (the others) or of XML
    /// (IAM).
    fn of_failure(response: &HttpResponse) -> Self {
        let body = response.body().bytes().and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
        let member = |names: [&str; 2]| {
            let body = body.as_ref()?;
            names.iter().find_map(|name| body.get(name)?.as_str())
        };
        let text = response.body().bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        let in_xml = || text.split_once("<Code>")?.1.split_once("</Code>").map(|(code, _)| code);
        let written = response.headers().get("x-amzn-errortype").or_else(|| member(["__type", "code"])).or_else(in_xml);
        let code = written.and_then(bare).map(str::to_owned);
        let server_fault = response.status().is_server_error();
        let kind = kind_of(code.as_deref(), member(["message", "Message"]), server_fault);
        let code = code.unwrap_or_else(|| format!("http_{}", response.status().as_u16()));
        Self { code, throttled: kind == ErrorKind::Throttled }
    }
}

/// The name in an error type: `ThrottlingException` of `com.amazonaws.ecs#ThrottlingException:http://…`. It becomes a label,
/// so anything but a plain name gives `None`.
fn bare(written: &str) -> Option<&str> {
    let name = written.rsplit('#').next()?.split(':').next()?.trim();
    let sane = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b));
    sane.then_some(name)
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn answer(status: u16, header: Option<&str>, body: &'static str) -> (String, bool) {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        if let Some(header) = header {
            response.headers_mut().insert("x-amzn-errortype", header.to_owned());
        }
        let AttemptResult { code, throttled } = AttemptResult::of_failure(&response);
        (code, throttled)
    }

    #[test]
    fn the_code_is_read_from_the_header_or_the_body_and_throttling_is_recognised() {
        let cases = [
            (answer(400, None, r#"{"__type":"com.amazonaws.ecs#ThrottlingException"}"#), "ThrottlingException", true),
            (answer(429, Some("ThrottlingException:http://internal/"), "{}"), "ThrottlingException", true),
            (answer(409, Some("AccessPointAlreadyExists"), "{}"), "AccessPointAlreadyExists", false),
            (
                answer(
                    400,
                    None,
                    r#"{"__type":"ClientException","message":"Too many concurrent attempts to create a new revision of x"}"#,
                ),
                "ClientException",
                true,
            ),
            (answer(503, None, "<html>"), "http_503", false),
            (
                answer(
                    400,
                    None,
                    "<ErrorResponse><Error><Code>Throttling</Code><Message>slow</Message></Error></ErrorResponse>",
                ),
                "Throttling",
                true,
            ),
            (answer(409, None, "<ErrorResponse><Error><Code>LimitExceeded</Code></Error>"), "LimitExceeded", false),
            (answer(400, None, "<Code>alice's words</Code>"), "http_400", false),
            (answer(400, None, r#"{"__type":"alice's \"words\""}"#), "http_400", false),
        ];
        for (answer, code, throttled) in cases {
            assert_eq!(answer, (code.to_owned(), throttled));
        }
    }
}
