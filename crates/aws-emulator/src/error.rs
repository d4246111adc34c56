//! An AWS error answer before a protocol gives it its wire form.

use serde_json::{Map, Value, json};

/// The result of every action.
pub(crate) type Outcome = Result<Value, ApiError>;

/// Status, code and message, plus the members some EFS errors carry beside them.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) extra: Map<String, Value>,
}

impl ApiError {
    /// An error with this HTTP status.
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), extra: Map::new() }
    }

    /// The status that nearly every client error of the JSON 1.1 services has.
    pub(crate) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// An ECS error for a value that it refuses.
    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::bad("InvalidParameterException", message)
    }

    /// An ECS error for most other things that it refuses.
    pub(crate) fn client(message: impl Into<String>) -> Self {
        Self::bad("ClientException", message)
    }

    /// Adds a member to the error body.
    pub(crate) fn with(mut self, member: &str, value: &str) -> Self {
        self.extra.insert(member.to_owned(), json!(value));
        self
    }

    /// For a service or action that this emulator lacks: an error is better than a wrong answer.
    pub(crate) fn not_implemented(service: &str, action: &str, supported: &[String]) -> Self {
        let message =
            format!("the emulator does not implement {service}:{action}; supported: {}", supported.join(", "));
        Self::new(501, "NotImplementedException", message)
    }
}
