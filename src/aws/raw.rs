//! Task definitions pass through the SDK as raw JSON: read from the bytes of the answer and written as the bytes of
//! the request. The SDK's types drop every member that they do not know, and a clone must keep all of them.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use serde_json::Value;

/// Keeps the body of the last answer to one call.
#[derive(Debug, Clone, Default)]
pub(super) struct CaptureAnswer(Arc<Mutex<Option<Value>>>);

impl CaptureAnswer {
    /// The answer as JSON, if one came.
    pub(super) fn take(&self) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Intercept for CaptureAnswer {
    fn name(&self) -> &'static str {
        "CaptureAnswer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let value = context.response().body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
        Ok(())
    }
}

/// Replaces the body that the SDK serialized by `body`. It runs before signing, so the signature covers the new body.
pub(super) fn replace_body(request: &mut HttpRequest, body: &Value) {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    request.headers_mut().insert("content-length", bytes.len().to_string());
    *request.body_mut() = SdkBody::from(bytes);
}
