//! Two thousand watchers are two thousand connections, beside the files and the connections of everybody else.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use tempfile::TempDir;

/// `dev` as a process that may have few open files unless it takes more. Killed when it is dropped.
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
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -Sn 256 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_openclaw-provisioner"), "dev"]);
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

    /// A file of the kernel's about the process.
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
fn a_server_takes_as_many_open_files_as_it_may_have() {
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
