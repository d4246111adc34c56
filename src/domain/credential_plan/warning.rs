//! What a caller should know although the call went through. Part of the answer; never a token in it.

use std::fmt;

use crate::domain::openclaw_version::OpenClawVersion;

/// Something that may keep the user from being signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Neither tag nor environment names a release.
    ReleaseUnknown {
        /// The image.
        image: String,
    },
    /// Newer than anything that was looked at.
    ReleaseNewerThanKnown {
        /// The release.
        version: OpenClawVersion,
    },
    /// openclaw-facts §2: 2026.4.25.
    HangsOnNetworkFileSystems {
        /// The release.
        version: OpenClawVersion,
    },
    /// The definition lacks the key that keeps sign-ins readable for the next task.
    ProfileSecretKeyMissing,
    /// Nothing in the definition's command shows that the sign-in is imported.
    ImportNotSeen,
    /// The live sign-in is where this service cannot read it.
    NotCarriedOver,
    /// `openclaw.json` was left alone.
    ConfigurationLeftAlone {
        /// Why.
        problem: &'static str,
    },
}

impl Warning {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ReleaseUnknown { .. } => "release_unknown",
            Self::ReleaseNewerThanKnown { .. } => "release_newer_than_known",
            Self::HangsOnNetworkFileSystems { .. } => "release_hangs_on_network_file_systems",
            Self::ProfileSecretKeyMissing => "auth_profile_secret_key_missing",
            Self::ImportNotSeen => "import_not_seen",
            Self::NotCarriedOver => "sign_in_not_carried_over",
            Self::ConfigurationLeftAlone { .. } => "openclaw_json_left_alone",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReleaseUnknown { image } => write!(
                f,
                "nothing says which OpenClaw release {image} is, so the plan of the newest known one was used; use a tag \
                 such as 2026.4.21-slim, or set the variable OPENCLAW_VERSION"
            ),
            Self::ReleaseNewerThanKnown { version } => {
                write!(f, "OpenClaw {version} is newer than any release that was tried; the newest plan was used")
            }
            Self::HangsOnNetworkFileSystems { version } => {
                write!(f, "OpenClaw {version} hangs on network file systems; use another release")
            }
            Self::ProfileSecretKeyMissing => f.write_str(
                "this release encrypts the sign-in with a key outside the user's directory, so the next task loses it; \
                 give OPENCLAW_AUTH_PROFILE_SECRET_KEY in `secrets`",
            ),
            Self::ImportNotSeen => f.write_str(
                "this release signs in only after `openclaw doctor --fix --non-interactive` has run before the gateway, \
                 and the definition's command does not mention it: only codex/auth.json was staged, which it reads through the \
                 Codex harness alone; run the import in the command of the base's first container",
            ),
            Self::NotCarriedOver => f.write_str(
                "the user has no sign-in that this release reads and this service could carry over; provision with a \
                 fresh one",
            ),
            Self::ConfigurationLeftAlone { problem } => {
                write!(f, "openclaw.json was left alone: {problem}; the gateway may not start, or use another model")
            }
        }
    }
}
