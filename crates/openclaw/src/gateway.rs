//! OpenClaw's gateway, seen from outside.

use super::OpenClawVersion;

/// The path that a working gateway answers with 200 without a token.
pub const HEALTH_PATH: &str = "/healthz";

/// Before this release, a working gateway answers the health path with 500 or not at all (openclaw-facts §5).
const ANSWERS_FROM: OpenClawVersion = OpenClawVersion::new(2026, 5, 0);

/// Whether the gateway of a release can be asked for its health. Otherwise only its port can be checked. An unknown release
/// counts as a new one.
#[must_use]
pub fn answers_health_path(release: Option<OpenClawVersion>) -> bool {
    release.is_none_or(|release| release >= ANSWERS_FROM)
}
