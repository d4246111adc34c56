//! What a release remembers of profiles besides their tokens: how they failed (`usageStats`) and a chosen order (`order`).
//! In `auth-state.json`, and on some releases in `auth-profiles.json` itself, under the same names.

use serde_json::{Map, Value, json};

use super::ProfileProvider;

/// Removes the failures of these profiles. A sign-in that was just written must not wait until the old one's penalty is
/// over: a disabled profile is not even tried (seen on 2026.5.7). Returns whether anything changed.
pub(super) fn forget_failures(file: &mut Map<String, Value>, ids: &[String]) -> bool {
    let Some(usage) = file.get_mut("usageStats").and_then(Value::as_object_mut) else { return false };
    let before = usage.len();
    usage.retain(|id, _| !ids.contains(id));
    usage.len() != before
}

/// Puts a profile in front of an order that lacks it; otherwise it would never be used. Returns whether anything changed.
pub(super) fn put_in_front(file: &mut Map<String, Value>, provider: ProfileProvider, id: &str) -> bool {
    let Some(orders) = file.get_mut("order").and_then(Value::as_object_mut) else { return false };
    let mut changed = false;
    for (name, order) in orders {
        if let Some(order) = order.as_array_mut().filter(|_| provider.is_meant_by(name))
            && !order.iter().any(|known| known == id)
        {
            order.insert(0, json!(id));
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("no object") };
        object
    }

    #[test]
    fn the_failures_of_our_profile_go_and_those_of_others_stay() {
        let mut file = object(json!({"version": 1, "usageStats": {
            "openai-codex:default": {"disabledUntil": 9}, "openai-codex:other": {"cooldownUntil": 9},
        }}));
        let ours = ["openai-codex:default".to_owned()];
        assert!(forget_failures(&mut file, &ours));
        assert_eq!(file["usageStats"], json!({"openai-codex:other": {"cooldownUntil": 9}}));
        assert!(!forget_failures(&mut file, &ours));
        for other in [json!({}), json!({"usageStats": []}), json!({"usageStats": null})] {
            assert!(!forget_failures(&mut object(other), &ours));
        }
    }

    #[test]
    fn an_order_that_leaves_our_profile_out_gets_it_in_front() {
        let order = |orders: Value| {
            let mut file = object(json!({"order": orders}));
            let changed = put_in_front(&mut file, ProfileProvider::OpenAiCodex, "openai-codex:default");
            changed.then(|| file["order"].clone())
        };
        assert_eq!(
            order(json!({"OpenAI-Codex ": ["x"], "anthropic": ["y"]})),
            Some(json!({"OpenAI-Codex ": ["openai-codex:default", "x"], "anthropic": ["y"]}))
        );
        assert_eq!(order(json!({"openai-codex": []})), Some(json!({"openai-codex": ["openai-codex:default"]})));
        for fine in [json!({"openai-codex": ["x", "openai-codex:default"]}), json!({"openai": ["x"]}), json!([])] {
            assert_eq!(order(fine), None);
        }
        let mut elder = object(json!({"order": {"openai-codex": ["x"]}}));
        assert!(put_in_front(&mut elder, ProfileProvider::OpenAi, "openai:default"), "the older name means it too");
    }
}
