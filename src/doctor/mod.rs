//! `doctor`: says what is wrong before a user finds out. It changes nothing but temporary files, and makes the
//! empty directories that `serve` makes where a root is its own.
//!
//! A check that fails hides no other: each looks for itself, all at once, and each within [`DEADLINE`]. What cannot be
//! looked at is skipped, and says which setting is missing. `settings` reads what the others need, `identity` and
//! `infrastructure` ask AWS, `files` asks the file system, `version_file` reads `openclaw-version.json`.
//!
//! What makes a base definition a good one is not decided here but in [`crate::domain::BaseJudgement`].

mod files;
mod identity;
mod infrastructure;
mod promoted;
mod quotas;
mod settings;
mod user_roles;
mod version_file;

pub use infrastructure::Infrastructure;
pub use version_file::version_file;

use std::time::Duration;

use crate::aws::{Aws, AwsError, ErrorKind};
use crate::config::{CoordinatesArgs, GivenTokens, OwnerArg};
use crate::domain::with_causes;
use crate::files::Files;
use serde::Serialize;
use utoipa::ToSchema;

/// How long one check may take.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It works, and not as well as it could.
    Warn,
    /// It does not work.
    Fail,
    /// Not looked at.
    Skip,
}

impl Verdict {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// One thing that was looked at. A check that finds several things wrong is there several times, by the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The stable name of what was looked at.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found. Never a secret.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// For machines, from a closed list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<&'static str>,
}

impl Check {
    /// As it should be.
    pub fn pass(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Pass, message: message.into(), fix: None, finding: None }
    }

    /// Not looked at; `fix` says what would make it looked at.
    #[must_use]
    pub fn skip(name: &'static str, why: impl Into<String>, fix: Option<&str>) -> Self {
        Self { name, verdict: Verdict::Skip, message: why.into(), fix: fix.map(str::to_owned), finding: None }
    }

    /// Works, and could be better.
    pub fn warn(name: &'static str, finding: &'static str, message: impl Into<String>, fix: Option<String>) -> Self {
        Self { name, verdict: Verdict::Warn, message: message.into(), fix, finding: Some(finding) }
    }

    /// Does not work.
    pub fn fail(name: &'static str, finding: &'static str, message: impl Into<String>, fix: Option<String>) -> Self {
        Self { name, verdict: Verdict::Fail, message: message.into(), fix, finding: Some(finding) }
    }

    /// AWS did not answer what was asked.
    fn aws(name: &'static str, error: &AwsError) -> Self {
        let operation = error.operation();
        let reach =
            "see whether this network reaches AWS (NAT gateway or VPC endpoint, AWS_ENDPOINT_URL), and try again";
        let (finding, message, fix) = match error.kind() {
            ErrorKind::Denied => {
                let fix = format!("give this service credentials (task role, AWS_PROFILE) that allow {operation}");
                ("aws_denied", error.to_string(), Some(fix))
            }
            ErrorKind::Throttled | ErrorKind::NotSent => ("aws_throttled", error.to_string(), Some("try again".into())),
            ErrorKind::Quota => ("aws_quota", error.to_string(), Some("have the quota raised".into())),
            ErrorKind::Unavailable => ("aws_unavailable", error.to_string(), Some("try again later".into())),
            // The causes tell a refused connection from a name that is not known.
            ErrorKind::Unanswered | ErrorKind::Unreachable => {
                ("aws_unanswered", with_causes(error), Some(reach.into()))
            }
            ErrorKind::Refused | ErrorKind::Fenced => ("aws_refused", error.to_string(), None),
        };
        Self::fail(name, finding, message, fix)
    }
}

/// Everything that can be looked at with the settings of `serve`.
#[derive(Debug)]
pub struct Doctor {
    /// Where users' containers live.
    pub coordinates: CoordinatesArgs,
    /// AWS.
    pub aws: Aws,
    /// Who users' files belong to.
    pub owner: OwnerArg,
    /// File work beneath the file system's root, if it is known where that is mounted.
    pub files: Option<Files>,
    /// Bearer tokens, as far as that is known.
    pub tokens: GivenTokens,
    /// How many users there are to be, if the quotas are to be held against it.
    pub planned_users: Option<u32>,
}

impl Doctor {
    /// Looks at all of it, in a fixed order.
    pub async fn examine(&self) -> Vec<Check> {
        let ssm = &self.aws.ssm;
        let coordinates = async {
            let read = settings::read(&self.coordinates, ssm).await;
            let (pointed_at, promoted, quotas, user_roles) = tokio::join!(
                infrastructure::checks(&self.aws, &read.known, self.owner.owner),
                promoted::check(self.files.as_ref(), &self.aws.ecs, &read.known),
                Box::pin(quotas::checks(&self.aws, &read.known, self.planned_users)),
                user_roles::check(&self.aws, &read.known),
            );
            let pointed_at: Vec<Check> =
                pointed_at.into_iter().chain([promoted]).chain(user_roles).chain(quotas).collect();
            (read, pointed_at)
        };
        let is_told_anything = settings::is_told_anything(&self.coordinates);
        let ((read, pointed_at), identity, files) = tokio::join!(
            coordinates,
            identity::checks(&self.aws.sts, is_told_anything),
            files::efs_root(self.files.as_ref(), self.owner),
        );
        let tokens = settings::tokens(&self.tokens);
        let mut checks: Vec<Check> = read
            .checks
            .into_iter()
            .chain([tokens])
            .chain(identity)
            .chain(pointed_at)
            .chain([files.against(read.known.file_system_id.as_deref())])
            .collect();
        settings::hide(&mut checks, &read.secrets);
        checks
    }
}

fn timed_out(name: &'static str) -> Check {
    let message = format!("no answer within {} s", DEADLINE.as_secs());
    let fix = "see what holds it up (network, VPC endpoint, mount), and try again";
    Check::fail(name, "timed_out", message, Some(fix.into()))
}
