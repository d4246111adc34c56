//! A URL to probe.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use rustls::pki_types::ServerName;
use thiserror::Error;

/// An https URL without user information: a probe sends no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeUrl {
    uri: Uri,
    server_name: ServerName<'static>,
}

/// Why a text is not a [`ProbeUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProbeUrlError {
    /// Not a URL with a host, or not https.
    #[error("write https://host[:port][/path]")]
    NotHttps,
    /// The URL has a user or a password before the host.
    #[error("leave user and password out: no credentials are sent")]
    HasUser,
}

impl FromStr for ProbeUrl {
    type Err = ProbeUrlError;

    fn from_str(text: &str) -> Result<Self, ProbeUrlError> {
        let uri: Uri = text.parse().map_err(|_| ProbeUrlError::NotHttps)?;
        if uri.scheme_str() != Some("https") {
            return Err(ProbeUrlError::NotHttps);
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(ProbeUrlError::HasUser);
        }
        let host = uri.host().map(unbracketed).filter(|host| !host.is_empty()).ok_or(ProbeUrlError::NotHttps)?;
        let server_name = ServerName::try_from(host.to_owned()).map_err(|_| ProbeUrlError::NotHttps)?;
        Ok(Self { server_name, uri })
    }
}

impl ProbeUrl {
    /// Name or address; an IPv6 address without brackets.
    pub(super) fn host(&self) -> &str {
        self.uri.host().map(unbracketed).unwrap_or_default()
    }

    pub(super) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(443)
    }

    /// Host and, if the URL names one, port.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    pub(super) fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// The name that the certificate must be for.
    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }
}

impl fmt::Display for ProbeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_into_its_parts() {
        let url: ProbeUrl = "https://[::1]:8443/a?b=c".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.authority()), ("::1", 8443, "[::1]:8443"));
        assert_eq!((url.path_and_query(), url.to_string().as_str()), ("/a?b=c", "https://[::1]:8443/a?b=c"));
        let url: ProbeUrl = "https://chatgpt.com".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.path_and_query()), ("chatgpt.com", 443, "/"));
    }

    #[test]
    fn only_https_urls_without_credentials_are_accepted() {
        for text in ["", "chatgpt.com", "http://chatgpt.com/", "https://", "/path", "https://a b/", "https://a_b!/"] {
            assert_eq!(text.parse::<ProbeUrl>(), Err(ProbeUrlError::NotHttps), "{text}");
        }
        assert_eq!("https://me:secret@chatgpt.com/".parse::<ProbeUrl>(), Err(ProbeUrlError::HasUser));
    }

    #[test]
    fn the_default_urls_are_valid() {
        for text in super::super::DEFAULT_URLS {
            assert_eq!(text.parse::<ProbeUrl>().unwrap().to_string(), text);
        }
    }
}
