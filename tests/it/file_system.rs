//! Which file system is mounted, according to its root, the settings, and SSM while the process runs.

use std::process::{Command, Output};
use std::time::Duration;

use openclaw_provisioner::config::{CoordinatesArgs, Freshness, Source, refresh};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::harness::TestApp;

/// A `serve` that has to refuse its root, without AWS: all settings are variables.
fn serve(root: &std::path::Path, id: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
    command.arg("serve").args(more).env_clear();
    for (name, value) in [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("PROVISIONER_TOKENS", "web:provision:a-token-of-sixteen-characters"),
        ("PROVISIONER_LISTEN", "127.0.0.1:0"),
        ("PROVISIONER_OWNER", "-"),
        ("PROVISIONER_CLUSTER", "c"),
        ("PROVISIONER_BASE_FAMILY", "f"),
        ("PROVISIONER_SUBNETS", "subnet-1"),
        ("PROVISIONER_SECURITY_GROUPS", "sg-1"),
        ("PROVISIONER_FILE_SYSTEM_ID", id),
    ] {
        command.env(name, value);
    }
    command.env("PROVISIONER_EFS_ROOT", root).output().unwrap()
}

#[test]
fn a_root_that_is_not_the_file_system_of_the_settings_is_refused_and_stays_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_str().unwrap();
    // Like a bare mount point, and like one that was used before its file system had an id.
    let bare = serve(root.path(), "fs-mine", &[]);
    let said = String::from_utf8_lossy(&bare.stderr).into_owned();
    assert!(
        !bare.status.success() && [path, "fs-mine", "--initialize"].iter().all(|part| said.contains(part)),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);

    std::fs::create_dir(root.path().join(".provisioner")).unwrap();
    std::fs::write(root.path().join(".provisioner/file-system"), "fs-other\n").unwrap();
    for more in [&[][..], &["--initialize"]] {
        let other = serve(root.path(), "fs-mine", more);
        let said = String::from_utf8_lossy(&other.stderr).into_owned();
        let parts = [path, "fs-mine", "fs-other", "PROVISIONER_FILE_SYSTEM_ID"];
        assert!(!other.status.success() && parts.iter().all(|part| said.contains(part)), "{said}");
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "no users/ is made");
}

#[tokio::test(start_paused = true)]
async fn another_file_system_in_ssm_is_not_taken_up_while_the_process_runs() {
    let app = TestApp::start().await;
    let publish = |name: &str, value: &str| {
        let parameter =
            json!({"Name": format!("/openclaw/test/{name}"), "Value": value, "Type": "String", "Overwrite": true});
        app.aws("ssm", "PutParameter", parameter);
    };
    for (name, value) in
        [("cluster", "c"), ("base-family", "f"), ("file-system-id", "fs-a"), ("subnets", "s"), ("security-groups", "g")]
    {
        publish(name, value);
    }
    let args = CoordinatesArgs { ssm_path: Some("/openclaw/test".into()), ..CoordinatesArgs::default() };
    let source = Source { args, ssm: app.sdk.ssm.clone() };
    let (coordinates, in_force) = watch::channel(source.read().await.unwrap());
    let (freshness, fresh) = watch::channel(Freshness { read_at: Instant::now(), error: None });
    tokio::spawn(refresh(source, "/mnt/efs".into(), coordinates, freshness));

    publish("file-system-id", "fs-b");
    publish("cluster", "another");
    tokio::time::sleep(Duration::from_secs(61)).await;
    let said = fresh.borrow().error.clone().unwrap();
    assert!(["fs-a", "fs-b", "/mnt/efs", "restart"].iter().all(|part| said.contains(part)), "{said}");
    let now = in_force.borrow().clone();
    assert_eq!((now.file_system_id.as_str(), now.cluster.as_str()), ("fs-a", "c"), "all of the last good ones");

    publish("file-system-id", "fs-a");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!((fresh.borrow().error.clone(), in_force.borrow().cluster.as_str()), (None, "another"));
}

#[tokio::test]
async fn a_root_of_another_file_system_is_not_ready_and_doctor_says_which() {
    let app = TestApp::start().await;
    std::fs::write(app.path(".provisioner/file-system"), "fs-other\n").unwrap();
    let ready = app.get("/readyz").await;
    let said = ready.body["checks"][0]["message"].as_str().unwrap();
    assert!(ready.status == 503 && said.contains("fs-other") && said.contains(&app.file_system_id), "{}", ready.body);
}
