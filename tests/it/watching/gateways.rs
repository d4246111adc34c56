//! Watched gateways are probed beside the readings: a silent one delays no other user's report.

use std::time::Duration;

use aws_emulator::Options as EmulatorOptions;
use openclaw_provisioner::domain::UserId;
use openclaw_provisioner::fleet::Sight;
use openclaw_provisioner::probe::{GatewayProbe, ProbeKind};
use openclaw_provisioner::reconcile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::harness::TestApp;

/// A gateway that accepts the first connection and never answers it, and answers all later ones. Signals when the first arrived.
async fn gateway() -> (u16, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (came, first) = oneshot::channel();
    tokio::spawn(async move {
        let silent = listener.accept().await.unwrap();
        came.send(()).unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _asked = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
            // Stays open while others are answered.
            let _ = &silent;
        }
    });
    (port, first)
}

/// In real time, because it waits for a socket. If bob's report had to wait for alice's gateway, it would come after ten
/// minutes, and so would the end of the test.
#[tokio::test]
async fn a_gateway_that_never_answers_delays_no_other_users_report() {
    let (port, first) = gateway().await;
    let timeout = Duration::from_secs(600);
    let gateway_probe = GatewayProbe { kind: ProbeKind::Http, port, timeout };
    let emulator = EmulatorOptions { task_address: Some([127, 0, 0, 1].into()), ..EmulatorOptions::default() };
    let app = TestApp::with_both(emulator, reconcile::Options { gateway_probe, ..Default::default() }).await;
    app.register_base(|base| base["containerDefinitions"][0]["image"] = "ghcr.io/openclaw/openclaw:2026.9.6".into());
    let watch = |user: &str| app.fleet.watchers.watch(UserId::parse(user).unwrap()).unwrap();
    app.provision("alice").await;
    let mut alice = watch("alice");
    let told_of_alice = async {
        loop {
            match alice.next().await.unwrap() {
                Sight::Seen(status) => assert!(!status.ready, "nobody has answered for alice"),
                other => panic!("{other:?}"),
            }
        }
    };
    let told_of_bob = async {
        first.await.unwrap();
        app.provision("bob").await;
        let mut bob = watch("bob");
        loop {
            if let Sight::Seen(status) = bob.next().await.unwrap()
                && status.ready
            {
                break;
            }
        }
    };
    tokio::select! {
        () = told_of_alice => unreachable!("it loops"),
        () = told_of_bob => {}
    }
}
