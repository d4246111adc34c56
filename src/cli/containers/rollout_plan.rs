//! Plans of rollouts: printed for people, kept in a file, and compared with what would be done now.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::show;
use crate::cli::WrongInput;

/// Version of the form of a plan's file.
const VERSION: u32 = 1;
/// Most differences shown.
const MOST_SHOWN: usize = 20;

/// The file of a plan.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanFile {
    version: u32,
    /// The request.
    pub(super) request: Value,
    /// The answer to it.
    pub(super) answer: Value,
}

impl PlanFile {
    pub(super) const fn new(request: Value, answer: Value) -> Self {
        Self { version: VERSION, request, answer }
    }

    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        Self::parse(path).map_err(|error| WrongInput::of(&error))
    }

    fn parse(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("--plan {}", path.display());
        let bytes = std::fs::read(path).with_context(what)?;
        let plan: Self = serde_json::from_slice(&bytes).with_context(what)?;
        ensure!(plan.version == VERSION, "{}: it was written by another version; plan it again", what());
        Ok(plan)
    }

    /// Writes the file for its owner alone: it can hold the value of a variable.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        self.write_to(path).map_err(|error| WrongInput::of(&error))
    }

    fn write_to(&self, path: &Path) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        let what = || format!("--out {}", path.display());
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(path).with_context(what)?;
        // Not for a device or a pipe, which others use, too.
        if file.metadata().with_context(what)?.is_file() {
            file.set_permissions(Permissions::from_mode(0o600)).with_context(what)?;
        }
        file.write_all(&bytes).with_context(what)
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The first three users by name, and the number of the others.
fn named(users: &Value) -> String {
    let all: Vec<&str> = texts(users).collect();
    let first = all.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(3).filter(|more| *more > 0) {
        Some(more) => format!("{first} and {more} more"),
        None => first,
    }
}

fn people(number: &Value) -> String {
    match number.as_u64().unwrap_or(0) {
        1 => "1 user".to_owned(),
        number => format!("{number} users"),
    }
}

/// A plan for people, in colour; the printer removes colours if the output is no terminal.
pub(super) fn in_words(answer: &Value) -> String {
    let plan = &answer["plan"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let text = |value: &Value| show::plain(value);
    let mut lines = vec![format!(
        "{}: {}, {} registrations, {} changes of services, about {} min",
        text(&answer["change"]),
        people(&answer["progress"]["users"]["all"]),
        number(&plan["registrations"]),
        number(&plan["updates"]),
        number(&answer["planned_seconds"]).div_ceil(60),
    )];
    for wave in items(&answer["progress"]["waves"]) {
        lines.push(format!("wave {}: {}: {}", wave["wave"], people(&wave["users"]), named(&wave["user_ids"])));
    }
    for change in items(&plan["changes"]) {
        lines.push(String::new());
        lines.push(format!("{}: {}", people(&change["users"]), named(&change["user_ids"])));
        if items(&change["patch"]).next().is_none() {
            lines.push("  another task of the same definition".to_owned());
        }
        for operation in items(&change["patch"]) {
            let (sign, colour) = match operation["op"].as_str() {
                Some("test") => ('-', AnsiColor::Red),
                Some("remove") => continue,
                _ => ('+', AnsiColor::Green),
            };
            let style = Style::new().fg_color(Some(colour.into()));
            let value = show::printable(&operation["value"].to_string());
            lines.push(format!("  {style}{sign} {}: {value}{style:#}", text(&operation["path"])));
        }
    }
    for (why, users) in plan["left_out"].as_object().into_iter().flatten() {
        lines.push(format!("left out ({why}): {}", named(users)));
    }
    for refused in items(&plan["refused"]) {
        let [user, code, detail] = ["user_id", "code", "detail"].map(|member| text(&refused[member]));
        lines.push(format!("would fail ({code}): {user}: {detail}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The wave and the change of each user, as text.
fn effects(answer: &Value) -> BTreeMap<&str, (String, String)> {
    let mut effects = BTreeMap::new();
    let plan = &answer["plan"];
    for change in items(&plan["changes"]) {
        let what = match items(&change["patch"]).next() {
            Some(_) => format!("is changed by {}", change["patch"]),
            None => "gets another task of the same".to_owned(),
        };
        effects.extend(texts(&change["user_ids"]).map(|user| (user, what.clone())));
    }
    for (why, users) in plan["left_out"].as_object().into_iter().flatten() {
        effects.extend(texts(users).map(|user| (user, format!("is left out ({why})"))));
    }
    for refused in items(&plan["refused"]) {
        let what = format!("would fail ({})", show::plain(&refused["code"]));
        effects.extend(refused["user_id"].as_str().map(|user| (user, what)));
    }
    let mut by_user = BTreeMap::new();
    for wave in items(&answer["progress"]["waves"]) {
        for user in texts(&wave["user_ids"]) {
            let what = effects.get(user).cloned().unwrap_or_default();
            by_user.insert(user, (format!("wave {}", wave["wave"]), what));
        }
    }
    by_user
}

/// The differences between a plan and what would be done now, one a line.
pub(super) fn differences(planned: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for member in ["change", "promotes", "promoted_before"] {
        if planned[member] != now[member] {
            lines.push(format!("{member}: planned {}, now {}", planned[member], now[member]));
        }
    }
    let (before, after) = (effects(planned), effects(now));
    for (user, (wave, effect)) in &before {
        match after.get(user) {
            None => lines.push(format!("{user}: planned, and is not chosen any more")),
            Some((other, _)) if other != wave => lines.push(format!("{user}: planned in {wave}, now in {other}")),
            Some((_, now)) if now != effect => lines.push(format!("{user}: planned that it {effect}; now it {now}")),
            Some(_) => {}
        }
    }
    let new = after.iter().filter(|(user, _)| !before.contains_key(**user));
    lines.extend(new.map(|(user, (wave, _))| format!("{user}: not planned, now in {wave}")));
    if lines.is_empty() && planned["plan"]["digest"] != now["plan"]["digest"] {
        lines.push("values that are not shown have changed: variables, secrets or labels of users".to_owned());
    }
    if let Some(more) = lines.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
        lines.truncate(MOST_SHOWN);
        lines.push(format!("and {more} more"));
    }
    lines.iter().map(|line| show::printable(line)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(waves: &Value, image: &str) -> Value {
        let path = "/containerDefinitions/openclaw/image";
        let patch =
            json!([{"op": "test", "path": path, "value": "i:1"}, {"op": "replace", "path": path, "value": image}]);
        json!({
            "change": "base b:2", "promotes": true, "planned_seconds": 61,
            "progress": {"users": {"all": 3}, "waves": waves},
            "plan": {
                "digest": image, "registrations": 2, "updates": 2, "left_out": {"unchanged": ["carol"]}, "refused": [],
                "changes": [{"users": 2, "user_ids": ["alice", "bob"], "patch": patch}],
            },
        })
    }

    fn waves() -> Value {
        json!([
            {"wave": 0, "users": 1, "user_ids": ["alice"]},
            {"wave": 1, "users": 2, "user_ids": ["bob", "carol"]},
        ])
    }

    #[test]
    fn a_plan_is_shown_with_old_and_new_values() {
        let text = anstream::adapter::strip_str(&in_words(&plan(&waves(), "i:2"))).to_string();
        let expected = "base b:2: 3 users, 2 registrations, 2 changes of services, about 2 min\n\
                        wave 0: 1 user: alice\n\
                        wave 1: 2 users: bob, carol\n\n\
                        2 users: alice, bob\n  \
                        - /containerDefinitions/openclaw/image: \"i:1\"\n  \
                        + /containerDefinitions/openclaw/image: \"i:2\"\n\
                        left out (unchanged): carol\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn differences_from_a_plan_are_listed_by_user() {
        let planned = plan(&waves(), "i:2");
        assert_eq!(differences(&planned, &planned), Vec::<String>::new());
        let other = json!([{"wave": 0, "users": 1, "user_ids": ["alice", "bob", "dave"]}]);
        let lines = differences(&planned, &plan(&other, "i:3"));
        assert!(lines[0].starts_with("alice: planned that it is changed by"), "{lines:?}");
        assert_eq!(
            lines[1..],
            [
                "bob: planned in wave 1, now in wave 0",
                "carol: planned, and is not chosen any more",
                "dave: not planned, now in wave 0"
            ]
        );
        let mut hidden = planned.clone();
        hidden["plan"]["digest"] = json!("another");
        assert_eq!(differences(&planned, &hidden).len(), 1);
    }
}
