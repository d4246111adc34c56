//! OpenClaw's gateway as seen from outside.

use super::OpenClawVersion;

/// The path that answers 200 without a token, of a gateway that works.
pub const HEALTH_PATH: &str = "/healthz";

/// Before, the health path answers 500 or not at all in a gateway that works (openclaw-facts §5).
const ANSWERS_FROM: OpenClawVersion = OpenClawVersion::new(2026, 5, 0);

/// Whether the gateway of a release can be asked for its health: only whether its port accepts, otherwise. One that nothing names is
/// taken for a new one.
#[must_use]
pub fn answers_health_path(release: Option<OpenClawVersion>) -> bool {
    release.is_none_or(|release| release >= ANSWERS_FROM)
}
