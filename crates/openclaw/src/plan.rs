//! Where a release keeps a sign-in, and what else has to be done.

/// What decides the plan besides the image's release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanInputs {
    /// The image has the `codex` plugin of its own release baked in.
    pub has_codex_plugin: bool,
}

/// The place whose refresh token the release spends and rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Layout A: `codex/auth.json`, found through `CODEX_HOME`. The release may keep a copy in `auth-profiles.json` and
    /// rotate that copy.
    CodexHome,
    /// Layout B: `agents/main/agent/auth-profiles.json`, rotated in place.
    AuthProfiles,
    /// OpenClaw's SQLite store, which rotates it where this service cannot see it. Filled from layout B before the gateway
    /// starts.
    Store,
    /// Layout A again, in an image with the `codex` plugin and `homeScope = "user"`.
    CodexPlugin,
}

impl Authority {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CodexHome => "codex_home",
            Self::AuthProfiles => "auth_profiles",
            Self::Store => "store",
            Self::CodexPlugin => "codex_plugin",
        }
    }

    /// Whether `codex/auth.json` itself has the live refresh token.
    #[must_use]
    pub const fn is_codex_auth_json(self) -> bool {
        match self {
            Self::CodexHome | Self::CodexPlugin => true,
            Self::AuthProfiles | Self::Store => false,
        }
    }
}

/// The refresh token in `codex/auth.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodexRefreshToken {
    /// The live one: this file is the authority.
    Real,
    /// `""`, which the CLI accepts. Otherwise the Codex harness would spend the authority's token and write the new one
    /// nowhere (openclaw-facts §2, seen on 5.12 and 6.35).
    Empty,
}

/// The provider of our profile in `auth-profiles.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileProvider {
    /// Through 2026.5.
    OpenAiCodex,
    /// From 2026.6 on. Never before that: on 5.12 it uses the paid API.
    OpenAi,
}

impl ProfileProvider {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OpenAiCodex, Self::OpenAi];

    /// The name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAiCodex => "openai-codex",
            Self::OpenAi => "openai",
        }
    }

    /// The id of our profile.
    #[must_use]
    pub const fn profile_id(self) -> &'static str {
        match self {
            Self::OpenAiCodex => "openai-codex:default",
            Self::OpenAi => "openai:default",
        }
    }

    /// Whether a name in an order of profiles means this provider. From 2026.6 on the older name means the new one.
    #[must_use]
    pub fn is_meant_by(self, name: &str) -> bool {
        let name = name.trim();
        match self {
            Self::OpenAiCodex => name.eq_ignore_ascii_case(Self::OpenAiCodex.name()),
            Self::OpenAi => Self::ALL.iter().any(|provider| name.eq_ignore_ascii_case(provider.name())),
        }
    }
}

/// The model in `openclaw.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelEntries {
    /// `agents.defaults.model.primary`.
    pub reference: &'static str,
    /// `agents.defaults.models[<reference>].agentRuntime.id`.
    pub runtime: Option<&'static str>,
    /// `plugins.entries.codex.config.appServer.homeScope = "user"`.
    pub codex_user_scope: bool,
}

/// Where a release keeps a sign-in, and what else has to be done. `CODEX_HOME` is in the environment of every release, and
/// `codex/auth.json` is always written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialPlan {
    /// The place that holds the live refresh token.
    pub authority: Authority,
    /// The provider of our profile if the release reads one; `None`: no profile of ours belongs there.
    pub profile: Option<ProfileProvider>,
    /// Whether a profile that the release made itself outranks `codex/auth.json` and is the one that it rotates.
    pub keeps_own_profile: bool,
    /// Whether the environment needs a stable [`AUTH_PROFILE_SECRET_KEY`](super::AUTH_PROFILE_SECRET_KEY), as a secret;
    /// without it the next task cannot decrypt the tokens.
    pub needs_profile_secret_key: bool,
    /// Whether the entry script has to run before the gateway: it imports the sign-in, and migrates OpenClaw's state.
    pub needs_entry: bool,
    /// The entries of `openclaw.json`, besides those of the gateway.
    pub model: ModelEntries,
}

impl CredentialPlan {
    /// The provider of the profile in which the staged sign-in is used, also if the release makes that profile itself.
    #[must_use]
    pub const fn profile_in_use(&self) -> Option<ProfileProvider> {
        match self.authority {
            // Made from codex/auth.json, under the id of our profile (2026.4.21).
            Authority::CodexHome => Some(ProfileProvider::OpenAiCodex),
            Authority::CodexPlugin => None,
            Authority::AuthProfiles | Authority::Store => self.profile,
        }
    }

    /// The refresh token that belongs into `codex/auth.json`.
    #[must_use]
    pub const fn codex_refresh_token(&self) -> CodexRefreshToken {
        if self.authority.is_codex_auth_json() { CodexRefreshToken::Real } else { CodexRefreshToken::Empty }
    }
}
