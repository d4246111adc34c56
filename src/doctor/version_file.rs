//! Check of `openclaw-version.json`.

use std::path::Path;

use super::Check;
use crate::domain::{Compatibility, VersionFile};

/// Checks the version file, by default the one in the current directory.
#[must_use]
pub fn version_file(named: Option<&Path>) -> Check {
    const NAME: &str = "openclaw_version_file";
    let path = named.unwrap_or(Path::new("openclaw-version.json"));
    // A production host has no checkout of the repository.
    if named.is_none() && !path.exists() {
        return Check::skip(NAME, "there is none here", Some("name one with --version-file"));
    }
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let fix = "name it with --version-file".to_owned();
            return Check::fail(NAME, "unreadable", format!("{shown}: {error}"), Some(fix));
        }
    };
    match VersionFile::parse(&text) {
        Ok(file) => match Compatibility::known().doubts(file.version) {
            doubts if doubts.is_empty() => Check::pass(NAME, format!("{shown}: OpenClaw {}", file.version)),
            doubts => {
                let message = doubts.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join("; ");
                let fix =
                    "see `openclaw-provisioner version check`, and pin a release that passed every check".to_owned();
                Check::warn(NAME, "release_in_doubt", format!("{shown}: {message}"), Some(fix))
            }
        },
        Err(error) => {
            let message = format!("{shown}: {}: {}", error.field(), error.problem());
            Check::fail(NAME, "not_valid", message, Some(error.fix().to_owned()))
        }
    }
}
