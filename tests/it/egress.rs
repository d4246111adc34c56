//! The network path to ChatGPT: every way in which it can be blocked, with servers on loopback.

mod server;

use std::process::{Command, Output};
use std::time::Duration;

use openclaw_provisioner::egress::{ConnectFailure, DnsFailure, Finding, TlsFailure, Trust, probe};
use serde_json::Value;

use server::{Authority, Behaviour, Certificate, Server};

const CHALLENGE: &str = "HTTP/1.1 403 Forbidden\r\nserver: cloudflare\r\ncf-mitigated: challenge\r\n\
    content-type: text/html\r\ncontent-length: 5\r\n\r\n<html";
const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";

const AMPLE: Duration = Duration::from_secs(20);
/// The limit for a stage that shall time out; the stages before it have to fit in, too.
const SHORT: Duration = Duration::from_secs(1);

async fn find(authority: &Authority, port: u16, per_stage: Duration) -> Finding {
    let trust = Trust::load(Some(&authority.file())).unwrap();
    probe(&format!("https://127.0.0.1:{port}/codex?a=b").parse().unwrap(), &trust, per_stage).await
}

async fn found(behaviour: Behaviour, per_stage: Duration) -> Finding {
    let authority = Authority::new();
    let server = authority.serve(behaviour).await;
    find(&authority, server.port, per_stage).await
}

async fn answered(answer: &'static str) -> Finding {
    found(Behaviour::Tls(Certificate::Good, answer), AMPLE).await
}

#[tokio::test]
async fn a_cloudflare_challenge_differs_from_a_refusal_and_from_a_401() {
    let challenged = answered(CHALLENGE).await;
    assert_eq!(challenged, Finding::Challenged { status: 403 });
    assert!(!challenged.is_good());
    let words = challenged.to_string();
    assert!(words.contains("Cloudflare") && words.contains("DNS works"), "{words}");
    assert!(challenged.fix().unwrap().contains("NAT gateway"));

    let busy = "HTTP/1.1 503 Service Unavailable\r\nCF-Mitigated: Challenge\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(answered(busy).await, Finding::Challenged { status: 503 });
    let refused = answered("HTTP/1.1 403 Forbidden\r\nserver: cloudflare\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((&refused, refused.is_good()), (&Finding::Forbidden, false));
    let asks = answered(UNAUTHORIZED).await;
    assert_eq!((&asks, asks.is_good(), asks.fix()), (&Finding::AsksForSignIn, true, None));
    assert!(asks.to_string().contains("as it should"), "{asks}");
    let reached = answered("HTTP/1.1 405 Method Not Allowed\r\nallow: POST\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((&reached, reached.is_good()), (&Finding::Reached { status: 405 }, true));
}

#[tokio::test]
async fn proxies_and_portals_give_themselves_away() {
    let of_proxy =
        "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(answered(of_proxy).await, Finding::ProxyAsksForSignIn);
    let portal = "HTTP/1.1 302 Found\r\nlocation: https://portal.example/login\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(answered(portal).await, Finding::RedirectedElsewhere { to: "portal.example".into() });
    let own = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(answered(own).await, Finding::Reached { status: 302 });
    let gateway = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(answered(gateway).await, Finding::ServerError { status: 502 });
}

#[tokio::test]
async fn a_certificate_is_untrusted_or_expired_or_for_another_name() {
    let (made, trusted) = (Authority::new(), Authority::new());
    let Server { port, .. } = made.serve(Behaviour::Tls(Certificate::Good, UNAUTHORIZED)).await;
    let untrusted = find(&trusted, port, AMPLE).await;
    assert!(matches!(untrusted, Finding::Tls(TlsFailure::Untrusted { .. })), "{untrusted:?}");
    assert!(untrusted.fix().unwrap().contains("NODE_EXTRA_CA_CERTS"));
    let other = found(Behaviour::Tls(Certificate::OtherName, UNAUTHORIZED), AMPLE).await;
    assert!(matches!(other, Finding::Tls(TlsFailure::WrongName { .. })), "{other:?}");
    let expired = found(Behaviour::Tls(Certificate::Expired, UNAUTHORIZED), AMPLE).await;
    assert!(matches!(expired, Finding::Tls(TlsFailure::NotValidNow { .. })), "{expired:?}");
}

#[tokio::test]
async fn a_server_without_tls_or_without_http_is_reported_as_such() {
    assert_eq!(found(Behaviour::Close, AMPLE).await, Finding::Tls(TlsFailure::Closed));
    let plain = found(Behaviour::Plain("HTTP/1.1 400 Bad Request\r\n\r\n"), AMPLE).await;
    assert!(matches!(plain, Finding::Tls(TlsFailure::Other { .. })), "{plain:?}");
    assert!(matches!(answered("220 mail.example ESMTP\r\n").await, Finding::NotHttp { .. }));
    assert!(matches!(answered("").await, Finding::NotHttp { .. }));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_at_its_stage() {
    let (silent, no_answer) = tokio::join!(found(Behaviour::Silence, SHORT), found(Behaviour::TlsSilence, SHORT));
    assert_eq!((silent, no_answer), (Finding::Tls(TlsFailure::TimedOut), Finding::NoAnswer));
}

#[tokio::test]
async fn a_closed_port_and_an_unknown_name_are_reported_before_tls() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = Finding::Connect { to: vec![closed.ip()], failure: ConnectFailure::Refused };
    let authority = Authority::new();
    assert_eq!(find(&authority, closed.port(), AMPLE).await, refused);
    let trust = Trust::load(Some(&authority.file())).unwrap();
    let unknown = probe(&"https://nobody.invalid/".parse().unwrap(), &trust, AMPLE).await;
    assert!(matches!(unknown, Finding::Dns(DnsFailure::NotResolved { .. })), "{unknown:?}");
    assert!(unknown.to_string().contains("DNS"), "{unknown}");
}

#[tokio::test]
async fn a_request_carries_no_credentials_and_says_who_asks() {
    let authority = Authority::new();
    let server = authority.serve(Behaviour::Tls(Certificate::Good, UNAUTHORIZED)).await;
    find(&authority, server.port, AMPLE).await;
    let requests = server.requests.lock().unwrap().clone();
    let expected = format!(
        "GET /codex?a=b HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nuser-agent: openclaw-provisioner/{}\r\naccept: */*\r\n\
         connection: close\r\n\r\n",
        server.port,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(requests, [expected]);
}

/// Runs `doctor` with an empty environment: neither settings nor AWS.
async fn doctor(arguments: Vec<String>) -> Output {
    let run = move || {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
        doctor.env_clear().arg("doctor").args(arguments).output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn doctor_reports_a_challenge_without_settings_and_fails() {
    let authority = Authority::new();
    let challenged = authority.serve(Behaviour::Tls(Certificate::Good, CHALLENGE)).await;
    let asking = authority.serve(Behaviour::Tls(Certificate::Good, UNAUTHORIZED)).await;
    let url = |server: &Server| format!("https://127.0.0.1:{}/", server.port);
    let given = |urls: &[&Server], rest: &[&str]| -> Vec<String> {
        let file = authority.file().to_str().unwrap().to_owned();
        let mut arguments = vec!["--egress-only".into(), "--egress-ca-file".into(), file, "--egress-url".into()];
        arguments.extend(urls.iter().map(|server| url(server)));
        arguments.extend(rest.iter().map(|flag| (*flag).to_owned()));
        arguments
    };
    let both = doctor(given(&[&challenged, &asking], &["--json"])).await;
    assert_eq!(both.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&both.stdout).unwrap();
    let told = |at: usize| (&report["checks"][at]["verdict"], &report["checks"][at]["finding"]);
    assert_eq!(told(0), (&"fail".into(), &"cloudflare_challenge".into()), "{report}");
    assert_eq!(told(1), (&"pass".into(), &"asks_for_sign_in".into()), "{report}");
    assert_eq!((report["checks"].as_array().unwrap().len(), &report["ok"]), (2, &false.into()));

    let good = doctor(given(&[&asking], &[])).await;
    let text = String::from_utf8(good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0), "{text}");
    assert!(text.starts_with("pass  egress"), "{text}");
}
