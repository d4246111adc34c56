//! The one error for bad input: which field, what is wrong with it, and what to send instead.

use std::fmt;

/// Longest excerpt of a bad value that a message shows, in characters.
const SHOWN_CHARACTERS: usize = 32;

/// Input that was refused, in words for the person who sent it.
///
/// The three parts are free text that travels to the caller and into logs, so **no part may contain a secret**:
/// everything beneath `auth` is described, never quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    field: String,
    problem: String,
    fix: String,
}

impl Invalid {
    /// `field` is a path such as `auth.tokens.access_token`; `problem` completes "field …"; `fix` is an instruction.
    pub fn new(field: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), fix: fix.into() }
    }

    /// Where in the input, e.g. `auth.tokens.access_token`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong, e.g. `is empty`.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// What to send instead.
    pub fn fix(&self) -> &str {
        &self.fix
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.field, self.problem, self.fix)
    }
}

impl std::error::Error for Invalid {}

/// A bad value made fit for a message: quoted, escaped (no raw newline reaches a log) and cut. Never for secrets.
pub fn shown(value: &str) -> String {
    let mut characters = value.chars();
    let start: String = characters.by_ref().take(SHOWN_CHARACTERS).collect();
    let cut = if characters.next().is_some() { "…" } else { "" };
    format!("\"{}{cut}\"", start.escape_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_field_the_problem_and_the_fix() {
        let invalid = Invalid::new("size.cpu", "is 300", "use 256, 512 or 1024");
        assert_eq!(invalid.to_string(), "size.cpu: is 300; use 256, 512 or 1024");
        assert_eq!((invalid.field(), invalid.problem(), invalid.fix()), ("size.cpu", "is 300", "use 256, 512 or 1024"));
    }

    #[test]
    fn a_shown_value_is_escaped_and_cut() {
        assert_eq!(shown("a\n\0é"), r#""a\n\u{0}\u{e9}""#);
        assert_eq!(shown(&"x".repeat(33)), format!("\"{}…\"", "x".repeat(32)));
    }
}
