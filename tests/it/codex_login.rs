//! `codex-login`, the real executable over the embedded emulator.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use openclaw_provisioner::domain::UserId;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{BASE, CLUSTER, TestApp, fresh_reads};

/// An app whose emulator also answers on a socket.
struct Served {
    app: TestApp,
    endpoint: String,
}

impl Served {
    /// With a user whose container runs.
    async fn with(user: &str) -> Self {
        // Fresh reads, so that all its answers are of one moment.
        let app = TestApp::with(fresh_reads()).await;
        app.provision(user).await;
        app.pass_seconds(3).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let emulator = app.emulator.clone();
        tokio::spawn(async move { emulator.serve(listener, std::future::pending()).await });
        Self { app, endpoint }
    }

    /// Runs `codex-login` with the settings of `serve`, and `path` as its `PATH`.
    async fn codex_login(&self, arguments: &[&str], path: &Path) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
        command.env_clear().arg("codex-login").args(arguments).env("PATH", path).envs([
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("PROVISIONER_CLUSTER", CLUSTER),
            ("PROVISIONER_BASE_FAMILY", BASE),
            ("PROVISIONER_FILE_SYSTEM_ID", &self.app.file_system_id),
            ("PROVISIONER_SUBNETS", "subnet-0123456789abcdef0"),
            ("PROVISIONER_SECURITY_GROUPS", "sg-0123456789abcdef0"),
        ]);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Standard output of a run that has to work.
    async fn told(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.codex_login(arguments, Path::new("/nowhere")).await;
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// Standard error of a run that has to fail.
    async fn refused(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.codex_login(arguments, Path::new("/nowhere")).await;
        assert_eq!((status.code(), stdout), (Some(1), vec![]));
        String::from_utf8(stderr).unwrap()
    }

    /// Switches ECS Exec on at the user's service, as an operator does; with a new task or without.
    async fn enable_exec(&self, user: &str, force_new_deployment: bool) {
        let change = json!({
            "cluster": CLUSTER, "service": service_name(user),
            "enableExecuteCommand": true, "forceNewDeployment": force_new_deployment,
        });
        self.app.aws("ecs", "UpdateService", change);
        self.app.pass_seconds(60).await;
    }

    fn task(&self, user: &str) -> String {
        let listed = self.app.aws("ecs", "ListTasks", json!({"cluster": CLUSTER, "serviceName": service_name(user)}));
        listed["taskArns"][0].as_str().unwrap().to_owned()
    }
}

fn service_name(user: &str) -> String {
    UserId::parse(user).unwrap().service_name()
}

/// The words that run before anything of the user.
const DROP: &str = "/usr/bin/env -u AWS_CONTAINER_CREDENTIALS_RELATIVE_URI /usr/bin/setpriv --reuid=1000 --regid=1000 \
     --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs --";

/// A directory with an `aws` that prints its arguments, one a line, and exits with 7.
fn with_an_aws_that_echoes() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let aws = directory.path().join("aws");
    std::fs::write(&aws, "#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 7\n").unwrap();
    std::fs::set_permissions(&aws, std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[tokio::test(start_paused = true)]
async fn the_command_names_the_running_task_and_its_codex_home() {
    let served = Served::with("alice").await;
    served.enable_exec("alice", true).await;
    let task = served.task("alice");
    // The drop first: configuration of the user must not run as root.
    let inner = format!("{DROP} env CODEX_HOME=/home/node/.openclaw/codex codex login --device-auth");
    assert_eq!(
        served.told(&["--user", "alice"]).await,
        format!(
            "aws ecs execute-command --cluster {CLUSTER} --task {task} --container openclaw --interactive \
             --command '{inner}'\n"
        )
    );
    let answer: Value = serde_json::from_str(&served.told(&["--user", "alice", "--json"]).await).unwrap();
    assert_eq!(
        answer,
        json!({
            "cluster": CLUSTER, "task": task, "container": "openclaw", "command": inner,
            "codex_home": "/home/node/.openclaw/codex",
        })
    );
}

/// A path that a shell would split reaches the AWS CLI in one piece, pasted or run.
#[tokio::test(start_paused = true)]
async fn the_printed_and_the_run_command_have_the_same_words() {
    let served = Served::with("bob").await;
    served.app.register_base(|base| {
        base["containerDefinitions"][0]["mountPoints"][0]["containerPath"] = json!("/mnt/it's $HOME");
        base["containerDefinitions"][0]["image"] = json!("ghcr.io/openclaw/openclaw:2026.5.7");
    });
    served.app.post("/containers/bob/redeploy", json!({})).await;
    served.enable_exec("bob", true).await;
    let aws = with_an_aws_that_echoes();
    let run = served.codex_login(&["--user", "bob", "--run"], aws.path()).await;
    assert_eq!(run.status.code(), Some(7), "{}", String::from_utf8_lossy(&run.stderr));
    let words = String::from_utf8(run.stdout).unwrap();
    let inner = r"env OPENCLAW_STATE_DIR='/mnt/it'\''s $HOME' openclaw models auth login --provider openai-codex --method device-code";
    let expected = ["ecs", "execute-command", "--cluster", CLUSTER, "--task", &served.task("bob")];
    let inner = format!("{DROP} {inner}");
    let expected = [&expected[..], &["--container", "openclaw", "--interactive", "--command", &inner]].concat();
    assert_eq!(words.lines().collect::<Vec<_>>(), expected);

    let printed = served.told(&["--user", "bob"]).await;
    let pasted = Command::new("/bin/sh").env("PATH", aws.path()).args(["-c", &printed]).output().unwrap();
    assert_eq!(String::from_utf8(pasted.stdout).unwrap(), words);
}

#[tokio::test(start_paused = true)]
async fn each_error_names_its_fix() {
    let served = Served::with("carol").await;
    let unknown = served.refused(&["--user", "nobody"]).await;
    assert!(unknown.contains("no container of user nobody") && unknown.contains("POST /provision"), "{unknown}");

    let disabled = served.refused(&["--user", "carol"]).await;
    assert!(disabled.contains("PROVISIONER_ENABLE_EXECUTE_COMMAND=true"), "{disabled}");
    assert!(disabled.contains("DELETE /containers/carol?data=keep"), "{disabled}");

    served.enable_exec("carol", false).await;
    let before = served.refused(&["--user", "carol"]).await;
    assert!(before.contains("/containers/carol/redeploy") && before.contains(r#"{"force":true}"#), "{before}");

    served.enable_exec("carol", true).await;
    let missing = served.refused(&["--user", "carol", "--run"]).await;
    assert!(missing.contains("AWS CLI") && missing.contains("session-manager-plugin"), "{missing}");

    served.app.post("/provision", json!({"user_id": "carol", "provider": "bedrock"})).await;
    served.app.pass_seconds(60).await;
    let other = served.refused(&["--user", "carol"]).await;
    assert!(other.contains("provider bedrock") && other.contains("POST /provision"), "{other}");

    served.app.post("/containers/carol/stop", json!({})).await;
    served.app.pass_seconds(60).await;
    let stopped = served.refused(&["--user", "carol"]).await;
    assert!(stopped.contains("stopped") && stopped.contains("POST /containers/carol/start"), "{stopped}");

    served.app.post("/containers/carol/start", json!({})).await;
    let starting = served.refused(&["--user", "carol"]).await;
    assert!(starting.contains("no task of carol runs"), "{starting}");
}

#[tokio::test(start_paused = true)]
async fn missing_settings_are_named_and_a_bad_user_is_wrong_usage() {
    let served = Served::with("dave").await;
    let missing = served.refused(&["--user", "dave", "--cluster", ""]).await;
    assert!(missing.contains("PROVISIONER_CLUSTER"), "{missing}");
    let bad = served.codex_login(&["--user", "../dave"], Path::new("/nowhere")).await;
    assert_eq!(bad.status.code(), Some(2), "{}", String::from_utf8_lossy(&bad.stderr));
}
