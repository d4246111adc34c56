//! What a probe can find: a closed list.

use std::io;
use std::net::IpAddr;

use hyper::Uri;
use rustls::CertificateError;

/// How far a probe came.
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
    /// The name leads to no address.
    Dns(DnsFailure),
    /// None of the addresses takes a connection.
    Connect {
        /// What the name leads to.
        to: Vec<IpAddr>,
        /// Why the last of them failed.
        failure: ConnectFailure,
    },
    /// Connected, and no TLS.
    Tls(TlsFailure),
    /// TLS stands, and what comes is no HTTP answer.
    NotHttp {
        /// What is wrong with it.
        problem: String,
    },
    /// TLS stands, and nothing comes.
    NoAnswer,
}

/// Why a name leads to no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsFailure {
    /// The resolver says so, in the words of the C library.
    NotResolved {
        /// Its words.
        problem: String,
    },
    /// The resolver does not answer.
    TimedOut,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nothing listens there, or a firewall says so.
    Refused,
    /// Nobody answers.
    TimedOut,
    /// There is no route.
    Unreachable,
    /// Anything else.
    Other {
        /// The library's words.
        problem: String,
    },
}

/// Why there is no TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFailure {
    /// Nobody who is believed here signed the certificate.
    Untrusted {
        /// The library's words.
        problem: String,
    },
    /// The certificate is for other names.
    WrongName {
        /// The library's words.
        problem: String,
    },
    /// The certificate has expired, or is not valid yet.
    NotValidNow {
        /// The library's words.
        problem: String,
    },
    /// The connection was closed.
    Closed,
    /// Nobody answers.
    TimedOut,
    /// Anything else, a server that speaks no TLS among it.
    Other {
        /// The library's words.
        problem: String,
    },
}

/// The head of an HTTP answer, as far as it counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseHead<'a> {
    pub(super) status: u16,
    pub(super) cf_mitigated: Option<&'a str>,
    pub(super) location: Option<&'a str>,
}

impl TlsFailure {
    /// Sorts what the TLS library says.
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
    /// Reads an answer of `host`.
    pub(super) fn of_answer(host: &str, answer: &ResponseHead<'_>) -> Self {
        let status = answer.status;
        // Before the status: challenges come with 403 mostly, and with 429 and 503, too.
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

    /// A word for machines, from a closed list.
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
    fn an_answer_is_sorted_by_who_gave_it() {
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
    fn the_header_makes_a_challenge_whatever_the_status() {
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
