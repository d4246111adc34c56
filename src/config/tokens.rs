//! Bearer tokens: who may call the API, and with which scope.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

/// Scope of a token; each scope includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reading.
    Read,
    /// Everything on one user.
    Provision,
    /// Everything on the fleet.
    Admin,
}

/// The accepted tokens. Only their SHA-256 is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<Entry>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    scope: Scope,
    sha256: [u8; 32],
}

/// Why a token file cannot be used. The messages name lines, never tokens.
#[derive(Debug, Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("the token file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("line {line} of the tokens: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// The file has no token.
    #[error("there is no token, so nobody could call the API; add a line name:scope[,scope]:token-or-sha256")]
    Empty,
}

impl Tokens {
    /// Shortest accepted token in characters. Shorter ones could perhaps be guessed over the network.
    const MIN_LENGTH: usize = 16;

    /// Reads a token file.
    ///
    /// # Errors
    /// When it cannot be read, or a line is wrong.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| TokenFileError::Read { path: path.into(), source })?;
        Self::parse(&text)
    }

    /// Parses the lines of a token file. Empty lines and lines that start with `#` are ignored. 64 hex digits, with
    /// or without `sha256:` before them, are the SHA-256 of a token; everything else is a token.
    ///
    /// # Errors
    /// Names the line.
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut entries: Vec<Entry> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = entry(line).map_err(|problem| TokenFileError::Line { line: at + 1, problem })?;
            if entries.iter().any(|other| other.sha256 == entry.sha256) {
                let problem = "the same token is on an earlier line; a token has one name".to_owned();
                return Err(TokenFileError::Line { line: at + 1, problem });
            }
            entries.push(entry);
        }
        if entries.is_empty() { Err(TokenFileError::Empty) } else { Ok(Self(entries)) }
    }

    /// One token with every scope, for `dev`.
    #[must_use]
    pub fn single(name: &str, token: &str) -> Self {
        Self(vec![Entry { name: name.into(), scope: Scope::Admin, sha256: Sha256::digest(token).into() }])
    }

    /// The name and scope of a presented token. All entries are compared, in constant time, so that the time reveals
    /// nothing.
    #[must_use]
    pub fn find(&self, presented: &str) -> Option<(&str, Scope)> {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let mut found = None;
        for entry in &self.0 {
            let equal: Choice = entry.sha256.ct_eq(&presented);
            if bool::from(equal) {
                found = Some((entry.name.as_str(), entry.scope));
            }
        }
        found
    }

    /// The number of tokens.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| (&entry.name, entry.scope))).finish()
    }
}

fn entry(line: &str) -> Result<Entry, String> {
    let mut parts = line.splitn(3, ':');
    let (Some(name), Some(scopes), Some(token)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("write name:scope[,scope]:token-or-sha256".into());
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err("a name has letters, digits, '-', '_' and '.'".into());
    }
    let mut scope = None;
    for word in scopes.split(',').map(str::trim) {
        let one = match word {
            "read" => Scope::Read,
            "provision" => Scope::Provision,
            "admin" => Scope::Admin,
            _ => return Err("a scope is one of read, provision, admin".into()),
        };
        scope = scope.max(Some(one));
    }
    let Some(scope) = scope else { return Err("a scope is one of read, provision, admin".into()) };
    let token = token.trim();
    let sha256 = match hash(token.strip_prefix("sha256:").unwrap_or(token)) {
        Some(sha256) => sha256,
        None if token.starts_with("sha256:") => return Err("after sha256: come 64 hex digits".into()),
        None if token.len() < Tokens::MIN_LENGTH => {
            return Err(format!(
                "the token has fewer than {} characters; make one with: openssl rand -base64 32",
                Tokens::MIN_LENGTH
            ));
        }
        None if token.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            return Err("a token has no white space".into());
        }
        None => Sha256::digest(token).into(),
    };
    Ok(Entry { name: name.to_owned(), scope, sha256 })
}

/// The bytes of 64 hex digits; `None` for any other text.
fn hash(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdefXYZ";

    #[test]
    fn a_token_is_found_whether_the_file_has_it_or_its_hash_and_is_never_kept() {
        let sha256: String = hex::encode(Sha256::digest(TOKEN));
        for line in [
            format!("web:provision:{TOKEN}"),
            format!("web:read,provision:{sha256}"),
            format!("web:provision:sha256:{sha256}"),
        ] {
            let tokens = Tokens::parse(&format!("# comment\n\n{line}\n")).unwrap();
            assert_eq!(tokens.find(TOKEN), Some(("web", Scope::Provision)), "{line}");
            assert_eq!(tokens.find(&sha256), None, "the hash itself is not a token");
            assert!(!format!("{tokens:?}").contains(TOKEN));
        }
    }

    /// Incident 32: a personal user passed the organisation-admin check.
    #[test]
    fn scopes_are_ordered_and_a_token_has_no_more_than_its_own() {
        assert!(Scope::Read < Scope::Provision && Scope::Provision < Scope::Admin);
        let tokens = Tokens::parse(&format!("r:read:{TOKEN}")).unwrap();
        assert_eq!(tokens.find(TOKEN), Some(("r", Scope::Read)));
    }

    #[test]
    fn a_wrong_line_is_named_by_number_and_its_token_is_not_repeated() {
        let second = "another-long-token-here";
        for (line, word) in [
            ("web", "name:scope"),
            ("web:write:0123456789abcdefXYZ", "scope"),
            ("web::0123456789abcdefXYZ", "scope"),
            ("w b:read:0123456789abcdefXYZ", "name"),
            ("web:read:short", "fewer"),
            ("web:read:sha256:12", "64 hex"),
            ("web:read:0123456789abc defXYZ", "white space"),
            ("web:read:another-long-token-here", "earlier line"),
        ] {
            let error = Tokens::parse(&format!("a:read:{second}\n{line}")).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(word), "{line}: {error}");
            assert!(!error.contains("XYZ"), "{error}");
        }
        assert!(matches!(Tokens::parse("# nothing\n"), Err(TokenFileError::Empty)));
    }
}
