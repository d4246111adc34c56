//! Real connections, in real time: what remains after a client has gone.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use aws_emulator::{Behaviour, Options as EmulatorOptions};
use openclaw_provisioner::fleet::Options;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::{TOKEN, TestApp, USER_FAMILY};

/// Sends a request; the response is still unread.
async fn request(address: SocketAddr, path: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

/// Reads until a line that begins with `start`.
async fn line_of(reader: &mut BufReader<TcpStream>, start: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).await.unwrap(), 0, "the connection ended before {start}");
        if line.starts_with(start) {
            return line;
        }
    }
}

/// Waits until there are this many watchers.
async fn watched_by(app: &TestApp, count: usize) {
    let reached = async {
        while app.fleet.watchers.count() != count {
            app.pass_millis(5).await;
        }
    };
    timeout(Duration::from_secs(20), reached).await.unwrap_or_else(|_| panic!("{} watch", app.fleet.watchers.count()));
}

#[tokio::test]
async fn a_client_that_disconnects_frees_its_slot_and_ends_the_polling() {
    let options = Options { watch_every: Duration::from_millis(20), max_watchers: 2, ..Options::default() };
    let app = TestApp::with_fleet(EmulatorOptions::default(), options).await;
    app.emulator.set_behaviour(USER_FAMILY, Some(Behaviour::Slow));
    app.provision("alice").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, app.router.clone()).into_future());

    let mut follower = request(address, "/containers/alice/events").await;
    assert_eq!(line_of(&mut follower, "HTTP/").await, "HTTP/1.1 200 OK\r\n");
    assert_eq!(line_of(&mut follower, "event:").await, "event: status\n");
    let waiter = request(address, "/containers/alice/wait?timeout_seconds=60").await;
    watched_by(&app, 2).await;
    let mut third = request(address, "/containers/alice/events").await;
    assert_eq!(line_of(&mut third, "HTTP/").await, "HTTP/1.1 503 Service Unavailable\r\n");
    assert_eq!(line_of(&mut third, "retry-after").await, "retry-after: 5\r\n");

    drop(follower);
    watched_by(&app, 1).await;
    drop(waiter);
    watched_by(&app, 0).await;
    // The reading under way may end; after that, there are no AWS calls.
    let mut calls = usize::MAX;
    while calls != app.emulator.calls().len() {
        calls = app.emulator.calls().len();
        app.pass_millis(200).await;
    }
    let mut back = request(address, "/containers/alice/events").await;
    assert_eq!(line_of(&mut back, "HTTP/").await, "HTTP/1.1 200 OK\r\n");
    serving.abort();
}

#[tokio::test]
async fn streams_do_not_prevent_a_shutdown() {
    let app = TestApp::start().await;
    app.emulator.set_behaviour(USER_FAMILY, Some(Behaviour::Slow));
    app.provision("alice").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, app.router.clone()).with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(serving.into_future());
    let mut follower = request(address, "/containers/alice/events").await;
    assert_eq!(line_of(&mut follower, "event:").await, "event: status\n");
    drop(stop);
    app.fleet.shut_down();
    let ended = timeout(Duration::from_secs(20), serving).await.expect("the stream has ended");
    ended.unwrap().unwrap();
}
