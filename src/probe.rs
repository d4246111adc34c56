//! Checks that a server answers over HTTP, and does not only accept connections: a user's gateway, because a container
//! without a health check, or with one that only checks the port, is RUNNING and HEALTHY while nobody is served
//! (incident 22); and this service itself, for `healthcheck`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use openclaw::openclaw_json::GATEWAY_PORT;
use openclaw::{HEALTH_PATH, OpenClawVersion, answers_health_path};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How a gateway is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProbeKind {
    /// Not at all: ECS's health is enough.
    Off,
    /// Its port accepts a connection, which says nothing about the gateway behind it.
    Tcp,
    /// It answers its health path with 200; like tcp for releases before 2026.5, whose health path does not work.
    Http,
}

/// The probe of users' gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayProbe {
    /// The kind of check.
    pub kind: ProbeKind,
    /// The port in the staged `openclaw.json`, used unless the definition names another one.
    pub port: u16,
    /// Time limit from the first packet to the head of the answer.
    pub timeout: Duration,
}

/// Port and release of a gateway, as far as the definition says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GatewayAt {
    /// The port that command or environment name; `None` leaves it to `openclaw.json`.
    pub port: Option<u16>,
    /// The release, if anything names it.
    pub release: Option<OpenClawVersion>,
}

impl Default for GatewayProbe {
    fn default() -> Self {
        Self { kind: ProbeKind::Off, port: GATEWAY_PORT, timeout: Duration::from_secs(2) }
    }
}

impl GatewayProbe {
    /// Checks the gateway at `host`.
    ///
    /// # Errors
    /// Says what happened instead of an answer.
    pub async fn ask(self, host: IpAddr, gateway: GatewayAt) -> Result<(), String> {
        if self.kind == ProbeKind::Off {
            return Ok(());
        }
        let at = SocketAddr::new(host, gateway.port.unwrap_or(self.port));
        let speaks_http = answers_health_path(gateway.release);
        let asked = async {
            let connected = TcpStream::connect(at).await.map_err(unreachable);
            match self.kind {
                ProbeKind::Http if speaks_http => answers_200(connected?, &at.to_string(), HEALTH_PATH).await,
                ProbeKind::Off | ProbeKind::Tcp | ProbeKind::Http => connected.map(drop),
            }
        };
        match timeout(self.timeout, asked).await {
            Ok(asked) => asked.map_err(|problem| format!("the gateway at {at} {problem}")),
            Err(_) => Err(format!("the gateway at {at} has not answered within {:?}", self.timeout)),
        }
    }
}

/// Requests a URL over plain http, even if its scheme is another, and expects 200; `within` includes the name lookup.
///
/// # Errors
/// Says what happened instead of an answer.
pub async fn ask_url(url: &Uri, within: Duration) -> Result<(), String> {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let asked = async {
        let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await.map_err(unreachable)?;
        answers_200(stream, authority, path).await
    };
    match timeout(within, asked).await {
        Ok(asked) => asked.map_err(|problem| format!("{authority} {problem}")),
        Err(_) => Err(format!("{authority} has not answered within {within:?}")),
    }
}

fn unreachable(error: std::io::Error) -> String {
    format!("cannot be reached: {error}")
}

/// Expects 200. Only the head of the answer is read, because the tenant controls a gateway's body.
async fn answers_200(stream: TcpStream, authority: &str, path: &str) -> Result<(), String> {
    let not_http = |error: hyper::Error| format!("does not speak HTTP: {error}");
    let request = Request::get(path).header(HOST, authority).header(CONNECTION, "close");
    let request = request.body(String::new()).map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(not_http)?;
    // Ends with this function, even when that is dropped.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await.map_err(not_http)?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => Err(format!("answers {path} with {status}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const V4: OpenClawVersion = OpenClawVersion::new(2026, 4, 25);
    const V9: OpenClawVersion = OpenClawVersion::new(2026, 9, 6);

    /// A port that accepts connections and sends this answer to every request; `None` never answers.
    async fn gateway(answer: Option<&'static str>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(answer) = answer {
                    let mut asked = [0; 1024];
                    let read = stream.read(&mut asked).await.unwrap_or(0);
                    if asked[..read].starts_with(b"GET /healthz HTTP/1.1") {
                        let _gone = stream.write_all(answer.as_bytes()).await;
                    }
                }
                open.push(stream);
            }
        });
        port
    }

    async fn ask(kind: ProbeKind, port: u16, release: OpenClawVersion) -> Result<(), String> {
        let probe = GatewayProbe { kind, port: 1, timeout: Duration::from_millis(300) };
        probe.ask([127, 0, 0, 1].into(), GatewayAt { port: Some(port), release: Some(release) }).await
    }

    /// Incident 22: the port was open, but the gateway behind it was dead.
    #[tokio::test]
    async fn a_port_that_accepts_and_never_answers_is_not_a_gateway() {
        let wedged = gateway(None).await;
        let problem = ask(ProbeKind::Http, wedged, V9).await.unwrap_err();
        assert!(problem.contains("has not answered within 300ms"), "{problem}");
        // tcp cannot notice this, and releases without a working health path are checked like tcp.
        assert_eq!(ask(ProbeKind::Tcp, wedged, V9).await, Ok(()));
        assert_eq!(ask(ProbeKind::Http, wedged, V4).await, Ok(()));
    }

    #[tokio::test]
    async fn http_means_200_on_the_health_path() {
        let well = gateway(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).await;
        assert_eq!(ask(ProbeKind::Http, well, V9).await, Ok(()));
        for (answer, words) in [
            ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "answers /healthz with 503"),
            ("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n", "answers /healthz with 302"),
            ("SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        ] {
            let problem = ask(ProbeKind::Http, gateway(Some(answer)).await, V9).await.unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_cannot_be_reached_and_off_checks_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap().port();
        drop(listener);
        for kind in [ProbeKind::Tcp, ProbeKind::Http] {
            let problem = ask(kind, closed, V9).await.unwrap_err();
            assert!(problem.contains("cannot be reached"), "{problem}");
        }
        assert_eq!(ask(ProbeKind::Off, closed, V9).await, Ok(()));
    }
}
