//! JSON bodies: an error names the field, and never quotes the body.

use std::fmt;
use std::marker::PhantomData;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use openclaw::encoding::not_json_because_of;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use tokio::time::timeout_at;

use super::code::Code;
use super::error::Problem;
use super::serving::BodyBy;

/// Largest accepted body. A sign-in has a few KiB; 256 KiB leave room for variables and labels, and a task definition
/// holds 64 KiB anyway.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

/// A JSON body that may be left out.
pub(super) struct OptionalJson<T>(pub(super) T);

/// A JSON object. serde's derive alone also takes an array of a struct's fields in their order, which is no API: a
/// field that is added in the middle would change what such a body says.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        parse(&whole(request, state).await?).map(Json)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let announced = require_json(request.headers());
        let bytes = whole(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        announced?;
        parse(&bytes).map(OptionalJson)
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let announced = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = announced.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let problem = "the body must be JSON and say so";
    Err(Problem::of_field(Code::UnsupportedMediaType, "Content-Type", problem, "send Content-Type: application/json"))
}

/// The whole body, if it arrives in time. Without the limit, a client that sends slowly could hold a connection for ever.
async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let by = request.extensions().get::<BodyBy>().copied();
    let reading = Bytes::from_request(request, state);
    let read = match by {
        Some(BodyBy(deadline)) => timeout_at(deadline, reading).await.map_err(|_| {
            let fix = "send it again, without a pause in it";
            Problem::of_field(Code::RequestTimeout, "body", "the body did not arrive whole in time", fix)
        })?,
        // A request that did not come over a connection.
        None => reading.await,
    };
    read.map_err(too_large)
}

fn too_large(rejection: BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let problem = format!("the body has more than {MAX_BYTES} bytes");
        return Problem::of_field(Code::PayloadTooLarge, "body", &problem, "send fewer or shorter fields");
    }
    Problem::of_field(Code::InvalidJson, "body", "the body did not arrive whole", "send it again")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if let Some((problem, fix)) = not_json_because_of(bytes) {
        return Err(Problem::of_field(Code::InvalidJson, "body", problem, fix));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Object(parsed) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        describe(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| describe("", &error))?;
    Ok(parsed)
}

fn describe(path: &str, error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => {
            let Words { member, problem, fix } = words(error);
            let path = Some(path).filter(|path| *path != ".").map(str::to_owned);
            let field = path.into_iter().chain(member).collect::<Vec<_>>().join(".");
            let field = if field.is_empty() { "body" } else { &field };
            Problem::of_field(Code::InvalidField, field, &problem, &fix)
        }
        Category::Syntax | Category::Eof | Category::Io => {
            let problem = format!("not JSON at line {}, column {}", error.line(), error.column());
            Problem::of_field(Code::InvalidJson, "body", &problem, "send one JSON object")
        }
    }
}

/// serde's error about a value, in our words.
struct Words {
    /// The member that serde names in its message, because the path does not include it.
    member: Option<String>,
    problem: String,
    fix: String,
}

/// serde's message without the values that it quotes: `invalid type: string "<a token>", expected u32` must not put
/// the token into a response or a log.
fn words(error: &serde_json::Error) -> Words {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let quoted = |start: &str| text.strip_prefix(start)?.strip_suffix('`').map(str::to_owned);
    if let Some(member) = quoted("missing field `") {
        return Words { member: Some(member), problem: "is missing".into(), fix: "add it".into() };
    }
    if let Some(member) = quoted("duplicate field `") {
        return Words { member: Some(member), problem: "is there more than once".into(), fix: "give it once".into() };
    }
    let expected = text.rsplit_once("expected ").map(|(_, expected)| expected);
    let (problem, fix) = if text.starts_with("unknown field `") {
        ("there is no such field", format!("expected {}", expected.unwrap_or("no field here")))
    } else {
        match expected {
            Some(expected) => ("the value is of the wrong kind", format!("expected {}", plain(expected))),
            None => ("the value is not valid", "see /openapi.json for the fields".to_owned()),
        }
    };
    Words { member: None, problem: problem.to_owned(), fix }
}

/// A type in the words of JSON, where serde uses those of Rust.
fn plain(expected: &str) -> &str {
    match expected {
        "u32" => "a whole number from 0 to 4294967295",
        "a map" => "an object",
        other => other,
    }
}
