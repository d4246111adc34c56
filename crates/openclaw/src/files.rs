//! The places of files in a user's directory, which is `OPENCLAW_STATE_DIR` in the container.

use super::CredentialFile;

/// The directory that `CODEX_HOME` names.
pub const CODEX: [&str; 1] = ["codex"];
/// In [`CODEX`]: the sign-in in the form of the Codex CLI.
pub const AUTH_JSON: &str = "auth.json";
/// In [`CODEX`]: the Codex CLI's own settings, which belong to the user.
pub const CODEX_CONFIG: &str = "config.toml";
/// Where OpenClaw keeps the sign-ins of its agent `main`.
pub const AGENT: [&str; 3] = ["agents", "main", "agent"];
/// A directory for each agent.
pub const AGENTS: &str = AGENT[0];
/// The agent that answers unless `openclaw.json` names another one.
pub const MAIN: &str = AGENT[1];
/// In [`AGENT`]: the sign-ins.
pub const AUTH_PROFILES: &str = "auth-profiles.json";
/// In [`AGENT`]: how the sign-ins have failed.
pub const AUTH_STATE: &str = "auth-state.json";
/// In an agent's directory: the home of the Codex app-server harness, a plugin (openclaw-facts §1, place C).
pub const AGENTS_CODEX_HOME: &str = "codex-home";
/// In an agent's directory: copies that 2026.4.21 makes of a profile (openclaw-facts §2).
pub const HARNESS: [&str; 2] = ["harness-auth", "codex"];
/// Where 2026.5.12 keeps tokens, encrypted.
pub const ENCRYPTED: [&str; 2] = ["credentials", "auth-profiles"];
/// Where releases from 2026.8 on keep their database.
pub const STATE: [&str; 1] = ["state"];
/// In [`AGENT`]: the database that 2026.6.5 to 2026.7 import sign-ins into.
pub const AGENT_STORE: &str = "openclaw-agent.sqlite";
/// In [`STATE`]: the database that releases from 2026.8 on import them into.
pub const STATE_STORE: &str = "openclaw.sqlite";
/// The directory of the provisioner and the container alone.
pub const OURS: [&str; 1] = [".provisioner"];
/// In [`OURS`]: the sign-in that the entry script imports into OpenClaw's own store.
pub const HAND_OVER: &str = "sign-in.json";
/// Sign-ins that were in the way of another one.
pub const ASIDE: [&str; 2] = [".provisioner", "aside"];

impl CredentialFile {
    /// All files that are written for a sign-in.
    pub const ALL: [Self; 4] = [Self::Codex, Self::Profiles, Self::AuthState, Self::HandOver];

    /// The directories that lead to its file, and the file's name.
    #[must_use]
    pub const fn path(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Codex => (&CODEX, AUTH_JSON),
            Self::Profiles => (&AGENT, AUTH_PROFILES),
            Self::AuthState => (&AGENT, AUTH_STATE),
            Self::HandOver => (&OURS, HAND_OVER),
        }
    }
}
