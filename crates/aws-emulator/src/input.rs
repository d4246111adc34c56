//! Reads members of a request, with the error code that the service uses for a bad one.

use super::error::ApiError;
use serde_json::{Map, Value};

/// A request's members.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    members: &'a Map<String, Value>,
    invalid: &'static str,
}

impl<'a> Input<'a> {
    /// `invalid` is the code for a missing or malformed member.
    pub(crate) fn new(members: &'a Map<String, Value>, invalid: &'static str) -> Self {
        Self { members, invalid }
    }

    pub(crate) fn members(&self) -> &'a Map<String, Value> {
        self.members
    }

    /// The member, unless it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(Value::as_str)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        let given = self.text(name).filter(|text| !text.is_empty());
        given.ok_or_else(|| self.refuse(format!("{name} can not be blank.")))
    }

    /// Query strings carry numbers as text, so both forms are read.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        let value = self.get(name)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn list(&self, name: &str) -> &'a [Value] {
        let list = self.get(name).and_then(Value::as_array);
        list.map_or(&[], Vec::as_slice)
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<&'a str> {
        self.list(name).iter().filter_map(Value::as_str).collect()
    }

    pub(crate) fn object(&self, name: &str) -> Option<Input<'a>> {
        let members = self.get(name)?.as_object()?;
        Some(Self { members, invalid: self.invalid })
    }

    /// `include=["TAGS"]` and the like.
    pub(crate) fn includes(&self, what: &str) -> bool {
        self.texts("include").contains(&what)
    }

    /// This service's error for a bad member.
    pub(crate) fn refuse(&self, message: impl Into<String>) -> ApiError {
        ApiError::bad(self.invalid, message)
    }
}

/// The trailing part of an ARN or of a `cluster/name` path; a bare name is itself.
pub(crate) fn last_segment(reference: &str) -> &str {
    reference.rsplit(['/', ':']).next().unwrap_or(reference)
}
