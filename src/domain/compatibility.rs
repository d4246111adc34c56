//! How real OpenClaw releases handled the files that this service stages: `docs/compatibility.json`, written by
//! `tests/openclaw`.

use std::collections::BTreeMap;

use openclaw::{OpenClawVersion, Provider, Release};
use serde::{Deserialize, Serialize};

/// The table of tested releases, fixed at build time.
#[derive(Debug, Deserialize)]
pub struct Compatibility {
    /// The meaning of each check, by its name.
    checks: BTreeMap<String, String>,
    releases: Vec<ReleaseProof>,
}

/// The test run of one release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReleaseProof {
    /// The release.
    pub openclaw_version: String,
    /// Whether every check that applies passed (`yes`).
    pub all_yes: bool,
    /// `yes`, `no` or `n/a`, by check.
    pub checks: BTreeMap<String, String>,
    /// Why a check failed (`no`).
    pub reason: Option<String>,
    /// The day of the run.
    pub date: String,
}

impl Compatibility {
    /// The table that is built in. If it cannot be parsed, the table is empty and no release is known; a test makes
    /// sure that it can be parsed.
    #[must_use]
    pub fn known() -> Self {
        let table = serde_json::from_str(include_str!("../../docs/compatibility.json"));
        table.unwrap_or_else(|_| Self { checks: BTreeMap::new(), releases: Vec::new() })
    }

    /// The test run of a release; `None` if it was not run.
    #[must_use]
    pub fn of(&self, version: OpenClawVersion) -> Option<&ReleaseProof> {
        self.releases.iter().find(|proof| proof.version() == Some(version))
    }

    /// The newest release that passed every check.
    #[must_use]
    pub fn newest_all_yes(&self) -> Option<OpenClawVersion> {
        self.releases.iter().filter(|proof| proof.all_yes).filter_map(ReleaseProof::version).max()
    }

    /// Reasons against using a release, as code and message: warnings of its plan, and checks that failed.
    #[must_use]
    pub fn doubts(&self, version: OpenClawVersion) -> Vec<(&'static str, String)> {
        let of_plan = Release::plain(version).warnings(Provider::Chatgpt);
        let of_plan = of_plan.into_iter().map(|warning| (warning.code(), warning.to_string()));
        let newest = self.newest_all_yes();
        let newest =
            newest.map_or_else(String::new, |newest| format!("; {newest} is the newest that passed every check"));
        let of_proof = match self.of(version) {
            None => {
                let message = format!("{version} was never run; its plan is that of its neighbours{newest}");
                Some(("release_not_run", message))
            }
            Some(proof) if !proof.all_yes => {
                let reason = proof.reason.as_deref().unwrap_or("not every check said yes");
                Some(("release_has_failed_checks", format!("{reason}{newest}")))
            }
            Some(_) => None,
        };
        of_plan.chain(of_proof).collect()
    }

    /// What a check tests, in words.
    #[must_use]
    pub fn meaning(&self, check: &str) -> Option<&str> {
        self.checks.get(check).map(String::as_str)
    }
}

impl ReleaseProof {
    fn version(&self) -> Option<OpenClawVersion> {
        OpenClawVersion::from_tag(&self.openclaw_version).ok()
    }

    /// The checks that failed (`no`).
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().filter(|(_, verdict)| *verdict == "no").map(|(check, _)| check.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::VersionFile;

    const fn v(month: u16, patch: u16) -> OpenClawVersion {
        OpenClawVersion::new(2026, month, patch)
    }

    #[test]
    fn the_shipped_table_can_be_parsed_and_gives_a_reason_for_each_failed_check() {
        let table = Compatibility::known();
        assert!(table.releases.len() >= 8 && table.of(v(4, 7)).is_some() && table.of(v(1, 1)).is_none());
        for proof in &table.releases {
            assert!(proof.version().is_some(), "{proof:?}");
            assert_eq!(proof.all_yes, proof.failed().count() == 0, "{proof:?}");
            assert_eq!(proof.all_yes, proof.reason.is_none(), "{proof:?}");
            assert!(proof.checks.keys().all(|check| table.meaning(check).is_some()), "{proof:?}");
        }
    }

    #[test]
    fn the_pinned_release_is_the_newest_that_passed_every_check() {
        let pinned = VersionFile::parse(include_str!("../../openclaw-version.json")).unwrap().version;
        assert_eq!(Compatibility::known().newest_all_yes(), Some(pinned));
    }
}
