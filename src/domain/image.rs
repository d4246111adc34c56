//! Container image references, and which of them live in ECR.

use std::fmt;

use openclaw::Invalid;
use serde::{Deserialize, Serialize};

/// A pinned image, `registry/repository:tag` or `…@sha256:…`. A name with neither tag nor digest is refused: it would mean
/// `latest`, and two tasks of one user could then run two releases.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    text: String,
    /// Byte offset of the `:` before the tag, when there is a tag.
    tag_at: Option<usize>,
    /// Byte offset of the `@` before the digest, when there is one.
    digest_at: Option<usize>,
}

/// An image in a private ECR registry, in the terms of `ecr:DescribeImages`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EcrImage {
    /// The account that owns the registry.
    pub registry_id: String,
    /// The region of the registry.
    pub region: String,
    /// The repository name, slashes included.
    pub repository: String,
    /// `tag` or `sha256:…`.
    pub reference: EcrReference,
}

/// What selects one image of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EcrReference {
    /// A tag.
    Tag(String),
    /// A digest, `sha256:` included. It wins over a tag beside it, as in Docker.
    Digest(String),
}

impl EcrImage {
    /// Problem and fix for an image that ECR does not have.
    #[must_use]
    pub fn missing(&self, repository_exists: bool) -> (String, String) {
        let Self { registry_id, region, repository, reference } = self;
        let what = match reference {
            EcrReference::Tag(tag) => format!("tag {tag}"),
            EcrReference::Digest(digest) => digest.clone(),
        };
        if repository_exists {
            let problem = format!("ECR repository {repository} of account {registry_id} in {region} has no {what}");
            (problem, "push it, or name another image".into())
        } else {
            let problem = format!("account {registry_id} has no ECR repository {repository} in {region}");
            (problem, format!("create it and push {what}, or name another image"))
        }
    }
}

impl ImageRef {
    /// Longest accepted reference in bytes: ECS's own limit for `image` (API reference, ContainerDefinition).
    pub const MAX_BYTES: usize = 255;

    /// Parses a reference; `field` is named in the error.
    ///
    /// # Errors
    /// When it is empty, too long, contains a character that references cannot have, or has neither tag nor digest.
    pub fn parse(text: &str, field: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| {
            Invalid::new(field, problem, "write it as registry/repository:tag or registry/repository@sha256:<64 hex>")
        };
        if text.is_empty() {
            return Err(refuse("the image is empty".into()));
        }
        if text.len() > Self::MAX_BYTES {
            return Err(refuse(format!("the image has {} bytes, ECS takes {}", text.len(), Self::MAX_BYTES)));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if let Some(bad) = text.chars().find(|&c| !allowed(c)) {
            return Err(refuse(format!("the image contains {bad:?}")));
        }
        let (name, digest_at) = match text.split_once('@') {
            Some((name, digest)) => {
                let hex = digest.strip_prefix("sha256:").unwrap_or_default();
                if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(refuse("the digest is not sha256: and 64 hex digits".into()));
                }
                (name, Some(name.len()))
            }
            None => (text, None),
        };
        // A colon before the last slash comes before the registry's port.
        let path_at = name.rfind('/').map_or(0, |at| at + 1);
        let tag_at = name[path_at..].find(':').map(|at| path_at + at);
        let repository = &name[..tag_at.unwrap_or(name.len())];
        if repository.is_empty() || repository.split('/').any(str::is_empty) {
            return Err(refuse("the repository has an empty part".into()));
        }
        if let Some(at) = tag_at {
            let tag = &name[at + 1..];
            let starts_well = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            if !starts_well || tag.len() > 128 || tag.contains(':') {
                return Err(refuse("the tag is not one that a registry accepts".into()));
            }
        }
        if tag_at.is_none() && digest_at.is_none() {
            return Err(refuse("the image has neither a tag nor a digest, which would mean `latest`".into()));
        }
        Ok(Self { text: text.to_owned(), tag_at, digest_at })
    }

    /// The reference as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The tag, if there is one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag_at.map(|at| &self.text[at + 1..self.digest_at.unwrap_or(self.text.len())])
    }

    /// Registry and repository, without tag and digest.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[..self.tag_at.or(self.digest_at).unwrap_or(self.text.len())]
    }

    /// The ECR coordinates when the registry is a private ECR one; `None` for every other registry.
    #[must_use]
    pub fn ecr(&self) -> Option<EcrImage> {
        let (registry, repository) = self.name().split_once('/')?;
        let (registry_id, rest) = registry.split_once(".dkr.ecr")?;
        let rest = rest.strip_prefix("-fips").unwrap_or(rest).strip_prefix('.')?;
        let (region, domain) = rest.split_once('.')?;
        let private = registry_id.len() == 12
            && registry_id.bytes().all(|b| b.is_ascii_digit())
            && matches!(domain, "amazonaws.com" | "amazonaws.com.cn");
        let reference = match self.digest_at {
            Some(at) => EcrReference::Digest(self.text[at + 1..].to_owned()),
            None => EcrReference::Tag(self.tag()?.to_owned()),
        };
        private.then(|| EcrImage {
            registry_id: registry_id.to_owned(),
            region: region.to_owned(),
            repository: repository.to_owned(),
            reference,
        })
    }
}

/// The registry in an image reference, Docker Hub if it names none. Accepts any text that ECS accepts.
pub(in crate::domain) fn registry_of(image: &str) -> &str {
    // Docker's own rule: the first part is a registry if it has a dot or a port, or is `localhost`.
    let first = image.split_once('/').map(|(first, _)| first);
    first.filter(|first| first.contains(['.', ':']) || *first == "localhost").unwrap_or("docker.io")
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageRef({})", self.text)
    }
}

impl TryFrom<String> for ImageRef {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text, "image")
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> ImageRef {
        ImageRef::parse(text, "image").unwrap()
    }

    #[test]
    fn tag_and_name_are_not_confused_with_port_and_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, name, tag) in [
            ("openclaw:1".to_owned(), "openclaw", Some("1")),
            ("localhost:5000/a/b:2026.4.21-slim".to_owned(), "localhost:5000/a/b", Some("2026.4.21-slim")),
            (format!("ghcr.io/o/o:1@{digest}"), "ghcr.io/o/o", Some("1")),
            (format!("localhost:5000/o@{digest}"), "localhost:5000/o", None),
        ] {
            assert_eq!((image(&text).name(), image(&text).tag()), (name, tag), "{text}");
        }
    }

    #[test]
    fn only_a_private_ecr_registry_has_ecr_coordinates() {
        let ecr = image("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/openclaw:2026.4.21-ab12").ecr().unwrap();
        assert_eq!((ecr.registry_id.as_str(), ecr.region.as_str()), ("123456789012", "eu-west-1"));
        assert_eq!(ecr.repository, "team/openclaw");
        assert_eq!(ecr.reference, EcrReference::Tag("2026.4.21-ab12".into()));
        for other in [
            "ghcr.io/openclaw/openclaw:1",
            "public.ecr.aws/x/y:1",
            "123.dkr.ecr.eu-west-1.amazonaws.com/x:1",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example/x:1",
        ] {
            assert_eq!(image(other).ecr(), None, "{other}");
        }
    }

    #[test]
    fn the_registry_is_what_is_before_the_first_slash_if_it_looks_like_one() {
        for (image, registry) in [
            ("openclaw:1", "docker.io"),
            ("openclaw/openclaw:1", "docker.io"),
            ("ghcr.io/openclaw/openclaw:1", "ghcr.io"),
            ("localhost:5000/a@sha256:00", "localhost:5000"),
            ("localhost/a", "localhost"),
        ] {
            assert_eq!(registry_of(image), registry, "{image}");
        }
    }

    #[test]
    fn an_image_that_no_registry_would_accept_is_refused() {
        for bad in ["", "openclaw", "a b:1", "a:1\n", "a//b:1", "/a:1", "a:", "a:-x", "a@sha256:12", "a:b:c", "ü:1"] {
            let error = ImageRef::parse(bad, "image").unwrap_err();
            assert_eq!(error.field(), "image", "{bad:?}");
        }
        assert!(ImageRef::parse(&format!("a:{}", "x".repeat(300)), "image").is_err());
    }
}
