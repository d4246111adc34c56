//! Release → plan. There are two tables, because sign-ins (openclaw-facts §2) and models (openclaw-facts §5) changed at
//! different releases.

use super::{Authority, CredentialPlan, ModelEntries, PlanInputs, ProfileProvider};
use crate::OpenClawVersion;
use crate::Provider;

struct Layout {
    authority: Authority,
    profile: Option<ProfileProvider>,
    keeps_own_profile: bool,
    needs_profile_secret_key: bool,
}

const RECIPE: Layout = Layout {
    authority: Authority::CodexHome,
    profile: None,
    keeps_own_profile: false,
    needs_profile_secret_key: false,
};
const PROFILES: Layout =
    Layout { authority: Authority::AuthProfiles, profile: Some(ProfileProvider::OpenAiCodex), ..RECIPE };
const STORE: Layout = Layout { authority: Authority::Store, profile: Some(ProfileProvider::OpenAi), ..RECIPE };

/// openclaw-facts §2, "Plan that follows". A row applies from its release up to the next row's.
const LAYOUTS: [(OpenClawVersion, Layout); 6] = [
    (v(4, 7), RECIPE),
    // Up to 4.15 codex/auth.json is read first, and a refresh rewrites both files; there is no stable release in between.
    (v(4, 20), Layout { keeps_own_profile: true, ..RECIPE }),
    (v(4, 22), PROFILES),
    // 5.12 encrypts with it; 5.18 – 5.28 only read what 5.12 encrypted.
    (v(5, 12), Layout { needs_profile_secret_key: true, ..PROFILES }),
    // 6.1 no longer knows the provider `openai-codex`, and only its doctor reads what 5.12 encrypted.
    (v(6, 0), Layout { profile: Some(ProfileProvider::OpenAi), ..PROFILES }),
    // Releases through 6.1 read the JSON store; releases from 6.5 on read SQLite.
    (v(6, 5), STORE),
];

/// openclaw-facts §5, "Model reference".
const MODELS: [(OpenClawVersion, ModelEntries); 4] = [
    (v(4, 7), model("openai-codex/gpt-5.4", None)),
    // 4.24 was not run: it gets the model of the release before it.
    (v(4, 25), model("openai-codex/gpt-5.5", None)),
    (v(5, 12), model("openai-codex/gpt-5.5", Some("pi"))),
    // Without the runtime, 7.35 and 8.2 want the plugin and refuse to start if it cannot be installed.
    (v(6, 0), model("openai/gpt-5.5", Some("openclaw"))),
];

/// With an OpenAI API key. From 4.25 on the releases' own default changes every month, and not every account has the newest
/// model; all catalogs have `gpt-5.5`. Without a runtime, 2026.5.12 and later want Codex for it (the releases' docs,
/// providers/openai.md).
const OPENAI_KEY: [(OpenClawVersion, ModelEntries); 4] = [
    (v(4, 7), model("openai/gpt-5.4", None)),
    (v(4, 25), model("openai/gpt-5.5", None)),
    (v(5, 12), model("openai/gpt-5.5", Some("pi"))),
    (v(6, 0), model("openai/gpt-5.5", Some("openclaw"))),
];

/// With an Anthropic API key: the model that each release's own onboarding sets.
const ANTHROPIC_KEY: [(OpenClawVersion, ModelEntries); 4] = [
    (v(4, 7), model("anthropic/claude-sonnet-4-6", None)),
    (v(4, 21), model("anthropic/claude-opus-4-7", None)),
    (v(6, 0), model("anthropic/claude-opus-4-8", None)),
    (v(8, 0), model("anthropic/claude-opus-5", None)),
];

/// On Bedrock, which OpenClaw reaches with the AWS SDK's own chain of credentials. A global inference profile, because one
/// of `us` or `eu` would not be found elsewhere.
const BEDROCK: ModelEntries = model("amazon-bedrock/global.anthropic.claude-opus-4-6-v1", None);

/// With the `codex` plugin: the recipe as it was meant. Whole turns were tried on 9.6; on 7.35 and 8.2 only the client.
const CODEX_PLUGIN: CredentialPlan = CredentialPlan {
    authority: Authority::CodexPlugin,
    profile: None,
    keeps_own_profile: false,
    needs_profile_secret_key: false,
    needs_entry: true,
    // No runtime: an entry of "openclaw" would switch off the plugin's own.
    model: ModelEntries { reference: "openai/gpt-5.5", runtime: None, codex_user_scope: true },
};
const CODEX_PLUGIN_FROM: OpenClawVersion = v(7, 1);

/// The newest release of which anything is known.
pub(super) const NEWEST_KNOWN: OpenClawVersion = v(9, 6);

const fn v(month: u16, patch: u16) -> OpenClawVersion {
    OpenClawVersion::new(2026, month, patch)
}

const fn model(reference: &'static str, runtime: Option<&'static str>) -> ModelEntries {
    ModelEntries { reference, runtime, codex_user_scope: false }
}

/// The plan for a release.
///
/// Releases older than [`OpenClawVersion::MINIMUM`] get the first row, and releases newer than the last known one get the
/// last row: the nearest guess. `docs/compatibility.json` shows which plans are guesses and which were tried. The oldest
/// releases are refused where a release is resolved.
#[must_use]
pub fn credential_plan(version: OpenClawVersion, inputs: PlanInputs) -> CredentialPlan {
    if inputs.has_codex_plugin && version >= CODEX_PLUGIN_FROM {
        return CODEX_PLUGIN;
    }
    let Layout { authority, profile, keeps_own_profile, needs_profile_secret_key } = *row(&LAYOUTS, version);
    CredentialPlan {
        authority,
        profile,
        keeps_own_profile,
        needs_profile_secret_key,
        needs_entry: matches!(authority, Authority::Store),
        model: *row(&MODELS, version),
    }
}

/// The model in `openclaw.json`, depending on how the user signs in.
#[must_use]
pub(super) fn model_entries(version: OpenClawVersion, sign_in: Provider, inputs: PlanInputs) -> ModelEntries {
    match sign_in {
        Provider::Chatgpt => credential_plan(version, inputs).model,
        Provider::OpenaiKey => *row(&OPENAI_KEY, version),
        Provider::AnthropicKey => *row(&ANTHROPIC_KEY, version),
        Provider::Bedrock => BEDROCK,
    }
}

/// Every reference that a plan has ever set: such a one is kept up to date, any other is the user's choice.
pub(super) fn our_references() -> impl Iterator<Item = &'static str> {
    let tables = [MODELS.as_slice(), &OPENAI_KEY, &ANTHROPIC_KEY].into_iter().flatten().map(|(_, model)| *model);
    tables.chain([CODEX_PLUGIN.model, BEDROCK]).map(|model| model.reference)
}

/// Where a release's store is. The entry script migrates a store of an older kind; there is no way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Store {
    /// `agents/main/agent/openclaw-agent.sqlite`.
    OfAgent,
    /// `state/openclaw.sqlite`, from 2026.8 on.
    OfState,
}

/// Whether `release` can read the store that `by` filled, if need be after a migration.
pub(super) fn reads_store_of(release: OpenClawVersion, by: OpenClawVersion) -> bool {
    let store = |release: OpenClawVersion| if release < v(8, 0) { Store::OfAgent } else { Store::OfState };
    store(by) <= store(release)
}

/// The last row whose release is not newer, or else the first row.
fn row<T>(table: &[(OpenClawVersion, T)], version: OpenClawVersion) -> &T {
    let at = table.partition_point(|(from, _)| *from <= version);
    &table[at.saturating_sub(1)].1
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: PlanInputs = PlanInputs { has_codex_plugin: false };
    const WITH_PLUGIN: PlanInputs = PlanInputs { has_codex_plugin: true };

    fn words(plan: &CredentialPlan) -> String {
        let authority = match plan.authority {
            Authority::CodexHome => "A",
            Authority::CodexPlugin => "A by plugin",
            Authority::AuthProfiles => "B",
            Authority::Store => "store",
        };
        let profile = plan.profile.map_or(String::new(), |provider| format!(" {}", provider.name()));
        let own = if plan.keeps_own_profile { " keeps own" } else { "" };
        let key = if plan.needs_profile_secret_key { ", key" } else { "" };
        let entry = if plan.needs_entry { ", entry" } else { "" };
        let runtime = plan.model.runtime.map_or(String::new(), |runtime| format!(" on {runtime}"));
        format!("{authority}{own}{profile}{key}{entry} | {}{runtime}", plan.model.reference)
    }

    /// Incident 30: a stale credential elsewhere outranks the staged one. So the authority is known by release.
    #[test]
    fn the_table_says_what_the_facts_file_says() {
        const STORE: &str = "store openai, entry | openai/gpt-5.5 on openclaw";
        for (release, facts) in [
            (v(4, 7), "A | openai-codex/gpt-5.4"),
            (v(4, 15), "A | openai-codex/gpt-5.4"),
            (v(4, 20), "A keeps own | openai-codex/gpt-5.4"),
            (v(4, 21), "A keeps own | openai-codex/gpt-5.4"),
            (v(4, 22), "B openai-codex | openai-codex/gpt-5.4"),
            (v(4, 23), "B openai-codex | openai-codex/gpt-5.4"),
            (v(4, 25), "B openai-codex | openai-codex/gpt-5.5"),
            (v(5, 7), "B openai-codex | openai-codex/gpt-5.5"),
            (v(5, 12), "B openai-codex, key | openai-codex/gpt-5.5 on pi"),
            (v(5, 28), "B openai-codex, key | openai-codex/gpt-5.5 on pi"),
            (v(6, 1), "B openai | openai/gpt-5.5 on openclaw"),
            (v(6, 5), STORE),
            (v(7, 35), STORE),
            (v(8, 1), STORE),
            (v(9, 6), STORE),
            (v(12, 1), STORE),
        ] {
            assert_eq!(words(&credential_plan(release, BARE)), facts, "{release}");
        }
        assert!(LAYOUTS.is_sorted_by_key(|(from, _)| *from) && MODELS.is_sorted_by_key(|(from, _)| *from));
    }

    #[test]
    fn the_plugin_counts_from_july_and_makes_the_recipe_true_again() {
        assert_eq!(credential_plan(v(6, 35), WITH_PLUGIN), credential_plan(v(6, 35), BARE));
        let plan = credential_plan(v(9, 6), WITH_PLUGIN);
        assert_eq!(words(&plan), "A by plugin, entry | openai/gpt-5.5");
        assert!(plan.model.codex_user_scope);
    }

    #[test]
    fn a_store_is_read_by_its_own_kind_and_by_later_ones() {
        assert!(reads_store_of(v(7, 35), v(6, 35)) && reads_store_of(v(6, 35), v(7, 35)));
        assert!(reads_store_of(v(9, 6), v(7, 35)) && !reads_store_of(v(7, 35), v(8, 2)));
    }
}
