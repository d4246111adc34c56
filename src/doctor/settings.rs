//! Checks of the settings: SSM parameters, environment, and tokens.

use std::collections::BTreeMap;

use openclaw::Invalid;
use tokio::time::timeout;

use super::{Check, DEADLINE, Verdict, timed_out};
use crate::aws::{Parameter, Ssm};
use crate::config::{CoordinatesArgs, GivenTokens, KnownCoordinates, NOT_SET, PARAMETERS, TokenFileError};
use crate::domain::with_causes;

const PARAMETERS_CHECK: &str = "ssm_parameters";
const SETTINGS: &str = "settings";

/// The settings as far as they could be read.
pub(super) struct Read {
    pub(super) checks: Vec<Check>,
    pub(super) known: KnownCoordinates,
    /// Values of SecureStrings.
    pub(super) secrets: Vec<String>,
}

/// Whether any settings are given.
pub(super) fn is_told_anything(args: &CoordinatesArgs) -> bool {
    args.ssm_path().is_some() || args.cluster.is_some()
}

/// Reads SSM and the environment, and checks both.
pub(super) async fn read(args: &CoordinatesArgs, ssm: &Ssm) -> Read {
    let (published, parameters) = parameters(args, ssm).await;
    let secure = parameters.iter().filter(|(_, parameter)| parameter.is_secure);
    let (names, secrets): (Vec<&str>, Vec<String>) =
        secure.map(|(name, parameter)| (name.as_str(), parameter.value.clone())).unzip();
    let values = parameters.iter().map(|(name, parameter)| (name.clone(), parameter.value.clone())).collect();
    let (known, wrong) = args.known(&values);
    let judged = settings(args, &known, wrong, &names, published.verdict == Verdict::Fail);
    let checks = [published].into_iter().chain(judged).collect();
    Read { checks, known, secrets }
}

async fn parameters(args: &CoordinatesArgs, ssm: &Ssm) -> (Check, BTreeMap<String, Parameter>) {
    const NAME: &str = PARAMETERS_CHECK;
    let Some(path) = args.ssm_path() else {
        let skipped = Check::skip(NAME, "no path is given", Some("set PROVISIONER_SSM_PATH"));
        return (skipped, BTreeMap::new());
    };
    let found = match timeout(DEADLINE, ssm.parameters_under(path)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return (Check::aws(NAME, &error), BTreeMap::new()),
        Err(_) => return (timed_out(NAME), BTreeMap::new()),
    };
    let read: Vec<&str> = PARAMETERS.into_iter().filter(|name| found.contains_key(*name)).collect();
    let meant = found.keys().filter_map(|name| Some(format!("{name} as {}", meant_by(name)?)));
    let misspelt: Vec<String> = meant.collect();
    let check = if !misspelt.is_empty() {
        let message = format!("{path} has parameters that are not read, with names similar to ones that are");
        Check::warn(NAME, "misspelt", message, Some(format!("publish {}", misspelt.join(", "))))
    } else if read.is_empty() {
        let fix = "publish cluster, base-family and so on there, or correct PROVISIONER_SSM_PATH".to_owned();
        Check::warn(NAME, "nothing_published", format!("nothing that is read is published under {path}"), Some(fix))
    } else {
        Check::pass(NAME, format!("{path} has {}", read.join(", ")))
    };
    (check, found)
}

/// The parameter that a misspelt one most likely means: `base-family` for `baseFamily` or `base_family`.
fn meant_by(name: &str) -> Option<&'static str> {
    let letters =
        |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    PARAMETERS.into_iter().find(|known| *known != name && letters(known) == letters(name))
}

fn settings(
    args: &CoordinatesArgs,
    known: &KnownCoordinates,
    mut wrong: Vec<Invalid>,
    secure: &[&str],
    ssm_failed: bool,
) -> Vec<Check> {
    if !is_told_anything(args) {
        // Then nothing was checked, and this must not look like a good report.
        let fix =
            "set PROVISIONER_SSM_PATH, or the variables of docs/settings.md; --offline checks the version file alone";
        return vec![Check::fail(SETTINGS, "no_settings", "none are given", Some(fix.into()))];
    }
    if let ([], Some(cluster), Some(family), Some(file_system)) =
        (wrong.as_slice(), &known.cluster, &known.base_family, &known.file_system_id)
    {
        let family = family.as_str();
        let message = format!("cluster {cluster}, base family {family}, file system {file_system}");
        return vec![Check::pass(SETTINGS, message)];
    }
    let mut checks = Vec::new();
    if ssm_failed {
        wrong.retain(|error| error.problem() != NOT_SET);
        checks.push(Check::skip(SETTINGS, "what is not set here is in SSM, which could not be read", None));
    }
    let described = wrong.iter().map(|error| {
        let parameter = error.field().trim_start_matches("PROVISIONER_").to_lowercase().replace('_', "-");
        // The problem may quote the value.
        let problem = match secure.contains(&parameter.as_str()) {
            true => "the value of its SecureString is refused",
            false => error.problem(),
        };
        let message = format!("{}: {problem}", error.field());
        Check::fail(SETTINGS, "setting_unusable", message, Some(error.fix().to_owned()))
    });
    checks.extend(described);
    checks
}

/// Removes the values of SecureStrings from the messages of checks: a coordinate may be published as one, and AWS's
/// messages quote coordinates.
pub(super) fn hide(checks: &mut [Check], secrets: &[String]) {
    // The items of a list are used one by one, and errors quote an item as Rust does.
    let pieces = secrets.iter().flat_map(|secret| secret.split(',').chain([secret.as_str()])).map(str::trim);
    let mut hidden: Vec<String> = pieces.filter(|piece| !piece.is_empty()).map(str::to_owned).collect();
    hidden.extend(hidden.clone().iter().map(|piece| format!("{piece:?}").trim_matches('"').to_owned()));
    // The longest first, because one may be a part of another.
    hidden.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    for text in checks.iter_mut().flat_map(|check| [Some(&mut check.message), check.fix.as_mut()]).flatten() {
        for piece in &hidden {
            *text = text.replace(piece, "(SecureString)");
        }
    }
}

/// Checks that the tokens can be used.
pub(super) fn tokens(given: &GivenTokens) -> Check {
    const NAME: &str = "tokens_file";
    let source = match given.clone().source() {
        Ok(source) => source,
        Err(error) if error.problem() == NOT_SET => {
            return Check::skip(NAME, "not given", Some("set PROVISIONER_TOKENS_FILE"));
        }
        Err(error) => {
            return Check::fail(NAME, "set_twice", error.to_string(), Some(error.fix().to_owned()));
        }
    };
    match source.read() {
        Ok(tokens) => Check::pass(NAME, format!("{source} accepts tokens of {} callers", tokens.count())),
        Err(error) => {
            let fix = match &error {
                TokenFileError::Read { .. } => "set PROVISIONER_TOKENS_FILE to a file that this service may read",
                TokenFileError::Line { .. } | TokenFileError::Empty => {
                    "write a line for each caller: name:scope[,scope]:token-or-sha256"
                }
            };
            Check::fail(NAME, "unusable", with_causes(&error), Some(fix.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_parameter_is_recognised() {
        for (name, meant) in
            [("baseFamily", Some("base-family")), ("base_family", Some("base-family")), ("Cluster", Some("cluster"))]
        {
            assert_eq!(meant_by(name), meant, "{name}");
        }
        for name in PARAMETERS.into_iter().chain(["database-url"]) {
            assert_eq!(meant_by(name), None, "{name}");
        }
    }

    #[test]
    fn a_secret_is_hidden_as_a_whole_in_parts_and_when_quoted() {
        let mut checks = [
            Check::pass("a", "subnet-secret is one of subnet-secret,subnet-other"),
            Check::fail("b", "x", r#""tab\tsecret" names one revision"#, Some("not tab\tsecret".into())),
        ];
        hide(&mut checks, &["subnet-secret, subnet-other".into(), "tab\tsecret".into(), String::new()]);
        assert_eq!(checks[0].message, "(SecureString) is one of (SecureString),(SecureString)");
        assert_eq!(checks[1].message, r#""(SecureString)" names one revision"#);
        assert_eq!(checks[1].fix.as_deref(), Some("not (SecureString)"));
    }
}
