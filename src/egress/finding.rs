//! The possible results of a probe: a closed list.

use std::io;
use std::net::IpAddr;

use hyper::Uri;
use rustls::CertificateError;

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// An HTTP answer of the host itself, with this status.
    Reached {
        /// HTTP status.
        status: u16,
    },
    /// 401, the right answer to a request without credentials.
    AsksForSignIn,
    /// 403 without a challenge: the host, or a filter before it, refuses.
    Forbidden,
    /// Cloudflare wants to see a browser.
    Challenged {
        /// HTTP status.
        status: u16,
    },
    /// 407: a proxy wants credentials.
    ProxyAsksForSignIn,
    /// 5xx, from the host or a proxy before it.
    ServerError {
        /// HTTP status.
        status: u16,
    },
    /// A redirect to another host, as captive portals and block pages do.
    RedirectedElsewhere {
        /// The other host.
        to: String,
    },
    /// The name resolves to no address.
    Dns(DnsFailure),
    /// None of the addresses accepts a connection.
    Connect {
        /// Addresses of the name.
        to: Vec<IpAddr>,
        /// Why the last of them failed.
        failure: ConnectFailure,
    },
    /// Connected, but without TLS.
    Tls(TlsFailure),
    /// Connected with TLS, but the answer is not HTTP.
    NotHttp {
        /// What is wrong with it.
        problem: String,
    },
    /// Connected with TLS, but there is no answer.
    NoAnswer,
}

/// Why a name resolves to no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsFailure {
    /// The resolver returned an error.
    NotResolved {
        /// The C library's message.
        problem: String,
    },
    /// The resolver does not answer.
    TimedOut,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nothing listens there, or a firewall refuses.
    Refused,
    /// There is no answer.
    TimedOut,
    /// There is no route.
    Unreachable,
    /// Any other failure.
    Other {
        /// The library's message.
        problem: String,
    },
}

/// Why there is no TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFailure {
    /// No authority that is trusted here signed the certificate.
    Untrusted {
        /// The library's message.
        problem: String,
    },
    /// The certificate is for other names.
    WrongName {
        /// The library's message.
        problem: String,
    },
    /// The certificate has expired, or is not valid yet.
    NotValidNow {
        /// The library's message.
        problem: String,
    },
    /// The connection was closed.
    Closed,
    /// There is no answer.
    TimedOut,
    /// Any other failure, including a server without TLS.
    Other {
        /// The library's message.
        problem: String,
    },
}

/// The relevant parts of the head of an HTTP answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseHead<'a> {
    pub(super) status: u16,
    pub(super) cf_mitigated: Option<&'a str>,
    pub(super) location: Option<&'a str>,
}

impl TlsFailure {
    /// Classifies an error of the TLS library.
    pub(super) fn of(error: &io::Error) -> Self {
        use rustls::Error::InvalidCertificate;
        let problem = error.to_string();
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (tls, error.kind()) {
            (Some(InvalidCertificate(why)), _) => match why {
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::WrongName { problem }
                }
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::NotValidNow { problem },
                _ => Self::Untrusted { problem },
            },
            (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                Self::Closed
            }
            _ => Self::Other { problem },
        }
    }
}

impl Finding {
    /// Classifies an answer of `host`.
    pub(super) fn of_answer(host: &str, answer: &ResponseHead<'_>) -> Self {
        let status = answer.status;
        // Checked before the status: challenges mostly come with 403, but also with 429 and 503.
        if answer.cf_mitigated.is_some_and(|value| value.eq_ignore_ascii_case("challenge")) {
            return Self::Challenged { status };
        }
        let to = answer.location.and_then(|location| location.parse::<Uri>().ok()?.host().map(str::to_owned));
        match (status, to) {
            (300..=399, Some(to)) if !to.eq_ignore_ascii_case(host) => Self::RedirectedElsewhere { to },
            (401, _) => Self::AsksForSignIn,
            (403, _) => Self::Forbidden,
            (407, _) => Self::ProxyAsksForSignIn,
            (500.., _) => Self::ServerError { status },
            _ => Self::Reached { status },
        }
    }

    /// Whether a user's container could work with this.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Reached { .. } | Self::AsksForSignIn)
    }

    /// The code, from a closed list.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Reached { .. } => "reached",
            Self::AsksForSignIn => "asks_for_sign_in",
            Self::Forbidden => "forbidden",
            Self::Challenged { .. } => "cloudflare_challenge",
            Self::ProxyAsksForSignIn => "proxy_asks_for_sign_in",
            Self::ServerError { .. } => "server_error",
            Self::RedirectedElsewhere { .. } => "redirected_elsewhere",
            Self::Dns(_) => "dns_failure",
            Self::Connect { failure, .. } => match failure {
                ConnectFailure::Refused => "connect_refused",
                ConnectFailure::TimedOut => "connect_timeout",
                ConnectFailure::Unreachable => "connect_unreachable",
                ConnectFailure::Other { .. } => "connect_failure",
            },
            Self::Tls(failure) => match failure {
                TlsFailure::Untrusted { .. } => "tls_untrusted",
                TlsFailure::WrongName { .. } => "tls_wrong_name",
                TlsFailure::NotValidNow { .. } => "tls_not_valid_now",
                TlsFailure::Closed | TlsFailure::TimedOut | TlsFailure::Other { .. } => "tls_failure",
            },
            Self::NotHttp { .. } => "not_http",
            Self::NoAnswer => "no_answer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, cf_mitigated: Option<&str>, location: Option<&str>) -> &'static str {
        Finding::of_answer("chatgpt.com", &ResponseHead { status, cf_mitigated, location }).code()
    }

    #[test]
    fn an_answer_is_classified_by_its_status() {
        for (status, code) in [
            (200, "reached"),
            (304, "reached"),
            (401, "asks_for_sign_in"),
            (403, "forbidden"),
            (404, "reached"),
            (405, "reached"),
            (407, "proxy_asks_for_sign_in"),
            (429, "reached"),
            (502, "server_error"),
            (503, "server_error"),
        ] {
            assert_eq!(of(status, None, None), code, "{status}");
        }
    }

    #[test]
    fn the_header_marks_a_challenge_with_any_status() {
        for status in [200, 403, 429, 503] {
            assert_eq!(of(status, Some("challenge"), None), "cloudflare_challenge", "{status}");
        }
        assert_eq!(of(403, Some("block"), None), "forbidden");
    }

    #[test]
    fn only_a_redirect_to_another_host_leads_elsewhere() {
        for (location, code) in [
            ("https://portal.example/login", "redirected_elsewhere"),
            ("https://ChatGPT.com/other", "reached"),
            ("/other", "reached"),
            ("::::", "reached"),
        ] {
            assert_eq!(of(302, None, Some(location)), code, "{location}");
        }
        assert_eq!(of(201, None, Some("https://other.example/")), "reached");
    }
}
