//! Query parameters: each at most once, none that is not known, and what is wrong with one is said by its name.

use axum::extract::Query;
use axum::http::Uri;
use openclaw::Invalid;

use super::code::Code;
use super::error::Problem;
use crate::domain::State;

/// The parameters of one request.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query of `uri`.
    ///
    /// # Errors
    /// Names a parameter that is not one of `known`, or that is there twice.
    pub(super) fn parse(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let refuse = |field: &str, problem, fix: &str| Err(Problem::of_field(Code::InvalidField, field, problem, fix));
        let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return refuse("query", "is not name=value pairs joined by &", "write it so, percent-encoded");
        };
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let fix = match known {
                    [] => "leave it out; there are none here".to_owned(),
                    known => format!("expected one of {}", known.join(", ")),
                };
                // A long one is not sent back whole.
                let name: String = name.chars().take(64).collect();
                return refuse(&name, "there is no such parameter", &fix);
            }
            if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                return refuse(name, "is there more than once", "give it once");
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter, parsed; `None` when it is not there.
    ///
    /// # Errors
    /// With the words of `fix` when `parse` finds nothing in it.
    pub(super) fn get<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        fix: &str,
    ) -> Result<Option<T>, Invalid> {
        let Some((_, text)) = self.0.iter().find(|(other, _)| other == name) else {
            return Ok(None);
        };
        parse(text).map(Some).ok_or_else(|| Invalid::new(name, "the value is not valid", fix))
    }

    /// A state, by the name that it has in answers.
    ///
    /// # Errors
    /// Names the parameter and lists the states.
    pub(super) fn state(&self, name: &str) -> Result<Option<State>, Invalid> {
        let state = |text: &str| State::ALL.into_iter().find(|state| state.name() == text);
        let fix = format!("one of {}", State::ALL.map(State::name).join(", "));
        self.get(name, state, &fix)
    }
}
