//! Slow clients, and more clients than there are descriptors for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use openclaw_provisioner::http::{Limits, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::{TOKEN, TestApp, provision_body};

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(30);
/// Longer than any test waits: only the tested limit ends a connection.
const NEVER: Duration = Duration::from_secs(3_600);
const PATIENT: Limits = Limits { connections: 64, head: NEVER, body: NEVER, idle: NEVER, write: NEVER };
const SOON: Duration = Duration::from_millis(100);

struct Served {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Served {
    async fn with(router: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, (stop, stopping)) = (listener.local_addr().unwrap(), watch::channel(false));
        Self { address, stop, serving: tokio::spawn(serve(listener, router, limits, stopping)) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection on which this text was sent.
    async fn sent(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn stopped(self) {
        self.stop.send_replace(true);
        timeout(LONG, self.serving).await.expect("it has stopped").unwrap();
    }
}

fn request(method: &str, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// The rest of a connection that the other side ends: status, `Connection`, and body.
async fn to_the_end(mut stream: TcpStream) -> Option<(u16, bool, Value)> {
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.expect("the connection ends").unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some((status, head.contains("connection: close"), serde_json::from_str(body).unwrap()))
}

#[tokio::test]
async fn an_endless_head_is_408_and_a_silent_connection_just_ends() {
    let app = TestApp::start().await;
    let served = Served::with(app.router.clone(), Limits { head: SOON, ..PATIENT }).await;
    let half_open = served.sent("GET /healthz HTTP/1.1\r\nHost: he").await;
    let (status, closes, problem) = to_the_end(half_open).await.unwrap();
    assert_eq!((status, closes, &problem["code"]), (408, true, &json!("request_timeout")), "{problem}");
    assert_eq!((&problem["status"], &problem["retryable"]), (&json!(408), &json!(true)));
    assert_eq!(problem["request_id"].as_str().map(str::len), Some(32));
    assert_eq!(to_the_end(served.connect().await).await, None);

    // The head of a second request has the same limit as that of the first, once it has begun.
    let mut again = served.sent("GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n").await;
    let mut first = [0; 12];
    again.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    again.write_all(b"GET /hea").await.unwrap();
    let mut rest = String::new();
    timeout(LONG, again.read_to_string(&mut rest)).await.expect("it ends").unwrap();
    assert!(rest.contains("HTTP/1.1 408 Request Timeout"), "{rest}");
    served.stopped().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_408_and_nothing_is_done() {
    let app = TestApp::start().await;
    let served = Served::with(app.router.clone(), Limits { body: SOON, ..PATIENT }).await;
    let body = provision_body("alice").to_string();
    app.emulator.clear_calls();
    let trickling = served.sent(&format!("{}{}", request("POST", "/provision", body.len()), &body[..20])).await;
    let (status, closes, problem) = to_the_end(trickling).await.unwrap();
    assert_eq!((status, closes, &problem["code"]), (408, true, &json!("request_timeout")), "{problem}");
    assert_eq!((&problem["field"], &problem["retryable"]), (&json!("body"), &json!(true)));
    assert_eq!(app.calls(), Vec::<String>::new());
    served.stopped().await;
}

#[tokio::test]
async fn idle_connections_end_and_so_do_those_whose_client_reads_nothing() {
    let router = Router::new().route("/much", get(|| async { "much".repeat(16 << 20) }));
    let served = Served::with(router, Limits { idle: SOON, write: SOON, ..PATIENT }).await;
    let idle = served.sent("GET /nothing HTTP/1.1\r\nHost: here\r\n\r\n").await;
    let mut text = String::new();
    let mut idle = idle;
    timeout(LONG, idle.read_to_string(&mut text)).await.expect("it ends").unwrap();
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
    // More than the buffers of both sides hold; the client reads nothing until the other side is gone.
    let deaf = served.sent("GET /much HTTP/1.1\r\nHost: here\r\n\r\n").await;
    served.stopped().await;
    drop(deaf);
}

#[tokio::test]
async fn a_stop_waits_for_answers_and_for_nothing_else() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enters, goes_on) = (entered.clone(), go_on.clone());
    let slow = move || async move {
        enters.notify_one();
        goes_on.notified().await;
        "\"done\""
    };
    let app = TestApp::start().await;
    let router = Router::new().route("/slow", get(slow)).fallback_service(app.router.clone());
    let served = Served::with(router, PATIENT).await;
    let mut kept = served.sent("GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n").await;
    kept.read_exact(&mut [0; 12]).await.unwrap();
    let silent = served.connect().await;
    let half_open = served.sent("GET /healthz HTTP/1.1\r\nHost: he").await;
    let trickling = served.sent(&format!("{}{{", request("POST", "/provision", 1_000))).await;
    let slow = served.sent("GET /slow HTTP/1.1\r\nHost: here\r\n\r\n").await;
    entered.notified().await;

    served.stop.send_replace(true);
    // Connections without a request are closed while another one still waits for its answer.
    assert_eq!(to_the_end(silent).await, None);
    assert_eq!(to_the_end(half_open).await, None);
    assert!(timeout(LONG, kept.read_to_end(&mut Vec::new())).await.is_ok(), "an idle one, too");
    assert_eq!(to_the_end(trickling).await, None);
    assert!(!served.serving.is_finished());
    go_on.notify_one();
    assert_eq!(to_the_end(slow).await, Some((200, true, json!("done"))));
    timeout(LONG, served.serving).await.expect("it has stopped").unwrap();
}

#[tokio::test]
async fn above_the_limit_requests_are_refused_at_once_and_health_is_answered() {
    let app = TestApp::start().await;
    let served = Served::with(app.router.clone(), Limits { connections: 2, ..PATIENT }).await;
    let ask = async |path: &str| to_the_end(served.sent(&request("GET", path, 0)).await).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = served.sent("GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n").await;
        stream.read_exact(&mut [0; 12]).await.unwrap();
        held.push(stream);
    }
    let (status, closes, problem) = ask("/containers").await.unwrap();
    assert_eq!((status, closes, &problem["code"]), (503, true, &json!("too_many_connections")), "{problem}");
    assert_eq!((&problem["retryable"], problem["request_id"].as_str().map(str::len)), (&json!(true), Some(32)));
    // Each silent connection stays for a moment, and replaces another one.
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(served.connect().await);
    }
    assert_eq!(ask("/healthz").await, Some((200, true, json!({"status": "live"}))));

    drop((held, silent));
    // The server notices soon that they ended.
    let answered = async {
        loop {
            let mut stream = served.sent("GET /readyz HTTP/1.1\r\nHost: here\r\n\r\n").await;
            let mut status = [0; 12];
            if stream.read_exact(&mut status).await.is_ok() && &status == b"HTTP/1.1 200" {
                break;
            }
        }
    };
    timeout(LONG, answered).await.expect("there is room again");
    served.stopped().await;
}
