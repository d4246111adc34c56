//! HTTP requests and responses, independent of how they arrive and leave, and their content.

use super::error::ApiError;
use super::ids;
use serde_json::{Map, Value};

/// An HTTP request, independent of how it arrived.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// GET, POST, PUT or DELETE.
    pub method: String,
    /// Path and query, as in a request line.
    pub uri: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.uri.split('?').next().unwrap_or_default()
    }

    /// The decoded pairs of the query.
    pub fn query(&self) -> Vec<(String, String)> {
        pairs(self.uri.split_once('?').map_or("", |(_, query)| query))
    }
}

/// An HTTP response.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// A JSON body, as the admin paths return it.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    pub(crate) fn new(status: u16, content_type: &str, body: String) -> Self {
        let headers = vec![("content-type", content_type.to_owned()), ("x-amzn-requestid", ids::request_id())];
        let body = body.into_bytes();
        Self { status, headers, body }
    }
}

/// A fault closed the connection instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fault made the emulator drop the connection")]
pub struct Dropped;

/// The JSON object in a body; an empty body is an empty object.
pub(crate) fn members(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad("SerializationException", format!("malformed JSON: {error}")))
}

/// Decodes `a=b&c=d`, as in a query or a form.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let split = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    split.map(|(name, value)| (unescape(name), unescape(value))).collect()
}

/// Undoes percent-encoding, and `+` for a space.
pub(crate) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
