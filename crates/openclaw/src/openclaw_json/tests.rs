use secrecy::SecretString;
use serde_json::{Value, json};

use super::super::table::model_entries;
use super::super::{PlanInputs, credential_plan};
use super::*;
use crate::OpenClawVersion;
use crate::Provider;

mod any_file;
mod gateways;

const WITH_PLUGIN: PlanInputs = PlanInputs { has_codex_plugin: true };

fn model(month: u16, patch: u16) -> ModelEntries {
    credential_plan(OpenClawVersion::new(2026, month, patch), PlanInputs::default()).model
}

fn of_kind(month: u16, patch: u16, kind: Provider) -> ModelEntries {
    model_entries(OpenClawVersion::new(2026, month, patch), kind, PlanInputs::default())
}

fn plugin() -> ModelEntries {
    credential_plan(OpenClawVersion::new(2026, 9, 6), WITH_PLUGIN).model
}

fn with(existing: Option<&[u8]>, model: ModelEntries, token: &str) -> Merged {
    merge(existing, &entries(model), &SecretString::from(token)).0
}

const SECRETS: GatewaySecrets = GatewaySecrets { token: TokenSource::File, has_password: false };

fn entries(model: ModelEntries) -> Entries {
    Entries { model, secrets: SECRETS, profile: Some(ProfileProvider::OpenAi) }
}

fn words(merged: &Merged) -> &str {
    match merged {
        Merged::Unchanged => "unchanged",
        Merged::Write(bytes) => std::str::from_utf8(bytes).unwrap(),
        Merged::LeftAlone(problem) => problem,
    }
}

fn written(merged: &Merged) -> Value {
    serde_json::from_str(words(merged)).unwrap_or_else(|_| panic!("{}", words(merged)))
}

/// The file after a merge, whether that changes anything or not.
fn after(existing: &Value, model: ModelEntries) -> Value {
    match merged(existing, model) {
        Merged::Unchanged => existing.clone(),
        changed => written(&changed),
    }
}

fn merged(existing: &Value, model: ModelEntries) -> Merged {
    with(Some(existing.to_string().as_bytes()), model, "new")
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
            let file = written(&with(nothing, release, "t"));
            assert_eq!(file, json!({"gateway": gateway, "agents": {"defaults": defaults}}));
            assert!(merged(&file, release) == Merged::Unchanged);
        }
    }
    insta::assert_snapshot!(words(&with(None, model(4, 21), "t")), @r#"
    {
      "gateway": {
        "mode": "local",
        "port": 18789,
        "bind": "lan",
        "auth": {
          "mode": "token",
          "token": "t"
        }
      },
      "agents": {
        "defaults": {
          "model": {
            "primary": "openai-codex/gpt-5.4"
          }
        }
      }
    }
    "#);
}

#[test]
fn entries_that_are_not_ours_are_kept_and_the_token_is_made_once() {
    let theirs = json!({
        "channels": {"telegram": {"enabled": true}},
        "gateway": {"mode": "remote", "auth": {"token": "old", "allowTailscale": true}, "tls": {}},
        "agents": {"defaults": {"model": {"primary": "anthropic/claude", "fallbacks": ["x"]}, "models": {}}},
    });
    assert_eq!(
        written(&merged(&theirs, model(9, 6))),
        json!({
            "channels": {"telegram": {"enabled": true}},
            "gateway": {
                "mode": "local", "port": 18789, "bind": "lan", "tls": {},
                "auth": {"mode": "token", "token": "old", "allowTailscale": true},
            },
            "agents": {"defaults": {"model": {"primary": "anthropic/claude", "fallbacks": ["x"]}, "models": {}}},
        })
    );
}

/// The comments, the order, the quotes, the trailing commas and the spaces belong to the user.
#[test]
fn a_file_that_a_person_wrote_stays_as_they_wrote_it() {
    let theirs = r#"// my assistant
{
    /* keep this */
    channels: { telegram: { enabled: true, }, }, // on
    'gateway': {
        bind: 'loopback', // only here
        "port": 0x4965,
        auth: { token: "mine" },
    },
    limits: [+1, .5, Infinity,],
    agents: { defaults: { model: { primary: "openai/gpt-5.5", fallbacks: [], } } },
}
"#;
    insta::assert_snapshot!(words(&with(Some(theirs.as_bytes()), model(4, 21), "t")), @r#"
    // my assistant
    {
        /* keep this */
        channels: { telegram: { enabled: true, }, }, // on
        'gateway': {
            bind: "lan", // only here
            "port": 18789,
            auth: {
                token: "mine",
                "mode": "token"
            },
            "mode": "local",
        },
        limits: [+1, .5, Infinity,],
        agents: { defaults: { model: { primary: "openai-codex/gpt-5.4", fallbacks: [], } } },
    }
    "#);
    let with_crlf = format!("\u{feff}{}", "{\n  \"a\": 1, // one\n}\n".replace('\n', "\r\n"));
    let merged = with(Some(with_crlf.as_bytes()), model(4, 21), "t");
    let text = words(&merged);
    assert!(text.starts_with("\u{feff}{\r\n  \"a\": 1, // one\r\n  \"gateway\""), "{text:?}");
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
}

#[test]
fn another_release_updates_only_our_own_entries() {
    let first = written(&with(None, model(5, 12), "t"));
    let second = written(&merged(&first, model(9, 6)));
    assert_eq!(
        second["agents"]["defaults"],
        json!({
            "model": {"primary": "openai/gpt-5.5"},
            "models": {"openai/gpt-5.5": {"agentRuntime": {"id": "openclaw"}}},
        })
    );
    assert_eq!(
        written(&merged(&second, model(4, 21)))["agents"],
        json!({"defaults": {"model": {"primary": "openai-codex/gpt-5.4"}}})
    );
    let mut tuned = second;
    tuned["agents"]["defaults"]["models"]["openai/gpt-5.5"]["alias"] = json!("mine");
    let third = written(&merged(&tuned, model(4, 21)));
    assert_eq!(third["agents"]["defaults"]["models"], json!({"openai/gpt-5.5": {"alias": "mine"}}));
    let short = written(&merged(&json!({"agents": {"defaults": {"model": "openai/gpt-5.5"}}}), model(5, 7)));
    assert_eq!(short["agents"]["defaults"], json!({"model": "openai-codex/gpt-5.5"}));
}

#[test]
fn removing_our_entries_removes_nothing_else() {
    let theirs = r#"{
  "agents": {
    "defaults": {
      "model": "openai/gpt-5.5", // the one that came with it
      "models": {
        // a name for it
        "openai/gpt-5.5": {
          "agentRuntime": { "id": "openclaw" },
          "alias": "gpt" // short
        },
        "openai-codex/gpt-5.5": { "agentRuntime": { "id": "pi" } },
        // and this one
        "other/x": {} // too
      }
    }
  }
}
"#;
    insta::assert_snapshot!(words(&with(Some(theirs.as_bytes()), model(4, 21), "t")), @r#"
    {
      "agents": {
        "defaults": {
          "model": "openai-codex/gpt-5.4", // the one that came with it
          "models": {
            // a name for it
            "openai/gpt-5.5": {
              "alias": "gpt" // short
            },
            // and this one
            "other/x": {} // too
          }
        }
      },
      "gateway": {
        "mode": "local",
        "port": 18789,
        "bind": "lan",
        "auth": {
          "mode": "token",
          "token": "t"
        }
      }
    }
    "#);
}

#[test]
fn a_runtime_that_no_plan_sets_belongs_to_the_user() {
    let theirs = json!({"agents": {"defaults": {
        "model": {"primary": "openai/gpt-5.5"},
        "models": {"openai/gpt-5.5": {"agentRuntime": {"id": "codex"}}},
    }}});
    assert_eq!(written(&merged(&theirs, model(9, 6)))["agents"], theirs["agents"]);
}

#[test]
fn the_plugin_gets_the_users_codex_home_and_every_other_plan_removes_it() {
    let plain = written(&with(None, model(9, 6), "t"));
    let file = written(&merged(&plain, plugin()));
    assert_eq!(file["plugins"], json!({"entries": {"codex": {"config": {"appServer": {"homeScope": "user"}}}}}));
    assert_eq!(file["agents"]["defaults"], json!({"model": {"primary": "openai/gpt-5.5"}}));
    assert_eq!(written(&merged(&file, model(9, 6))), plain);
    let mut tuned = file;
    tuned["plugins"]["entries"]["codex"]["enabled"] = json!(true);
    assert_eq!(written(&merged(&tuned, model(9, 6)))["plugins"], json!({"entries": {"codex": {"enabled": true}}}));
    tuned["plugins"]["entries"]["codex"]["config"]["appServer"]["homeScope"] = json!("agent");
    for plan in [plugin(), model(4, 21)] {
        assert_eq!(after(&tuned, plan)["plugins"], tuned["plugins"]);
    }
}

#[test]
fn every_provider_can_replace_every_other() {
    let kinds = Provider::ALL;
    for release in [(4, 7), (4, 25), (5, 12), (6, 35), (9, 6)] {
        for (from, to) in kinds.iter().flat_map(|from| kinds.map(|to| (*from, to))) {
            let [from, to] = [from, to].map(|kind| of_kind(release.0, release.1, kind));
            let before = written(&with(None, from, "new"));
            assert_eq!(after(&before, to), written(&with(None, to, "new")), "{release:?}: {from:?} to {to:?}");
        }
    }
    let bedrock = written(&with(None, of_kind(9, 6, Provider::Bedrock), "t"));
    assert_eq!(bedrock.pointer("/plugins/entries/amazon-bedrock/config/discovery/enabled"), Some(&json!(true)));
    // Discovery that the user turned on beside another model belongs to the user.
    let theirs = json!({"plugins": bedrock["plugins"]});
    assert_eq!(written(&merged(&theirs, model(9, 6)))["plugins"], bedrock["plugins"]);
}

#[test]
fn our_token_never_outranks_one_from_the_environment() {
    let secrets = GatewaySecrets { token: TokenSource::Environment, ..SECRETS };
    let entries = Entries { secrets, ..entries(model(9, 6)) };
    let merge = |existing: Option<&Value>| {
        let bytes = existing.map(|file| file.to_string().into_bytes());
        written(&super::merge(bytes.as_deref(), &entries, &SecretString::from("unused")).0)["gateway"]["auth"].clone()
    };
    assert_eq!(merge(None), json!({"mode": "token"}));
    let token = |token: Value| json!({"gateway": {"auth": {"token": token}}});
    assert_eq!(merge(Some(&token(json!("0f".repeat(32))))), json!({"mode": "token"}));
    for theirs in [json!("mine"), json!("${TOKEN}"), json!({"source": "env"})] {
        assert_eq!(merge(Some(&token(theirs.clone()))), json!({"mode": "token", "token": theirs}));
    }
}

#[test]
fn the_token_is_found_and_replaced() {
    let found = |file: &str| match gateway_token(file.as_bytes()) {
        Ok(GatewayToken::Missing) => "missing".to_owned(),
        Ok(GatewayToken::Text(token)) => token.expose_secret().to_owned(),
        Ok(GatewayToken::Reference) => "reference".to_owned(),
        Err(problem) => problem.to_owned(),
    };
    for (file, expected) in [
        ("", "missing"),
        ("{}", "missing"),
        ("{gateway: {auth: {token: ' '}}}", "missing"),
        ("{gateway: {auth: {token: 'to\\x6ben', /* mine */}}}", "token"),
        ("{gateway: {auth: {token: '${TOKEN}'}}}", "reference"),
        ("{gateway: {auth: {token: {source: 'file'}}}}", "reference"),
        ("{gateway: {auth: {token: 7}}}", "gateway.auth.token is neither a text nor a reference"),
        ("[", "it is not JSON5"),
    ] {
        assert_eq!(found(file), expected, "{file}");
    }
    let rotated = with_gateway_token(Some(b"{gateway: {auth: {token: 'old', /* x */}}}"), &SecretString::from("new"));
    let rotated = words(&rotated);
    assert!(found(rotated) == "new" && rotated.contains("/* x */"), "{rotated}");
    let kept = with_gateway_token(Some(b"{gateway: {auth: {token: '${T}'}}}"), &SecretString::from("new"));
    assert_eq!(words(&kept), "gateway.auth.token refers to a secret that is kept elsewhere");
}

#[test]
fn a_file_that_could_lose_something_is_left_alone() {
    for file in [
        "[]",
        "nonsense",
        "// only a comment",
        "{a: 1} {b: 2}",
        "{\"a\": 1 \"b\": 2}",
        "{\"gateway\": 1}",
        "{gateway: {port: [18789 /* mine */]}}",
        "{gateway: {mode: {}}}",
        "{gateway: {mode: 'local'}, gateway: {}}",
        "{$include: './base.json5'}",
        "{gateway: {$include: './gateway.json5'}}",
        "{\\u0067ateway: {}}",
        "{\"agents\": {\"defaults\": {\"model\": 7}}}",
    ] {
        let merged = with(Some(file.as_bytes()), model(9, 6), "t");
        assert!(matches!(merged, Merged::LeftAlone(_)), "{:.80}: {:.80}", file, words(&merged));
    }
    assert!(matches!(with(Some(b"{\xff}"), model(9, 6), "t"), Merged::LeftAlone(_)));
}

/// Staging reads at most 256 KiB, on a thread with 2 MiB of stack.
#[test]
fn a_hostile_file_uses_up_neither_stack_nor_time() {
    let limit = 256 * 1024;
    let deep = format!("{{a: {}1{}}}", "[".repeat(99), "]".repeat(99));
    let deep_objects = format!("{}1{}", "{a: ".repeat(100), "}".repeat(100));
    let lines = format!("{{\n\"gateway\": {{}}, \"agents\": {{}}, o: {{\n{}}}}}", "a:0,\n".repeat(limit / 5 - 20));
    let list = format!("{{a: [{}]}}", "0,".repeat(limit / 2 - 8));
    let texts = format!("{{a: \"{}\", /* {} */}}", "[".repeat(limit / 3), "{".repeat(limit / 3));
    let fine = [deep, deep_objects, lines, list, texts];
    let members = format!("{{{}}}", "a:0,".repeat(limit / 4 - 8));
    let comments = format!("{{{}}}", "/**/".repeat(limit / 4 - 8));
    let objects = format!("{{gateway: {{{}}}}}", "a:{},".repeat(limit / 5 - 8));
    let nested = |open: &str| open.repeat(limit / open.len());
    // Brackets that only an unfinished quote or comment would hide.
    let hidden = ["'\"'", "\"\\\"\"", "/* /*/", "//\r"].map(|before| format!("{before}{}", nested("[")));
    let refused = [members, comments, objects, nested("["), nested("{a:"), nested("{a:[")].into_iter().chain(hidden);
    let refused: Vec<String> = refused.collect();
    for file in fine {
        let merged = with(Some(file.as_bytes()), model(9, 6), "t");
        assert!(matches!(merged, Merged::Write(_)), "{file:.40}: {:.80}", words(&merged));
    }
    for file in refused {
        let merged = with(Some(file.as_bytes()), model(9, 6), "t");
        assert!(matches!(merged, Merged::LeftAlone(_)), "{file:.40}: {:.80}", words(&merged));
    }
}
