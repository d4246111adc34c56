//! `dev seed`: the real executable against an emulator that is running already.

use std::net::SocketAddr;
use std::process::{Child, Command, Output};

use aws_emulator::{Fault, FaultKind};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Duration;

use crate::harness::TestApp;

async fn emulator() -> (TestApp, String) {
    let app = TestApp::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let emulator = app.emulator.clone();
    tokio::spawn(async move { emulator.serve(listener, std::future::pending()).await });
    (app, endpoint)
}

async fn seed(endpoint: &str, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
    command.env_clear().args(["dev", "seed", "--endpoint", endpoint]).args(more);
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_seed_finds_the_file_system_of_the_first() {
    let (app, endpoint) = emulator().await;
    let file_system = |printed: String| serde_json::from_str::<Value>(&printed).unwrap()["file_system_id"].clone();
    let first = file_system(seed(&endpoint, &["--json"]).await);
    assert_eq!(file_system(seed(&endpoint, &["--json"]).await), first);
    // As moto refuses it: without the id.
    app.emulator.inject(Fault {
        service: Some("elasticfilesystem".into()),
        action: "CreateFileSystem".into(),
        skip: 0,
        times: 1,
        kind: FaultKind::Error { status: 409, code: "FileSystemAlreadyExists".into(), message: "in use".into() },
    });
    assert_eq!(file_system(seed(&endpoint, &["--json"]).await), first);
    assert!(app.emulator.calls().iter().any(|call| call.action == "DescribeFileSystems"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_commands_of_a_seed_start_the_service() {
    let (_app, endpoint) = emulator().await;
    let script = seed(&endpoint, &[]).await;
    let directory = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = free.local_addr().unwrap();
    drop(free);
    // `exec`, so that the test kills the service and not a shell.
    let script =
        script.trim_end().rsplit_once('\n').map(|(settings, serve)| format!("set -eu\n{settings}\nexec {serve}"));
    let mut command = Command::new("sh");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("PROVISIONER_LISTEN", address.to_string());
    command.args(["-c", &script.unwrap()]).current_dir(directory.path());
    let log = directory.path().join("log");
    let serving = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut serving = Serving(serving);
    let ended = loop {
        if TcpStream::connect(address).await.is_ok() {
            break None;
        }
        if let Some(status) = serving.0.try_wait().unwrap() {
            break Some(status);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(ended, None, "{}", std::fs::read_to_string(&log).unwrap());
}

/// A process that ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
