//! Gateways as users configure them: kept where a private network can reach them, and changed where they would not start.

use proptest::prelude::*;
use serde_json::Map;

use super::*;

/// The gateway after a merge, the paths of the user's values that were changed, and of those that were kept.
fn set(gateway: &Value, secrets: GatewaySecrets) -> (Value, Vec<String>, Vec<String>) {
    let file = json!({"gateway": gateway}).to_string();
    let entries = Entries { secrets, ..entries(model(9, 6)) };
    let (merged, Noted { warnings, .. }) = merge(Some(file.as_bytes()), &entries, &SecretString::from("fresh"));
    let after = match merged {
        Merged::Unchanged => gateway.clone(),
        changed => written(&changed)["gateway"].clone(),
    };
    let (mut changed, mut kept) = (Vec::new(), Vec::new());
    for warning in warnings {
        match warning {
            Warning::ConfigurationOverridden { path, .. } => changed.push(path.to_owned()),
            Warning::ConfigurationKept { path, .. } => kept.push(path.to_owned()),
            other => panic!("{other}"),
        }
    }
    (after, changed, kept)
}

const PROXY: [&str; 2] = ["10.0.0.7", "10.0.0.8"];

fn proxied() -> Value {
    json!({"auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}}, "trustedProxies": PROXY})
}

#[test]
fn values_that_work_are_kept_and_every_changed_value_is_named() {
    let any = json!({"bind": "custom", "customBindHost": "0.0.0.0"});
    let mut with_ours = proxied();
    with_ours["auth"]["token"] = json!("0f".repeat(32));
    let mut with_theirs = proxied();
    with_theirs["auth"]["token"] = json!("theirs");
    let mut without_proxies = proxied();
    without_proxies["trustedProxies"] = json!([]);
    type Case = (Value, &'static str, &'static str, Vec<&'static str>, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        (json!({}), "lan", "token", vec![], vec![]),
        (json!({"mode": "remote"}), "lan", "token", vec!["gateway.mode"], vec![]),
        (json!({"port": 19000}), "lan", "token", vec!["gateway.port"], vec![]),
        (json!({"bind": "lan", "auth": {"mode": "token", "token": "mine"}}), "lan", "token", vec![], vec![]),
        (any, "custom", "token", vec![], vec![]),
        (json!({"bind": "auto"}), "lan", "token", vec!["gateway.bind"], vec![]),
        (json!({"bind": "custom", "customBindHost": "10.0.0.3"}), "lan", "token", vec!["gateway.bind"], vec![]),
        (
            json!({"bind": "loopback", "tailscale": {"mode": "serve"}, "auth": {"mode": "token", "token": "mine"}}),
            "lan",
            "token",
            vec!["gateway.bind", "gateway.tailscale.mode"],
            vec![],
        ),
        (
            json!({"tailscale": {"mode": "funnel"}, "auth": {"mode": "password", "password": "p"}}),
            "lan",
            "password",
            vec!["gateway.tailscale.mode"],
            vec!["gateway.auth.mode"],
        ),
        (json!({"tailscale": {"mode": "off"}}), "lan", "token", vec![], vec![]),
        (json!({"tls": {"enabled": true}}), "lan", "token", vec![], vec!["gateway.tls.enabled"]),
        (json!({"tls": {"enabled": false}}), "lan", "token", vec![], vec![]),
        (json!({"auth": {"mode": "none"}}), "lan", "token", vec!["gateway.auth.mode"], vec![]),
        (json!({"auth": {"mode": "password"}}), "lan", "token", vec!["gateway.auth.mode"], vec![]),
        (json!({"auth": {"mode": "password", "password": " "}}), "lan", "token", vec!["gateway.auth.mode"], vec![]),
        (json!({"auth": {"password": "p"}}), "lan", "password", vec![], vec!["gateway.auth.mode"]),
        (json!({"auth": {"password": "p", "token": "t"}}), "lan", "token", vec!["gateway.auth.password"], vec![]),
        (json!({"auth": {"password": {"source": "file"}}}), "lan", "password", vec![], vec!["gateway.auth.mode"]),
        (json!({"auth": {"mode": "token", "token": "undefined"}}), "lan", "token", vec!["gateway.auth.token"], vec![]),
        (json!({"auth": {"mode": "odd"}}), "lan", "token", vec!["gateway.auth.mode"], vec![]),
        (proxied(), "lan", "trusted-proxy", vec![], vec!["gateway.auth.mode"]),
        (with_ours, "lan", "trusted-proxy", vec![], vec!["gateway.auth.mode"]),
        (with_theirs, "lan", "token", vec!["gateway.auth.mode"], vec![]),
        (without_proxies, "lan", "token", vec!["gateway.auth.mode"], vec![]),
    ];
    for (gateway, bind, mode, changed, kept) in cases {
        let (after, changes, keeps) = set(&gateway, SECRETS);
        assert_eq!((&after["bind"], &after["auth"]["mode"]), (&json!(bind), &json!(mode)), "{gateway}");
        assert_eq!((changes, keeps), (strings(&changed), strings(&kept)), "{gateway}");
        assert!(starts(&after, SECRETS), "{gateway} became {after}");
        let (again, changes, keeps) = set(&after, SECRETS);
        assert_eq!((again, changes, keeps), (after, vec![], strings(&kept)), "{gateway}, again");
    }
    let by_environment = GatewaySecrets { has_password: true, ..SECRETS };
    let (after, changed, _) = set(&json!({"auth": {"mode": "password"}}), by_environment);
    assert_eq!((&after["auth"], changed), (&json!({"mode": "password"}), vec![]));
    let with_token = GatewaySecrets { token: TokenSource::Environment, ..SECRETS };
    let (after, changed, _) = set(&proxied(), with_token);
    assert_eq!((&after["auth"]["mode"], changed), (&json!("token"), strings(&["gateway.auth.mode"])));
}

#[test]
fn a_section_that_is_not_an_object_leaves_the_file_alone() {
    for gateway in
        [json!({"tailscale": "serve"}), json!({"tailscale": ["serve"]}), json!({"auth": "token"}), json!("lan")]
    {
        let file = json!({"gateway": gateway}).to_string();
        let (merged, noted) = merge(Some(file.as_bytes()), &entries(model(9, 6)), &SecretString::from("fresh"));
        assert!(matches!(merged, Merged::LeftAlone(_)), "{file}");
        assert_eq!(noted.warnings, [], "{file}");
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A password or a proxy is the user's choice: no token is returned or made for it.
#[test]
fn no_token_is_made_for_a_gateway_that_no_token_opens() {
    for gateway in [json!({"auth": {"mode": "password", "password": "p", "token": "unused"}}), proxied()] {
        let file = json!({"gateway": gateway}).to_string();
        assert!(matches!(gateway_token(file.as_bytes()), Ok(GatewayToken::Missing)));
        assert!(matches!(
            with_gateway_token(Some(file.as_bytes()), &SecretString::from("new")),
            Merged::LeftAlone("gateway.auth.mode is the user's own, and no token opens the gateway")
        ));
    }
}

/// What the gateways of all releases check before they start (`server-runtime-config`, `gateway/auth`).
fn starts(gateway: &Value, secrets: GatewaySecrets) -> bool {
    let secret = |value: &Value| value.is_object() || value.as_str().is_some_and(|text| !text.trim().is_empty());
    let auth = &gateway["auth"];
    let has_token = secret(&auth["token"]) || secrets.token == TokenSource::Environment;
    let opened = match auth["mode"].as_str() {
        Some("token") => has_token && !matches!(auth["token"].as_str(), Some("undefined" | "change-me-now")),
        Some("password") => secret(&auth["password"]) || secrets.has_password,
        Some("trusted-proxy") => {
            let header = auth["trustedProxy"]["userHeader"].as_str();
            let proxies = gateway["trustedProxies"].as_array();
            header.is_some_and(|header| !header.trim().is_empty())
                && proxies.is_some_and(|proxies| !proxies.is_empty())
                && !has_token
        }
        _ => false,
    };
    let everywhere = gateway["bind"] == "lan" || gateway["bind"] == "custom" && gateway["customBindHost"] == "0.0.0.0";
    let no_tailscale = matches!(gateway["tailscale"]["mode"].as_str(), None | Some("off"));
    gateway["mode"] == "local" && gateway["port"] == 18_789 && opened && everywhere && no_tailscale
}

fn one_of(values: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    proptest::option::of(proptest::sample::select(values))
}

fn object(members: Vec<(&str, Option<Value>)>) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(members.collect::<Map<String, Value>>())
}

fn any_gateway() -> impl Strategy<Value = Value> {
    let auth = (
        one_of(["token", "password", "none", "trusted-proxy", "odd", "${MODE}"].map(Value::from).to_vec()),
        one_of(vec![
            json!("mine"),
            json!(" "),
            json!("undefined"),
            json!("${T}"),
            json!("0f".repeat(32)),
            json!({"source": "env"}),
        ]),
        one_of(vec![json!("p"), json!(""), json!({"source": "env"}), json!("change-me-to-a-strong-password")]),
        one_of(vec![json!({"userHeader": "x-user"}), json!({"userHeader": " "}), json!({})]),
        one_of(vec![json!(true), json!(false)]),
    );
    let auth = auth.prop_map(|(mode, token, password, trusted_proxy, tailscale)| {
        object(vec![
            ("mode", mode),
            ("token", token),
            ("password", password),
            ("trustedProxy", trusted_proxy),
            ("allowTailscale", tailscale),
        ])
    });
    let bind = ["lan", "loopback", "auto", "tailnet", "custom", "0.0.0.0"].map(Value::from).to_vec();
    (
        one_of(["local", "remote", "odd"].map(Value::from).to_vec()),
        one_of(vec![json!(18_789), json!(80), json!("x"), Value::Null]),
        one_of(bind),
        one_of(["0.0.0.0", "127.0.0.1", "10.0.0.3", "x"].map(Value::from).to_vec()),
        one_of(["off", "serve", "funnel", "odd"].map(|mode| json!({"mode": mode, "resetOnExit": true})).to_vec()),
        one_of(vec![json!([]), json!(["10.0.0.1"]), json!([7])]),
        proptest::option::of(auth),
    )
        .prop_map(|(mode, port, bind, host, tailscale, proxies, auth)| {
            object(vec![
                ("mode", mode),
                ("port", port),
                ("bind", bind),
                ("customBindHost", host),
                ("tailscale", tailscale),
                ("trustedProxies", proxies),
                ("auth", auth),
                ("controlUi", Some(json!({"enabled": true}))),
            ])
        })
}

proptest! {
    /// Whatever it was before, it starts, can be reached, and every replaced value of the user's is named.
    #[test]
    fn any_gateway_starts_after_the_merge(
        before in any_gateway(), token_of_environment in any::<bool>(), has_password in any::<bool>(),
    ) {
        let token = if token_of_environment { TokenSource::Environment } else { TokenSource::File };
        let secrets = GatewaySecrets { token, has_password };
        let (after, changed, _) = set(&before, secrets);
        prop_assert!(starts(&after, secrets), "{} became {}", before, after);
        for path in ["mode", "port", "bind", "auth/mode", "tailscale/mode", "trustedProxies", "customBindHost", "controlUi"] {
            let pointer = format!("/{path}");
            let named = changed.contains(&format!("gateway.{}", path.replace('/', ".")));
            let was = before.pointer(&pointer).filter(|value| !value.is_null());
            prop_assert_eq!(named, was.is_some_and(|was| after.pointer(&pointer) != Some(was)), "{}: {}", path, before);
        }
        let (again, changed, _) = set(&after, secrets);
        prop_assert_eq!((again, changed), (after, vec![]));
    }
}

#[test]
fn an_order_of_profiles_that_leaves_the_staged_one_out_gets_it() {
    let merged = |auth: Value| {
        let file = json!({"auth": auth}).to_string();
        let (merged, Noted { warnings, .. }) =
            merge(Some(file.as_bytes()), &entries(model(9, 6)), &SecretString::from("t"));
        let places: Vec<String> = warnings.iter().map(Warning::problem).collect();
        (written(&merged)["auth"].clone(), places)
    };
    let other = json!({"provider": "openai", "mode": "oauth"});
    for (before, after, place) in [
        (
            json!({"order": {"openai": ["openai:other"]}}),
            json!({"order": {"openai": ["openai:default", "openai:other"]}}),
            "auth.order",
        ),
        (json!({"order": {"openai": []}}), json!({"order": {"openai": ["openai:default"]}}), "auth.order"),
        (
            json!({"profiles": {"openai:other": other}}),
            json!({"profiles": {"openai:other": other, "openai:default": other}}),
            "auth.profiles",
        ),
        (
            json!({"profiles": {"openai:default": {"provider": "openai", "mode": "api_key"}}}),
            json!({"profiles": {"openai:default": other}}),
            "auth.profiles",
        ),
    ] {
        let (found, places) = merged(before.clone());
        assert_eq!(found, after, "{before}");
        assert!(matches!(&places[..], [one] if one.starts_with(place)), "{places:?}");
    }
    for fine in [
        json!({"order": {"openai": ["openai:other", "openai:default"], "anthropic": ["x"]}}),
        json!({"profiles": {"anthropic:default": {"provider": "anthropic", "mode": "api_key"}}}),
        json!({"order": "odd", "profiles": []}),
    ] {
        assert_eq!(merged(fine.clone()), (fine, vec![]));
    }
}
