//! What OpenClaw's releases need so that a user is signed in at the first start. Pure: no file system, no clock, no network.
//!
//! The plain recipe (`codex/auth.json` and `CODEX_HOME`) signs nobody in on most releases, although every health endpoint
//! says 200. So the plan says where the release looks, and everything else follows the plan:
//!
//! - `table`: release → plan, row by row as in openclaw-facts §2 and §5;
//! - `release`: which release a container runs;
//! - [`files`]: directories and names in a user's directory;
//! - [`auth_json`], [`identity`], [`freshness`]: what a user sends, who it belongs to, and which of two sign-ins is newer;
//! - [`auth_profiles`], `auth_state`, [`hand_over`]: the content of the files beside `codex/auth.json`;
//! - [`aside`]: sign-ins of other accounts that were in the way;
//! - `codex_config`: settings in the user's `codex/config.toml` that keep Codex from using the file;
//! - `credential_update`: what to write, given what is on disk and what the caller sent;
//! - [`openclaw_json`]: the entries of the gateway's configuration that are ours;
//! - [`entry`]: what a container runs before its gateway.
//!
//! A refresh token can be spent only once. Therefore exactly one place holds the live one (incident 29), the place that
//! outranks all others on that release (incident 30).

pub mod aside;
pub mod auth_json;
pub mod auth_profiles;
mod auth_state;
mod codex_config;
mod credential_update;
mod digest;
pub mod encoding;
pub mod entry;
pub mod files;
pub mod freshness;
mod gateway;
pub mod hand_over;
pub mod identity;
mod invalid;
mod jwt;
mod native_login;
pub mod openclaw_json;
mod plan;
mod provider;
mod relaxed_time;
mod release;
mod stored;
mod table;
mod version;
mod warning;

pub use aside::{Aside, AsideName};
pub use auth_json::ChatGptAuth;
pub use auth_profiles::Tokens;
pub use codex_config::CodexConfig;
pub use credential_update::{
    AuthState, Change, CredentialFile, CredentialUpdate, OnDisk, Profiles, api_key_in, signed_out, unneeded,
    update_credentials,
};
pub use digest::{sha256_hex, sha256_hex12};
pub use gateway::{HEALTH_PATH, answers_health_path};
pub use hand_over::HandOver;
pub use invalid::{Invalid, shown};
pub use jwt::Claims;
pub use native_login::{NativeLogin, native_login_command, shell_quoted};
pub use plan::{Authority, CodexRefreshToken, CredentialPlan, ModelEntries, PlanInputs, ProfileProvider};
pub use provider::Provider;
pub use release::{AUTH_PROFILE_SECRET_KEY, EnvironmentValue, GATEWAY_TOKEN, Release};
pub use stored::Stored;
pub use table::credential_plan;
pub use version::OpenClawVersion;
pub use warning::Warning;
