//! Checks whether this network can reach ChatGPT, and if not, why. It sends one request per URL, in stages (DNS, TCP, TLS,
//! HTTP), so that it can name the stage that failed. OpenClaw reports a Cloudflare challenge as "DNS lookup failed"
//! (openclaw/openclaw#64092), which makes operators look in the wrong place.
//!
//! No credentials are sent. It connects directly and ignores proxy variables.

mod finding;
mod trust;
mod url;
mod words;

pub use finding::{ConnectFailure, DnsFailure, Finding, TlsFailure};
pub use trust::{Trust, TrustError};
pub use url::{ProbeUrl, ProbeUrlError};

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::select_ok;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderName, LOCATION, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use finding::ResponseHead;

/// URLs that OpenClaw and Codex need: the endpoint that refreshes sign-ins, and the one that answers turns. The root of
/// auth.openai.com is a page for browsers: Cloudflare may challenge it although the endpoint below it is open.
pub const DEFAULT_URLS: [&str; 2] =
    ["https://auth.openai.com/oauth/token", "https://chatgpt.com/backend-api/codex/responses"];

/// The header that is `challenge` in every Cloudflare challenge, with any status (Cloudflare docs, "Detect a Challenge
/// Page response").
const CF_MITIGATED: HeaderName = HeaderName::from_static("cf-mitigated");

/// Requests `url` once and returns the result. Each of the four stages may take `per_stage`.
pub async fn probe(url: &ProbeUrl, trust: &Trust, per_stage: Duration) -> Finding {
    let stages = async {
        let addresses = resolve(url, per_stage).await?;
        let stream = connect(&addresses, per_stage).await?;
        let stream = shake_hands(stream, url, trust, per_stage).await?;
        ask(stream, url, per_stage).await
    };
    stages.await.unwrap_or_else(|finding| finding)
}

async fn resolve(url: &ProbeUrl, within: Duration) -> Result<Vec<SocketAddr>, Finding> {
    match timeout(within, lookup_host((url.host(), url.port()))).await {
        Ok(Ok(found)) => {
            let addresses: Vec<_> = found.collect();
            match addresses.is_empty() {
                true => Err(Finding::Dns(DnsFailure::NotResolved { problem: "the answer has no address".into() })),
                false => Ok(addresses),
            }
        }
        Ok(Err(error)) => Err(Finding::Dns(DnsFailure::NotResolved { problem: error.to_string() })),
        Err(_) => Err(Finding::Dns(DnsFailure::TimedOut)),
    }
}

/// Connects to all addresses at the same time: one that drops packets must not use up the time of one that works.
async fn connect(addresses: &[SocketAddr], within: Duration) -> Result<TcpStream, Finding> {
    let attempts = addresses.iter().map(|address| Box::pin(TcpStream::connect(*address)));
    let failure = match timeout(within, select_ok(attempts)).await {
        Ok(Ok((stream, _others))) => return Ok(stream),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
            io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ConnectFailure::Unreachable,
            _ => ConnectFailure::Other { problem: error.to_string() },
        },
        Err(_) => ConnectFailure::TimedOut,
    };
    Err(Finding::Connect { to: addresses.iter().map(SocketAddr::ip).collect(), failure })
}

async fn shake_hands(
    stream: TcpStream,
    url: &ProbeUrl,
    trust: &Trust,
    within: Duration,
) -> Result<TlsStream<TcpStream>, Finding> {
    let connector = TlsConnector::from(trust.config());
    let failure = match timeout(within, connector.connect(url.server_name(), stream)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => TlsFailure::of(&error),
        Err(_) => TlsFailure::TimedOut,
    };
    Err(Finding::Tls(failure))
}

async fn ask(stream: TlsStream<TcpStream>, url: &ProbeUrl, within: Duration) -> Result<Finding, Finding> {
    let request = Request::get(url.path_and_query())
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("openclaw-provisioner/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(String::new());
    let not_http = |problem: String| Finding::NotHttp { problem };
    let request = request.map_err(|error| not_http(error.to_string()))?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| not_http(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let answered = timeout(within, sender.send_request(request)).await;
    // The body is not read: the head is enough.
    connection.abort();
    match answered {
        Ok(Ok(response)) => Ok(Finding::of_answer(url.host(), &head(&response))),
        Ok(Err(error)) => Err(not_http(error.to_string())),
        Err(_) => Err(Finding::NoAnswer),
    }
}

fn head<Body>(response: &Response<Body>) -> ResponseHead<'_> {
    let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    ResponseHead { status: response.status().as_u16(), cf_mitigated: header(CF_MITIGATED), location: header(LOCATION) }
}
