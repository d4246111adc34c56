//! Where OpenClaw's environment makes it look, and whether users' files are staged there.
//!
//! Read in the releases (`config/paths`, `infra/home-dir`, `agents/agent-paths` of 2026.4.21, 5.7 and 9.6): the state
//! directory is `OPENCLAW_STATE_DIR`, else `.openclaw` in `OPENCLAW_HOME`, else in `HOME`; the configuration is
//! `OPENCLAW_CONFIG_PATH`, else `openclaw.json` in the state directory; `OPENCLAW_AGENT_DIR` and `PI_CODING_AGENT_DIR` move
//! the main agent's directory, `OPENCLAW_OAUTH_DIR` moves `credentials`. Before 2026.9 the workspace is in the home, whatever
//! the state directory.

use std::collections::BTreeMap;

use serde_json::Value;

use super::container::{STATE_DIR, STATE_DIRECTORY};
use super::{items, text};

/// The variable with the port; it counts before `openclaw.json` (`resolveGatewayPort`).
pub(super) const GATEWAY_PORT_VARIABLE: &str = "OPENCLAW_GATEWAY_PORT";

/// Variables that name a place below the state directory, and that place.
const PLACES: [(&str, &str); 5] = [
    (STATE_DIR, ""),
    ("OPENCLAW_CONFIG_PATH", "/openclaw.json"),
    ("OPENCLAW_AGENT_DIR", "/agents/main/agent"),
    ("PI_CODING_AGENT_DIR", "/agents/main/agent"),
    ("OPENCLAW_OAUTH_DIR", "/credentials"),
];
/// Variables that name the home, the stronger one first.
const HOMES: [&str; 2] = ["OPENCLAW_HOME", "HOME"];

/// A variable that makes OpenClaw look elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elsewhere {
    /// Its name.
    pub(super) variable: String,
    /// Where OpenClaw would look; `None` if the value comes from a secret and is unknown.
    pub(super) looks_at: Option<String>,
    /// Where the files are staged.
    pub(super) staged_at: String,
}

/// The first variable of a container that makes OpenClaw look outside `mount`.
pub(super) fn elsewhere(container: &Value, mount: &str) -> Option<Elsewhere> {
    let variables = variables_of(container);
    let secrets = items(container, "secrets").iter().filter_map(|entry| text(entry, "name"));
    let mut named = secrets.filter(|name| decides(name));
    let secret = named.next().map(|name| Elsewhere {
        variable: name.to_owned(),
        looks_at: None,
        staged_at: staged_at(name, mount).unwrap_or_else(|| mount.to_owned()),
    });
    secret.or_else(|| variables.keys().find_map(|name| misdirects(name, &variables, mount)))
}

/// The first of a caller's variables that makes OpenClaw look elsewhere; `base` is the base's container.
pub(super) fn misdirected_by<'a>(
    ours: impl Iterator<Item = (&'a str, &'a str)>,
    base: &Value,
    mount: &str,
) -> Option<Elsewhere> {
    let mut all = variables_of(base);
    let ours: BTreeMap<&str, &str> = ours.collect();
    let unchanged = |name: &&&str| all.get(**name).is_none_or(|before| *before != ours[**name]);
    let changed: Vec<&str> = ours.keys().filter(unchanged).copied().collect();
    all.extend(&ours);
    changed.into_iter().find_map(|name| {
        // A caller may set no home but the one that contains the state directory; a base may choose any.
        let home = HOMES.contains(&name).then(|| resolved(all[name], &all)).flatten();
        match home.filter(|home| join(home, STATE_DIRECTORY) != mount) {
            Some(home) => {
                let looks_at = Some(join(&home, STATE_DIRECTORY));
                Some(Elsewhere { variable: name.to_owned(), looks_at, staged_at: mount.to_owned() })
            }
            None => misdirects(name, &all, mount),
        }
    })
}

/// Whether a variable of that name decides where OpenClaw looks or listens.
pub(super) fn decides(name: &str) -> bool {
    PLACES.iter().any(|(place, _)| *place == name) || HOMES.contains(&name) || name == GATEWAY_PORT_VARIABLE
}

fn staged_at(name: &str, mount: &str) -> Option<String> {
    PLACES.iter().find(|(place, _)| *place == name).map(|(_, below)| format!("{mount}{below}"))
}

fn misdirects(name: &str, variables: &BTreeMap<&str, &str>, mount: &str) -> Option<Elsewhere> {
    let value = variables.get(name)?.trim();
    // OpenClaw ignores an empty variable.
    if value.is_empty() {
        return None;
    }
    let elsewhere = |looks_at: String, staged_at: String| Elsewhere {
        variable: name.to_owned(),
        looks_at: Some(looks_at),
        staged_at,
    };
    if let Some(staged_at) = staged_at(name, mount) {
        let looks_at = resolved(value, variables);
        let is_there = looks_at.as_ref().map_or_else(
            // The home is known only to the image; then `~` is taken for the home of the mount.
            || value.strip_prefix('~').is_some_and(|rest| !rest.is_empty() && staged_at.ends_with(rest)),
            |path| *path == staged_at,
        );
        return (!is_there).then(|| elsewhere(looks_at.unwrap_or_else(|| value.to_owned()), staged_at));
    }
    // The state directory is set, so a home decides only the workspace of releases before 2026.9. If it contradicts a
    // mount at `.openclaw` in a home, the workspace would be lost with every task.
    let is_in_a_home = mount.rsplit('/').next() == Some(STATE_DIRECTORY);
    let weaker = name == "HOME" && variables.get("OPENCLAW_HOME").is_some_and(|stronger| !stronger.trim().is_empty());
    if !HOMES.contains(&name) || !is_in_a_home || weaker {
        return None;
    }
    let looks_at = join(&resolved(value, variables)?, STATE_DIRECTORY);
    (looks_at != mount).then(|| elsewhere(looks_at, mount.to_owned()))
}

/// An absolute path without `.`, `..` and double slashes, with `~` replaced; `None` if the home is unknown or the path
/// is relative.
fn resolved(path: &str, variables: &BTreeMap<&str, &str>) -> Option<String> {
    let path = path.trim();
    let expanded = match path.strip_prefix('~') {
        Some(rest) => {
            let mut home = HOMES.iter().filter_map(|name| variables.get(name)).map(|home| home.trim());
            format!("{}{rest}", home.find(|home| home.starts_with('/'))?)
        }
        None => path.to_owned(),
    };
    if !expanded.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in expanded.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

fn variables_of(container: &Value) -> BTreeMap<&str, &str> {
    let pair = |entry| Some((text(entry, "name")?, text(entry, "value")?));
    items(container, "environment").iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOME_MOUNT: &str = "/home/node/.openclaw";

    fn container(variables: &[(&str, &str)]) -> Value {
        let entries: Vec<Value> = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({"environment": entries})
    }

    fn paths(found: Option<Elsewhere>) -> Option<(String, Option<String>, String)> {
        found.map(|found| (found.variable, found.looks_at, found.staged_at))
    }

    fn found(variables: &[(&str, &str)], mount: &str) -> Option<(String, Option<String>, String)> {
        paths(elsewhere(&container(variables), mount))
    }

    fn is(variable: &str, looks_at: &str, staged_at: &str) -> Option<(String, Option<String>, String)> {
        Some((variable.to_owned(), Some(looks_at.to_owned()), staged_at.to_owned()))
    }

    #[test]
    fn a_variable_that_names_the_mount_in_any_form_is_accepted() {
        for (variables, mount) in [
            (vec![], "/data"),
            (vec![("OPENCLAW_STATE_DIR", "/data/")], "/data"),
            (vec![("OPENCLAW_STATE_DIR", " //data/./x/.. ")], "/data"),
            (vec![("OPENCLAW_STATE_DIR", "  ")], "/data"),
            (vec![("OPENCLAW_STATE_DIR", "~/.openclaw")], HOME_MOUNT),
            (vec![("OPENCLAW_STATE_DIR", "~/.openclaw"), ("HOME", "/home/node")], HOME_MOUNT),
            (vec![("OPENCLAW_CONFIG_PATH", "/data/openclaw.json")], "/data"),
            (vec![("OPENCLAW_AGENT_DIR", "/data/agents/main/agent")], "/data"),
            (vec![("OPENCLAW_OAUTH_DIR", "/data/credentials/")], "/data"),
            (vec![("HOME", "/home/node/")], HOME_MOUNT),
            (vec![("HOME", "/tmp"), ("OPENCLAW_HOME", "/home/node")], HOME_MOUNT),
            // The state directory is rendered, so the home decides nothing with such a mount.
            (vec![("HOME", "/home/node"), ("OPENCLAW_HOME", "/home/node")], "/data"),
        ] {
            assert_eq!(found(&variables, mount), None, "{variables:?}");
        }
    }

    #[test]
    fn a_variable_that_points_elsewhere_is_found_with_both_paths() {
        for (variables, mount, expected) in [
            (
                vec![("OPENCLAW_STATE_DIR", "/data/.openclaw")],
                "/data",
                is("OPENCLAW_STATE_DIR", "/data/.openclaw", "/data"),
            ),
            (vec![("OPENCLAW_STATE_DIR", "state")], "/data", is("OPENCLAW_STATE_DIR", "state", "/data")),
            (vec![("OPENCLAW_STATE_DIR", "~")], HOME_MOUNT, is("OPENCLAW_STATE_DIR", "~", HOME_MOUNT)),
            (vec![("OPENCLAW_STATE_DIR", "~/x"), ("HOME", "/r")], "/x", is("OPENCLAW_STATE_DIR", "/r/x", "/x")),
            (
                vec![("OPENCLAW_CONFIG_PATH", "/etc/openclaw.json")],
                "/data",
                is("OPENCLAW_CONFIG_PATH", "/etc/openclaw.json", "/data/openclaw.json"),
            ),
            (vec![("PI_CODING_AGENT_DIR", "/a")], "/data", is("PI_CODING_AGENT_DIR", "/a", "/data/agents/main/agent")),
            (vec![("HOME", "/tmp/y")], HOME_MOUNT, is("HOME", "/tmp/y/.openclaw", HOME_MOUNT)),
            (vec![("OPENCLAW_HOME", "/o")], HOME_MOUNT, is("OPENCLAW_HOME", "/o/.openclaw", HOME_MOUNT)),
        ] {
            assert_eq!(found(&variables, mount), expected, "{variables:?}");
        }
        let secret = json!({"secrets": [{"name": "OPENCLAW_STATE_DIR", "valueFrom": "arn"}]});
        assert_eq!(paths(elsewhere(&secret, "/data")), Some(("OPENCLAW_STATE_DIR".into(), None, "/data".into())));
    }

    #[test]
    fn a_callers_variable_may_only_repeat_what_the_base_says() {
        let base = container(&[("HOME", "/home/node")]);
        let by = |variables: &[(&'static str, &'static str)], mount: &str| {
            paths(misdirected_by(variables.iter().copied(), &base, mount))
        };
        assert_eq!(by(&[("TZ", "UTC"), ("HOME", "/home/node")], "/data"), None);
        assert_eq!(by(&[("HOME", "/home/node")], HOME_MOUNT), None);
        assert_eq!(by(&[("HOME", "/tmp/y")], "/data"), is("HOME", "/tmp/y/.openclaw", "/data"));
        assert_eq!(by(&[("HOME", "/tmp/y")], HOME_MOUNT), is("HOME", "/tmp/y/.openclaw", HOME_MOUNT));
        assert_eq!(by(&[("OPENCLAW_HOME", "/o")], "/data"), is("OPENCLAW_HOME", "/o/.openclaw", "/data"));
        assert_eq!(by(&[("OPENCLAW_STATE_DIR", "/data")], "/data"), None);
        assert_eq!(by(&[("OPENCLAW_STATE_DIR", "/x")], "/data"), is("OPENCLAW_STATE_DIR", "/x", "/data"));
    }
}
