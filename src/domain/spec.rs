//! What a user should have. The spec travels as JSON in the task definition that was rendered from it, so it is the
//! only thing that survives from one revision to the next; everything else comes from the base.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ImageRef, Invalid, Size};

/// The environment variable that announces the codex home to the container. It is ours alone.
pub const CODEX_HOME: &str = "CODEX_HOME";

/// What one user should have, beyond what the base gives everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The task size; `None` = the base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The image pin of the first container; `None` = the base's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// How the user signs in.
    #[serde(default)]
    pub sign_in: SignInKind,
    /// Plain environment variables of the first container. Not for secrets: anybody who may describe a task
    /// definition reads them.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub variables: Variables,
    /// Environment variables whose values ECS fetches when a task starts.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// Docker labels of the first container, for the operator's own bookkeeping.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Members that a newer release of this service wrote: kept, so that an old replica in the middle of a rolling
    /// deployment loses nothing (incident 4 by another road).
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// How the user signs in to their model provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInKind {
    /// A ChatGPT account, by the staged `auth.json`.
    #[default]
    Chatgpt,
    /// An OpenAI API key.
    OpenaiKey,
    /// An Anthropic API key.
    AnthropicKey,
    /// Amazon Bedrock, by the role of the task.
    Bedrock,
}

/// A partial spec, as a caller sends it: `None` leaves what the user has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecPatch {
    /// A new size.
    pub size: Option<Size>,
    /// `Some(None)` unpins.
    pub image: Option<Option<ImageRef>>,
    /// The whole new set of variables.
    pub variables: Option<Variables>,
    /// The whole new set of secrets.
    pub secrets: Option<Secrets>,
    /// The whole new set of labels.
    pub labels: Option<Labels>,
}

impl Spec {
    /// The spec after a caller's patch.
    ///
    /// # Errors
    /// When a name would be both a variable and a secret: ECS refuses such a definition.
    pub fn patched(mut self, patch: &SpecPatch) -> Result<Self, Invalid> {
        if let Some(size) = patch.size {
            self.size = Some(size);
        }
        if let Some(image) = &patch.image {
            self.image.clone_from(image);
        }
        if let Some(variables) = &patch.variables {
            self.variables.clone_from(variables);
        }
        if let Some(secrets) = &patch.secrets {
            self.secrets.clone_from(secrets);
        }
        if let Some(labels) = &patch.labels {
            self.labels.clone_from(labels);
        }
        match self.secrets.0.keys().find(|name| self.variables.0.contains_key(*name)) {
            Some(name) => Err(Invalid::new(
                format!("secrets.{name}"),
                "the same name is among the variables",
                "give it once, as a secret or as a variable",
            )),
            None => Ok(self),
        }
    }
}

/// Environment variables by name, values in plain sight.
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
            /// Whether there is none.
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
    /// Checks names and values.
    ///
    /// # Errors
    /// Names the variable; never its value.
    pub fn parse(raw: BTreeMap<String, String>) -> Result<Self, Invalid> {
        for (name, value) in &raw {
            check_name("variables", name)?;
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
    /// Checks names and values.
    ///
    /// # Errors
    /// Names the label when it is empty, too long or in the namespace that this service keeps for itself.
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
            if name.starts_with(super::task_definition::LABEL_PREFIX) {
                return Err(Invalid::new(
                    format!("labels.{name}"),
                    format!("names that start with {} are kept for this service", super::task_definition::LABEL_PREFIX),
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
    use serde_json::json;

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
    fn codex_home_and_our_own_labels_cannot_be_taken() {
        assert!(Variables::parse(map(&[("CODEX_HOME", "/tmp")])).is_err());
        assert!(Secrets::parse(map(&[("CODEX_HOME", "arn:aws:ssm:us-east-1:123456789012:parameter/x")])).is_err());
        assert!(Labels::parse(map(&[("openclaw.provisioner.spec", "{}")])).is_err());
        for bad in ["", "1A", "A-B", "A=B", "Ä"] {
            assert!(Variables::parse(map(&[(bad, "x")])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_patch_changes_what_it_names_and_keeps_the_rest() {
        let spec: Spec = serde_json::from_value(json!({
            "size": {"cpu": 512, "memory_mib": 2048}, "image": "openclaw:1", "sign_in": "chatgpt",
            "secrets": {"K": "arn:aws:ssm:us-east-1:123456789012:parameter/k"}, "from_the_future": [1]
        }))
        .unwrap();
        let unpinned = spec.clone().patched(&SpecPatch { image: Some(None), ..SpecPatch::default() }).unwrap();
        assert_eq!(unpinned, Spec { image: None, ..spec.clone() });
        assert_eq!(spec.clone().patched(&SpecPatch::default()).unwrap(), spec);
        assert_eq!(serde_json::to_value(&spec).unwrap()["from_the_future"], json!([1]));
    }

    #[test]
    fn one_name_cannot_be_variable_and_secret() {
        let patch = SpecPatch {
            variables: Some(Variables(map(&[("K", "v")]))),
            secrets: Some(Secrets(map(&[("K", "arn:aws:ssm:us-east-1:123456789012:parameter/k")]))),
            ..SpecPatch::default()
        };
        assert_eq!(Spec::default().patched(&patch).unwrap_err().field(), "secrets.K");
    }
}
