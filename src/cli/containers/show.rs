//! Answers of the API for people: aligned, one line for each member, a table for a list.

use std::collections::BTreeSet;
use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value};
use tabwriter::{Alignment, TabWriter};

/// An answer in words.
pub(super) fn in_words(body: &Value) -> String {
    match body {
        Value::Object(object) => {
            let of = |name: &str| object.get(name).and_then(Value::as_array);
            match (of("containers"), of("quotas"), of("lines"), of("rollouts")) {
                (Some(containers), ..) => list(containers, body),
                (None, Some(quotas), ..) => capacity(quotas),
                (None, None, Some(lines), _) => cost(lines, body),
                (None, None, None, Some(all)) => rollouts(all, &body["not_understood"]),
                (None, None, None, None) => members(object),
            }
        }
        _ => "done\n".into(),
    }
}

/// A problem document in one or two lines.
pub(super) fn problem(body: &Value) -> String {
    let text = |member: &str| body[member].as_str();
    let fix = text("fix").map_or_else(String::new, |fix| format!("; {fix}"));
    let detail = text("detail").or_else(|| text("title")).unwrap_or("no answer");
    let code = text("code").map_or_else(String::new, |code| format!(" ({code})"));
    printable(&format!("error: {detail}{fix}{code}"))
}

fn members(object: &Map<String, Value>) -> String {
    let (mut lines, mut tables) = (Vec::new(), Vec::new());
    for (name, value) in object {
        flatten(name, value, &mut lines, &mut tables);
    }
    let lines = aligned(lines.into_iter().map(|(name, value)| vec![name, value]));
    std::iter::once(lines).chain(tables).collect::<Vec<_>>().join("\n")
}

/// One line for each leaf; null and empty lists take none.
fn flatten(name: &str, value: &Value, lines: &mut Vec<(String, String)>, tables: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => tables.push(table(name, items)),
        Value::Object(object) => {
            for (inner, value) in object {
                flatten(&format!("{name}.{inner}"), value, lines, tables);
            }
        }
        leaf => lines.push((name.to_owned(), if name == "state" { state(leaf) } else { plain(leaf) })),
    }
}

/// A table whose columns are all members that any item has.
fn table(name: &str, items: &[Value]) -> String {
    let objects = || items.iter().filter_map(Value::as_object);
    let columns: BTreeSet<&String> = objects().flat_map(Map::keys).collect();
    let header = columns.iter().map(|column| heading(column)).collect();
    let row = |item: &Map<String, Value>| {
        columns.iter().map(|column| item.get(*column).map_or_else(|| "-".to_owned(), plain)).collect::<Vec<_>>()
    };
    format!("{name}:\n{}", aligned(std::iter::once(header).chain(objects().map(row))))
}

fn list(containers: &[Value], body: &Value) -> String {
    const COLUMNS: [&str; 5] = ["user_id", "state", "openclaw_version", "base_revision", "reason_code"];
    // Without any measurement, a column of dashes says nothing.
    let measured = containers.iter().any(|container| container["directory"].is_object()).then_some("directory");
    let columns = || COLUMNS.into_iter().chain(measured);
    let header = columns().map(heading).collect();
    let row = |container: &Value| {
        let cell = |column: &str| match &container[column] {
            value if column == "state" => state(value),
            value if column == "directory" => directory(value),
            value => plain(value),
        };
        columns().map(cell).collect::<Vec<_>>()
    };
    let table = aligned(std::iter::once(header).chain(containers.iter().map(row)));
    let age = body["snapshot"]["age_seconds"].as_u64().map_or_else(String::new, |age| format!(", as of {age} s ago"));
    let what = if containers.len() == 1 { "container" } else { "containers" };
    let sum = body["directories"]["bytes"].as_u64().map_or_else(String::new, |bytes| {
        format!("; users' directories hold {} as far as they were measured", size(bytes))
    });
    format!("{table}{} {what}{age}{sum}\n", containers.len())
}

/// The size of a user's directory.
fn directory(value: &Value) -> String {
    let at_least = if value["complete"] == false { ">= " } else { "" };
    value["bytes"].as_u64().map_or_else(|| plain(&Value::Null), |bytes| format!("{at_least}{}", size(bytes)))
}

/// A number of bytes, short.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes >> 20) % 1_024) * 10 / 1_024),
    }
}

/// Rollouts in a table, and below it the ids of those that this version cannot read.
fn rollouts(all: &[Value], not_understood: &Value) -> String {
    let row = |rollout: &Value| {
        let of = |count: &str| rollout["counts"][count].as_u64();
        let done = of("done").zip(of("all")).map_or_else(|| "-".to_owned(), |(done, all)| format!("{done}/{all}"));
        let failed = of("failed").map_or_else(|| "-".to_owned(), |failed| failed.to_string());
        // To the second.
        let started =
            plain(&rollout["created_at"]).split('.').next().unwrap_or_default().trim_end_matches('Z').to_owned();
        let text = |member: &str| plain(&rollout[member]);
        vec![
            text("id"),
            state(&rollout["state"]),
            text("change"),
            done,
            failed,
            format!("{started}Z"),
            text("created_by"),
        ]
    };
    let header = ["id", "state", "change", "done", "failed", "started", "by"].map(heading).to_vec();
    let table = aligned(std::iter::once(header).chain(all.iter().map(row)));
    let unread = not_understood.as_array().into_iter().flatten();
    let unread = unread.map(|id| format!("{}: of a later version, or damaged\n", plain(id)));
    let what = if all.len() == 1 { "rollout" } else { "rollouts" };
    format!("{table}{}{} {what}\n", unread.collect::<String>(), all.len())
}

/// Users of a rollout in a table; of more than 50 only those who are not done.
pub(super) fn outcomes(users: &[Value]) -> String {
    const COLUMNS: [&str; 5] = ["user_id", "wave", "outcome", "code", "detail"];
    const MOST: usize = 50;
    let is_shown = |user: &&Value| users.len() <= MOST || user["outcome"] != "done";
    let shown: Vec<&Value> = users.iter().filter(is_shown).collect();
    let row = |user: &&Value| COLUMNS.map(|column| plain(&user[column])).to_vec();
    let header = COLUMNS.map(heading).to_vec();
    let table = aligned(std::iter::once(header).chain(shown.iter().map(row)));
    let done = users.iter().filter(|user| user["outcome"] == "done").count();
    format!("\n{table}{done} of {} users are done\n", users.len())
}

/// A line for each quota, and below them what could not be read.
fn capacity(quotas: &[Value]) -> String {
    const COLUMNS: [&str; 5] = ["name", "used", "limit", "left", "limit_from"];
    let header = COLUMNS.map(heading).to_vec();
    let rows = quotas.iter().map(|quota| COLUMNS.iter().map(|column| plain(&quota[*column])).collect());
    let problems = quotas.iter().filter_map(|quota| quota["problems"].as_array()).flatten();
    let problems: Vec<String> = problems.map(|problem| format!("not read: {}\n", plain(problem))).collect();
    let about =
        "fargate_vcpu and network_interfaces are used in this cluster; others in the account may use more of them\n";
    format!("{}{about}{}", aligned(std::iter::once(header).chain(rows)), problems.concat())
}

/// A line for each state and size, and the assumptions behind the numbers.
fn cost(lines: &[Value], body: &Value) -> String {
    const COLUMNS: [&str; 7] = ["state", "cpu", "memory_mib", "architecture", "containers", "usd_each", "usd_a_month"];
    let cell = |line: &Value, column: &str| match column {
        "state" => state(&line[column]),
        "usd_each" | "usd_a_month" => usd(&line[column]),
        _ => plain(&line[column]),
    };
    let header = COLUMNS.map(heading).to_vec();
    let rows = lines.iter().map(|line| COLUMNS.iter().map(|column| cell(line, column)).collect());
    let unknown = match body["without_size"].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!("Without {count} whose definition could not be read.\n"),
    };
    format!(
        "{}{} USD a month on Fargate in {}, if everything stays as it is for {} hours; prices of {} ({}).\n{unknown}\
         What has failed counts as if it ran. Not in it: {}.\n",
        aligned(std::iter::once(header).chain(rows)),
        usd(&body["usd_a_month"]),
        plain(&body["region"]),
        plain(&body["hours_a_month"]),
        plain(&body["prices"]["date"]),
        plain(&body["prices"]["source"]),
        plain(&body["not_in_it"]),
    )
}

fn usd(value: &Value) -> String {
    value.as_f64().map_or_else(|| plain(value), |usd| format!("{usd:.2}"))
}

/// What belongs to no user, in a table.
pub(super) fn left_over(found: &[Value], is_applied: bool) -> String {
    const COLUMNS: [&str; 5] = ["kind", "id", "user_id", "fate", "why"];
    if found.is_empty() {
        return "nothing belongs to nobody\n".to_owned();
    }
    let header = COLUMNS.map(heading).to_vec();
    let row = |left: &Value| COLUMNS.map(|column| plain(&left[column])).to_vec();
    let table = aligned(std::iter::once(header).chain(found.iter().map(row)));
    let (fate, what) = if is_applied { ("removed", "were removed") } else { ("due", "would be removed with --apply") };
    let number = found.iter().filter(|left| left["fate"] == fate).count();
    format!("{table}{number} of {} {what}\n", found.len())
}

fn heading(member: &str) -> String {
    member.to_uppercase().replace('_', " ")
}

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        // A count that may be a fraction.
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            number.to_string().trim_end_matches(".0").to_owned()
        }
        other => printable(&other.to_string()),
    }
}

/// Text without control characters: those of a tenant or an image's author must not reach the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A state in colour; the printer removes colours if the output is no terminal.
fn state(value: &Value) -> String {
    let colour = match value.as_str() {
        Some("running") => AnsiColor::Green,
        Some("failed") => AnsiColor::Red,
        Some("stopped") => AnsiColor::BrightBlack,
        _ => AnsiColor::Yellow,
    };
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{}{style:#}", plain(value))
}

fn aligned(rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = TabWriter::new(Vec::new()).padding(2).alignment(Alignment::Left).ansi(true);
    for row in rows {
        // Writing to memory cannot fail.
        let _infallible = writeln!(writer, "{}", row.join("\t"));
    }
    writer.into_inner().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(body: &Value) -> String {
        anstream::adapter::strip_str(&in_words(body)).to_string()
    }

    #[test]
    fn the_list_has_sizes_of_directories_once_they_were_measured() {
        let container = |id: &str, directory: Value| json!({"user_id": id, "state": "running", "directory": directory});
        let mut body = json!({
            "containers": [
                container("alice", json!({"bytes": 57_344, "complete": true})),
                container("bob", json!({"bytes": 5_u64 << 29, "complete": false})),
                container("carol", Value::Null),
            ],
            "snapshot": {"age_seconds": 41},
            "directories": {"bytes": 3 << 20},
        });
        insta::assert_snapshot!(words(&body), @r"
        USER ID  STATE    OPENCLAW VERSION  BASE REVISION  REASON CODE  DIRECTORY
        alice    running  -                 -              -            56 KiB
        bob      running  -                 -              -            >= 2.5 GiB
        carol    running  -                 -              -            -
        3 containers, as of 41 s ago; users' directories hold 3 MiB as far as they were measured
        ");
        for container in body["containers"].as_array_mut().unwrap() {
            container.as_object_mut().unwrap().remove("directory");
        }
        body.as_object_mut().unwrap().remove("directories");
        assert!(!words(&body).contains("DIRECTORY") && words(&body).ends_with("3 containers, as of 41 s ago\n"));
    }
}
