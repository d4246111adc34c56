//! The entries of `openclaw.json` that are ours, merged into what the user and the container wrote (openclaw-facts §5).
//!
//! Without `gateway.mode` the gateway exits 78, and so it does on `bind: "lan"` without auth. Everything else in the
//! file is the user's. doctor rewrites the file, so our paths are compared and never a hash of it.

use serde_json::{Map, Value, json};

use super::ModelEntries;

/// The gateway's port; the base definition maps it.
pub const GATEWAY_PORT: u16 = 18_789;

/// Every reference that a plan ever set: such a one is followed up, any other is the user's choice.
const OUR_REFERENCES: [&str; 3] = ["openai-codex/gpt-5.4", "openai-codex/gpt-5.5", "openai/gpt-5.5"];
/// Every runtime that a plan ever set.
const OUR_RUNTIMES: [&str; 2] = ["pi", "openclaw"];

/// What to do with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It says all that it should.
    Unchanged,
    /// Write this.
    Write(Vec<u8>),
    /// It cannot be merged without losing something of the user's.
    LeftAlone(&'static str),
}

/// Merges our entries into the file. `gateway_token` is a new one, used only where there is none; `None` where the
/// environment brings it.
#[must_use]
pub fn merge(existing: Option<&[u8]>, model: ModelEntries, gateway_token: Option<&str>) -> Merged {
    let before = match existing {
        Some(bytes) if !bytes.iter().all(u8::is_ascii_whitespace) => match serde_json::from_slice(bytes) {
            Ok(Value::Object(file)) => Some(file),
            Ok(_) => return Merged::LeftAlone("it is not an object"),
            // Comments and trailing commas are the user's, and would be lost (OpenClaw accepts JSON5).
            Err(_) => return Merged::LeftAlone("it is not strict JSON"),
        },
        Some(_) | None => None,
    };
    let mut file = before.clone().unwrap_or_default();
    if set_gateway(&mut file, gateway_token).and_then(|()| set_model(&mut file, model)).is_none() {
        return Merged::LeftAlone("a member that should be an object is something else");
    }
    if before.as_ref() == Some(&file) {
        return Merged::Unchanged;
    }
    Merged::Write(format!("{:#}\n", Value::Object(file)).into_bytes())
}

/// Whether a new gateway token would be used: making one costs entropy, and nothing should be written without need.
#[must_use]
pub fn has_gateway_token(existing: &[u8]) -> bool {
    let file: Value = serde_json::from_slice(existing).unwrap_or_default();
    file.pointer("/gateway/auth/token").is_some_and(is_token)
}

fn set_gateway(file: &mut Map<String, Value>, gateway_token: Option<&str>) -> Option<()> {
    let gateway = object(file, &["gateway"])?;
    gateway.insert("mode".into(), json!("local"));
    gateway.insert("port".into(), json!(GATEWAY_PORT));
    gateway.insert("bind".into(), json!("lan"));
    let auth = object(gateway, &["auth"])?;
    auth.insert("mode".into(), json!("token"));
    if let Some(token) = gateway_token
        && !auth.get("token").is_some_and(is_token)
    {
        auth.insert("token".into(), json!(token));
    }
    Some(())
}

/// A text, or a reference to a secret, which the user may have put there.
fn is_token(token: &Value) -> bool {
    token.as_str().is_some_and(|token| !token.is_empty()) || token.is_object()
}

fn set_model(file: &mut Map<String, Value>, model: ModelEntries) -> Option<()> {
    let ModelEntries { reference, runtime, codex_user_scope } = model;
    let defaults = object(file, &["agents", "defaults"])?;
    let ours = |value: &Value| value.as_str().is_some_and(|text| OUR_REFERENCES.contains(&text));
    let is_ours = match defaults.get("model") {
        None => true,
        // The short form, which OpenClaw takes too.
        Some(model @ Value::String(_)) => ours(model),
        Some(Value::Object(model)) => model.get("primary").is_none_or(ours),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) => return None,
    };
    // Another model is the user's choice, and so is everything that goes with it.
    if is_ours {
        if let Some(Value::String(short)) = defaults.get_mut("model") {
            reference.clone_into(short);
        } else {
            object(defaults, &["model"])?.insert("primary".into(), json!(reference));
        }
        forget_runtimes(defaults, reference, runtime);
        if let Some(runtime) = runtime {
            object(defaults, &["models", reference, "agentRuntime"])?.insert("id".into(), json!(runtime));
        }
    }
    let app_server = ["config", "appServer"];
    if codex_user_scope {
        let codex = object(file, &["plugins", "entries", "codex"])?;
        object(codex, &app_server)?.insert("homeScope".into(), json!("user"));
    }
    Some(())
}

/// Takes out what a plan for another release set: entries that hold nothing but a runtime of ours.
fn forget_runtimes(defaults: &mut Map<String, Value>, reference: &str, runtime: Option<&str>) {
    let Some(models) = defaults.get_mut("models").and_then(Value::as_object_mut) else { return };
    let had_some = !models.is_empty();
    for ours in OUR_REFERENCES.into_iter().filter(|ours| *ours != reference || runtime.is_none()) {
        let is_bare = OUR_RUNTIMES.iter().any(|id| models.get(ours) == Some(&json!({"agentRuntime": {"id": id}})));
        if is_bare {
            models.remove(ours);
        }
    }
    // An empty list may mean something else than none.
    if had_some && models.is_empty() {
        defaults.remove("models");
    }
}

/// The object at a path, made where there is none; `None` where something else is.
fn object<'a>(mut at: &'a mut Map<String, Value>, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    for name in path {
        at = at.entry(*name).or_insert_with(|| json!({})).as_object_mut()?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::super::{PlanInputs, credential_plan};
    use super::*;
    use crate::domain::openclaw_version::OpenClawVersion;

    fn model(month: u16, patch: u16) -> ModelEntries {
        credential_plan(OpenClawVersion::new(2026, month, patch), PlanInputs::default()).model
    }

    fn written(merged: Merged) -> Value {
        match merged {
            Merged::Write(bytes) => serde_json::from_slice(&bytes).unwrap(),
            Merged::Unchanged | Merged::LeftAlone(_) => panic!("{merged:?}"),
        }
    }

    fn merged(existing: &Value, model: ModelEntries) -> Merged {
        merge(Some(existing.to_string().as_bytes()), model, Some("new"))
    }

    #[test]
    fn a_new_file_has_what_the_gateway_needs_and_merging_again_changes_nothing() {
        let gateway = json!({"mode": "local", "port": 18789, "bind": "lan", "auth": {"mode": "token", "token": "t"}});
        for (release, defaults) in [
            (model(4, 21), json!({"model": {"primary": "openai-codex/gpt-5.4"}})),
            (
                model(5, 12),
                json!({
                    "model": {"primary": "openai-codex/gpt-5.5"},
                    "models": {"openai-codex/gpt-5.5": {"agentRuntime": {"id": "pi"}}},
                }),
            ),
        ] {
            for nothing in [None, Some(b" \n".as_slice())] {
                let file = written(merge(nothing, release, Some("t")));
                assert_eq!(file, json!({"gateway": gateway, "agents": {"defaults": defaults}}));
                assert_eq!(merged(&file, release), Merged::Unchanged);
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_kept_and_the_token_is_made_once() {
        let theirs = json!({
            "channels": {"telegram": {"enabled": true}},
            "gateway": {"mode": "remote", "auth": {"token": "old", "allowTailscale": true}, "tls": {}},
            "agents": {"defaults": {"model": {"primary": "anthropic/claude", "fallbacks": ["x"]}, "models": {}}},
        });
        assert_eq!(
            written(merged(&theirs, model(9, 6))),
            json!({
                "channels": {"telegram": {"enabled": true}},
                "gateway": {
                    "mode": "local", "port": 18789, "bind": "lan", "tls": {},
                    "auth": {"mode": "token", "token": "old", "allowTailscale": true},
                },
                "agents": {"defaults": {"model": {"primary": "anthropic/claude", "fallbacks": ["x"]}, "models": {}}},
            })
        );
        assert!(has_gateway_token(theirs.to_string().as_bytes()) && !has_gateway_token(b"{}"));
        let from_environment = written(merge(None, model(9, 6), None));
        assert_eq!(from_environment["gateway"]["auth"], json!({"mode": "token"}));
    }

    #[test]
    fn another_release_follows_up_its_own_entries_only() {
        let first = written(merge(None, model(5, 12), Some("t")));
        let second = written(merged(&first, model(9, 6)));
        assert_eq!(
            second["agents"]["defaults"],
            json!({
                "model": {"primary": "openai/gpt-5.5"},
                "models": {"openai/gpt-5.5": {"agentRuntime": {"id": "openclaw"}}},
            })
        );
        assert_eq!(
            written(merged(&second, model(4, 21)))["agents"],
            json!({
                "defaults": {"model": {"primary": "openai-codex/gpt-5.4"}},
            })
        );
        let mut tuned = second;
        tuned["agents"]["defaults"]["models"]["openai/gpt-5.5"]["alias"] = json!("mine");
        let third = written(merged(&tuned, model(4, 21)));
        assert_eq!(third["agents"]["defaults"]["models"], tuned["agents"]["defaults"]["models"]);
        let short = written(merged(&json!({"agents": {"defaults": {"model": "openai/gpt-5.5"}}}), model(5, 7)));
        assert_eq!(short["agents"]["defaults"], json!({"model": "openai-codex/gpt-5.5"}));
    }

    #[test]
    fn the_plugin_is_given_the_users_codex_home() {
        let inputs = PlanInputs { has_codex_plugin: true };
        let plugin = credential_plan(OpenClawVersion::new(2026, 9, 6), inputs).model;
        let file = written(merged(&written(merge(None, model(9, 6), Some("t"))), plugin));
        assert_eq!(file["plugins"], json!({"entries": {"codex": {"config": {"appServer": {"homeScope": "user"}}}}}));
        assert_eq!(file["agents"]["defaults"], json!({"model": {"primary": "openai/gpt-5.5"}}));
    }

    #[test]
    fn what_would_lose_something_is_left_alone() {
        for file in [
            "{/* mine */}",
            "{\"a\": 1,}",
            "[]",
            "nonsense",
            "{\"gateway\": 1}",
            "{\"agents\": {\"defaults\": {\"model\": 7}}}",
        ] {
            let merged = merge(Some(file.as_bytes()), model(9, 6), Some("t"));
            assert!(matches!(merged, Merged::LeftAlone(_)), "{file}");
        }
    }
}
