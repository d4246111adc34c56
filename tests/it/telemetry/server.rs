//! `dev` as a process, and a receiver of its spans.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// `dev`, logging JSON. Killed when it is dropped.
pub struct Dev {
    pub token: String,
    address: String,
    process: Process,
    log: JoinHandle<String>,
    _directory: TempDir,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn command(endpoint: &str, directory: &TempDir, token: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
    command.args(["dev", "--listen", "127.0.0.1:0", "--emulator-listen", "127.0.0.1:0", "--token", token, "--dir"]);
    command.arg(directory.path()).env("PROVISIONER_LOG_FORMAT", "json").env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Dev {
    /// Starts it, exporting to `endpoint` unless that is empty.
    pub async fn start(endpoint: &str, environment: &[(&str, &str)]) -> Self {
        let (directory, token) = (tempfile::tempdir().unwrap(), "token-of-the-secret_words".to_owned());
        let mut command = command(endpoint, &directory, &token);
        let process = command.envs(environment.iter().copied()).spawn().unwrap();
        let mut process = Process(process);
        let mut log = process.0.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut text = String::new();
            log.read_to_string(&mut text).unwrap();
            text
        });
        let mut banner = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let address = spawn_blocking(move || {
            let says = |line: String| Some(line.split_once("API http://")?.1.split(' ').next()?.to_owned());
            let address = banner.by_ref().map_while(Result::ok).find_map(says).expect("it says where it listens");
            // It continues to print into a pipe, which must be emptied.
            thread::spawn(move || banner.for_each(drop));
            address
        });
        let address = address.await.unwrap();
        Self { token, address, process, log, _directory: directory }
    }

    /// The error when it does not start.
    pub async fn refused(endpoint: &str) -> String {
        let mut command = command(endpoint, &tempfile::tempdir().unwrap(), "token");
        let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Sends one request; a null body means none.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, String) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        if headers.iter().all(|(name, _)| *name != "authorization") {
            request += &format!("authorization: Bearer {}\r\n", self.token);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        request += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Ends it as ECS does, and returns its log.
    pub async fn stop(mut self) -> Vec<Value> {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM).unwrap();
        let ended = spawn_blocking(move || (self.process.0.wait().unwrap(), self.log.join().unwrap()));
        let (status, text) = ended.await.unwrap();
        assert!(status.success(), "{text}");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

/// A receiver that keeps all exports.
pub struct Receiver {
    pub url: String,
    got: Arc<Mutex<Vec<u8>>>,
    count: watch::Sender<usize>,
    answer: watch::Sender<Option<StatusCode>>,
}

type Shared = (Arc<Mutex<Vec<u8>>>, watch::Sender<usize>, watch::Receiver<Option<StatusCode>>);

impl Receiver {
    /// Starts a receiver that answers with this status, or never.
    pub async fn start(answer: Option<StatusCode>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (got, count) = (Arc::<Mutex<Vec<u8>>>::default(), watch::channel(0).0);
        let (sender, answer) = watch::channel(answer);
        let router = Router::new().route("/v1/traces", post(take)).with_state((got.clone(), count.clone(), answer));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, got, count, answer: sender }
    }

    /// Sets the status of its answers from now on.
    pub fn answer(&self, status: StatusCode) {
        self.answer.send_replace(Some(status));
    }

    /// Waits until at least this many exports have arrived.
    pub async fn wait_for(&self, exports: usize) {
        self.count.subscribe().wait_for(|count| *count >= exports).await.unwrap();
    }

    /// Everything that arrived; words are readable in protobuf.
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.got.lock().unwrap()).into_owned()
    }
}

async fn take(State((got, count, answer)): State<Shared>, body: Bytes) -> StatusCode {
    got.lock().unwrap().extend_from_slice(&body);
    count.send_modify(|count| *count += 1);
    let answer = *answer.borrow();
    match answer {
        Some(status) => status,
        None => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::OK
        }
    }
}
