//! Messages and fixes of findings.

use std::fmt;
use std::net::IpAddr;

use super::{ConnectFailure, DnsFailure, Finding, TlsFailure};

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached { status } => write!(f, "reached (HTTP {status})"),
            Self::AsksForSignIn => f.write_str("reached; it asks for a sign-in as it should (HTTP 401)"),
            Self::Forbidden => f.write_str(
                "reached, but it refuses a request that carries no credentials (HTTP 403, and no Cloudflare challenge)",
            ),
            Self::Challenged { status } => write!(
                f,
                "reached, but Cloudflare challenges this network to prove that it is a browser (HTTP {status}, \
                 cf-mitigated: challenge); OpenClaw reports that as \"DNS lookup failed\", and DNS works"
            ),
            Self::ProxyAsksForSignIn => f.write_str("a proxy in between answered: it wants its own sign-in (HTTP 407)"),
            Self::ServerError { status } => {
                write!(f, "an answer came, but not a working one (HTTP {status}): the service or a proxy is in trouble")
            }
            Self::RedirectedElsewhere { to } => {
                write!(f, "something in between answered: it redirects to {to}, as captive portals and block pages do")
            }
            Self::Dns(failure) => write!(f, "the name cannot be looked up (DNS): {failure}"),
            Self::Connect { to, failure } => write!(f, "the name resolves to {}, but {failure}", Listed(to)),
            Self::Tls(failure) => write!(f, "connected, but there is no TLS: {failure}"),
            Self::NotHttp { problem } => write!(f, "connected with TLS, but the answer is not HTTP ({problem})"),
            Self::NoAnswer => f.write_str("connected with TLS, but no HTTP answer came in time"),
        }
    }
}

impl Finding {
    /// What an operator should do; `None` when there is nothing to do.
    #[must_use]
    pub const fn fix(&self) -> Option<&'static str> {
        Some(match self {
            Self::Reached { .. } | Self::AsksForSignIn => return None,
            Self::Forbidden => {
                "not a fault of DNS, TLS or a user's sign-in: the address is blocked, or in a country that OpenAI does \
                 not serve, or a filtering proxy answers; send the traffic out through another address"
            }
            Self::Challenged { .. } => {
                "neither DNS nor a new sign-in helps: Cloudflare distrusts the address that this network goes out \
                 through; give the NAT gateway another Elastic IP, or use another region or provider"
            }
            Self::ProxyAsksForSignIn => {
                "let the users' subnets go out past the proxy, or exempt this host from its sign-in"
            }
            Self::ServerError { .. } => {
                "look at https://status.openai.com and try again; if it stays, look for a proxy in between"
            }
            Self::RedirectedElsewhere { .. } => "exempt this host in the proxy or firewall that redirects",
            Self::Dns(_) => {
                "check the host name, enableDnsSupport and the DHCP options of the VPC, and DNS firewall rules"
            }
            Self::Connect { failure, .. } => match failure {
                ConnectFailure::Refused => {
                    "check that these are the host's real addresses and not a private DNS zone's, and what filters \
                     outgoing connections"
                }
                ConnectFailure::TimedOut => {
                    "check the security group's outbound rule for TCP 443, the network ACLs, and that the subnets route \
                     0.0.0.0/0 to a NAT gateway (tasks have no public address)"
                }
                ConnectFailure::Unreachable | ConnectFailure::Other { .. } => {
                    "check that the subnets route 0.0.0.0/0 to a NAT gateway (tasks have no public address)"
                }
            },
            Self::Tls(failure) => match failure {
                TlsFailure::Untrusted { .. } => {
                    "a proxy that opens TLS stands in between: exempt this host there, or name its certificate authority \
                     here with --egress-ca-file and to the container with the variable NODE_EXTRA_CA_CERTS"
                }
                TlsFailure::WrongName { .. } => {
                    "something else answers under this name: check what DNS says here, and for a proxy that opens TLS"
                }
                TlsFailure::NotValidNow { .. } => {
                    "check the clock; if it is right, a proxy in between shows an old certificate"
                }
                TlsFailure::Closed => {
                    "a firewall that filters by server name does this: let it pass this host (AWS Network Firewall: a \
                     domain list rule)"
                }
                TlsFailure::TimedOut | TlsFailure::Other { .. } => {
                    "check the port, and for a firewall or proxy that takes connections to this host itself"
                }
            },
            Self::NotHttp { .. } | Self::NoAnswer => {
                "try again; if it stays, look for a proxy or firewall in between that takes the connection and drops it"
            }
        })
    }
}

impl fmt::Display for DnsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotResolved { problem } => f.write_str(problem),
            Self::TimedOut => f.write_str("the resolver does not answer in time"),
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the connection is refused"),
            Self::TimedOut => f.write_str("there was no answer in time"),
            Self::Unreachable => f.write_str("there is no route to it"),
            Self::Other { problem } => write!(f, "there is no connection ({problem})"),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted { problem } => {
                write!(f, "no authority that is trusted here signed the certificate ({problem})")
            }
            Self::WrongName { problem } => write!(f, "the certificate is for another name ({problem})"),
            Self::NotValidNow { problem } => write!(f, "the certificate is not valid at this time ({problem})"),
            Self::Closed => f.write_str("the connection was closed during the handshake"),
            Self::TimedOut => f.write_str("the handshake got no answer in time"),
            Self::Other { problem } => f.write_str(problem),
        }
    }
}

struct Listed<'a>(&'a [IpAddr]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
