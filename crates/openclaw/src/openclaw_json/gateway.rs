//! The section `gateway` of `openclaw.json`: reachable from the private network, with a secret, and never one that the
//! gateway refuses to start with.
//!
//! What it refuses is the same in all releases that were looked at, 2026.4.21 to 9.6 (`server-runtime-config`,
//! `gateway/auth`, `config/validation`): another `mode` than `local`; `tailscale.mode` `serve` or `funnel` on anything but
//! loopback; anything but loopback without a secret or a trusted proxy; `auth.mode` `password` without a password;
//! `trusted-proxy` without `trustedProxies` and `userHeader`, or beside a token; a `custom` host that is not its own. On
//! Fargate, `auto` is loopback: it sees no container there.

use jsonc_parser::cst::CstInputValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::document::{Document, Problem};
use super::{GatewaySecrets, GatewayToken, TOKEN, TokenSource, token_in};
use crate::Warning;

const MODE: &str = "gateway.mode";
const PORT: &str = "gateway.port";
const BIND: &str = "gateway.bind";
const AUTH_MODE: &str = "gateway.auth.mode";
const TAILSCALE: &str = "gateway.tailscale.mode";
const TLS: &str = "gateway.tls.enabled";
const AUTH_TOKEN: &str = "gateway.auth.token";
const AUTH_PASSWORD: &str = "gateway.auth.password";
/// What all of this machine's addresses are written as.
const ANY_ADDRESS: &str = "0.0.0.0";
/// Secrets that the gateway refuses: those of examples, and what a variable that is not set leaves.
const NO_SECRETS: [&str; 5] =
    ["undefined", "null", "change-me-to-a-long-random-token", "change-me-now", "change-me-to-a-strong-password"];

/// How the gateway is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Auth {
    Token,
    Password,
    TrustedProxy,
}

/// Sets what the gateway needs, and says which values of the user's were changed for it or keep others out.
pub(super) fn set(
    file: &mut Document,
    secrets: GatewaySecrets,
    fresh_token: &SecretString,
    port: u16,
) -> Result<Vec<Warning>, Problem> {
    let before = file.value(&["gateway"])?;
    let (mut warnings, mut kept) = (Vec::new(), Vec::new());
    let mut over = |found: &Value, path, reason| {
        if !found.is_null() {
            warnings.push(Warning::ConfigurationOverridden { path, reason });
        }
    };

    if before["mode"] != "local" {
        over(&before["mode"], MODE, "no gateway starts with anything but \"local\"");
        file.set_text(&["gateway", "mode"], "local")?;
    }
    if before["port"] != port {
        over(&before["port"], PORT, "the task definition and the health check know another one");
    }
    let port = port.to_string();
    file.set_literal(&["gateway", "port"], &port, CstInputValue::Number(port.clone()))?;
    let any_address = before["bind"] == "custom" && text(&before["customBindHost"]) == Some(ANY_ADDRESS);
    if !any_address {
        if before["bind"] != "lan" {
            over(&before["bind"], BIND, "nothing in the private network would reach it");
        }
        file.set_text(&["gateway", "bind"], "lan")?;
    }
    let tailscale = &before["tailscale"];
    // One that is no section is an error of the file, which stays as it is.
    if !tailscale.is_null() && !tailscale.is_object() || !matches!(tailscale["mode"].as_str(), None | Some("off")) {
        over(&tailscale["mode"], TAILSCALE, "no gateway starts with it that the private network reaches");
        file.set_text(&["gateway", "tailscale", "mode"], "off")?;
    }
    if before["tls"]["enabled"] == true {
        let consequence = "who connects has to speak TLS, and a health check or probe over plain HTTP fails";
        kept.push(Warning::ConfigurationKept { path: TLS, consequence });
    }

    let (auth, why_not) = decided(&before, secrets);
    if let Some(reason) = why_not {
        over(&before["auth"]["mode"], AUTH_MODE, reason);
    }
    if auth == Auth::Token && before["auth"]["mode"].is_null() && is_secret(&before["auth"]["password"]) {
        // Releases differ in what they make of it: the password, or no start at all.
        over(
            &before["auth"]["password"],
            AUTH_PASSWORD,
            "it opens nothing: beside a token, and without gateway.auth.mode, the token counts",
        );
    }
    match auth {
        Auth::Token => {
            file.set_text(&["gateway", "auth", "mode"], "token")?;
            if text(&before["auth"]["token"]).is_some_and(|token| NO_SECRETS.contains(&token)) {
                over(&before["auth"]["token"], AUTH_TOKEN, "no gateway starts with this one");
                file.set_text(&TOKEN, fresh_token.expose_secret())?;
            }
            set_token(file, secrets.token, fresh_token)?;
        }
        Auth::Password => {
            file.set_text(&["gateway", "auth", "mode"], "password")?;
            let consequence =
                "whoever connects has to give that password, and not the token that GET …/gateway answers";
            kept.push(Warning::ConfigurationKept { path: AUTH_MODE, consequence });
        }
        Auth::TrustedProxy => {
            // One that this service made; the gateway refuses to start beside it.
            if let GatewayToken::Text(token) = token_in(file)?
                && is_ours(&token)
            {
                file.remove(&TOKEN, 2)?;
            }
            let consequence = "only its proxies can connect, and no token opens the gateway";
            kept.push(Warning::ConfigurationKept { path: AUTH_MODE, consequence });
        }
    }
    warnings.append(&mut kept);
    Ok(warnings)
}

/// How the gateway is opened: as the user chose, where it starts with that; else by a token, with the reason why not.
fn decided(gateway: &Value, secrets: GatewaySecrets) -> (Auth, Option<&'static str>) {
    let auth = &gateway["auth"];
    let has_password = secrets.has_password || is_secret(&auth["password"]);
    let has_token = is_secret(&auth["token"]);
    match text(&auth["mode"]) {
        Some("token") => (Auth::Token, None),
        Some("password") if has_password => (Auth::Password, None),
        Some("password") => (Auth::Token, Some("no gateway starts with it and without a password")),
        Some("trusted-proxy") => {
            let has_header = text(&auth["trustedProxy"]["userHeader"]).is_some_and(|header| !header.trim().is_empty());
            let proxies = gateway["trustedProxies"].as_array();
            let has_proxies = proxies.is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string));
            let has_their_token = has_token && !text(&auth["token"]).is_some_and(|token| is_ours(&token.into()));
            if !has_header || !has_proxies {
                return (Auth::Token, Some("no gateway starts with it and without trustedProxies and userHeader"));
            }
            if has_their_token || secrets.token == TokenSource::Environment {
                return (Auth::Token, Some("no gateway starts with it beside a token"));
            }
            (Auth::TrustedProxy, None)
        }
        // As a gateway does by itself that has a password and no token.
        None if auth["mode"].is_null() && is_secret(&auth["password"]) && !has_token => (Auth::Password, None),
        Some("none") => (Auth::Token, Some("no gateway starts without a secret that others than itself reach")),
        Some(_) | None => (Auth::Token, Some("it is none of the modes that a gateway has")),
    }
}

fn set_token(file: &mut Document, source: TokenSource, fresh_token: &SecretString) -> Result<(), Problem> {
    match (source, token_in(file)?) {
        (TokenSource::File, GatewayToken::Missing) => file.set_text(&TOKEN, fresh_token.expose_secret()),
        (TokenSource::Environment, GatewayToken::Text(token)) if is_ours(&token) => file.remove(&TOKEN, 2),
        (TokenSource::File, GatewayToken::Text(_) | GatewayToken::Reference)
        | (TokenSource::Environment, GatewayToken::Missing | GatewayToken::Text(_) | GatewayToken::Reference) => Ok(()),
    }
}

/// A text, or a reference to a secret that is kept elsewhere.
fn is_secret(value: &Value) -> bool {
    value.is_object() || text(value).is_some_and(|text| !text.trim().is_empty() && !NO_SECRETS.contains(&text))
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

/// Tokens that this service makes: 32 bytes in hex.
fn is_ours(token: &SecretString) -> bool {
    let text = token.expose_secret();
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
