//! `auth.order` and `auth.profiles` of `openclaw.json`: an explicit choice of profiles without the staged one would keep it
//! from ever being used. `openclaw models auth login` writes the second one for each account that it signs in.

use serde_json::Value;

use super::document::{Document, Problem};
use crate::{ProfileProvider, Warning};

/// Puts the staged sign-in's profile in front of an order that lacks it, and among profiles that lack it.
pub(super) fn set(file: &mut Document, provider: ProfileProvider) -> Result<Vec<Warning>, Problem> {
    let mut warnings = Vec::new();
    let changed = |path: &str| Warning::AuthOrderChanged { place: format!("{path} in openclaw.json") };
    let id = provider.profile_id();
    let auth = file.value(&["auth"])?;
    let mut has_order = false;
    for (name, order) in auth["order"].as_object().into_iter().flatten() {
        let Some(order) = order.as_array().filter(|_| provider.is_meant_by(name)) else { continue };
        has_order = true;
        if !order.iter().any(|known| known == id) {
            file.put_in_front(&["auth", "order", name], id)?;
            warnings.push(changed("auth.order"));
        }
    }
    let profiles = auth["profiles"].as_object();
    let is_of = |profile: &Value| profile["provider"].as_str().is_some_and(|name| provider.is_meant_by(name));
    let listed = profiles.and_then(|profiles| profiles.get(id));
    let leaves_out = !has_order && listed.is_none() && profiles.is_some_and(|all| all.values().any(is_of));
    let is_another = listed.is_some_and(|listed| !is_of(listed) || listed["mode"] != "oauth");
    if leaves_out || is_another {
        file.set_text(&["auth", "profiles", id, "provider"], provider.name())?;
        file.set_text(&["auth", "profiles", id, "mode"], "oauth")?;
        warnings.push(changed("auth.profiles"));
    }
    Ok(warnings)
}
