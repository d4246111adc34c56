//! For any file, the merge keeps everything outside our paths, and a second merge changes nothing.

use proptest::prelude::*;
use serde_json::Map;

use super::*;

/// Our paths and some around them.
const NAMES: [&str; 14] = [
    "gateway",
    "mode",
    "port",
    "auth",
    "token",
    "agents",
    "defaults",
    "model",
    "models",
    "primary",
    "plugins",
    "entries",
    "openai/gpt-5.5",
    "other",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["openai/gpt-5.5", "openclaw", "local", "user"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), object(inner)]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let name = prop_oneof![4 => prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::btree_map(name, inner, 0..6).prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// A file that has something at our paths more often than by chance.
fn file() -> impl Strategy<Value = Value> {
    (object(value()), prop::option::of(object(value())), prop::option::of(object(value())), prop::option::of(value()))
        .prop_map(|(mut file, gateway, defaults, codex)| {
            if let Some(gateway) = gateway {
                file["gateway"] = gateway;
            }
            if let Some(defaults) = defaults {
                file["agents"] = json!({"defaults": defaults});
            }
            if let Some(scope) = codex {
                file["plugins"] = json!({"entries": {"codex": {"config": {"appServer": {"homeScope": scope}}}}});
            }
            file
        })
}

fn plan() -> impl Strategy<Value = ModelEntries> {
    let kinds = Provider::ALL;
    (4u16..10, 0u16..40, prop::sample::select(kinds.to_vec()), any::<bool>()).prop_map(
        |(month, patch, kind, plugin)| {
            let inputs = PlanInputs { has_codex_plugin: plugin };
            model_entries(OpenClawVersion::new(2026, month, patch), kind, inputs)
        },
    )
}

/// The file without our paths, and without empty objects that we may have made or emptied.
fn outside(mut file: Value) -> Value {
    fn take(file: &mut Value, path: &[&str]) {
        match path {
            [] => {}
            [last] => {
                file.as_object_mut().map(|object| object.remove(*last));
            }
            [first, rest @ ..] => {
                let Some(inner) = file.get_mut(*first) else { return };
                take(inner, rest);
                if *inner == json!({}) {
                    file.as_object_mut().map(|object| object.remove(*first));
                }
            }
        }
    }
    for path in [&["gateway", "mode"][..], &["gateway", "port"], &["gateway", "bind"], &["gateway", "auth", "mode"]] {
        take(&mut file, path);
    }
    if file.get("agents").and_then(|agents| agents.get("defaults")?.get("model")).is_some_and(Value::is_string) {
        take(&mut file, &MODEL);
    }
    for path in [&TOKEN[..], &PRIMARY, &HOME_SCOPE, &DISCOVERY] {
        take(&mut file, path);
    }
    for reference in our_references() {
        take(&mut file, &runtime_of(reference));
    }
    file
}

/// The same file with comments and without unneeded quotes.
fn as_json5(file: &Value, at: usize) -> String {
    match file {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let name = if name.chars().all(|c| c.is_ascii_alphabetic()) && !name.is_empty() {
                    name.clone()
                } else {
                    json!(name).to_string()
                };
                format!("\n  {name}: {}, // {at}", as_json5(value, at + 1))
            };
            format!("{{ /* {{ */{}\n}}", members.iter().map(member).collect::<String>())
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn a_merge_keeps_what_is_not_ours_and_a_second_merge_changes_nothing(file in file(), first in plan(), second in plan()) {
        let text = file.to_string();
        if let Merged::Write(bytes) = with(Some(text.as_bytes()), first, "t") {
            let after: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(outside(after), outside(file));
            prop_assert!(with(Some(&bytes), first, "other") == Merged::Unchanged);
            if let Merged::Write(again) = with(Some(&bytes), second, "other") {
                prop_assert!(with(Some(&again), second, "third") == Merged::Unchanged);
            }
        }
    }

    #[test]
    fn no_comment_is_lost(file in file(), plan in plan()) {
        // Removing one of our members may remove the comment behind it.
        let file = match file { Value::Object(mut members) => { members.remove("plugins"); members.remove("agents"); members }, _ => Map::new() };
        let text = as_json5(&Value::Object(file), 0);
        if let Merged::Write(bytes) = with(Some(text.as_bytes()), plan, "t") {
            let after = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(after.matches("/* { */").count(), text.matches("/* { */").count());
            prop_assert_eq!(after.matches("// 0").count(), text.matches("// 0").count());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]:,'\"/* a\\\\\n]{0,60}") {
        for file in [bytes.as_slice(), text.as_bytes()] {
            let _result = with(Some(file), plugin(), "t");
            let _token = gateway_token(file);
        }
    }
}
