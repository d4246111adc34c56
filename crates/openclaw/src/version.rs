//! OpenClaw's calendar version, read from an image tag.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Invalid, shown};

const FIELD: &str = "image";
const FIX: &str = "use a tag that begins with year.month.patch, such as 2026.4.25 or 2026.4.25-slim-71624b4";

/// `year.month.patch`; ordered as released.
///
/// What follows a `-` in the tag (`slim`, a commit, `beta.1`) says how the image was built, and is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OpenClawVersion {
    year: u16,
    month: u16,
    patch: u16,
}

impl OpenClawVersion {
    /// The oldest release whose layout is known (openclaw-facts §2).
    pub const MINIMUM: Self = Self::new(2026, 4, 7);

    /// A version from its numbers.
    pub const fn new(year: u16, month: u16, patch: u16) -> Self {
        Self { year, month, patch }
    }

    /// Reads an image tag: `2026.4.25`, `v2026.4.25`, `2026.4.25-slim-71624b4`. Errors name the field `image`.
    pub fn from_tag(tag: &str) -> Result<Self, Invalid> {
        let refuse = || Invalid::new(FIELD, format!("has the tag {}, which names no release", shown(tag)), FIX);
        let core = tag.strip_prefix('v').unwrap_or(tag);
        let core = core.split_once('-').map_or(core, |(core, _)| core);
        let mut numbers = core.split('.').map(number);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Some(year)), Some(Some(month)), Some(Some(patch)), None)
                if (2000..=9999).contains(&year) && (1..=12).contains(&month) =>
            {
                Ok(Self::new(year, month, patch))
            }
            _ => Err(refuse()),
        }
    }

    /// Reads the tag of an image reference such as `registry:5000/openclaw:2026.4.25-slim@sha256:…`.
    ///
    /// A reference with a digest and no tag is refused: a digest does not show which layout the release reads.
    pub fn from_image(reference: &str) -> Result<Self, Invalid> {
        let name = reference.split_once('@').map_or(reference, |(name, _)| name);
        // A colon before the last slash belongs to a registry's port.
        let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
        match last.split_once(':') {
            Some((_, tag)) => Self::from_tag(tag),
            None => Err(Invalid::new(FIELD, format!("{} has no tag", shown(reference)), FIX)),
        }
    }

    /// Refuses releases before [`Self::MINIMUM`].
    pub fn supported(self) -> Result<Self, Invalid> {
        if self >= Self::MINIMUM {
            return Ok(self);
        }
        let problem = format!("is OpenClaw {self}, older than {}", Self::MINIMUM);
        Err(Invalid::new(FIELD, problem, format!("use {} or later", Self::MINIMUM)))
    }
}

/// Digits only and without leading zeros, so that a version has one spelling.
fn number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

impl TryFrom<String> for OpenClawVersion {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::from_tag(&text)
    }
}

impl From<OpenClawVersion> for String {
    fn from(version: OpenClawVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for OpenClawVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.year, self.month, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_references_name_a_release() {
        let v = Ok(OpenClawVersion::new(2026, 4, 25));
        for tag in ["2026.4.25", "v2026.4.25", "2026.4.25-slim-71624b4", "2026.4.25-beta.1"] {
            assert_eq!(OpenClawVersion::from_tag(tag), v, "{tag}");
        }
        for reference in [
            "openclaw:2026.4.25",
            "localhost:5000/a/openclaw:2026.4.25-slim",
            "123.dkr.ecr.eu-west-1.amazonaws.com/openclaw:v2026.4.25@sha256:00ff",
        ] {
            assert_eq!(OpenClawVersion::from_image(reference), v, "{reference}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_fix() {
        for tag in
            ["", "latest", "2026", "2026.4", "2026.4.25.1", "2026.04.25", "2026.13.1", "2026.4.99999", "2026.4.-1"]
        {
            let error = OpenClawVersion::from_tag(tag).unwrap_err();
            assert_eq!((error.field(), error.fix()), (FIELD, FIX), "{tag}");
        }
        for reference in ["", "openclaw", "localhost:5000/openclaw", "openclaw@sha256:00ff"] {
            let error = OpenClawVersion::from_image(reference).unwrap_err();
            assert!(error.problem().ends_with("has no tag"), "{error}");
        }
    }

    #[test]
    fn patches_are_ordered_as_numbers_and_old_releases_are_refused() {
        let v = OpenClawVersion::new;
        assert!(v(2026, 4, 7) < v(2026, 4, 21) && v(2026, 4, 25) < v(2026, 5, 4) && v(2026, 9, 6) < v(2026, 10, 1));
        assert_eq!(v(2026, 4, 7).supported(), Ok(OpenClawVersion::MINIMUM));
        assert_eq!(
            v(2026, 4, 6).supported().unwrap_err().to_string(),
            "image: is OpenClaw 2026.4.6, older than 2026.4.7; use 2026.4.7 or later"
        );
    }
}
