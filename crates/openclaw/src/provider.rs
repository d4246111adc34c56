//! Providers of models, as callers name them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Invalid;

/// How a user reaches a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// A ChatGPT account, by the staged `auth.json`.
    #[default]
    Chatgpt,
    /// An OpenAI API key.
    OpenaiKey,
    /// An Anthropic API key.
    AnthropicKey,
    /// Amazon Bedrock, by the role of the task.
    Bedrock,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chatgpt, Self::OpenaiKey, Self::AnthropicKey, Self::Bedrock];

    /// The name in requests and specs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chatgpt => "chatgpt",
            Self::OpenaiKey => "openai_key",
            Self::AnthropicKey => "anthropic_key",
            Self::Bedrock => "bedrock",
        }
    }

    /// The environment variable of its key.
    #[must_use]
    pub const fn key(self) -> Option<&'static str> {
        match self {
            Self::OpenaiKey => Some("OPENAI_API_KEY"),
            Self::AnthropicKey => Some("ANTHROPIC_API_KEY"),
            // These sign in by files, or by the role of the task.
            Self::Chatgpt | Self::Bedrock => None,
        }
    }

    /// Whether a ChatGPT sign-in may be sent.
    ///
    /// # Errors
    /// Names `auth`, and the way to ChatGPT.
    pub fn takes_auth(self) -> Result<(), Invalid> {
        match self {
            Self::Chatgpt => Ok(()),
            Self::OpenaiKey | Self::AnthropicKey | Self::Bedrock => Err(Invalid::new(
                "auth",
                format!("provider {} has no use for a ChatGPT sign-in", self.name()),
                "leave it out, or POST /provision with it and `provider` chatgpt",
            )),
        }
    }
}
