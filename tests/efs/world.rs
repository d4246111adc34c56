//! AWS in this process, and replicas of the service as separate processes: a hanging one can be killed, and a stopped one
//! stops as a whole.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aws_emulator::{Emulator, Options as EmulatorOptions};
use openclaw_provisioner::fleet;
use openclaw_provisioner::reconcile::Options;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::harness::{BASE, CLUSTER, TOKEN, TestApp};

/// Longer than anything that a test waits for.
pub const LONG: Duration = Duration::from_secs(60);

/// Rate limits of the service that never limit a test.
const LIMITS: &str = "task-definition-write=1000/1000,task-definition-read=1000/1000,service-write=1000/1000,\
                      service-read=1000/1000,task-read=1000/1000,service-deployment-read=1000/1000";

/// AWS, with a base registered.
pub struct World {
    pub emulator: Emulator,
    /// A replica in this process with its own files, for questions about AWS.
    pub aws: TestApp,
    address: SocketAddr,
    _runtime: Runtime,
}

impl World {
    pub fn new(options: EmulatorOptions) -> Self {
        let runtime = Runtime::new().unwrap();
        let (aws, address) = runtime.block_on(async {
            let root = tempfile::tempdir().unwrap();
            let aws = TestApp::in_directory(root, options, Options::default(), fleet::Options::default()).await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let emulator = aws.emulator.clone();
            tokio::spawn(async move { emulator.serve(listener, std::future::pending()).await.unwrap() });
            (aws, address)
        });
        Self { emulator: aws.emulator.clone(), aws, address, _runtime: runtime }
    }

    #[allow(dead_code, reason = "what measures uses it")]
    /// Makes an AWS call over a separate connection, without the SDK.
    pub fn call_aws(&self, service: &str, action: &str, input: &Value) {
        let target = format!("AmazonEC2ContainerServiceV20141113.{action}");
        assert_eq!(service, "ecs");
        let headers = format!("x-amz-target: {target}\r\ncontent-type: application/x-amz-json-1.1\r\n");
        let answer = request(&self.address.to_string(), "POST", "/", &headers, input, LONG).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// A replica with the file system mounted at `root`.
    pub fn replica(&self, root: &Path) -> Replica {
        self.replica_of(env!("CARGO_BIN_EXE_openclaw-provisioner").as_ref(), root)
    }

    #[allow(dead_code, reason = "what disturbs it uses it")]
    /// The address of AWS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A replica of another build.
    pub fn replica_of(&self, binary: &std::ffi::OsStr, root: &Path) -> Replica {
        self.replica_through(self.address, binary, root)
    }

    /// A replica for which AWS answers at another address.
    pub fn replica_through(&self, aws: SocketAddr, binary: &std::ffi::OsStr, root: &Path) -> Replica {
        let directory = tempfile::tempdir().unwrap();
        let (tokens, log) = (directory.path().join("tokens"), directory.path().join("log"));
        std::fs::write(&tokens, format!("test:admin:{TOKEN}\n")).unwrap();
        let process = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--efs-root"])
            .arg(root)
            .arg("--tokens-file")
            .arg(&tokens)
            .args(["--owner", if rustix::process::geteuid().is_root() { "1000:1000" } else { "-" }])
            .args(["--cluster", CLUSTER, "--base-family", BASE, "--file-system-id", &self.aws.file_system_id])
            .args(["--subnets", "subnet-0123456789abcdef0", "--security-groups", "sg-0123456789abcdef0"])
            .env("AWS_ENDPOINT_URL", format!("http://{aws}"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("PROVISIONER_INITIALIZE", "true")
            .env("PROVISIONER_LOG_FORMAT", "json")
            // Nothing may wait here except for files.
            .env("PROVISIONER_RATE_LIMITS", LIMITS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut replica = Replica { process, address: String::new(), directory };
        let start = Instant::now();
        replica.address = loop {
            if let Some(address) = replica.said("listening").first().and_then(|line| line["address"].as_str()) {
                break address.to_owned();
            }
            assert!(replica.process.try_wait().unwrap().is_none() && start.elapsed() < LONG, "{}", replica.log());
            thread::sleep(Duration::from_millis(20));
        };
        replica
    }
}

/// `serve` as a process; killed when it is dropped.
pub struct Replica {
    process: Child,
    address: String,
    directory: TempDir,
}

/// An answer of a replica.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    #[allow(dead_code, reason = "what measures uses it")]
    pub took: Duration,
}

impl Replica {
    /// Sends a request; `None` if there is no answer within `patience`.
    pub fn ask(&self, method: &str, path: &str, body: &Value, patience: Duration) -> Option<Answer> {
        let headers = format!("authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n");
        request(&self.address, method, path, &headers, body, patience)
    }

    /// Sends a request and waits for its answer.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask(method, path, body, LONG).unwrap_or_else(|| panic!("{method} {path}: no answer\n{}", self.log()))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &Value::Null)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Stops it as ECS does. Returns how long that took; panics if longer than `patience`.
    pub fn stop(mut self, patience: Duration) -> Duration {
        let start = Instant::now();
        self.signal(Signal::TERM);
        while self.process.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < patience, "it does not end\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    }

    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap().count()
    }

    /// The log's lines with this message.
    pub fn said(&self, message: &str) -> Vec<Value> {
        let lines = self.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn request(address: &str, method: &str, path: &str, headers: &str, body: &Value, patience: Duration) -> Option<Answer> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).ok()?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let left = patience.checked_sub(start.elapsed()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => bytes.extend(&buffer[..read]),
            Err(_) => return None,
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    Some(Answer { status, body, took: start.elapsed() })
}
