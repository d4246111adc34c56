//! `doctor`: reports problems before a user notices them. It changes only temporary files, and creates the empty
//! directories that `serve` creates, where the root has the id of a file system.
//!
//! A failed check hides no other: all checks run at the same time, each by itself and within [`DEADLINE`]. A check that is
//! not possible is skipped, and names the missing setting. `settings` reads what the others need, `identity` and
//! `infrastructure` ask AWS, `files` checks the file system, `version_file` reads `openclaw-version.json`.
//!
//! The checks of base definitions are not here but in [`crate::domain::BaseJudgement`].

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

/// Time limit of one check.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything is as it should be.
    Pass,
    /// It works, but not as well as it could.
    Warn,
    /// It does not work.
    Fail,
    /// It was not checked.
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

/// One check. A check that finds several problems is listed several times under the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The stable name.
    pub name: &'static str,
    /// The result.
    pub verdict: Verdict,
    /// The finding in words. Never contains a secret.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The code of the finding, from a closed list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<&'static str>,
}

impl Check {
    /// A check that passed.
    pub fn pass(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Pass, message: message.into(), fix: None, finding: None }
    }

    /// A skipped check; `fix` says what it needs.
    #[must_use]
    pub fn skip(name: &'static str, why: impl Into<String>, fix: Option<&str>) -> Self {
        Self { name, verdict: Verdict::Skip, message: why.into(), fix: fix.map(str::to_owned), finding: None }
    }

    /// A check with a warning.
    pub fn warn(name: &'static str, finding: &'static str, message: impl Into<String>, fix: Option<String>) -> Self {
        Self { name, verdict: Verdict::Warn, message: message.into(), fix, finding: Some(finding) }
    }

    /// A check that failed.
    pub fn fail(name: &'static str, finding: &'static str, message: impl Into<String>, fix: Option<String>) -> Self {
        Self { name, verdict: Verdict::Fail, message: message.into(), fix, finding: Some(finding) }
    }

    /// A check that failed because of an AWS error.
    fn aws(name: &'static str, error: &AwsError) -> Self {
        let operation = error.operation();
        let reach =
            "check that this network reaches AWS (NAT gateway or VPC endpoint, AWS_ENDPOINT_URL), and try again";
        let (finding, message, fix) = match error.kind() {
            ErrorKind::Denied => {
                let fix = format!("give this service credentials (task role, AWS_PROFILE) that allow {operation}");
                ("aws_denied", error.to_string(), Some(fix))
            }
            ErrorKind::Throttled | ErrorKind::NotSent => ("aws_throttled", error.to_string(), Some("try again".into())),
            ErrorKind::Quota => ("aws_quota", error.to_string(), Some("raise the quota".into())),
            ErrorKind::Unavailable => ("aws_unavailable", error.to_string(), Some("try again later".into())),
            // The causes distinguish a refused connection from an unknown name.
            ErrorKind::Unanswered | ErrorKind::Unreachable => {
                ("aws_unanswered", with_causes(error), Some(reach.into()))
            }
            ErrorKind::Refused | ErrorKind::Fenced => ("aws_refused", error.to_string(), None),
        };
        Self::fail(name, finding, message, fix)
    }
}

/// All checks that are possible with the settings of `serve`.
#[derive(Debug)]
pub struct Doctor {
    /// Coordinates of users' containers.
    pub coordinates: CoordinatesArgs,
    /// AWS.
    pub aws: Aws,
    /// Owner of users' files.
    pub owner: OwnerArg,
    /// File work beneath the file system's root, if its mount is known.
    pub files: Option<Files>,
    /// The settings for bearer tokens.
    pub tokens: GivenTokens,
    /// The planned number of users, to compare with the quotas.
    pub planned_users: Option<u32>,
}

impl Doctor {
    /// Runs all checks; the results are in a fixed order.
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
    let fix = "find out what delays it (network, VPC endpoint, mount), and try again";
    Check::fail(name, "timed_out", message, Some(fix.into()))
}
