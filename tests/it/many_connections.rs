//! Two thousand watchers need two thousand connections, in addition to files and other connections.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use tempfile::TempDir;

/// `dev` as a process with a low soft limit of open files. Killed when it is dropped.
struct Server {
    process: Child,
    address: String,
    _log: BufReader<ChildStderr>,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Server {
    fn start() -> Self {
        Self::limited_by("ulimit -Sn 256")
    }

    fn limited_by(limit: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("{limit} && exec \"$@\""),
            "sh",
            env!("CARGO_BIN_EXE_openclaw-provisioner"),
            "dev",
        ]);
        command.args(["--listen", "127.0.0.1:0", "--emulator-listen", "127.0.0.1:0", "--dir"]).arg(directory.path());
        command.env("PROVISIONER_LOG_FORMAT", "json");
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        Self { process, address, _log: log, _directory: directory }
    }

    /// Reads a file in /proc about the process.
    fn told(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap()
    }

    fn resident_kib(&self) -> u64 {
        let status = self.told("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }
}

#[test]
fn a_server_raises_its_limit_of_open_files_to_the_maximum() {
    let limits = Server::start().told("limits");
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let [soft, hard, _unit] = open_files.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
    assert_ne!(hard, "256", "the test shows nothing where no more are allowed");
    assert_eq!(soft, hard);
}

#[test]
fn a_connection_costs_little_memory() {
    const CONNECTIONS: u64 = 400;
    let server = Server::start();
    let asked = |mut stream: TcpStream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    };
    asked(server.connect());
    let before = server.resident_kib();
    let idle: Vec<TcpStream> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    // They are accepted in order, so those before it have been.
    asked(server.connect());
    let each = server.resident_kib().saturating_sub(before) / CONNECTIONS;
    assert!(each < 64, "{each} KiB for each of {} connections", idle.len());
}

/// ECS replaces a task that fails its health check: too many connections must not cause that.
#[test]
fn more_connections_than_descriptors_leave_enough_for_the_health_check_and_for_work() {
    let server = Server::limited_by("ulimit -n 200");
    let held: Vec<TcpStream> = (0..400).map(|_| server.connect()).collect();
    let mut healthcheck = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
    healthcheck.args(["healthcheck", "--listen", &server.address]);
    let asked = healthcheck.output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let mut refused = server.connect();
    refused.write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("too_many_connections"), "{answer}");
    drop(held);
    let is_ready = |_| {
        let mut stream = server.connect();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    };
    assert!((0..1_000).any(is_ready), "it is ready when they are gone");
}
