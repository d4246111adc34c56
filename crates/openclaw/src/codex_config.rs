//! `codex/config.toml`, which belongs to the user: settings that keep Codex from using `codex/auth.json`.
//!
//! Tried on Codex CLI 0.171.0. The store `auto` means the file where there is no keyring, as in a container.

use toml::{Table, Value};

use super::Warning;
use crate::identity::Identity;

/// The settings that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodexConfig {
    is_broken: bool,
    store: Option<String>,
    login_method: Option<String>,
    /// `None`: any workspace.
    workspaces: Option<Vec<String>>,
}

impl CodexConfig {
    /// Reads the file's content.
    #[must_use]
    pub fn from_file_bytes(bytes: &[u8]) -> Self {
        let Some(file) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Table>().ok()) else {
            return Self { is_broken: true, ..Self::default() };
        };
        let text = |name: &str| file.get(name).and_then(Value::as_str).map(str::to_owned);
        let workspaces = match file.get("forced_chatgpt_workspace_id") {
            Some(Value::String(one)) => Some(vec![one.clone()]),
            Some(Value::Array(list)) => Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            _ => None,
        };
        Self {
            is_broken: false,
            store: text("cli_auth_credentials_store"),
            login_method: text("forced_login_method"),
            workspaces,
        }
    }

    /// The reasons why Codex will not sign this user in with the file.
    #[must_use]
    pub fn warnings(&self, live: Option<&Identity>) -> Vec<Warning> {
        let turned_off = match self.store.as_deref() {
            Some("keyring") => Some("cli_auth_credentials_store is \"keyring\", and a container has none"),
            Some("ephemeral") => Some("cli_auth_credentials_store is \"ephemeral\", so auth.json is not read"),
            _ => None,
        };
        let is_elsewhere = |allowed: &Vec<String>| {
            live.is_some_and(|live| {
                !live.accounts().is_empty() && !live.accounts().iter().any(|id| allowed.contains(id))
            })
        };
        let found = [
            self.is_broken.then_some("it is not TOML, and Codex does not start with it"),
            turned_off,
            (self.login_method.as_deref() == Some("api")).then_some("forced_login_method is \"api\""),
            self.workspaces
                .as_ref()
                .is_some_and(is_elsewhere)
                .then_some("forced_chatgpt_workspace_id is another workspace"),
        ];
        found.into_iter().flatten().map(|problem| Warning::CodexConfiguration { problem }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_keep_codex_from_the_file_are_reported() {
        let live = Identity::of_account(Some("acc"), None);
        let found = |text: &str| -> Vec<String> {
            let config = CodexConfig::from_file_bytes(text.as_bytes());
            config.warnings(Some(&live)).iter().map(Warning::problem).collect()
        };
        for fine in [
            "",
            "model = \"gpt-5.5\"\n[profiles.x]\ncli_auth_credentials_store = \"keyring\"",
            "cli_auth_credentials_store = \"file\"",
            "cli_auth_credentials_store = \"auto\"",
            "forced_chatgpt_workspace_id = \"acc\"",
            "forced_chatgpt_workspace_id = [\"other\", \"acc\"]",
            "forced_login_method = \"chatgpt\"",
        ] {
            assert_eq!(found(fine), Vec::<String>::new(), "{fine}");
        }
        for (text, word) in [
            ("cli_auth_credentials_store = \"keyring\"", "keyring"),
            ("cli_auth_credentials_store = 'ephemeral' # gone with the process", "ephemeral"),
            ("forced_login_method = \"api\"", "forced_login_method"),
            ("forced_chatgpt_workspace_id = \"other\"", "another workspace"),
            ("forced_chatgpt_workspace_id = []", "another workspace"),
            ("not toml", "not TOML"),
        ] {
            let [problem] = &found(text)[..] else { panic!("{text}: {:?}", found(text)) };
            assert!(problem.contains(word) && problem.starts_with("codex/config.toml"), "{problem}");
        }
        assert!(CodexConfig::from_file_bytes(b"forced_chatgpt_workspace_id = \"other\"").warnings(None).is_empty());
    }
}
