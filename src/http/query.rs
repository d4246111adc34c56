//! Query parameters. A struct names each of them once: for the handler, for the OpenAPI document and for the command line.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use openclaw::OpenClawVersion;
use serde::de::DeserializeOwned;
use serde::de::value::{Error, MapDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::IntoParams;

use super::code::Code;
use super::error::Problem;
use crate::domain::State;

/// The query of a request: each parameter at most once, and none that `T` does not name.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + IntoParams, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse(&parts.uri).map(Self)
    }
}

/// No parameters.
#[derive(Deserialize, IntoParams)]
pub(super) struct NoParameters {}

fn parse<T: DeserializeOwned + IntoParams>(uri: &Uri) -> Result<T, Problem> {
    let refuse = |field: &str, problem, fix: &str| Problem::of_field(Code::InvalidField, field, problem, fix);
    let Ok(axum::extract::Query(pairs)) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err(refuse("query", "is not name=value pairs joined by &", "write it so, percent-encoded"));
    };
    let known: Vec<String> = T::into_params(|| None).into_iter().map(|parameter| parameter.name).collect();
    for (at, (name, _)) in pairs.iter().enumerate() {
        if !known.contains(name) {
            let fix = match &known[..] {
                [] => "leave it out; there are none here".to_owned(),
                known => format!("expected one of {}", known.join(", ")),
            };
            // A long one is not sent back whole.
            let name: String = name.chars().take(64).collect();
            return Err(refuse(&name, "there is no such parameter", &fix));
        }
        if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
            return Err(refuse(name, "is there more than once", "give it once"));
        }
    }
    let values = MapDeserializer::<_, Error>::new(pairs.into_iter());
    serde_path_to_error::deserialize(values)
        .map_err(|error| refuse(&error.path().to_string(), "the value is not valid", &error.inner().to_string()))
}

/// The type of a query parameter.
pub(crate) trait Parameter: Sized {
    /// The allowed values, for an error message.
    fn expected() -> Cow<'static, str>;

    /// Reads the text of the parameter; `None` if it is not allowed.
    fn parse(text: &str) -> Option<Self>;

    /// The text of the parameter.
    fn to_text(&self) -> String;
}

/// For `#[serde(with)]`: a parameter that may be left out.
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, Parameter, Serializer};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Parameter>(deserializer: D) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::read(&text).map(Some).map_err(serde::de::Error::custom)
    }

    pub(crate) fn serialize<S: Serializer, T: Parameter>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_str(&value.to_text()),
            None => serializer.serialize_none(),
        }
    }
}

/// Reads a parameter; the error lists the allowed values. The command line uses it, too.
pub(crate) fn read<T: Parameter>(text: &str) -> Result<T, Cow<'static, str>> {
    T::parse(text).ok_or_else(T::expected)
}

/// Appends a query to a path.
pub(crate) fn with_query(path: &str, query: &impl Serialize) -> anyhow::Result<String> {
    Ok(format!("{path}?{}", serde_urlencoded::to_string(query)?))
}

impl Parameter for State {
    fn expected() -> Cow<'static, str> {
        format!("one of {}", Self::ALL.map(Self::name).join(", ")).into()
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == text)
    }

    fn to_text(&self) -> String {
        self.name().to_owned()
    }
}

impl Parameter for bool {
    fn expected() -> Cow<'static, str> {
        "true or false".into()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Parameter for OpenClawVersion {
    fn expected() -> Cow<'static, str> {
        "a release, such as 2026.4.25".into()
    }

    fn parse(text: &str) -> Option<Self> {
        Self::from_tag(text).ok()
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}
