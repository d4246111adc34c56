//! The port that OpenClaw will listen on, as far as a definition names it.
//!
//! Read in the releases (`resolveGatewayPort` and the `gateway` command of 2026.4.21, 5.7 and 9.6): `--port` first, then
//! `OPENCLAW_GATEWAY_PORT`, then `gateway.port` in `openclaw.json`, which is staged, then 18789. `--dev` and `--profile dev` set the
//! variable to 19001 where it is not set.

use serde_json::Value;

use super::lookout::GATEWAY_PORT_VARIABLE;
use super::{items, text};

/// The port of `--dev`.
const DEV_PORT: u16 = 19_001;

/// A port that a definition names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedPort {
    /// The port.
    pub port: u16,
    /// Where it is named.
    pub named_by: &'static str,
}

/// The port that a container's command or environment names; `None` leaves it to `openclaw.json`.
pub(super) fn named_port(container: &Value) -> Option<NamedPort> {
    let words = words(container);
    let by_argument = argument(&words, "--port").and_then(|value| value.parse().ok()).filter(|port| *port > 0);
    if let Some(port) = by_argument {
        return Some(NamedPort { port, named_by: "--port in its command" });
    }
    let variables = items(container, "environment").iter();
    let variable = variables.rev().find(|entry| text(entry, "name") == Some(GATEWAY_PORT_VARIABLE));
    let value = variable.and_then(|entry| text(entry, "value")).map(str::trim).filter(|value| !value.is_empty());
    if let Some(value) = value {
        return parse(value).map(|port| NamedPort { port, named_by: GATEWAY_PORT_VARIABLE });
    }
    let is_dev = words.iter().any(|word| word == "--dev") || argument(&words, "--profile") == Some("dev");
    is_dev.then_some(NamedPort { port: DEV_PORT, named_by: "--dev in its command" })
}

/// The ports that a container maps.
pub(super) fn mapped_ports(container: &Value) -> Vec<u16> {
    let ports = items(container, "portMappings").iter().filter_map(|mapping| mapping.get("containerPort")?.as_u64());
    ports.filter_map(|port| u16::try_from(port).ok()).collect()
}

/// The local port that a container's health check asks, if its command contains one.
pub(super) fn health_check_port(container: &Value) -> Option<u16> {
    let command = container.get("healthCheck").map(|check| items(check, "command"))?;
    command.iter().filter_map(Value::as_str).find_map(|word| {
        ["127.0.0.1:", "localhost:", "[::1]:", "0.0.0.0:"].iter().find_map(|host| {
            let rest = &word[word.find(host)? + host.len()..];
            let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
            digits.parse().ok()
        })
    })
}

/// Parses the variable as OpenClaw does: digits, or the digits after `host:`, as in compose files.
pub(super) fn parse(value: &str) -> Option<u16> {
    let value = value.trim();
    let digits = match value.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?.1,
        None => match value.split_once(':') {
            Some((host, port)) if !host.is_empty() && !port.contains(':') => port,
            Some(_) => return None,
            None => value,
        },
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| is_number && *port > 0)
}

/// The words of entry point and command, including those of a shell script.
fn words(container: &Value) -> Vec<String> {
    let lists = ["entryPoint", "command"].into_iter().flat_map(|member| items(container, member));
    let words = lists.filter_map(Value::as_str).flat_map(str::split_whitespace);
    words.map(|word| word.trim_matches(['"', '\'', ';']).to_owned()).collect()
}

/// The last value of `--name value` or `--name=value`, as OpenClaw's own parser reads it.
fn argument<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    let mut found = None;
    for (index, word) in words.iter().enumerate() {
        match word.strip_prefix(name) {
            Some("") => found = words.get(index + 1).map(String::as_str).or(found),
            Some(rest) => found = rest.strip_prefix('=').or(found),
            None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(command: &[&str], variable: Option<&str>) -> Option<u16> {
        let variables = variable.map(|value| json!({"name": GATEWAY_PORT_VARIABLE, "value": value}));
        let container = json!({"command": command, "environment": variables.into_iter().collect::<Vec<_>>()});
        named_port(&container).map(|named| named.port)
    }

    #[test]
    fn the_port_is_read_in_the_same_order_as_the_releases_do() {
        let gateway = ["node", "openclaw.mjs", "gateway"];
        assert_eq!(port(&gateway, None), None);
        assert_eq!(port(&gateway, Some("3000")), Some(3000));
        assert_eq!(port(&["openclaw", "gateway", "run", "--port", "8080"], Some("3000")), Some(8080));
        assert_eq!(port(&["openclaw", "gateway", "--port=8080"], None), Some(8080));
        assert_eq!(port(&["sh", "-c", "exec openclaw gateway --port 8080; true"], None), Some(8080));
        assert_eq!(port(&["openclaw", "--dev", "gateway"], None), Some(19_001));
        assert_eq!(port(&["openclaw", "--profile", "dev", "gateway"], Some("3000")), Some(3000));
        // OpenClaw ignores a value that is not a port.
        for nothing in ["", " ", "0", "x", "a:b:c", "70000", "+1", ":80"] {
            assert_eq!(port(&gateway, Some(nothing)), None, "{nothing:?}");
        }
        for (value, expected) in [("127.0.0.1:3000", 3000), ("[::1]:3001", 3001), (" 3002 ", 3002)] {
            assert_eq!(port(&gateway, Some(value)), Some(expected), "{value:?}");
        }
        let by = json!({"entryPoint": ["openclaw", "gateway", "--port", "9"]});
        assert_eq!(named_port(&by).unwrap().named_by, "--port in its command");
    }

    #[test]
    fn the_port_of_a_health_check_is_the_local_port_that_it_asks() {
        let asked = |command: Value| health_check_port(&json!({"healthCheck": {"command": command}}));
        assert_eq!(asked(json!(["CMD-SHELL", "curl -f http://127.0.0.1:18789/healthz || exit 1"])), Some(18789));
        assert_eq!(asked(json!(["CMD", "node", "-e", "fetch('http://localhost:8080')"])), Some(8080));
        assert_eq!(asked(json!(["CMD", "true"])), None);
        assert_eq!(health_check_port(&json!({})), None);
        assert_eq!(mapped_ports(&json!({"portMappings": [{"containerPort": 80}, {}]})), [80]);
    }
}
