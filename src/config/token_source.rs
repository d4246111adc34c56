//! The source of the bearer tokens: a file, or the environment, into which ECS puts the value of a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use openclaw::Invalid;

use super::{NOT_SET, TokenFileError, Tokens};

/// The variable with the lines of a token file. It has no flag, because every process can read a command line.
pub const TOKENS_VARIABLE: &str = "PROVISIONER_TOKENS";
const FILE_VARIABLE: &str = "PROVISIONER_TOKENS_FILE";

/// The settings for bearer tokens.
#[derive(Clone, Default)]
pub struct GivenTokens {
    /// A token file.
    pub file: Option<PathBuf>,
    /// The lines themselves. A secret.
    pub lines: Option<String>,
}

/// The source that bearer tokens are read from.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, which is read repeatedly.
    File(PathBuf),
    /// `PROVISIONER_TOKENS`, which is read once: the environment of a process does not change.
    Variable(String),
}

impl GivenTokens {
    /// The file together with the tokens in the environment.
    #[must_use]
    pub fn beside(file: Option<PathBuf>) -> Self {
        // A token file may contain only Unicode. Other bytes are replaced, and then no line is valid.
        let lines = std::env::var_os(TOKENS_VARIABLE).map(|lines| lines.to_string_lossy().into_owned());
        Self { file, lines }
    }

    /// The only source of tokens.
    ///
    /// # Errors
    /// When there is none, or two: a token that is removed from one must not stay valid through the other.
    pub fn source(self) -> Result<TokenSource, Invalid> {
        // An empty variable counts as not set, as everywhere.
        match (self.file, self.lines.filter(|lines| !lines.trim().is_empty())) {
            (Some(path), None) => Ok(TokenSource::File(path)),
            (None, Some(lines)) => Ok(TokenSource::Variable(lines)),
            (Some(_), Some(_)) => {
                Err(Invalid::new(TOKENS_VARIABLE, format!("and {FILE_VARIABLE} are both set"), "unset one of them"))
            }
            (None, None) => {
                let fix = format!("set {FILE_VARIABLE} to a file of tokens, or {TOKENS_VARIABLE} to its lines");
                Err(Invalid::new(FILE_VARIABLE, NOT_SET, fix))
            }
        }
    }
}

impl TokenSource {
    /// Reads the tokens.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is wrong.
    pub fn read(&self) -> Result<Tokens, TokenFileError> {
        match self {
            Self::File(path) => Tokens::read(path),
            Self::Variable(lines) => Tokens::parse(lines),
        }
    }

    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Variable(_) => None,
        }
    }
}

/// For messages: the file, or the variable's name.
impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Variable(_) => f.write_str(TOKENS_VARIABLE),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for GivenTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenTokens").field("file", &self.file).field("lines", &self.lines.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scope;

    const LINES: &str = "web:provision:sentinel-of-sixteen\ndashboard:read:sentinel-of-another\n";

    fn given(file: Option<&str>, lines: Option<&str>) -> GivenTokens {
        GivenTokens { file: file.map(PathBuf::from), lines: lines.map(str::to_owned) }
    }

    #[test]
    fn the_variable_holds_the_lines_of_a_token_file() {
        let tokens = given(None, Some(LINES)).source().unwrap().read().unwrap();
        assert_eq!(tokens.find("sentinel-of-sixteen"), Some(("web", Scope::Provision)));
        assert_eq!(tokens.count(), 2);
    }

    #[test]
    fn tokens_come_from_exactly_one_source() {
        let file = given(Some("/run/tokens"), Some(" \n")).source().unwrap();
        assert_eq!(file, TokenSource::File("/run/tokens".into()), "an empty variable is not set");
        let both = given(Some("/run/tokens"), Some(LINES)).source().unwrap_err().to_string();
        let neither = given(None, None).source().unwrap_err().to_string();
        for message in [&both, &neither] {
            assert!(message.contains(TOKENS_VARIABLE) && message.contains(FILE_VARIABLE), "{message}");
        }
        assert!(!both.contains("sentinel"), "{both}");
    }

    #[test]
    fn the_lines_are_never_shown() {
        let given = given(None, Some(LINES));
        let source = given.clone().source().unwrap();
        let shown = format!("{given:?} {source:?} {source}");
        assert!(!shown.contains("sentinel"), "{shown}");
    }
}
