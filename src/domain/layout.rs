//! Which file or store holds a user's live refresh token, by OpenClaw release.
//!
//! The table mirrors openclaw-facts §2, "Plan that follows", row by row, so that the two can be read side by side.
//! A refresh token can be used once, therefore exactly one place may hold the live one (incident 29), and it must be
//! the place that outranks all others on that release (incident 30).
//!
//! **What is staged today differs from the plan, on purpose.** [`ChatGptAuth::to_file_bytes`] always writes a complete
//! `codex/auth.json` with the real refresh token, whatever the release. The plan wants an empty one there from 2026.4.22
//! on, but only together with a writer for the place that is authoritative; until those writers exist, an empty token
//! would sign nobody in. Whoever adds one makes `to_file_bytes` take [`CredentialLayout::codex_refresh_token`].
//!
//! [`ChatGptAuth::to_file_bytes`]: super::auth_json::ChatGptAuth::to_file_bytes

use super::openclaw_version::OpenClawVersion;

/// The place whose refresh token the release spends and rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Layout A: `codex/auth.json`, found through `CODEX_HOME`.
    CodexHome,
    /// Layout B: `agents/main/agent/auth-profiles.json`.
    AuthProfiles,
    /// Layout B, imported into OpenClaw's SQLite store by `openclaw doctor --fix --non-interactive`, once, before the
    /// gateway starts and with egress.
    ImportedAuthProfiles,
    /// Layout A again, in an image with the `codex` plugin and `homeScope = "user"`.
    CodexPlugin,
}

/// What `codex/auth.json` is planned to carry as its refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodexRefreshToken {
    /// The live one: this file is the authority.
    Real,
    /// `""`, so that the Codex harness cannot spend the authority's token and lose the new one.
    Empty,
}

/// Where a release keeps a sign-in, and what has to be done besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialLayout {
    /// The place that holds the live refresh token.
    pub authority: Authority,
    /// What belongs into `codex/auth.json`, which always exists.
    pub codex_refresh_token: CodexRefreshToken,
    /// The provider of the profile in `auth-profiles.json`; its profile id is `<provider>:default`.
    pub profile_provider: Option<&'static str>,
    /// The environment needs a stable `OPENCLAW_AUTH_PROFILE_SECRET_KEY`, or the next task cannot decrypt the tokens.
    pub needs_profile_secret_key: bool,
    /// Copies with tokens that the import leaves beside `auth-profiles.json`, to be deleted (incident 29).
    pub leftovers_of_import: Option<&'static str>,
}

/// A row is in force from its release up to the next row's.
const TABLE: [(OpenClawVersion, CredentialLayout); 5] = [
    (
        OpenClawVersion::new(2026, 4, 7),
        CredentialLayout {
            authority: Authority::CodexHome,
            codex_refresh_token: CodexRefreshToken::Real,
            profile_provider: None,
            needs_profile_secret_key: false,
            leftovers_of_import: None,
        },
    ),
    (OpenClawVersion::new(2026, 4, 22), AUTH_PROFILES),
    // Seen on 2026.5.12, not on 5.7; whether 5.14 – 6.1 need the key was not run. Setting it does no harm.
    (OpenClawVersion::new(2026, 5, 12), CredentialLayout { needs_profile_secret_key: true, ..AUTH_PROFILES }),
    // The JSON store is read through 6.1 and SQLite from 6.5; nothing in between was run.
    (OpenClawVersion::new(2026, 6, 5), imported("auth-profiles.json*.bak")),
    (OpenClawVersion::new(2026, 8, 1), imported("auth-profiles.json.migrated-*")),
];

const AUTH_PROFILES: CredentialLayout = CredentialLayout {
    authority: Authority::AuthProfiles,
    codex_refresh_token: CodexRefreshToken::Empty,
    profile_provider: Some("openai-codex"),
    needs_profile_secret_key: false,
    leftovers_of_import: None,
};

const fn imported(leftovers: &'static str) -> CredentialLayout {
    CredentialLayout {
        authority: Authority::ImportedAuthProfiles,
        codex_refresh_token: CodexRefreshToken::Empty,
        profile_provider: Some("openai"),
        needs_profile_secret_key: false,
        leftovers_of_import: Some(leftovers),
    }
}

/// Where the `codex` plugin's user scope begins to be an alternative to the import.
const CODEX_PLUGIN_FROM: OpenClawVersion = OpenClawVersion::new(2026, 7, 1);

/// The releases that were run with real turns (● in openclaw-facts §2). Everything between is inferred.
const RUN: [OpenClawVersion; 12] = [
    OpenClawVersion::new(2026, 4, 7),
    OpenClawVersion::new(2026, 4, 21),
    OpenClawVersion::new(2026, 4, 22),
    OpenClawVersion::new(2026, 4, 23),
    OpenClawVersion::new(2026, 4, 25),
    OpenClawVersion::new(2026, 5, 4),
    OpenClawVersion::new(2026, 5, 7),
    OpenClawVersion::new(2026, 5, 12),
    OpenClawVersion::new(2026, 6, 35),
    OpenClawVersion::new(2026, 7, 35),
    OpenClawVersion::new(2026, 8, 2),
    OpenClawVersion::new(2026, 9, 6),
];

/// The layout for an image without the `codex` plugin.
///
/// Older releases than [`OpenClawVersion::MINIMUM`] get the first row and newer ones than the last known get the last:
/// the nearest guess. [`was_run`] tells a guess from a finding.
pub fn layout(version: OpenClawVersion) -> CredentialLayout {
    let mut layout = TABLE[0].1;
    for (from, row) in TABLE {
        if version >= from {
            layout = row;
        }
    }
    layout
}

/// The layout for an image that has the `codex` plugin of the same release baked in, from 2026.7.1 on.
///
/// It holds only with `plugins.entries.codex.config.appServer.homeScope = "user"` in `openclaw.json`.
pub fn layout_with_codex_plugin(version: OpenClawVersion) -> Option<CredentialLayout> {
    (version >= CODEX_PLUGIN_FROM).then_some(CredentialLayout {
        authority: Authority::CodexPlugin,
        codex_refresh_token: CodexRefreshToken::Real,
        profile_provider: None,
        needs_profile_secret_key: false,
        leftovers_of_import: None,
    })
}

/// Whether this very release answered a real turn from its layout, rather than being inferred from its neighbours.
pub fn was_run(version: OpenClawVersion) -> bool {
    RUN.contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Incident 30: a stale credential elsewhere outranks the staged one; so the authority is known by release.
    #[test]
    fn the_table_says_what_the_facts_file_says() {
        let mut lines = Vec::new();
        for (year_month_patch, facts) in [
            ((4, 7), "A"),
            ((4, 21), "A"),
            ((4, 22), "B openai-codex"),
            ((4, 25), "B openai-codex"),
            ((5, 7), "B openai-codex"),
            ((5, 12), "B openai-codex, key"),
            ((6, 1), "B openai-codex, key"),
            ((6, 5), "import openai, rm auth-profiles.json*.bak"),
            ((7, 35), "import openai, rm auth-profiles.json*.bak"),
            ((8, 1), "import openai, rm auth-profiles.json.migrated-*"),
            ((9, 6), "import openai, rm auth-profiles.json.migrated-*"),
        ] {
            let row = layout(OpenClawVersion::new(2026, year_month_patch.0, year_month_patch.1));
            let authority = match row.authority {
                Authority::CodexHome | Authority::CodexPlugin => "A",
                Authority::AuthProfiles => "B",
                Authority::ImportedAuthProfiles => "import",
            };
            let provider = row.profile_provider.map_or(String::new(), |provider| format!(" {provider}"));
            let key = if row.needs_profile_secret_key { ", key" } else { "" };
            let remove = row.leftovers_of_import.map_or(String::new(), |pattern| format!(", rm {pattern}"));
            lines.push((format!("{authority}{provider}{key}{remove}"), facts.to_owned()));
        }
        for (ours, facts) in lines {
            assert_eq!(ours, facts);
        }
    }

    /// Incident 29: one place holds the live refresh token.
    #[test]
    fn codex_auth_json_carries_the_real_token_exactly_where_it_is_the_authority() {
        for version in RUN {
            for row in [Some(layout(version)), layout_with_codex_plugin(version)].into_iter().flatten() {
                let is_authority = matches!(row.authority, Authority::CodexHome | Authority::CodexPlugin);
                assert_eq!(row.codex_refresh_token == CodexRefreshToken::Real, is_authority, "{version}");
                assert_eq!(row.profile_provider.is_none(), is_authority, "{version}");
            }
        }
    }

    #[test]
    fn the_plugin_counts_from_july_and_unrun_releases_are_guesses() {
        let v = |month, patch| OpenClawVersion::new(2026, month, patch);
        assert_eq!(layout_with_codex_plugin(v(6, 35)), None);
        assert!(layout_with_codex_plugin(v(7, 1)).is_some());
        assert_eq!((was_run(v(9, 6)), was_run(v(9, 5))), (true, false));
        assert_eq!(layout(v(12, 1)), layout(v(9, 6)));
        assert!(TABLE.is_sorted_by_key(|(from, _)| *from));
    }
}
