//! The maps of a spec: environment variables, secrets and labels by name.

use std::collections::BTreeMap;

use openclaw::{Invalid, Provider};
use serde::{Deserialize, Serialize};

use super::CODEX_HOME;

/// Prefix of every docker label that this service writes.
pub(in crate::domain) const LABEL_PREFIX: &str = "openclaw.provisioner.";

/// Environment variables by name; their values are not secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Variables(BTreeMap<String, String>);

/// ARNs of secrets by environment variable name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secrets(BTreeMap<String, String>);

/// Docker labels by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

macro_rules! map_access {
    ($name:ident) => {
        impl $name {
            /// Whether the map is empty.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// Name and value of each, by name.
            pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
                self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
            }
        }
    };
}
map_access!(Variables);
map_access!(Secrets);
map_access!(Labels);

impl Variables {
    pub(in crate::domain) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets single variables; `None` removes one.
    pub(super) fn set(&mut self, changes: &BTreeMap<String, Option<String>>) {
        for (name, value) in changes {
            match value {
                Some(value) => self.0.insert(name.clone(), value.clone()),
                None => self.0.remove(name),
            };
        }
    }

    /// Checks names and values, and refuses a provider's key.
    ///
    /// # Errors
    /// Names the variable; never its value.
    pub fn parse(raw: BTreeMap<String, String>) -> Result<Self, Invalid> {
        for (name, value) in &raw {
            check_name("variables", name)?;
            if Provider::ALL.iter().any(|kind| kind.key() == Some(name)) {
                return Err(Invalid::new(
                    format!("variables.{name}"),
                    "anybody who may describe a task definition reads it",
                    format!("{STORE_IT} as secrets.{name}"),
                ));
            }
            if value.contains('\0') {
                return Err(Invalid::new(
                    format!("variables.{name}"),
                    "the value contains a NUL character, which no environment can hold",
                    "remove it",
                ));
            }
        }
        Ok(Self(raw))
    }
}

impl Secrets {
    /// Whether there is a secret of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Checks names, and that every value is an ARN and not the secret itself.
    ///
    /// # Errors
    /// Names the secret; never its value, which may be a key that somebody sent by mistake.
    pub fn parse(raw: BTreeMap<String, String>) -> Result<Self, Invalid> {
        for (name, value) in &raw {
            check_name("secrets", name)?;
            if !is_secret_arn(value) {
                return Err(Invalid::new(
                    format!("secrets.{name}"),
                    "the value is not the ARN of a secret",
                    "store the value in Secrets Manager or as an SSM parameter, and send \
                     arn:aws:secretsmanager:<region>:<account>:secret:<name> or \
                     arn:aws:ssm:<region>:<account>:parameter/<name>",
                ));
            }
        }
        Ok(Self(raw))
    }
}

impl Labels {
    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Checks names and values.
    ///
    /// # Errors
    /// Names the label when it is empty, too long or in this service's own namespace.
    pub fn parse(raw: BTreeMap<String, String>) -> Result<Self, Invalid> {
        for (name, value) in &raw {
            let fits = !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_graphic());
            if !fits || value.len() > 1024 || value.chars().any(char::is_control) {
                return Err(Invalid::new(
                    format!("labels.{}", name.escape_default()),
                    "not a label",
                    "names: 1 to 128 printable ASCII characters; values: up to 1024 bytes without control characters",
                ));
            }
            if name.starts_with(LABEL_PREFIX) {
                return Err(Invalid::new(
                    format!("labels.{name}"),
                    format!("names that start with {} are kept for this service", LABEL_PREFIX),
                    "choose another name",
                ));
            }
        }
        Ok(Self(raw))
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Invalid> {
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts_well || name.len() > 255 || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let shown: String = name.escape_default().take(64).collect();
        return Err(Invalid::new(
            format!("{field}.{shown}"),
            "not the name of an environment variable",
            "use letters, digits and underscores, starting with a letter or an underscore",
        ));
    }
    if name == CODEX_HOME {
        return Err(Invalid::new(
            format!("{field}.{name}"),
            "CODEX_HOME is set by this service, from where the base mounts the file system",
            "leave it out",
        ));
    }
    Ok(())
}

/// The fix for a missing or misplaced key.
pub(super) const STORE_IT: &str = "store the key in Secrets Manager or SSM, and send its ARN";

/// Whether a value is the ARN of a secret,
/// `arn:<partition>:secretsmanager:<region>:<account>:secret:<name>[:<key>:<stage>:<version>]` or
/// `arn:<partition>:ssm:<region>:<account>:parameter/<name>` (ECS developer guide, "Pass sensitive data").
#[must_use]
pub fn is_secret_arn(value: &str) -> bool {
    let parts: Vec<&str> = value.splitn(6, ':').collect();
    let &["arn", partition, service, region, account, resource] = parts.as_slice() else { return false };
    let printable = value.len() <= 2048 && value.bytes().all(|b| b.is_ascii_graphic());
    let placed = partition.starts_with("aws") && !region.is_empty() && account.len() == 12;
    let named = match service {
        "secretsmanager" => resource.strip_prefix("secret:").is_some_and(|name| !name.is_empty()),
        "ssm" => resource.strip_prefix("parameter/").is_some_and(|name| !name.is_empty()),
        _ => false,
    };
    printable && placed && account.bytes().all(|b| b.is_ascii_digit()) && named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_key_sent_in_place_of_an_arn_is_refused_and_not_repeated() {
        let error = Secrets::parse(map(&[("OPENAI_API_KEY", "sk-live-123")])).unwrap_err();
        assert_eq!(error.field(), "secrets.OPENAI_API_KEY");
        assert!(!format!("{error} {error:?}").contains("sk-live"), "{error:?}");
    }

    #[test]
    fn both_kinds_of_secret_arn_are_accepted() {
        let raw = map(&[
            ("A", "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/openai-AbCdEf:key::"),
            ("B", "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/team/openai"),
        ]);
        assert_eq!(Secrets::parse(raw.clone()).unwrap().0, raw);
        for bad in [
            "arn:aws:s3:::bucket",
            "arn:aws:ssm:us-east-1:123456789012:parameter/",
            "arn:aws:ssm:us-east-1:1:parameter/a",
        ] {
            assert!(Secrets::parse(map(&[("A", bad)])).is_err(), "{bad}");
        }
    }

    #[test]
    fn codex_home_and_our_own_labels_cannot_be_set_by_a_caller() {
        assert!(Variables::parse(map(&[("CODEX_HOME", "/tmp")])).is_err());
        assert!(Secrets::parse(map(&[("CODEX_HOME", "arn:aws:ssm:us-east-1:123456789012:parameter/x")])).is_err());
        assert!(Labels::parse(map(&[("openclaw.provisioner.spec", "{}")])).is_err());
        for bad in ["", "1A", "A-B", "A=B", "Ä"] {
            assert!(Variables::parse(map(&[(bad, "x")])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_providers_key_cannot_be_a_plain_variable() {
        for name in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"] {
            let error = Variables::parse(map(&[(name, "sk-live-123")])).unwrap_err();
            assert_eq!(error.field(), format!("variables.{name}"));
            assert!(error.fix().contains("ARN") && !format!("{error:?}").contains("sk-live"), "{error:?}");
        }
    }
}
