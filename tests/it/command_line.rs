//! The commands on containers: the same answers as over HTTP, with exit codes for jobs.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use aws_emulator::{Behaviour, Conduct, Fault, FaultKind, Options, Pace};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{BASE, CLUSTER, TestApp, auth};

/// A refresh token that must appear only in the user's files.
const REFRESH_TOKEN: &str = "rt_that_nobody_may_see";

/// The command line with a listening emulator.
struct Terminal {
    app: TestApp,
    endpoint: String,
}

impl Terminal {
    async fn open() -> Self {
        Self::over(Options::default()).await
    }

    async fn over(options: Options) -> Self {
        let app = TestApp::with(options).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let emulator = app.emulator.clone();
        tokio::spawn(async move { emulator.serve(listener, std::future::pending()).await });
        Self { app, endpoint }
    }

    async fn run(&self, line: &str) -> Output {
        self.run_on(line, auth("acc_1", REFRESH_TOKEN, 1_770_000_000).to_string()).await
    }

    /// As `run`, with this standard input.
    async fn run_on(&self, line: &str, input: String) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
        command.env_clear().args(line.split(' '));
        let owner = if rustix::process::geteuid().is_root() { "1000:1000" } else { "-" };
        let settings = [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("PROVISIONER_CLUSTER", CLUSTER),
            ("PROVISIONER_BASE_FAMILY", BASE),
            ("PROVISIONER_FILE_SYSTEM_ID", &self.app.file_system_id),
            ("PROVISIONER_SUBNETS", "subnet-0123456789abcdef0"),
            ("PROVISIONER_SECURITY_GROUPS", "sg-0123456789abcdef0"),
            ("PROVISIONER_OWNER", owner),
        ];
        command.envs(settings).env("PROVISIONER_EFS_ROOT", self.app.path(""));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = move || {
            let mut child = command.spawn().unwrap();
            // A command that reads nothing has closed it.
            let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let told = [output.stdout.as_slice(), &output.stderr].concat();
        assert!(!String::from_utf8_lossy(&told).contains(REFRESH_TOKEN), "{line} shows a token");
        output
    }

    /// The exit code, and what was printed.
    async fn says(&self, line: &str) -> (i32, String) {
        let output = self.run(line).await;
        let told = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(told).unwrap())
    }

    async fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("{line} --json")).await;
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// 0.5 vCPU and 2 GiB on x86_64 in us-east-1, the whole month: 21.26 USD; on arm64 17.02.
#[tokio::test(flavor = "multi_thread")]
async fn costs_and_capacity_of_the_fleet_are_shown() {
    let terminal = Terminal::open().await;
    assert_eq!(terminal.says("provision alice --auth-file - --wait").await.0, 0);
    terminal.app.register_base(|base| base["runtimePlatform"]["cpuArchitecture"] = json!("ARM64"));
    // Both have to be rendered from it.
    terminal.app.emulator.settle();
    for user in ["bob", "carol"] {
        assert_eq!(terminal.says(&format!("provision {user} --auth-file - --wait")).await.0, 0);
    }
    assert_eq!(terminal.says("stop carol --wait").await.0, 0);
    terminal.app.emulator.settle();
    let told = terminal.json("cost").await;
    let line = |state: &str, architecture: &str, each: f64| {
        json!({"state": state, "cpu": 512, "memory_mib": 2048, "architecture": architecture, "containers": 1,
               "usd_each": each, "usd_a_month": each})
    };
    let lines = [line("running", "x86_64", 21.26), line("running", "arm64", 17.02), line("stopped", "arm64", 0.0)];
    assert_eq!((&told["lines"], &told["usd_a_month"]), (&json!(lines), &json!(38.28)), "{told}");
    assert_eq!((&told["region"], &told["without_size"]), (&json!("us-east-1"), &json!(0)));
    let (code, said) = terminal.says("cost").await;
    assert!(
        code == 0 && said.contains("38.28 USD a month on Fargate in us-east-1") && said.contains("ARCHITECTURE"),
        "{said}"
    );

    let prices = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/domain/prices.json")).unwrap();
    let file = terminal.app.path("prices.json");
    std::fs::write(&file, prices.replace("0.04048", "-1")).unwrap();
    let (code, said) = terminal.says(&format!("cost --prices {}", file.display())).await;
    assert!(code == 1 && said.contains("not a number above 0"), "{said}");
    std::fs::write(&file, prices.replace("us-east-1", "eu-central-1")).unwrap();
    let (code, said) = terminal.says(&format!("cost --prices {}", file.display())).await;
    assert!(code == 1 && said.contains("no prices for us-east-1, only for eu-central-1"), "{said}");

    assert_eq!(terminal.json("capacity").await["quotas"][0]["used"], 1.0);
    let (code, said) = terminal.says("capacity").await;
    assert!(code == 0 && said.contains("fargate_vcpu") && said.contains("LIMIT FROM"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_lives_from_provision_to_delete_on_the_command_line() {
    let terminal = Terminal::open().await;
    let (code, said) = terminal.says("provision alice --auth-file - --cpu 512 --memory-mib 2048 --wait").await;
    assert!(code == 0 && said.contains("running"), "{said}");
    assert!(terminal.app.file("users/alice/codex/auth.json").contains(REFRESH_TOKEN));
    assert_eq!(terminal.json("status alice").await, terminal.app.get("/containers/alice").await.body);
    assert_eq!(terminal.json("resize alice --cpu 1024 --memory-mib 4096").await["size"]["cpu"], 1024);
    assert_eq!(terminal.says("stop alice --wait").await.0, 0);
    assert_eq!(terminal.json("credentials show alice").await["present"], true);
    let (code, said) = terminal.says("wait alice --timeout-seconds 0").await;
    assert!(code == 4 && said.contains("stopped"), "{said}");
    // A command ends when the work has ended.
    let (code, said) = terminal.says("delete alice --purge").await;
    assert!(code == 0 && said.contains("deleted"), "{said}");
    assert!(!terminal.app.path("users/alice").exists() && terminal.app.access_points().is_empty());
    assert_eq!(terminal.says("status alice").await.0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_a_fix_and_an_exit_code() {
    let terminal = Terminal::open().await;
    for (line, code, words) in [
        ("status alice", 3, "there is no container of this user"),
        ("provision alice --auth-file - --cpu 333 --memory-mib 1", 2, "not a Fargate size; use one of"),
        ("provision alice --auth-file /nowhere", 1, "--auth-file /nowhere"),
        ("provision al/ice --auth-file -", 2, "invalid value 'al/ice'"),
        ("redeploy alice --image a:1 --unpin", 2, "cannot be used with"),
        ("resize alice --cpu 512", 2, "--memory-mib"),
    ] {
        let (exit, said) = terminal.says(line).await;
        assert!(exit == code && said.contains(words), "{line}: {exit} {said}");
    }
    assert_eq!(terminal.app.services().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_users_are_one_job_with_one_exit_code() {
    let terminal = Terminal::open().await;
    for user in ["alice", "bob"] {
        let (code, said) = terminal.says(&format!("provision {user} --auth-file - --wait")).await;
        assert_eq!(code, 0, "{said}");
    }
    let resize = "resize alice bob --cpu 1024 --memory-mib 4096 --timeout-seconds 60";
    let (code, said) = terminal.says(resize).await;
    assert!(code == 0 && said.contains("done"), "{code} {said}");
    for user in ["alice", "bob"] {
        assert_eq!(terminal.json(&format!("status {user}")).await["size"]["cpu"], 1024);
    }
    // Safe to run again; and with an unknown user the list is wrong, and no user is changed.
    assert_eq!(terminal.says(resize).await.0, 0);
    let (code, said) = terminal.says("redeploy alice nobody").await;
    assert!(code == 2 && said.contains("there is no container of nobody"), "{code} {said}");
    let (code, said) = terminal.says("redeploy --users - --force").await;
    assert!(code == 2 && said.contains("line 1"), "{code} {said}");

    // A list of one is also a job; and a named user who is left out counts as a failure.
    let resize = "--cpu 512 --memory-mib 2048 --timeout-seconds 60 --json";
    let output = terminal.run_on(&format!("resize --users - {resize}"), "alice\n".into()).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["users"][0]["outcome"]), (Some(0), &json!("done")), "{told}");
    assert_eq!(terminal.says("provision bob --auth-file - --label rollout=exclude --wait").await.0, 0);
    let output = terminal.run(&format!("resize alice bob {resize}")).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["state"]), (Some(1), &json!("done")), "{told}");
    assert_eq!(told["progress"]["skipped"], json!({"unchanged": 1, "excluded": 1}), "{told}");
}

/// `healthcheck` against a service that gives this answer, or never answers.
async fn healthcheck(answer: Option<&'static str>, arguments: &[&str]) -> (i32, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 1024];
        let read = stream.read(&mut asked).await.unwrap();
        let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            // Until the other side gives up.
            None => drop(stream.read(&mut [0]).await),
        }
        asked
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
    command.env_clear().env("PROVISIONER_LISTEN", format!("0.0.0.0:{}", address.port()));
    command.arg("healthcheck").args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(served.await.unwrap().starts_with("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:"));
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
    (output.status.code().unwrap(), told.replace(&address.port().to_string(), "PORT"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_asks_the_service_where_it_listens_and_says_one_line() {
    let alive = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(healthcheck(Some(alive), &[]).await, (0, "http://127.0.0.1:PORT/healthz answers\n".into()));
    let dead = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let (code, told) = healthcheck(Some(dead), &[]).await;
    assert_eq!((code, told.as_str()), (1, "error: 127.0.0.1:PORT answers /healthz with 503\n"));
    let (code, told) = healthcheck(None, &["--timeout-seconds", "1"]).await;
    assert_eq!((code, told.as_str()), (1, "error: 127.0.0.1:PORT has not answered within 1s\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_of_the_real_service_passes_and_of_nothing_fails() {
    let terminal = Terminal::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/healthz", listener.local_addr().unwrap());
    let serving = tokio::spawn(axum::serve(listener, terminal.app.router.clone()).into_future());
    let (code, said) = terminal.says(&format!("healthcheck --url {url}")).await;
    assert_eq!((code, said), (0, format!("{url} answers\n")));
    serving.abort();
    assert!(serving.await.is_err());
    let (code, said) = terminal.says(&format!("healthcheck --url {url}")).await;
    assert!(code == 1 && said.contains("cannot be reached"), "{code} {said}");
}

/// The command itself waits: it prints progress meanwhile, and the final result as its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_change_shows_its_progress_and_its_result() {
    let pace = Pace { stopping: Duration::from_secs(5), ..Pace::default() };
    // DRAINING for as long as the task is stopping, so that there is time to see it.
    let conduct = Conduct { inactive_while_stopping: false, ..Conduct::default() };
    let terminal = Terminal::over(Options { pace, conduct, ..Options::default() }).await;
    let app = &terminal.app;
    assert_eq!(terminal.says("provision alice --auth-file - --wait").await.0, 0);
    let service = app.get("/containers/alice").await.body["service"].clone();
    app.aws("ecs", "DeleteService", json!({"cluster": CLUSTER, "service": service, "force": true}));
    app.emulator.settle();
    // The name cannot be used again before the last task is gone.
    let (code, said) = terminal.says("provision alice --auth-file - --wait").await;
    assert!(code == 0 && said.contains("the service is being deleted …") && said.contains("running"), "{code} {said}");

    let kind = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    app.emulator.inject(Fault { service: None, action: "DeleteAccessPoint".into(), skip: 0, times: 1, kind });
    let (code, said) = terminal.says("delete alice").await;
    assert!(code == 1 && said.contains("the service is being deleted …") && said.contains("AccessDenied"), "{said}");
    assert_eq!(terminal.json("delete alice").await["state"], "deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_delete_that_leaves_something_has_failed() {
    let terminal = Terminal::open().await;
    assert_eq!(terminal.says("provision alice --auth-file - --wait").await.0, 0);
    let kind = FaultKind::Error { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    let fault = Fault { service: None, action: "DeleteAccessPoint".into(), skip: 0, times: 1, kind };
    terminal.app.emulator.inject(fault);
    let (code, said) = terminal.says("delete alice --force").await;
    assert!(code == 1 && said.contains("access_point"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_why_a_container_failed() {
    let terminal = Terminal::open().await;
    terminal.app.emulator.set_behaviour(crate::harness::USER_FAMILY, Some(Behaviour::PullError));
    let (code, said) = terminal.says("provision alice --auth-file - --wait").await;
    assert!(code == 1 && said.contains("image_pull"), "{said}");
    let (code, said) = terminal.says("list").await;
    // `image_pull` as soon as the tasks were looked at.
    let is_told = ["circuit_breaker", "image_pull"].iter().any(|reason| said.contains(reason));
    assert!(code == 0 && is_told, "{said}");
}

/// Then there is no task, and the state is not a failure yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_be_placed_says_why_on_the_command_line() {
    let terminal = Terminal::open().await;
    terminal.app.emulator.set_behaviour(crate::harness::USER_FAMILY, Some(Behaviour::NoCapacity));
    assert_eq!(terminal.says("provision alice --auth-file -").await.0, 0);
    for command in ["status alice", "list"] {
        let (_, mut said) = terminal.says(command).await;
        while !said.contains("no_capacity") {
            tokio::time::sleep(Duration::from_millis(200)).await;
            said = terminal.says(command).await.1;
        }
        assert!(said.contains("provisioning"), "{command}: {said}");
    }
}
