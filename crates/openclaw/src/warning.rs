//! What a caller should know although the call succeeded. Part of the answer; it never has a token in it.

use std::fmt;

use crate::OpenClawVersion;

/// Something that may keep the user from being signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Neither tag nor environment nor settings name a release.
    ReleaseUnknown {
        /// The image.
        image: String,
    },
    /// Newer than any release that was tried.
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
    /// The task role's credentials can be fetched in the user's container, and all users share the role.
    SharesTaskRole,
    /// Models on Bedrock are called with the task role, and the agent does not get its credentials.
    BedrockWithoutRole,
    /// The live sign-in is where neither this service nor this release can read it.
    NotCarriedOver,
    /// `auth-profiles.json` and the profiles in it could not be read.
    ProfilesUnreadable,
    /// `openclaw.json` was left alone.
    ConfigurationLeftAlone {
        /// Why.
        problem: &'static str,
    },
    /// The access token that was sent has expired; its refresh token has to work at once.
    AccessTokenExpired,
    /// The access token that was sent lacks the scope for refreshing it.
    ScopeMissing {
        /// The scope.
        scope: &'static str,
    },
    /// The tokens do not claim the account id that was sent.
    AccountIdNotInToken,
    /// The access token that was sent lacks the claim from which OpenClaw takes the account.
    AccountClaimMissing,
    /// Members of `auth` that were sent and are not staged.
    MembersDropped {
        /// Their names, made fit to be shown.
        names: Vec<String>,
    },
    /// A sign-in of another account was in the way.
    SignInSetAside {
        /// Where it is now, relative to the user's directory.
        path: String,
    },
    /// An API key was in the way in `codex/auth.json`.
    ApiKeySetAside {
        /// Where it is now, relative to the user's directory.
        path: String,
    },
    /// Something that is no sign-in had the id of the staged profile, and got another id.
    ProfileRenamed {
        /// Its id now.
        id: String,
    },
    /// The user's own order of profiles left the staged one out.
    AuthOrderChanged {
        /// The file, and the member of it.
        place: String,
    },
    /// The agent that answers has a sign-in of its own.
    AgentReadsElsewhere {
        /// Where that sign-in is, relative to the user's directory.
        path: String,
    },
    /// `codex/config.toml` keeps Codex from using `codex/auth.json`.
    CodexConfiguration {
        /// How.
        problem: &'static str,
    },
    /// A value that the user set in `openclaw.json` was replaced.
    ConfigurationOverridden {
        /// The path of the member.
        path: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A value that the user set in `openclaw.json` was kept, and keeps others out.
    ConfigurationKept {
        /// The path of the member.
        path: &'static str,
        /// What it causes.
        consequence: &'static str,
    },
    /// The user's files could not be reached, so their lock was not taken.
    WithoutLock {
        /// Why not.
        problem: String,
    },
    /// The user's directory is larger than it should be.
    DirectoryAboveSoftLimit {
        /// What it holds, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

impl Warning {
    /// The stable names of all warnings.
    pub const CODES: [&'static str; 25] = [
        "release_unknown",
        "release_newer_than_known",
        "release_hangs_on_network_file_systems",
        "auth_profile_secret_key_missing",
        "bedrock_plugin_needed",
        "shares_task_role",
        "bedrock_without_role",
        "sign_in_not_carried_over",
        "auth_profiles_unreadable",
        "openclaw_json_left_alone",
        "access_token_expired",
        "scope_missing",
        "account_id_not_in_token",
        "account_claim_missing",
        "auth_members_dropped",
        "sign_in_set_aside",
        "api_key_set_aside",
        "auth_profile_renamed",
        "auth_order_changed",
        "agent_reads_elsewhere",
        "codex_config_ignores_auth_json",
        "openclaw_json_overridden",
        "openclaw_json_kept",
        "without_lock",
        "directory_above_soft_limit",
    ];

    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ReleaseUnknown { .. } => "release_unknown",
            Self::ReleaseNewerThanKnown { .. } => "release_newer_than_known",
            Self::HangsOnNetworkFileSystems { .. } => "release_hangs_on_network_file_systems",
            Self::ProfileSecretKeyMissing => "auth_profile_secret_key_missing",
            Self::BedrockPluginNeeded => "bedrock_plugin_needed",
            Self::SharesTaskRole => "shares_task_role",
            Self::BedrockWithoutRole => "bedrock_without_role",
            Self::NotCarriedOver => "sign_in_not_carried_over",
            Self::ProfilesUnreadable => "auth_profiles_unreadable",
            Self::ConfigurationLeftAlone { .. } => "openclaw_json_left_alone",
            Self::AccessTokenExpired => "access_token_expired",
            Self::ScopeMissing { .. } => "scope_missing",
            Self::AccountIdNotInToken => "account_id_not_in_token",
            Self::AccountClaimMissing => "account_claim_missing",
            Self::MembersDropped { .. } => "auth_members_dropped",
            Self::SignInSetAside { .. } => "sign_in_set_aside",
            Self::ApiKeySetAside { .. } => "api_key_set_aside",
            Self::ProfileRenamed { .. } => "auth_profile_renamed",
            Self::AuthOrderChanged { .. } => "auth_order_changed",
            Self::AgentReadsElsewhere { .. } => "agent_reads_elsewhere",
            Self::CodexConfiguration { .. } => "codex_config_ignores_auth_json",
            Self::ConfigurationOverridden { .. } => "openclaw_json_overridden",
            Self::ConfigurationKept { .. } => "openclaw_json_kept",
            Self::WithoutLock { .. } => "without_lock",
            Self::DirectoryAboveSoftLimit { .. } => "directory_above_soft_limit",
        }
    }
}

impl Warning {
    /// What is wrong, without the fix.
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
                "OpenClaw {version} unpacks its plugins into the user's directory, and hangs while doing so on network file \
                 systems"
            ),
            Self::ProfileSecretKeyMissing => "this release encrypts the sign-in with a key outside the user's \
                 directory, so the next task loses it"
                .to_owned(),
            Self::BedrockPluginNeeded => {
                "this release has Bedrock in the plugin @openclaw/amazon-bedrock-provider: without it no model answers"
                    .to_owned()
            }
            Self::SharesTaskRole => "programs in this container can fetch the credentials of the task role, which can mount the \
                 files of every user whose access point's id is known"
                .to_owned(),
            Self::BedrockWithoutRole => {
                "the base keeps the task role's credentials from the agent, and no other AWS keys are given, so Bedrock is \
                 called without credentials"
                    .to_owned()
            }
            Self::NotCarriedOver => {
                "the user has no sign-in that this release reads, and none that this service can carry over".to_owned()
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
            Self::AccountIdNotInToken => "the account_id that was sent is not the one that the tokens claim; OpenClaw \
                 uses the claim in its place, and one that begins with org- does not work at all"
                .to_owned(),
            Self::AccountClaimMissing => "the access token that was sent lacks the claim chatgpt_account_id: OpenClaw \
                 does not answer with it (\"Failed to extract accountId from token\")"
                .to_owned(),
            Self::MembersDropped { names } => {
                format!("not staged, because it is no part of a sign-in: {}", names.join(", "))
            }
            Self::SignInSetAside { path } => {
                format!("a sign-in of another account, or a fresher one, was in the way and was moved to {path}")
            }
            Self::ApiKeySetAside { path } => format!("an API key was in codex/auth.json, and was moved to {path}"),
            Self::ProfileRenamed { id } => {
                format!("a profile that is no ChatGPT sign-in had the id of the staged one; it is {id} now")
            }
            Self::AuthOrderChanged { place } => {
                format!("{place} left the staged sign-in out, which was put in front")
            }
            Self::AgentReadsElsewhere { path } => format!(
                "the agent that answers is not main, and may use its own sign-in at {path} rather than the staged one"
            ),
            Self::CodexConfiguration { problem } => format!("codex/config.toml keeps Codex from auth.json: {problem}"),
            Self::ConfigurationOverridden { path, reason } => {
                format!("{path} in the user's openclaw.json was changed: {reason}")
            }
            Self::ConfigurationKept { path, consequence } => {
                format!("{path} in the user's openclaw.json was kept: {consequence}")
            }
            Self::WithoutLock { problem } => {
                format!(
                    "the user's lock could not be taken ({problem}), so another replica may change the container as well"
                )
            }
            Self::DirectoryAboveSoftLimit { bytes, limit } => {
                let mib = |bytes: &u64| bytes >> 20;
                format!("the user's directory holds {} MiB, more than the soft limit of {} MiB", mib(bytes), mib(limit))
            }
        }
    }

    /// What to do about it, if anything.
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
            Self::SharesTaskRole => Some(
                "let the base ask for isolation (docker label openclaw.provisioner.isolation=without-role), then redeploy",
            ),
            Self::BedrockWithoutRole => Some(
                "give AWS_BEARER_TOKEN_BEDROCK in `secrets`, or let the base keep the role (docker label \
                 openclaw.provisioner.isolation=with-role)",
            ),
            Self::BedrockPluginNeeded => Some("bake the plugin into the image"),
            Self::ProfileSecretKeyMissing => {
                Some("set PROVISIONER_AUTH_PROFILE_SECRET_ARN, or give OPENCLAW_AUTH_PROFILE_SECRET_KEY in `secrets`")
            }
            Self::NotCarriedOver => Some("provision with a fresh one"),
            Self::ScopeMissing { .. } | Self::AccountClaimMissing => Some("let the user sign in again"),
            Self::AccountIdNotInToken => Some("leave account_id out, or send what the claim chatgpt_account_id says"),
            Self::SignInSetAside { .. } => {
                Some("send a sign-in of that account to use it again; the fresher of the two is taken")
            }
            Self::AgentReadsElsewhere { .. } => {
                Some("sign that agent in or out itself, or make main the default agent again")
            }
            Self::CodexConfiguration { .. } => {
                Some("set cli_auth_credentials_store = \"file\" and take forced_… out of the user's codex/config.toml")
            }
            Self::WithoutLock { .. } => {
                Some("look at the container again, and repeat the call once the file system answers")
            }
            Self::DirectoryAboveSoftLimit { .. } => {
                Some("have the user remove what they do not need, or raise PROVISIONER_DIRECTORY_SOFT_LIMIT_GIB")
            }
            Self::ReleaseNewerThanKnown { .. }
            | Self::MembersDropped { .. }
            | Self::ApiKeySetAside { .. }
            | Self::ProfileRenamed { .. }
            | Self::AuthOrderChanged { .. }
            | Self::ConfigurationOverridden { .. }
            | Self::ConfigurationKept { .. }
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
