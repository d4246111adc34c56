use serde_json::json;

use super::*;

const FAMILY: &str = "openclaw-dev";
const COMMAND: [&str; 3] = ["node", "openclaw.mjs", "gateway"];

/// The judgement of a base without problems, after `change`.
fn judged_with(release: &ReleaseDefaults, change: impl FnOnce(&mut Value)) -> BaseJudgement {
    let mut base = json!({
        "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:42",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": "512",
        "memory": "2048",
        "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        "taskRoleArn": "arn:aws:iam::123456789012:role/task",
        "containerDefinitions": [{
            "name": "openclaw",
            "image": "openclaw:2026.6.35",
            "user": "1000:1000",
            "dockerLabels": {"openclaw.provisioner.isolation": "without-role", "openclaw.provisioner.setpriv": "/usr/bin/setpriv"},
            "command": COMMAND,
            "healthCheck": {"command": ["CMD", "true"]},
            "mountPoints": [{"sourceVolume": "home", "containerPath": "/data"}],
        }],
        "volumes": [
            {"name": "scratch"},
            {"name": "home", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "authorizationConfig": {"iam": "ENABLED"}}},
        ],
    });
    change(&mut base);
    let expected = Expected { family: FAMILY, file_system_id: "fs-1", release, owner: (1000, 1000) };
    BaseJudgement::of(&base, vec![], expected)
}

fn judged(change: impl FnOnce(&mut Value)) -> BaseJudgement {
    judged_with(&ReleaseDefaults::default(), change)
}

/// Severity and code of all findings after `change`, in order.
fn found(change: impl FnOnce(&mut Value)) -> Vec<(Severity, &'static str)> {
    judged(change).findings.iter().map(|finding| (finding.severity(), finding.code())).collect()
}

fn of_first(member: &str, value: Value) -> Vec<(Severity, &'static str)> {
    found(|base| base["containerDefinitions"][0][member] = value)
}

const fn fail(code: &'static str) -> (Severity, &'static str) {
    (Severity::Fail, code)
}

const fn warn(code: &'static str) -> (Severity, &'static str) {
    (Severity::Warn, code)
}

#[test]
fn a_complete_base_has_no_findings() {
    let judgement = judged(|_| {});
    assert_eq!(judgement.findings, []);
    assert_eq!(judgement.base.unwrap().codex_home(), "/data/codex");
    assert_eq!(judgement.image.as_deref(), Some("openclaw:2026.6.35"));
    assert_eq!(judgement.release, Some(OpenClawVersion::new(2026, 6, 35)));
}

#[test]
fn a_task_that_fargate_cannot_run_is_a_failure() {
    for (member, value, code) in [
        ("requiresCompatibilities", json!(["EC2"]), "not_fargate"),
        ("requiresCompatibilities", Value::Null, "not_fargate"),
        ("networkMode", json!("bridge"), "not_awsvpc"),
        ("networkMode", Value::Null, "not_awsvpc"),
        ("cpu", Value::Null, "no_fargate_size"),
        ("memory", json!("1536"), "no_fargate_size"),
        ("executionRoleArn", Value::Null, "no_execution_role"),
        ("taskRoleArn", json!(""), "no_task_role"),
    ] {
        assert_eq!(found(|base| base[member] = value), [fail(code)], "{member}");
    }
    let compatible = |base: &mut Value| {
        base["requiresCompatibilities"] = json!([]);
        base["compatibilities"] = json!(["EC2", "FARGATE"]);
    };
    assert_eq!(found(compatible), []);
}

#[test]
fn a_health_check_has_to_check_something() {
    for check in [Value::Null, json!({}), json!({"command": []}), json!({"command": ["NONE"]})] {
        assert_eq!(of_first("healthCheck", check), [warn("no_health_check")]);
    }
}

#[test]
fn the_user_of_the_container_is_compared_in_numbers() {
    let of_plain = |user: Value| {
        found(|base| {
            base["containerDefinitions"][0]["dockerLabels"] = Value::Null;
            base["containerDefinitions"][0]["user"] = user;
        })
    };
    for user in ["1000:1000", "1000"] {
        assert_eq!(of_plain(json!(user)), [warn("not_isolated")], "{user}");
    }
    for user in ["0", "0:0", "1001:1000", "1000:0", "node", "", "1000:"] {
        assert_eq!(of_plain(json!(user)), [warn("other_user"), warn("not_isolated")], "{user}");
    }
    // With isolation, the user after the drop counts.
    for user in [json!("1000:1000"), json!("0:0"), Value::Null] {
        assert_eq!(of_first("user", user.clone()), [], "{user}");
    }
    assert_eq!(of_first("user", json!("1001:1000")), [warn("other_user")]);
    let silent = judged(|base| {
        base["containerDefinitions"][0]["dockerLabels"] = Value::Null;
        base["containerDefinitions"][0]["user"] = Value::Null;
    });
    assert_eq!(
        silent.findings[0].problem(),
        "the container of OpenClaw sets no user, and users' files belong to 1000:1000"
    );
}

#[test]
fn iam_matters_only_on_the_volume_with_the_users_files() {
    let without = |volume: usize| {
        found(|base| {
            base["volumes"][volume]["efsVolumeConfiguration"]["authorizationConfig"] = json!({"iam": "DISABLED"});
        })
    };
    assert_eq!(without(1), [warn("no_iam_on_volume")]);
    assert_eq!(without(0), []);
}

#[test]
fn only_releases_with_an_entry_script_need_a_command() {
    let without_command = |image: &str| {
        found(|base| {
            base["containerDefinitions"][0]["command"] = json!([]);
            base["containerDefinitions"][0]["image"] = json!(image);
        })
    };
    assert_eq!(without_command("openclaw:2026.6.5"), [warn("runs_default_command")]);
    assert_eq!(without_command("openclaw:2026.4.21"), []);
    // The release is unknown, so the newest plan is used, and that one has the script.
    assert_eq!(without_command("openclaw:latest"), [warn("release_unknown"), warn("runs_default_command")]);
    let entry_point = |base: &mut Value| {
        base["containerDefinitions"][0]["command"] = Value::Null;
        base["containerDefinitions"][0]["entryPoint"] = json!(["docker-entrypoint.sh"]);
    };
    assert_eq!(found(entry_point), []);
    let guessed = judged(|base| base["containerDefinitions"][0]["command"] = Value::Null);
    assert!(guessed.findings[0].problem().ends_with(UPSTREAM_COMMAND));
}

#[test]
fn a_problem_of_the_release_is_found_unless_the_settings_solve_it() {
    let image = |image: &str| of_first("image", json!(image));
    assert_eq!(image("openclaw:2026.4.25"), [warn("release_hangs_on_network_file_systems")]);
    assert_eq!(image("openclaw:2026.5.12"), [warn("auth_profile_secret_key_missing")]);
    assert_eq!(image("openclaw:2026.4.6"), [fail("release_too_old")]);
    assert_eq!(image("openclaw:main"), [warn("release_unknown")]);
    let settings = ReleaseDefaults {
        openclaw_version: Some(OpenClawVersion::new(2026, 5, 12)),
        auth_profile_secret_arn: Some("arn:aws:secretsmanager:us-east-1:123456789012:secret:key".into()),
        ..ReleaseDefaults::default()
    };
    let judgement = judged_with(&settings, |base| base["containerDefinitions"][0]["image"] = json!("openclaw:main"));
    assert_eq!((judgement.findings, judgement.release), (vec![], settings.openclaw_version));
}

#[test]
fn a_base_that_cannot_be_cloned_is_still_checked() {
    let mut judgement = judged(|base| {
        base["volumes"] = json!([]);
        base["networkMode"] = json!("host");
        base["containerDefinitions"][0]["healthCheck"] = Value::Null;
    });
    assert_eq!((judgement.base.take(), judgement.image.as_deref()), (None, Some("openclaw:2026.6.35")));
    let codes: Vec<_> = judgement.findings.iter().map(BaseFinding::code).collect();
    assert_eq!(codes, ["no_efs_mount", "not_awsvpc", "no_health_check"]);
    let empty = judged(|base| base["containerDefinitions"] = json!([]));
    assert_eq!(empty.findings.iter().map(BaseFinding::code).collect::<Vec<_>>(), ["no_container"]);
}

#[test]
fn every_finding_says_what_to_change() {
    let judgement = judged(|base| {
        *base = json!({"taskDefinitionArn": "x/openclaw-dev:1", "containerDefinitions": [{"image": "openclaw:main"}]});
    });
    for finding in &judgement.findings {
        assert!(finding.fix().is_some_and(|fix| !fix.is_empty()), "{finding:?}");
    }
    assert_eq!(judgement.findings.len(), 10, "{:?}", judgement.findings);
}

#[test]
fn the_container_that_runs_openclaw_is_checked_at_any_position() {
    let judgement = judged(|base| {
        let router = json!({"name": "router", "image": "router:1", "user": "0"});
        base["containerDefinitions"].as_array_mut().unwrap().insert(0, router);
    });
    assert_eq!(judgement.findings, []);
    assert_eq!(judgement.image.as_deref(), Some("openclaw:2026.6.35"));
    assert_eq!(judgement.base.unwrap().openclaw().name, "openclaw");
}

#[test]
fn a_port_that_is_missing_in_health_check_or_mappings_is_found() {
    let found = |command: Value, check: &str, mapped: Value| {
        found(|base| {
            let first = &mut base["containerDefinitions"][0];
            (first["command"], first["portMappings"]) = (command, mapped);
            first["healthCheck"]["command"] = json!(["CMD-SHELL", check]);
        })
    };
    let other = || json!(["node", "openclaw.mjs", "gateway", "--port", "8080"]);
    let asks = |port: u16| format!("curl -f http://127.0.0.1:{port}/healthz");
    let maps = |port: u16| json!([{"containerPort": port}]);
    assert_eq!(found(json!(COMMAND), &asks(18789), maps(18789)), []);
    assert_eq!(found(other(), &asks(8080), maps(8080)), []);
    assert_eq!(found(other(), "pgrep node", json!([])), []);
    let both = [warn("health_check_asks_other_port"), warn("port_not_mapped")];
    assert_eq!(found(other(), &asks(18789), maps(18789)), both);
    assert_eq!(found(json!(COMMAND), &asks(8080), maps(8080)), both);
}

#[test]
fn environment_files_in_s3_are_found() {
    let files = |base: &mut Value| {
        base["containerDefinitions"][0]["environmentFiles"] = json!([{"value": "arn:aws:s3:::b/e.env", "type": "s3"}]);
    };
    let of_plain = found(|base| {
        base["containerDefinitions"][0]["dockerLabels"] = Value::Null;
        files(base);
    });
    assert_eq!(of_plain, [warn("environment_files"), warn("not_isolated")]);
    // They may set LD_PRELOAD, too.
    assert_eq!(found(files), [fail("cannot_isolate"), warn("environment_files")]);
}

#[test]
fn problems_of_isolation_are_found() {
    let labels = |labels: Value| of_first("dockerLabels", labels);
    assert_eq!(labels(json!({})), [warn("not_isolated")]);
    assert_eq!(labels(json!({"openclaw.provisioner.isolation": "yes"})), [fail("cannot_isolate")]);
    let asked = |how: &str| json!({"openclaw.provisioner.isolation": how});
    assert_eq!(labels(asked("with-role")), [warn("keeps_task_role"), warn("setpriv_unknown")]);
    assert_eq!(labels(asked("without-role")), [warn("setpriv_unknown")]);
    let of_upstream = |image: &str| {
        found(|base| {
            base["containerDefinitions"][0]["dockerLabels"] = asked("without-role");
            base["containerDefinitions"][0]["image"] = json!(image);
        })
    };
    let in_ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com/openclaw-extended:2026.6.35-1";
    for image in ["ghcr.io/openclaw/openclaw:2026.6.35-slim", in_ecr] {
        assert_eq!(of_upstream(image), [], "{image}");
    }
    let with_sidecar = |volume: &str| {
        found(|base| {
            base["containerDefinitions"][0]["dockerLabels"]["openclaw.provisioner.role"] = json!("openclaw");
            let mount = json!({"sourceVolume": volume, "containerPath": "/files"});
            let sidecar = json!({"name": "backup", "image": "backup:1", "mountPoints": [mount]});
            base["containerDefinitions"].as_array_mut().unwrap().push(sidecar);
        })
    };
    assert_eq!(with_sidecar("scratch"), []);
    assert_eq!(with_sidecar("home"), [warn("sidecar_mounts_users_files")]);
}
