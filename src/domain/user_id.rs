//! The caller's id for a user, and the names that are derived from it.

use std::fmt;
use std::str::FromStr;

use openclaw::{Invalid, sha256_hex12, shown};
use serde::{Deserialize, Serialize};

const FIELD: &str = "user_id";
const MAX_CHARACTERS: usize = 64;
/// Characters of the id in the names of services and roles. ECS allows 255 and IAM 64; 40 keep a name readable in a console column.
const CHARACTERS_IN_NAME: usize = 40;
/// Prefix of the name of every user's service and role.
pub const NAME_PREFIX: &str = "openclaw-";
const FIX: &str = "use 1 to 64 characters of A-Z, a-z, 0-9, _ and -";

/// The id of one user: `[A-Za-z0-9_-]{1,64}`.
///
/// Without dots and slashes it is always exactly one path component, never `.` or `..`, and never begins with a
/// dot, which an access point's path may not do (aws-facts §2). Ids are case-sensitive: `A` and `a` are two users on EFS,
/// but share one directory on the case-insensitive disk of a developer's Mac.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// Parses an id; an error names the field `user_id` and the problem.
    pub fn parse(value: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| Err(Invalid::new(FIELD, problem, FIX));
        if value.is_empty() {
            return refuse("is empty".to_owned());
        }
        if let Some(bad) = value.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
            let problem = match bad {
                '.' if value.starts_with('.') => format!("{} begins with a dot", shown(value)),
                '/' | '\\' => format!("{} contains a path separator", shown(value)),
                c if c.is_control() => format!("{} contains a control character", shown(value)),
                c if c.is_ascii() => format!("{} contains {:?}", shown(value), c),
                c => format!("{} contains a character outside ASCII, {}", shown(value), c.escape_unicode()),
            };
            return refuse(problem);
        }
        // Only ASCII is possible here, so bytes are characters.
        if value.len() > MAX_CHARACTERS {
            return refuse(format!("has {} characters", value.len()));
        }
        Ok(Self(value.to_owned()))
    }

    /// A reserved id for the whole fleet, which no request can name. The replica that runs rollouts holds its lock.
    #[must_use]
    pub fn of_the_fleet() -> Self {
        Self("@fleet".to_owned())
    }

    /// A reserved id, too: the replica that measures users' directories holds its lock.
    #[must_use]
    pub fn of_measuring() -> Self {
        Self("@sizes".to_owned())
    }

    /// The id as the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `openclaw-<at most 40 characters of the id>-<12 hex of the SHA-256 of the whole id>`: at most 62 characters.
    pub fn service_name(&self) -> String {
        self.short_name(&sha256_hex12(self.0.as_bytes()))
    }

    /// `openclaw-<at most 40 characters of the id>-<hash>`: readable, and with a hash of 12 characters at most 62 long.
    pub(super) fn short_name(&self, hash: &str) -> String {
        let start = self.0.get(..CHARACTERS_IN_NAME).unwrap_or(&self.0);
        format!("{NAME_PREFIX}{start}-{hash}")
    }

    /// The access point's root directory, `/users/<id>`: two levels and at most 71 of the 100 characters allowed.
    pub fn access_point_path(&self) -> String {
        format!("/users/{}", self.0)
    }
}

impl FromStr for UserId {
    type Err = Invalid;

    fn from_str(value: &str) -> Result<Self, Invalid> {
        Self::parse(value)
    }
}

impl TryFrom<String> for UserId {
    type Error = Invalid;

    fn try_from(value: String) -> Result<Self, Invalid> {
        Self::parse(&value)
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refusals_name_the_field_the_problem_and_the_fix() {
        let long = "x".repeat(65);
        let messages: Vec<String> = ["", &long, "..", ".hidden", "a/b", "a\0b", "a.b", "a b", "Zoë"]
            .iter()
            .map(|value| UserId::parse(value).unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(messages.join("\n"), @r#"
        user_id: is empty; use 1 to 64 characters of A-Z, a-z, 0-9, _ and -
        user_id: has 65 characters; use 1 to 64 characters of A-Z, a-z, 0-9, _ and -
        user_id: ".." begins with a dot; use 1 to 64 characters of A-Z, a-z, 0-9, _ and -
        user_id: ".hidden" begins with a dot; use 1 to 64 characters of A-Z, a-z, 0-9, _ and -
        user_id: "a/b" contains a path separator; use 1 to 64 characters of A-Z, a-z, 0-9, _ and -
        user_id: "a\u{0}b" contains a control character; use 1 to 64 characters of A-Z, a-z, 0-9, _ and -
        user_id: "a.b" contains '.'; use 1 to 64 characters of A-Z, a-z, 0-9, _ and -
        user_id: "a b" contains ' '; use 1 to 64 characters of A-Z, a-z, 0-9, _ and -
        user_id: "Zo\u{eb}" contains a character outside ASCII, \u{eb}; use 1 to 64 characters of A-Z, a-z, 0-9, _ and -
        "#);
    }

    #[test]
    fn names_are_derived_from_the_id() {
        let id = UserId::parse("user_2abc").unwrap();
        assert_eq!(id.service_name(), "openclaw-user_2abc-9ef1275adf8c");
        assert_eq!(id.access_point_path(), "/users/user_2abc");
        assert_eq!(serde_json::to_value(&id).unwrap(), "user_2abc");
        assert!(serde_json::from_str::<UserId>("\"a/b\"").is_err());
    }

    #[test]
    fn ids_that_share_their_first_forty_characters_have_different_services() {
        let start = "a".repeat(63);
        let (one, two) = (UserId::parse(&format!("{start}1")).unwrap(), UserId::parse(&format!("{start}2")).unwrap());
        assert_ne!(one.service_name(), two.service_name());
        assert_eq!(one.service_name().len(), 62);
    }

    proptest! {
        #[test]
        fn exactly_the_documented_alphabet_is_accepted(value in "\\PC{0,70}|[A-Za-z0-9_-]{0,70}") {
            let right = (1..=64).contains(&value.len())
                && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            prop_assert_eq!(UserId::parse(&value).is_ok(), right);
        }
    }
}
