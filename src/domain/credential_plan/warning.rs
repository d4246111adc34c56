//! What a caller should know although the call went through. Part of the answer; never a token in it.

use std::fmt;

use crate::domain::openclaw_version::OpenClawVersion;

/// Something that may keep the user from being signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Neither tag nor environment nor settings name a release.
    ReleaseUnknown {
        /// The image.
        image: String,
    },
    /// Newer than anything that was looked at.
    ReleaseNewerThanKnown {
        /// The release.
        version: OpenClawVersion,
    },
    /// It unpacks its plugins into the user's directory.
    HangsOnNetworkFileSystems {
        /// The release.
        version: OpenClawVersion,
    },
    /// The definition lacks the key that keeps sign-ins readable for the next task.
    ProfileSecretKeyMissing,
    /// Bedrock is a plugin of its own in this release, and nothing says whether the image has it.
    BedrockPluginNeeded,
    /// The live sign-in is where this service cannot read it, and this release neither.
    NotCarriedOver,
    /// `auth-profiles.json` could not be read, and the profiles in it neither.
    ProfilesUnreadable,
    /// `openclaw.json` was left alone.
    ConfigurationLeftAlone {
        /// Why.
        problem: &'static str,
    },
    /// The access token that was sent is over; its refresh token has to work at once.
    AccessTokenExpired,
    /// The access token that was sent has no scope to be refreshed by.
    ScopeMissing {
        /// The scope.
        scope: &'static str,
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
            Self::BedrockPluginNeeded => "bedrock_plugin_needed",
            Self::NotCarriedOver => "sign_in_not_carried_over",
            Self::ProfilesUnreadable => "auth_profiles_unreadable",
            Self::ConfigurationLeftAlone { .. } => "openclaw_json_left_alone",
            Self::AccessTokenExpired => "access_token_expired",
            Self::ScopeMissing { .. } => "scope_missing",
        }
    }
}

impl Warning {
    /// What is wrong, without what to do about it.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::ReleaseUnknown { image } => {
                format!("nothing says which OpenClaw release {image} is, so the plan of the newest known one was used")
            }
            Self::ReleaseNewerThanKnown { version } => {
                format!("OpenClaw {version} is newer than any release that was tried; the newest plan was used")
            }
            Self::HangsOnNetworkFileSystems { version } => format!(
                "OpenClaw {version} unpacks its plugins into the user's directory, and hangs over it on network file \
                 systems"
            ),
            Self::ProfileSecretKeyMissing => "this release encrypts the sign-in with a key outside the user's \
                 directory, so the next task loses it"
                .to_owned(),
            Self::BedrockPluginNeeded => {
                "this release has Bedrock in the plugin @openclaw/amazon-bedrock-provider: without it no model answers"
                    .to_owned()
            }
            Self::NotCarriedOver => {
                "the user has no sign-in that this release reads and this service could carry over".to_owned()
            }
            Self::ProfilesUnreadable => {
                "agents/main/agent/auth-profiles.json could not be read; it was moved aside, with all profiles in it"
                    .to_owned()
            }
            Self::ConfigurationLeftAlone { problem } => {
                format!("openclaw.json was left alone: {problem}; the gateway may not start, or use another model")
            }
            Self::AccessTokenExpired => {
                "the access token that was sent has expired: the user is signed in only if its \
                 refresh token was never used"
                    .to_owned()
            }
            Self::ScopeMissing { scope } => format!("the access token that was sent lacks the scope {scope}"),
        }
    }

    /// What to do about it, where there is something.
    #[must_use]
    pub const fn fix(&self) -> Option<&'static str> {
        match self {
            Self::ReleaseUnknown { .. } => Some(
                "use a tag such as 2026.4.21-slim, set the variable OPENCLAW_VERSION in the base, or send \
                 openclaw_version",
            ),
            Self::HangsOnNetworkFileSystems { .. } => Some(
                "set OPENCLAW_PLUGIN_STAGE_DIR to a directory of the container's own, such as /tmp/openclaw-plugins, or \
                 use another release",
            ),
            Self::BedrockPluginNeeded => Some("bake the plugin into the image"),
            Self::ProfileSecretKeyMissing => {
                Some("set PROVISIONER_AUTH_PROFILE_SECRET_ARN, or give OPENCLAW_AUTH_PROFILE_SECRET_KEY in `secrets`")
            }
            Self::NotCarriedOver => Some("provision with a fresh one"),
            Self::ScopeMissing { .. } => Some("let the user sign in again"),
            Self::ReleaseNewerThanKnown { .. }
            | Self::ProfilesUnreadable
            | Self::ConfigurationLeftAlone { .. }
            | Self::AccessTokenExpired => None,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem())?;
        self.fix().map_or(Ok(()), |fix| write!(f, "; {fix}"))
    }
}
