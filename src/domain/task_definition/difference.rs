//! The differences between two definitions, as a JSON Patch (RFC 6902) that contains no secrets.
//!
//! Lists whose items have names (containers, volumes, variables, secrets, tags) become objects by name, so that a new entry is one
//! line and no other entry moves. The patch hides what the API never shows: values of variables and labels, ARNs of secrets, access
//! points. It shows that such a value changes, but not the value.

use std::collections::BTreeMap;

use json_patch::{PatchOperation, diff};
use serde_json::{Map, Value, json};

use super::{LABEL_ACCESS_POINT, LABEL_DIGEST, LABEL_PREFIX, LABEL_PREVIOUS, LABEL_SPEC, OUTPUT_MEMBERS, text};

/// Shown in place of a hidden value.
const NOT_SHOWN: &str = "(not shown)";
/// Prefix of a hidden value while two are compared. No value of ECS contains a NUL.
const HIDDEN: char = '\0';
/// Labels that differ for every user or every revision.
const OF_EVERY_REVISION: [&str; 4] = [LABEL_SPEC, LABEL_ACCESS_POINT, LABEL_DIGEST, LABEL_PREVIOUS];
/// Members whose items have names, and the member that holds the name.
const NAMED: [(&str, &str); 6] = [
    ("containerDefinitions", "name"),
    ("volumes", "name"),
    ("environment", "name"),
    ("secrets", "name"),
    ("secretOptions", "name"),
    ("tags", "key"),
];
/// Members whose values are all hidden.
const HIDES: [&str; 4] = ["environment", "secrets", "secretOptions", "accessPointId"];

/// The patch from `before` to `after`, both in the shape of the ECS API with their tags. Before each replace and remove, a
/// `test` names the old value.
#[must_use]
pub fn difference(before: &Value, after: &Value) -> Value {
    let (before, after) = (comparable(before), comparable(after));
    let mut operations = Vec::new();
    for operation in diff(&before, &after).0 {
        if let PatchOperation::Replace(_) | PatchOperation::Remove(_) = &operation
            && let Some(was) = before.pointer(operation.path().as_str())
        {
            operations.push(json!({"op": "test", "path": operation.path().as_str(), "value": was}));
        }
        operations.push(serde_json::to_value(&operation).unwrap_or_default());
    }
    let mut operations = Value::Array(operations);
    hide(&mut operations);
    operations
}

fn comparable(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(members) = document.as_object_mut() {
        members.retain(|member, _| !OUTPUT_MEMBERS.contains(&member.as_str()));
    }
    by_name(&mut document);
    document
}

fn by_name(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(by_name),
        Value::Object(members) => {
            hide_options(members);
            for (member, value) in members.iter_mut() {
                by_name(value);
                if let Some((_, key)) = NAMED.iter().find(|(named, _)| named == member) {
                    keyed(value, key);
                }
                if member == "dockerLabels" {
                    labels(value);
                }
                if HIDES.contains(&member.as_str()) {
                    mark(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Hides the options of log drivers other than CloudWatch's: they may contain a token.
fn hide_options(members: &mut Map<String, Value>) {
    if members.get("logDriver").is_some_and(|driver| driver != "awslogs")
        && let Some(options) = members.get_mut("options")
    {
        mark(options);
    }
}

/// Turns a list into an object by name; the list stays if an item has no name or a name occurs twice.
fn keyed(list: &mut Value, key: &str) {
    let Value::Array(items) = list else { return };
    let mut named = BTreeMap::new();
    for item in items.iter() {
        let (Some(name), Some(members)) = (text(item, key), item.as_object()) else { return };
        let mut rest = members.clone();
        rest.remove(key);
        let value = match (rest.len(), rest.get("value").or_else(|| rest.get("valueFrom"))) {
            (1, Some(only)) => only.clone(),
            _ => Value::Object(rest),
        };
        if named.insert(name.to_owned(), value).is_some() {
            return;
        }
    }
    *list = Value::Object(named.into_iter().collect());
}

/// Hides the values of a caller's labels; the label with the base is shown.
fn labels(value: &mut Value) {
    let Some(labels) = value.as_object_mut() else { return };
    labels.retain(|name, _| !OF_EVERY_REVISION.contains(&name.as_str()));
    for (_, value) in labels.iter_mut().filter(|(name, _)| !name.starts_with(LABEL_PREFIX)) {
        mark(value);
    }
}

/// Marks every text in a value as hidden.
fn mark(value: &mut Value) {
    match value {
        Value::String(text) if !text.starts_with(HIDDEN) => text.insert(0, HIDDEN),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::Array(items) => items.iter_mut().for_each(mark),
        Value::Object(members) => members.values_mut().for_each(mark),
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with(HIDDEN) => NOT_SHOWN.clone_into(text),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(members) => members.values_mut().for_each(hide),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(image: &str, variables: &[(&str, &str)]) -> Value {
        let environment: Vec<Value> =
            variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({
            "family": "f", "revision": 7, "tags": [{"key": "team", "value": "a"}],
            "volumes": [{"name": "v", "efsVolumeConfiguration": {"authorizationConfig": {"accessPointId": "fsap-1"}}}],
            "containerDefinitions": [{
                "name": "openclaw", "image": image, "environment": environment, "command": ["a", "b"],
                "secrets": [{"name": "K", "valueFrom": "arn:secret"}],
                "logConfiguration": {"logDriver": "splunk", "options": {"splunk-token": "t0ken"}},
                "dockerLabels": {LABEL_SPEC: "{\"variables\":{\"TZ\":\"hush\"}}", "mine": "hush"},
            }],
        })
    }

    #[test]
    fn equal_definitions_make_an_empty_patch_in_any_order_of_named_items() {
        let before = definition("i:1", &[("A", "1"), ("B", "2")]);
        let mut after = definition("i:1", &[("B", "2"), ("A", "1")]);
        after["revision"] = json!(8);
        assert_eq!(difference(&before, &after), json!([]));
    }

    #[test]
    fn the_old_value_is_named_before_it_is_replaced() {
        let patch = difference(&definition("i:1", &[]), &definition("i:2", &[]));
        let path = "/containerDefinitions/openclaw/image";
        let expected = json!([
            {"op": "test", "path": path, "value": "i:1"},
            {"op": "replace", "path": path, "value": "i:2"},
        ]);
        assert_eq!(patch, expected);
    }

    #[test]
    fn the_patch_shows_that_a_hidden_value_changes_but_not_the_value() {
        let before = definition("i:1", &[("GONE", "hush"), ("TZ", "hush")]);
        let mut after = definition("i:1", &[("NEW", "hush"), ("TZ", "hush, too")]);
        let container = &mut after["containerDefinitions"][0];
        container["secrets"][0]["valueFrom"] = json!("arn:hush");
        container["dockerLabels"]["mine"] = json!("hush, too");
        container["logConfiguration"]["options"]["splunk-token"] = json!("hush");
        after["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"]["accessPointId"] = json!("fsap-hush");
        let patch = difference(&before, &after);
        let text = patch.to_string();
        assert!(!["hush", "arn:", "t0ken", "fsap"].iter().any(|secret| text.contains(secret)), "{text}");
        for path in ["environment/GONE", "environment/NEW", "environment/TZ", "secrets/K", "dockerLabels/mine"] {
            assert!(text.contains(&format!("/containerDefinitions/openclaw/{path}")), "{path}: {text}");
        }
        assert!(text.contains("splunk-token") && text.contains("accessPointId") && text.contains(NOT_SHOWN), "{text}");
    }

    #[test]
    fn a_new_container_is_shown_without_its_hidden_values() {
        let before = definition("i:1", &[]);
        let mut after = before.clone();
        let sidecar = json!({"name": "proxy", "image": "p:1", "environment": [{"name": "KEY", "value": "hush"}]});
        after["containerDefinitions"].as_array_mut().unwrap().push(sidecar);
        let patch = difference(&before, &after);
        assert_eq!(patch[0]["path"], "/containerDefinitions/proxy", "{patch}");
        assert_eq!(patch[0]["value"], json!({"image": "p:1", "environment": {"KEY": NOT_SHOWN}}), "{patch}");
    }
}
