//! Merging environment variables and secrets by name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Merges `ours` into a container's name–value list: the base's order is kept, our values replace the base's in place, new
/// names are appended in order, and every name is there once (incident 8: CODEX_HOME was there twice, and the runtime decides
/// which one counts). If the base itself repeats a name, its last value stays, as in a shell.
pub(super) fn merge(list: &[Value], key: &str, ours: &BTreeMap<&str, &str>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::with_capacity(list.len() + ours.len());
    let mut at: BTreeMap<String, usize> = BTreeMap::new();
    for entry in list {
        let Some(name) = entry.get("name").and_then(Value::as_str) else { continue };
        let entry = match ours.get(name) {
            Some(value) => json!({"name": name, key: value}),
            None => entry.clone(),
        };
        if let Some(&seen) = at.get(name) {
            merged[seen] = entry;
        } else {
            at.insert(name.to_owned(), merged.len());
            merged.push(entry);
        }
    }
    let missing = ours.iter().filter(|(name, _)| !at.contains_key(**name));
    merged.extend(missing.map(|(name, value)| json!({"name": name, key: value})));
    merged
}

/// Merges `ours` into `member` of a container, without the names in `taken`, which are in the container's other list: ECS
/// refuses a name that is both a variable and a secret.
pub(super) fn merge_into(
    container: &mut Map<String, Value>,
    member: &str,
    key: &str,
    ours: &BTreeMap<&str, &str>,
    taken: &BTreeMap<&str, &str>,
) {
    let list = container.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
    let kept: Vec<Value> = list
        .into_iter()
        .filter(|entry| entry.get("name").and_then(Value::as_str).is_none_or(|name| !taken.contains_key(name)))
        .collect();
    let merged = merge(&kept, key, ours);
    if !merged.is_empty() || container.contains_key(member) {
        container.insert(member.to_owned(), Value::Array(merged));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<Value> {
        pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
    }

    /// Incident 8: CODEX_HOME was appended although the base already had it.
    #[test]
    fn a_name_that_the_base_has_is_replaced_in_place_and_occurs_once() {
        let ours = BTreeMap::from([("CODEX_HOME", "/ours"), ("NEW", "n")]);
        let base = env(&[("A", "1"), ("CODEX_HOME", "/base"), ("B", "2"), ("CODEX_HOME", "/again"), ("A", "3")]);
        assert_eq!(merge(&base, "value", &ours), env(&[("A", "3"), ("CODEX_HOME", "/ours"), ("B", "2"), ("NEW", "n")]));
    }

    #[test]
    fn a_secret_replaces_the_plain_variable_of_its_name() {
        let mut container =
            Map::from_iter([("environment".to_owned(), Value::Array(env(&[("K", "plain"), ("A", "1")])))]);
        let secrets = BTreeMap::from([("K", "arn")]);
        merge_into(&mut container, "environment", "value", &BTreeMap::new(), &secrets);
        merge_into(&mut container, "secrets", "valueFrom", &secrets, &BTreeMap::new());
        assert_eq!(
            Value::Object(container),
            json!({"environment": [{"name": "A", "value": "1"}], "secrets": [{"name": "K", "valueFrom": "arn"}]})
        );
    }
}
