//! Bases that ask for isolation, including hostile ones: what runs before the drop, and what is refused.

use serde_json::{Value, json};

use super::*;
use crate::domain::user_spec::{Secrets, Variables};
use crate::domain::{BaseDefinition, CurrentDefinition, UserId, render};

const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:42";
const DROP: [&str; 11] = [
    "/usr/bin/env",
    "-u",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "/usr/bin/setpriv",
    "--reuid=1000",
    "--regid=1000",
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--no-new-privs",
    "--",
];

fn base(change: impl FnOnce(&mut Value)) -> Result<BaseDefinition, BaseError> {
    let mut document = json!({
        "taskDefinitionArn": ARN,
        "taskRoleArn": "arn:aws:iam::123456789012:role/task",
        "containerDefinitions": [{
            "name": "openclaw", "image": "ghcr.io/openclaw/openclaw:2026.9.6", "user": "1000:1000",
            "command": ["node", "openclaw.mjs", "gateway"],
            "dockerLabels": {LABEL_ISOLATION: WITHOUT_ROLE},
            "healthCheck": {"command": ["CMD", "node", "-e", "0"], "interval": 30},
            "linuxParameters": {"initProcessEnabled": true, "capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}},
            "mountPoints": [{"sourceVolume": "home", "containerPath": "/home/node/.openclaw"}]
        }],
        "volumes": [{"name": "home", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}, {"name": "scratch"}]
    });
    change(&mut document);
    BaseDefinition::parse(document, vec![], "openclaw-dev", "fs-1")
}

fn user() -> UserId {
    UserId::parse("user_2abc").unwrap()
}

fn rendered(change: impl FnOnce(&mut Value)) -> Value {
    rendered_with(&Spec::default(), change)
}

fn rendered_with(spec: &Spec, change: impl FnOnce(&mut Value)) -> Value {
    let mut request = render(&base(change).unwrap(), &user(), spec, "fsap-1", None).unwrap().request;
    request["taskDefinitionArn"] = json!("arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev-user:1");
    request
}

fn container(change: impl FnOnce(&mut Value)) -> Value {
    rendered(|document| change(&mut document["containerDefinitions"][0]))["containerDefinitions"][0].clone()
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

/// The command, after a check that the entry point is the drop.
fn after_the_drop(container: &Value) -> Vec<&str> {
    assert_eq!(words(&container["entryPoint"]), DROP);
    words(&container["command"])
}

fn refused(change: impl FnOnce(&mut Value)) -> BaseError {
    let error = base(change).unwrap_err();
    assert_eq!(error.code(), "cannot_isolate", "{error}");
    assert!(!error.fix().is_empty());
    error
}

#[test]
fn an_isolated_container_starts_as_root_and_drops_it_before_the_entry_script() {
    let container = container(|_| {});
    let script = "/home/node/.openclaw/.provisioner/entry.sh";
    assert_eq!(after_the_drop(&container), ["/bin/sh", script, "node", "openclaw.mjs", "gateway"]);
    assert_eq!(container["user"], "0:0");
    assert_eq!(container["linuxParameters"], json!({"initProcessEnabled": true, "capabilities": {"drop": DROPPED}}));
    assert_eq!(words(&container["healthCheck"]["command"]), [&["CMD"], &DROP[..], &["node", "-e", "0"]].concat());
    assert_eq!(container["healthCheck"]["interval"], 30);
    assert_eq!(container["environment"][2], json!({"name": "HOME", "value": "/home/node"}));
    assert_eq!(container["environment"].as_array().unwrap().len(), 3);
}

/// Fargate adds no capability but SYS_PTRACE (ECS API reference, KernelCapabilities), so those that the drop needs must stay.
#[test]
fn nothing_is_added_and_the_four_that_the_drop_needs_are_not_dropped() {
    for capabilities in [Value::Null, json!({}), json!({"add": ["ALL"]}), json!({"drop": ["SETUID", "KILL"]})] {
        let container = container(|container| container["linuxParameters"]["capabilities"] = capabilities.clone());
        let got = &container["linuxParameters"]["capabilities"];
        assert_eq!(got["add"], Value::Null);
        let dropped = words(&got["drop"]);
        assert!(["SETUID", "SETGID", "SETPCAP", "KILL", "ALL"].iter().all(|kept| !dropped.contains(kept)), "{got}");
    }
    assert_eq!(container(|container| container["linuxParameters"] = Value::Null)["user"], "0:0");
}

/// Any command of a base, and the tenant's code, run as the agent.
#[test]
fn hostile_bases_run_nothing_of_the_volume_before_the_drop() {
    let script = "/home/node/.openclaw/.provisioner/entry.sh";
    let evil = "/home/node/.openclaw/evil";
    for (entry_point, command) in [
        (json!([evil]), json!(["gateway"])),
        (json!([]), json!([evil])),
        (json!(null), json!(["/bin/sh", "-c", evil])),
        (json!(["/bin/sh", script]), json!(["node", "openclaw.mjs", "gateway"])),
        (json!(["tini", "--", evil]), json!(null)),
        (json!(["env", "-u", "X", evil]), json!([])),
        (json!(["--reuid=0", evil]), json!([])),
    ] {
        for image in ["ghcr.io/openclaw/openclaw:2026.9.6", "ghcr.io/openclaw/openclaw:2026.4.21"] {
            let container = container(|container| {
                (container["entryPoint"], container["command"]) = (entry_point.clone(), command.clone());
                container["image"] = json!(image);
                container["healthCheck"]["command"] = json!(["CMD-SHELL", evil]);
                container["workingDirectory"] = json!("/home/node/.openclaw");
                container["environment"] = json!([{"name": "PATH", "value": "/home/node/.openclaw/bin"}]);
            });
            let runs = after_the_drop(&container);
            assert!(runs.contains(&evil) || runs.contains(&script), "{runs:?}");
            let check = [&["CMD"], &DROP[..], &["/bin/sh", "-c", evil]].concat();
            assert_eq!(words(&container["healthCheck"]["command"]), check);
            assert_eq!(container["user"], "0:0");
        }
    }
}

#[test]
fn a_health_check_of_any_form_runs_behind_the_drop() {
    let check = |command: Value| {
        container(|container| container["healthCheck"]["command"] = command)["healthCheck"]["command"].clone()
    };
    assert_eq!(check(json!(["NONE"])), json!(["NONE"]));
    assert_eq!(check(json!([])), json!([]));
    // Docker refuses this form.
    assert_eq!(words(&check(json!(["curl", "-f"]))), [&["CMD"], &DROP[..], &["curl", "-f"]].concat());
    assert!(container(|container| container["healthCheck"] = Value::Null)["healthCheck"].is_null());
}

#[test]
fn the_images_own_command_is_named_if_the_base_names_none() {
    let runs = |image: &str, command: Value| {
        let container = container(|container| (container["image"], container["command"]) = (json!(image), command));
        after_the_drop(&container).join(" ")
    };
    assert_eq!(runs("o:2026.4.21", Value::Null), "node openclaw.mjs gateway --allow-unconfigured");
    assert_eq!(runs("o:2026.4.21", json!(["gateway", "--port", "1"])), "node openclaw.mjs gateway --port 1");
    assert_eq!(runs("o:2026.4.21", json!(["--verbose"])), "node openclaw.mjs --verbose");
    assert_eq!(runs("o:2026.9.6", json!(["gateway"])), "/bin/sh /home/node/.openclaw/.provisioner/entry.sh gateway");
    assert_eq!(runs("o:2026.9.6", Value::Null), "/bin/sh /home/node/.openclaw/.provisioner/entry.sh");
}

#[test]
fn the_agent_is_the_bases_numeric_user_or_upstreams_user_in_place_of_root() {
    let drops_to = |user: Value| {
        let container = container(|container| container["user"] = user);
        let ids: Vec<String> = words(&container["entryPoint"])[4..6].iter().map(|word| (*word).to_owned()).collect();
        ids.join(" ")
    };
    for user in
        [json!("1000:1000"), json!("1000"), json!("0:0"), json!("root"), json!(""), Value::Null, json!("0:1000")]
    {
        assert_eq!(drops_to(user), "--reuid=1000 --regid=1000");
    }
    assert_eq!(drops_to(json!("1234:99")), "--reuid=1234 --regid=99");
    for user in ["node", "node:node", "1000:node", "1000:0", "1000:", "-1"] {
        refused(|document| document["containerDefinitions"][0]["user"] = json!(user));
    }
}

#[test]
fn home_is_the_agents_unless_the_base_sets_it() {
    let home = |container: &Value| {
        let entries = container["environment"].as_array().unwrap().iter().filter(|entry| entry["name"] == "HOME");
        entries.map(|entry| entry["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let at = |path: &str| container(|container| container["mountPoints"][0]["containerPath"] = json!(path));
    assert_eq!(home(&at("/srv/agent/.openclaw/")), ["/srv/agent"]);
    assert_eq!(home(&at("/data")), ["/home/node"]);
    assert_eq!(home(&at("/.openclaw")), ["/home/node"]);
    let own = container(|container| {
        container["mountPoints"][0]["containerPath"] = json!("/data");
        container["environment"] = json!([{"name": "HOME", "value": "/home/own"}]);
    });
    assert_eq!(home(&own), ["/home/own"]);
}

/// ld.so would load the tenant's library into programs that run as root.
#[test]
fn variables_for_the_loader_are_refused_in_a_base_and_from_a_caller() {
    for name in ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH"] {
        let error = refused(|document| {
            document["containerDefinitions"][0]["environment"] =
                json!([{"name": name, "value": "/home/node/.openclaw/x.so"}]);
        });
        assert!(error.to_string().contains(name) && !error.to_string().contains("x.so"), "{error}");
        refused(|document| {
            document["containerDefinitions"][0]["secrets"] = json!([{"name": name, "valueFrom": "arn"}])
        });
        let map = |value: &str| [(name.to_owned(), value.to_owned())].into();
        let variables = Variables::parse(map("/home/node/.openclaw/x.so")).unwrap();
        let secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:x-AbCdEf";
        let secrets = Secrets::parse(map(secret)).unwrap();
        for (spec, field) in [
            (Spec { variables, ..Spec::default() }, format!("variables.{name}")),
            (Spec { secrets, ..Spec::default() }, format!("secrets.{name}")),
        ] {
            let error = render(&base(|_| {}).unwrap(), &user(), &spec, "fsap-1", None).unwrap_err();
            assert!(error.to_string().contains(&field), "{error}");
            let as_it_was = |document: &mut Value| document["containerDefinitions"][0]["dockerLabels"] = json!({});
            assert!(render(&base(as_it_was).unwrap(), &user(), &spec, "fsap-1", None).is_ok());
        }
    }
    refused(|document| {
        document["containerDefinitions"][0]["environmentFiles"] =
            json!([{"value": "arn:aws:s3:::b/e.env", "type": "s3"}])
    });
}

#[test]
fn no_mount_may_cover_a_program_that_runs_before_the_drop() {
    let users = |path: &str| {
        base(|document| document["containerDefinitions"][0]["mountPoints"][0]["containerPath"] = json!(path))
    };
    for path in [
        "/",
        "/usr",
        "/usr/bin",
        "//usr//bin/",
        "/usr/./lib",
        "/lib",
        "/lib/x86_64-linux-gnu",
        "/lib64",
        "/etc",
        "/etc/ld.so.conf.d",
        "/usr/local",
        "/usr/local/lib",
        "/bin",
        "/proc",
        "/home/../usr/bin",
        "/usr/bin/setpriv",
    ] {
        assert_eq!(users(path).unwrap_err().code(), "cannot_isolate", "{path}");
    }
    for path in ["/data", "/home/node", "/usr/src/app/.openclaw", "/etc/openclaw", "/usrdata", "/binary", "/opt/state"]
    {
        assert!(users(path).is_ok(), "{path}");
    }
    refused(|document| {
        let mounts = document["containerDefinitions"][0]["mountPoints"].as_array_mut().unwrap();
        mounts.push(json!({"sourceVolume": "scratch", "containerPath": "/usr/lib"}));
    });
    refused(|document| {
        document["containerDefinitions"][0]["linuxParameters"]["tmpfs"] =
            json!([{"containerPath": "/usr/bin", "size": 1}]);
    });
    refused(|document| document["containerDefinitions"][0]["volumesFrom"] = json!([{"sourceContainer": "other"}]));
    let own_setpriv = |path: &str, mount: &str| {
        base(|document| {
            document["containerDefinitions"][0]["dockerLabels"][LABEL_SETPRIV] = json!(path);
            document["containerDefinitions"][0]["mountPoints"][0]["containerPath"] = json!(mount);
        })
    };
    assert_eq!(
        own_setpriv("/opt/tools/setpriv", "/data").unwrap().isolation().unwrap().setpriv(),
        "/opt/tools/setpriv"
    );
    for (path, mount) in [
        ("/data/setpriv", "/data"),
        ("/opt/tools/setpriv", "/opt"),
        ("setpriv", "/data"),
        ("/opt/../data/setpriv", "/data"),
        ("/opt/a=b/setpriv", "/data"),
        ("/opt/tools/setpriv", "/opt/tools/lib"),
    ] {
        assert_eq!(own_setpriv(path, mount).unwrap_err().code(), "cannot_isolate", "{path} {mount}");
    }
}

#[test]
fn a_base_whose_isolation_would_not_be_effective_is_refused() {
    let error =
        refused(|document| document["containerDefinitions"][0]["dockerLabels"][LABEL_ISOLATION] = json!("true"));
    assert!(error.fix().contains("without-role"), "{error}");
    refused(|document| document["pidMode"] = json!("task"));
    for command in [["gosu", "node"], ["/usr/bin/setpriv", "--reuid=1000"], ["su-exec", "node"]] {
        refused(|document| document["containerDefinitions"][0]["command"] = json!(command));
    }
    let error = refused(|document| {
        document["containerDefinitions"][0]["dockerLabels"] = json!({});
        let router = json!({"name": "router", "image": "r:1", "dockerLabels": {LABEL_ISOLATION: WITHOUT_ROLE}});
        document["containerDefinitions"].as_array_mut().unwrap().push(router);
    });
    assert!(error.to_string().contains("router"), "{error}");
}

#[test]
fn with_the_role_the_rights_are_dropped_and_the_variable_is_kept() {
    let container = container(|container| container["dockerLabels"][LABEL_ISOLATION] = json!(WITH_ROLE));
    assert_eq!(words(&container["entryPoint"]), &DROP[3..]);
    assert_eq!(container["user"], "0:0");
}

/// The revision's commands decide: one that an earlier build rendered has the base's label but not the drop.
#[test]
fn a_revision_shares_the_role_unless_all_its_commands_begin_with_the_drop() {
    let shares = |document: &Value| CurrentDefinition::parse(document, &user()).unwrap().shares_task_role;
    let codes = |document: &Value| {
        let warnings = CurrentDefinition::parse(document, &user()).unwrap().warnings();
        warnings.iter().map(openclaw::Warning::code).collect::<Vec<_>>()
    };
    let isolated = rendered(|_| {});
    assert_eq!((shares(&isolated), codes(&isolated)), (false, vec![]));
    for (pointer, value) in [
        ("/containerDefinitions/0/user", json!("1000:1000")),
        ("/containerDefinitions/0/entryPoint", Value::Null),
        ("/containerDefinitions/0/entryPoint/4", json!("--reuid=0")),
        ("/containerDefinitions/0/entryPoint/7", json!("--ambient-caps=+all")),
        ("/containerDefinitions/0/healthCheck/command", json!(["CMD", "node", "-e", "0"])),
        ("/containerDefinitions/0/healthCheck/command", json!(["CMD-SHELL", "true"])),
    ] {
        let mut other = isolated.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert_eq!((shares(&other), codes(&other)), (true, vec!["shares_task_role"]), "{pointer}");
    }
    let with_role =
        rendered(|document| document["containerDefinitions"][0]["dockerLabels"][LABEL_ISOLATION] = json!(WITH_ROLE));
    assert!(shares(&with_role));
    let plain = rendered(|document| document["containerDefinitions"][0]["dockerLabels"] = json!({}));
    assert_eq!(plain["containerDefinitions"][0]["user"], "1000:1000");
    assert!(shares(&plain));
    // Without a task role there is nothing to share.
    assert!(!shares(&rendered(|document| {
        document["containerDefinitions"][0]["dockerLabels"] = json!({});
        document["taskRoleArn"] = Value::Null;
    })));
}

#[test]
fn bedrock_without_the_role_gives_a_warning_unless_the_user_has_keys() {
    let spec = |names: &[&str]| {
        let secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:x-AbCdEf";
        let secrets =
            Secrets::parse(names.iter().map(|name| ((*name).to_owned(), secret.to_owned())).collect()).unwrap();
        Spec { provider: openclaw::Provider::Bedrock, secrets, ..Spec::default() }
    };
    let codes = |spec: &Spec| {
        let document =
            rendered_with(spec, |document| document["containerDefinitions"][0]["image"] = json!("o:2026.5.7"));
        let warnings = CurrentDefinition::parse(&document, &user()).unwrap().warnings();
        warnings.iter().map(openclaw::Warning::code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&spec(&[])), ["bedrock_without_role"]);
    assert_eq!(codes(&spec(&["AWS_BEARER_TOKEN_BEDROCK"])), Vec::<&str>::new());
}
