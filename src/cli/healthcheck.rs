//! `healthcheck`: asks the service in the same container, for its health check; the image has no shell and no curl.
//!
//! It asks `/healthz` and not `/readyz`. ECS replaces a task whose health check fails. That repairs a process that hangs, but
//! not the file system or the settings that `/readyz` checks: all replicas share those, and all would be killed at once, with
//! their work under way. The load balancer asks `/readyz`, to decide whether a replica gets requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use hyper::Uri;

use crate::http::HEALTH_PATH;
use crate::probe::ask_url;

/// `healthcheck`.
#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    /// Address that the service listens on; if it listens on all addresses, it is asked on loopback
    #[arg(long, env = "PROVISIONER_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// URL to ask instead, with its path, such as http://127.0.0.1:8080/healthz; only plain http
    #[arg(long, value_name = "URL")]
    url: Option<HttpUrl>,
    /// Seconds to wait for the answer
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout_seconds: u64,
}

#[expect(clippy::print_stdout, reason = "the result is this command's output")]
pub(super) async fn run(args: HealthcheckArgs) -> anyhow::Result<()> {
    let HttpUrl(url) = match args.url {
        Some(url) => url,
        None => local(args.listen)?,
    };
    ask_url(&url, Duration::from_secs(args.timeout_seconds)).await.map_err(anyhow::Error::msg)?;
    println!("{url} answers");
    Ok(())
}

/// The URL at which a service that listens on the address is reached from its own machine.
fn local(listen: SocketAddr) -> anyhow::Result<HttpUrl> {
    let port = listen.port();
    ensure!(port != 0, "PROVISIONER_LISTEN {listen}: port 0 is a new port at each start; name the address with --url");
    let host = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        named => named,
    };
    let url = format!("http://{}{HEALTH_PATH}", SocketAddr::new(host, port)).parse();
    url.map_err(anyhow::Error::msg)
}

/// A URL of scheme http, with a host and without a user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HttpUrl(Uri);

impl FromStr for HttpUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const FIX: &str = "write http://host[:port]/path; the service speaks no TLS";
        let url: Uri = text.parse().map_err(|_| FIX)?;
        let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if url.scheme_str() == Some("http") && !has_user { Ok(Self(url)) } else { Err(FIX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_on_all_addresses_is_asked_on_loopback_and_one_on_one_address_there() {
        for (listen, url) in [
            ("0.0.0.0:8080", "http://127.0.0.1:8080/healthz"),
            ("[::]:8080", "http://[::1]:8080/healthz"),
            ("10.0.3.7:81", "http://10.0.3.7:81/healthz"),
        ] {
            assert_eq!(local(listen.parse().unwrap()).unwrap(), url.parse().unwrap());
        }
        assert!(local("0.0.0.0:0".parse().unwrap()).unwrap_err().to_string().contains("--url"));
    }

    #[test]
    fn only_a_plain_http_url_is_taken() {
        for bad in ["https://a/healthz", "127.0.0.1:8080", "/healthz", "http://u:p@a/healthz", ""] {
            assert!(bad.parse::<HttpUrl>().is_err(), "{bad}");
        }
    }
}
