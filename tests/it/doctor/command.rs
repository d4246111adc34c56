//! `doctor`, the real executable over the embedded emulator.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::publish;
use crate::harness::{BASE, CLUSTER, TestApp};

/// Runs `doctor` with only these variables, in an empty directory.
async fn doctor(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
    command.env_clear().arg("doctor").args(arguments).current_dir(directory.path());
    command.envs(variables.iter().copied()).env("AWS_EC2_METADATA_DISABLED", "true");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// An app with published coordinates whose emulator answers on a socket; and its address.
async fn served() -> (TestApp, String) {
    let app = TestApp::start().await;
    for (name, value) in [
        ("cluster", CLUSTER),
        ("base-family", BASE),
        ("file-system-id", &app.file_system_id),
        ("subnets", "subnet-0a,subnet-0b"),
        ("security-groups", "sg-0a"),
    ] {
        publish(&app, name, value, "String");
    }
    publish(&app, "api-key", "sentinel-of-a-secret", "SecureString");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let emulator = app.emulator.clone();
    tokio::spawn(async move { emulator.serve(listener, std::future::pending()).await });
    (app, endpoint)
}

/// The settings of `serve` for that app.
async fn told(app: &TestApp, endpoint: &str, arguments: &[&str]) -> (Option<i32>, String) {
    app.emulator.settle();
    let root = app.path("");
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "sentinel-of-a-secret"),
        ("PROVISIONER_SSM_PATH", "/openclaw/test"),
        ("PROVISIONER_EFS_ROOT", root.to_str().unwrap()),
        ("PROVISIONER_OWNER", "-"),
    ];
    let Output { status, stdout, stderr } = doctor(arguments, &variables).await;
    assert_eq!(String::from_utf8_lossy(&stderr), "");
    let text = String::from_utf8(stdout).unwrap();
    assert!(!text.contains("sentinel"), "{text}");
    // Replaces what differs from run to run.
    let text = text.replace(root.to_str().unwrap().trim_end_matches('/'), "<root>");
    (status.code(), text.replace("<root>/", "<root>").replace(&app.file_system_id, "<file system>"))
}

#[tokio::test]
async fn text_output_has_one_line_for_each_check_and_its_fix() {
    let (app, endpoint) = served().await;
    app.register_base(|base| {
        base["containerDefinitions"][0]["healthCheck"] = Value::Null;
        base["taskRoleArn"] = Value::Null;
    });
    let (code, text) = told(&app, &endpoint, &[]).await;
    assert_eq!(code, Some(1), "{text}");
    insta::assert_snapshot!(text, @r#"
    skip  openclaw_version_file  there is none here
                                 fix: name one with --version-file
    pass  ssm_parameters         /openclaw/test has cluster, base-family, file-system-id, subnets, security-groups
    pass  settings               cluster openclaw-dev, base family openclaw-dev, file system <file system>
    skip  tokens_file            not given
                                 fix: set PROVISIONER_TOKENS_FILE
    pass  aws_identity           arn:aws:iam::123456789012:user/emulator in us-east-1
    pass  clock                  less than 60 s off AWS's
    pass  cluster                openclaw-dev is ACTIVE
    FAIL  base_family            openclaw-dev:2: no task role, with which the file system is mounted
                                 fix: set taskRoleArn
    WARN  base_family            openclaw-dev:2: the container of OpenClaw has no health check, so a container counts as ready as soon as it runs; ECS ignores the image's own
                                 fix: add a healthCheck that asks http://127.0.0.1:18789/healthz
    skip  image                  ghcr.io/openclaw/openclaw:2026.4.21 is in no private ECR registry, and others are not asked
    pass  network                subnets subnet-0a, subnet-0b; security groups sg-0a
    pass  promoted_base          none is promoted; every user follows the newest at their next provision
    pass  quotas                 0 of 4000 Fargate vCPU in this cluster alone; 0 of 20000 network interfaces in this cluster alone; 0 of 5000 services in the cluster; 0 of 10000 access points of the file system; 0 of 1000000 revisions of users' task definitions
    pass  efs_root               <root> can be written, locks work, and owners are left alone
        
    "#);
}

#[tokio::test]
async fn json_output_is_one_object() {
    let (app, endpoint) = served().await;
    app.register_base(|base| base["containerDefinitions"][0]["user"] = json!("1001:1000"));
    let (code, text) = told(&app, &endpoint, &["--json"]).await;
    assert_eq!(code, Some(0), "a warning is no failure: {text}");
    insta::assert_json_snapshot!(serde_json::from_str::<Value>(&text).unwrap(), @r#"
    {
      "checks": [
        {
          "fix": "name one with --version-file",
          "message": "there is none here",
          "name": "openclaw_version_file",
          "verdict": "skip"
        },
        {
          "message": "/openclaw/test has cluster, base-family, file-system-id, subnets, security-groups",
          "name": "ssm_parameters",
          "verdict": "pass"
        },
        {
          "message": "cluster openclaw-dev, base family openclaw-dev, file system <file system>",
          "name": "settings",
          "verdict": "pass"
        },
        {
          "fix": "set PROVISIONER_TOKENS_FILE",
          "message": "not given",
          "name": "tokens_file",
          "verdict": "skip"
        },
        {
          "message": "arn:aws:iam::123456789012:user/emulator in us-east-1",
          "name": "aws_identity",
          "verdict": "pass"
        },
        {
          "message": "less than 60 s off AWS's",
          "name": "clock",
          "verdict": "pass"
        },
        {
          "message": "openclaw-dev is ACTIVE",
          "name": "cluster",
          "verdict": "pass"
        },
        {
          "message": "openclaw-dev:2 can be cloned; it runs OpenClaw 2026.4.21 in container openclaw, because there is no other container, and its gateway listens on 18789; OPENCLAW_STATE_DIR will be /home/node/.openclaw, and CODEX_HOME will be /home/node/.openclaw/codex",
          "name": "base_family",
          "verdict": "pass"
        },
        {
          "finding": "other_user",
          "fix": "set user to \"1000:1000\" there, or make PROVISIONER_OWNER agree",
          "message": "openclaw-dev:2: the container of OpenClaw runs as 1001:1000, and users' files belong to 1000:1000",
          "name": "base_family",
          "verdict": "warn"
        },
        {
          "message": "ghcr.io/openclaw/openclaw:2026.4.21 is in no private ECR registry, and others are not asked",
          "name": "image",
          "verdict": "skip"
        },
        {
          "message": "subnets subnet-0a, subnet-0b; security groups sg-0a",
          "name": "network",
          "verdict": "pass"
        },
        {
          "message": "none is promoted; every user follows the newest at their next provision",
          "name": "promoted_base",
          "verdict": "pass"
        },
        {
          "message": "0 of 4000 Fargate vCPU in this cluster alone; 0 of 20000 network interfaces in this cluster alone; 0 of 5000 services in the cluster; 0 of 10000 access points of the file system; 0 of 1000000 revisions of users' task definitions",
          "name": "quotas",
          "verdict": "pass"
        },
        {
          "message": "<root> can be written, locks work, and owners are left alone",
          "name": "efs_root",
          "verdict": "pass"
        }
      ],
      "ok": true
    }
        
    "#);
}

#[tokio::test]
async fn without_any_setting_doctor_fails_and_names_the_setting() {
    let Output { status, stdout, .. } = doctor(&["--json"], &[]).await;
    let report: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((status.code(), &report["ok"]), (Some(1), &json!(false)), "{report}");
    let checks = report["checks"].as_array().unwrap();
    let failed: Vec<&Value> = checks.iter().filter(|check| check["verdict"] != "skip").collect();
    assert!(
        matches!(&failed[..], [only] if only["name"] == "settings" && only["finding"] == "no_settings"),
        "{report}"
    );
    assert!(failed[0]["fix"].as_str().unwrap().starts_with("set PROVISIONER_SSM_PATH"), "{report}");
    let region = checks.iter().find(|check| check["name"] == "aws_identity").unwrap();
    assert!(region["fix"].as_str().unwrap().starts_with("set AWS_REGION"), "{region}");
}

#[tokio::test]
async fn settings_without_a_region_fail_with_the_variable() {
    let Output { status, stdout, .. } = doctor(&["--cluster", "openclaw-dev"], &[]).await;
    let text = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| *line == "FAIL  aws_identity           no AWS region is set").unwrap();
    assert_eq!(lines[at + 1], "fix: set AWS_REGION (ECS sets it for a task)");
}

#[tokio::test]
async fn offline_checks_only_the_version_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(&file, include_str!("../../../openclaw-version.json")).unwrap();
    let good = doctor(&["--offline", "--json", "--version-file", path], &[]).await;
    let report: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!((good.status.code(), report["checks"].as_array().unwrap().len()), (Some(0), 1), "{report}");
    assert_eq!(report["checks"][0]["verdict"], "pass");
    std::fs::write(&file, "{}").unwrap();
    for path in [path, "/nowhere/openclaw-version.json"] {
        let bad = doctor(&["--offline", "--version-file", path], &[]).await;
        let text = String::from_utf8(bad.stdout).unwrap();
        assert_eq!(bad.status.code(), Some(1), "{text}");
        assert!(text.starts_with("FAIL  openclaw_version_file") && text.contains("fix: "), "{text}");
    }
}
