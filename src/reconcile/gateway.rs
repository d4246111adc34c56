//! A user's gateway: where it is, and the token that lets its owner in.

use std::fmt;

use openclaw::openclaw_json::{GATEWAY_PORT, GatewayToken};
use secrecy::SecretString;

use super::Reconciler;
use super::error::ConvergeError;
use crate::domain::UserId;

/// How to reach a user's gateway.
pub struct Gateway {
    /// The private IPv4 address of the task that runs what was asked for; `None` while no task does.
    pub host: Option<String>,
    /// The port that it listens on.
    pub port: u16,
    /// Whether that task is healthy.
    pub ready: bool,
    /// The token.
    pub token: GatewayAuth,
}

/// Where a gateway's token is.
pub enum GatewayAuth {
    /// The task definition brings it, from a secret or as plain text.
    Environment,
    /// In the user's `openclaw.json`.
    File(SecretString),
    /// `openclaw.json` refers to a secret that only OpenClaw resolves.
    Reference,
    /// Not made yet.
    Missing,
}

impl fmt::Debug for GatewayAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source().unwrap_or("missing"))
    }
}

impl GatewayAuth {
    /// The stable name of the source.
    #[must_use]
    pub const fn source(&self) -> Option<&'static str> {
        match self {
            Self::Environment => Some("environment"),
            Self::File(_) => Some("openclaw_json"),
            Self::Reference => Some("reference"),
            Self::Missing => None,
        }
    }
}

impl Reconciler {
    /// Looks at a user's gateway.
    ///
    /// # Errors
    /// `Refused(NotFound)` when the user has no container; when `openclaw.json` cannot be read.
    pub async fn gateway(&self, user: &UserId) -> Result<Gateway, ConvergeError> {
        self.in_time(self.gateway_of(user)).await
    }

    async fn gateway_of(&self, user: &UserId) -> Result<Gateway, ConvergeError> {
        let view = self.look(user).await?;
        let from_environment = view.current.as_ref().is_some_and(|current| current.release.has_gateway_token());
        // Command and environment win over the file.
        let named_port = view.current.as_ref().and_then(|current| current.named_port);
        let (token, port) = match (from_environment, named_port) {
            (true, Some(_)) => (GatewayAuth::Environment, None),
            (true, None) => {
                (GatewayAuth::Environment, self.staging.gateway(user).await.ok().and_then(|(_, port)| port))
            }
            (false, _) => {
                let (token, port) = self.staging.gateway(user).await?;
                let token = match token {
                    GatewayToken::Text(token) => GatewayAuth::File(token),
                    GatewayToken::Reference => GatewayAuth::Reference,
                    GatewayToken::Missing => GatewayAuth::Missing,
                };
                (token, port)
            }
        };
        let port = named_port.or(port).unwrap_or(GATEWAY_PORT);
        Ok(Gateway { host: view.host, port, ready: view.serves, token })
    }
}
