//! The section `gateway` of `openclaw.json`: the gateway can be reached from the private network, needs a secret, and gets
//! no value with which it refuses to start.
//!
//! All releases that were checked, 2026.4.21 to 9.6, refuse the same (`server-runtime-config`, `gateway/auth`,
//! `config/validation`): another `mode` than `local`; `tailscale.mode` `serve` or `funnel` on anything but loopback;
//! anything but loopback without a secret or a trusted proxy; `auth.mode` `password` without a password; `trusted-proxy`
//! without `trustedProxies` and `userHeader`, or beside a token; a `custom` host that is not its own. On Fargate, `auto` is
//! loopback, because it sees no container there.

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
/// The address that stands for all addresses of this machine.
const ANY_ADDRESS: &str = "0.0.0.0";
/// Secrets that the gateway refuses: those of examples, and the values that an unset variable leaves.
const NO_SECRETS: [&str; 5] =
    ["undefined", "null", "change-me-to-a-long-random-token", "change-me-now", "change-me-to-a-strong-password"];

/// How the gateway is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Auth {
    Token,
    Password,
    TrustedProxy,
}

/// Sets what the gateway needs. Returns warnings about the user's values that were changed for it or that keep others out.
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
        over(&before["port"], PORT, "the task definition and the health check use another one");
    }
    let port = port.to_string();
    file.set_literal(&["gateway", "port"], &port, CstInputValue::Number(port.clone()))?;
    let any_address = before["bind"] == "custom" && text(&before["customBindHost"]) == Some(ANY_ADDRESS);
    if !any_address {
        if before["bind"] != "lan" {
            over(&before["bind"], BIND, "nothing in the private network could reach it");
        }
        file.set_text(&["gateway", "bind"], "lan")?;
    }
    let tailscale = &before["tailscale"];
    // If it is not a section, the file has an error and stays as it is.
    if !tailscale.is_null() && !tailscale.is_object() || !matches!(tailscale["mode"].as_str(), None | Some("off")) {
        over(&tailscale["mode"], TAILSCALE, "a gateway that the private network can reach does not start with it");
        file.set_text(&["gateway", "tailscale", "mode"], "off")?;
    }
    if before["tls"]["enabled"] == true {
        let consequence = "clients have to use TLS, and a health check or probe over plain HTTP fails";
        kept.push(Warning::ConfigurationKept { path: TLS, consequence });
    }

    let (auth, why_not) = decided(&before, secrets);
    if let Some(reason) = why_not {
        over(&before["auth"]["mode"], AUTH_MODE, reason);
    }
    if auth == Auth::Token && before["auth"]["mode"].is_null() && is_secret(&before["auth"]["password"]) {
        // Releases treat it differently: they use the password, or do not start at all.
        over(
            &before["auth"]["password"],
            AUTH_PASSWORD,
            "it is not used: beside a token, and without gateway.auth.mode, the token wins",
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
            let consequence = "clients have to send that password, and not the token that GET …/gateway returns";
            kept.push(Warning::ConfigurationKept { path: AUTH_MODE, consequence });
        }
        Auth::TrustedProxy => {
            // A token that this service made; the gateway refuses to start beside it.
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

/// How the gateway is opened: as the user chose, if it starts with that; or else by a token, with the reason for the change.
fn decided(gateway: &Value, secrets: GatewaySecrets) -> (Auth, Option<&'static str>) {
    let auth = &gateway["auth"];
    let has_password = secrets.has_password || is_secret(&auth["password"]);
    let has_token = is_secret(&auth["token"]);
    match text(&auth["mode"]) {
        Some("token") => (Auth::Token, None),
        Some("password") if has_password => (Auth::Password, None),
        Some("password") => (Auth::Token, Some("no gateway starts with it if there is no password")),
        Some("trusted-proxy") => {
            let has_header = text(&auth["trustedProxy"]["userHeader"]).is_some_and(|header| !header.trim().is_empty());
            let proxies = gateway["trustedProxies"].as_array();
            let has_proxies = proxies.is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string));
            let has_their_token = has_token && !text(&auth["token"]).is_some_and(|token| is_ours(&token.into()));
            if !has_header || !has_proxies {
                return (Auth::Token, Some("no gateway starts with it if trustedProxies or userHeader is missing"));
            }
            if has_their_token || secrets.token == TokenSource::Environment {
                return (Auth::Token, Some("no gateway starts with it beside a token"));
            }
            (Auth::TrustedProxy, None)
        }
        // A gateway with a password and no token does the same by itself.
        None if auth["mode"].is_null() && is_secret(&auth["password"]) && !has_token => (Auth::Password, None),
        Some("none") => (Auth::Token, Some("a gateway that others can reach does not start without a secret")),
        Some(_) | None => (Auth::Token, Some("a gateway has no such mode")),
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

/// Whether it is a text, or a reference to a secret that is kept elsewhere.
fn is_secret(value: &Value) -> bool {
    value.is_object() || text(value).is_some_and(|text| !text.trim().is_empty() && !NO_SECRETS.contains(&text))
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

/// Whether this service made the token: 32 bytes in hex.
fn is_ours(token: &SecretString) -> bool {
    let text = token.expose_secret();
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
