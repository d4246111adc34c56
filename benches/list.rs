//! How long `GET /containers` takes over 5,000 services (or `LIST_SERVICES`), and how much memory the process then uses,
//! which knows what each user has asked for. It measures a `serve` process over HTTP against the emulator in this process.
//! `cargo bench --bench list` (add `--profile dev` to use a debug build; its figures mean little, unless `LIST_BINARY` names
//! a release build to measure).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench may stop at once")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_emulator::{Emulator, Options};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openclaw_provisioner::domain::{LABEL_BASE, LABEL_SPEC, LABEL_USER, TAG_USER, UserId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ROUNDS: usize = 50;
const CLUSTER: &str = "bench";
const TOKEN: &str = "not-a-secret-only-a-bench";

#[tokio::main]
async fn main() {
    let services = std::env::var("LIST_SERVICES").map_or(5_000, |number| number.parse().unwrap());
    let emulator = Emulator::new(Options::default());
    seed(&emulator, services);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let aws = listener.local_addr().unwrap();
    tokio::spawn(async move { emulator.serve(listener, std::future::pending()).await });

    let directory = tempfile::tempdir().unwrap();
    let mut server = serve(aws, directory.path());
    let api = address(&mut server);
    let started = Instant::now();
    let page = |query: String| async move { get(api, &query).await };
    loop {
        let first = page("limit=1".to_owned()).await;
        if first["snapshot"]["unread_definitions"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!(
        "{services} services listed, described and their definitions read: {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let last = URL_SAFE_NO_PAD.encode(format!("after:user-{:05}", services.saturating_sub(51)));
    for (what, query) in [
        ("the default page of 50", String::new()),
        ("a page of 1,000", "limit=1000".to_owned()),
        ("the last page of 50", format!("cursor={last}")),
        ("all read, none wanted", "openclaw_version=2026.4.7&base_revision=999".to_owned()),
    ] {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            page(query.clone()).await;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!("{what:<24} median {:>6.2} ms, slowest {:>6.2} ms", ms(times[ROUNDS / 2]), ms(times[ROUNDS - 1]));
    }
    println!("resident memory of the process: {:.1} MiB (the goal is 64)", resident_mib(server.id()));
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Makes a definition and a service for each user, each with labels and variables.
fn seed(emulator: &Emulator, services: usize) {
    let call = |action, input| emulator.call("ecs", action, input).unwrap();
    call("CreateCluster", json!({"clusterName": CLUSTER}));
    for n in 0..services {
        let user = UserId::parse(&format!("user-{n:05}")).unwrap();
        let spec = json!({
            "size": {"cpu": 512, "memory_mib": 2048},
            "variables": {"TZ": "Europe/Berlin", "ACCOUNT": format!("account-of-{user}")},
            "labels": {"plan": if n % 10 == 0 { "team" } else { "single" }, "cohort": format!("2026-{:02}", n % 12 + 1)},
        });
        let base = format!("arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:{}", 40 + n % 3);
        let labels = json!({LABEL_USER: user, LABEL_SPEC: spec.to_string(), LABEL_BASE: base});
        let registered = call(
            "RegisterTaskDefinition",
            json!({
                "family": "openclaw-dev-user", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
                "cpu": "512", "memory": "2048", "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
                "containerDefinitions": [
                    {"name": "openclaw", "image": "ghcr.io/openclaw/openclaw:2026.4.21", "dockerLabels": labels}
                ],
            }),
        );
        let service = json!({
            "cluster": CLUSTER, "serviceName": user.service_name(),
            "taskDefinition": registered["taskDefinition"]["taskDefinitionArn"],
            "desiredCount": 1, "launchType": "FARGATE", "tags": [{"key": TAG_USER, "value": user}],
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        });
        call("CreateService", service);
    }
}

/// Starts the server, with rates that no account has, because the list is to be measured and not the wait for tokens.
fn serve(aws: SocketAddr, directory: &std::path::Path) -> Child {
    let (tokens, root) = (directory.join("tokens"), directory.join("efs"));
    std::fs::write(&tokens, format!("bench:read:{TOKEN}")).unwrap();
    std::fs::create_dir(&root).unwrap();
    let binary = std::env::var("LIST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_openclaw-provisioner").to_owned());
    Command::new(binary)
        .args(["serve", "--initialize"])
        .env("PROVISIONER_LISTEN", "127.0.0.1:0")
        .env("PROVISIONER_TOKENS_FILE", tokens)
        .env("PROVISIONER_EFS_ROOT", root)
        .env("PROVISIONER_OWNER", "-")
        .env("PROVISIONER_CLUSTER", CLUSTER)
        .env("PROVISIONER_BASE_FAMILY", "openclaw-dev")
        .env("PROVISIONER_FILE_SYSTEM_ID", "fs-1")
        .env("PROVISIONER_SUBNETS", "subnet-1")
        .env("PROVISIONER_SECURITY_GROUPS", "sg-1")
        .env("PROVISIONER_RATE_LIMITS", "service-read=1000/1000,task-definition-read=1000/1000")
        .env("PROVISIONER_LOG", "info")
        .env("AWS_ENDPOINT_URL", format!("http://{aws}"))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "bench")
        .env("AWS_SECRET_ACCESS_KEY", "bench")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The address on which it listens, from its log; later log lines are thrown away.
fn address(server: &mut Child) -> SocketAddr {
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let line = log.by_ref().map(Result::unwrap).find(|line| line.contains("listening")).expect("it listens");
    std::thread::spawn(move || log.count());
    let at = line.find("127.0.0.1:").unwrap();
    line[at..].split(['"', ' ']).next().unwrap().parse().unwrap()
}

async fn get(api: SocketAddr, query: &str) -> Value {
    let mut stream = TcpStream::connect(api).await.unwrap();
    let head = format!("GET /containers?{query} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {TOKEN}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

fn resident_mib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
