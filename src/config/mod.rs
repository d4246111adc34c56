//! Settings by concern. Every setting can be a flag or an environment variable; the coordinates can also be SSM
//! parameters, which the environment overrides. A missing setting is an error, never a default that points at a fake.

mod coordinates;
mod refresh;
mod token_source;
mod tokens;

pub use coordinates::{CoordinatesArgs, KnownCoordinates, MissingSettings, NOT_SET, PARAMETERS, UserRolesArgs};
pub use refresh::{Freshness, Source, refresh};
pub use token_source::{GivenTokens, TOKENS_VARIABLE, TokenSource};
pub use tokens::{Scope, TokenFileError, Tokens};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args};

use crate::aws::{PosixOwner, RateLimits, Timeouts};
use crate::domain::RolloutOrder;
use crate::probe::{GatewayProbe, ProbeKind};

/// Where the HTTP API listens and who may call it.
#[derive(Debug, Clone, Args)]
pub struct ApiArgs {
    /// Address that the HTTP API listens on
    #[arg(long, env = "PROVISIONER_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// File of bearer tokens, one per line: name:scopes:token-or-sha256; scopes are read, provision, admin, with commas.
    /// Or set PROVISIONER_TOKENS to the lines themselves
    #[arg(long, env = "PROVISIONER_TOKENS_FILE", value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,
}

/// Place and owner of users' files.
#[derive(Debug, Clone, Args)]
pub struct FilesArgs {
    /// Directory that the root of the EFS file system is mounted on
    #[arg(long, env = "PROVISIONER_EFS_ROOT", value_name = "DIRECTORY")]
    pub efs_root: PathBuf,
    /// Owner of users' files as uid:gid; "-" = leave the owner as it is (local development without root)
    #[arg(long, env = "PROVISIONER_OWNER", default_value = "1000:1000", value_name = "UID:GID")]
    pub owner: OwnerArg,
}

/// Time and rate limits of AWS calls.
#[derive(Debug, Clone, Args)]
pub struct AwsArgs {
    /// Seconds to open a connection to AWS
    #[arg(long, env = "PROVISIONER_AWS_CONNECT_TIMEOUT_SECONDS", default_value_t = 3, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=60))]
    pub aws_connect_timeout_seconds: u64,
    /// Seconds for one attempt of an AWS call
    #[arg(long, env = "PROVISIONER_AWS_ATTEMPT_TIMEOUT_SECONDS", default_value_t = 6, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=300))]
    pub aws_attempt_timeout_seconds: u64,
    /// Seconds for all attempts of an AWS call together
    #[arg(long, env = "PROVISIONER_AWS_OPERATION_TIMEOUT_SECONDS", default_value_t = 20, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=900))]
    pub aws_operation_timeout_seconds: u64,
    /// Rate limits of AWS calls.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// Rate limits of AWS calls.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// Client-side rate limits, if yours differ from AWS's documented ones: bucket=burst/per-second[,…]; buckets
    /// task-definition-write, task-definition-read, task-definition-delete, service-write, service-read, task-read,
    /// service-deployment-read, role-write, role-read
    #[arg(long, env = "PROVISIONER_RATE_LIMITS", default_value = "", hide_default_value = true, value_name = "LIMITS")]
    pub rate_limits: RateLimits,
    /// Replicas that share AWS's limits; each takes its share of every bucket, so also count those that run only during a deployment
    #[arg(long, env = "PROVISIONER_REPLICAS", default_value_t = 1, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub replicas: u32,
    /// Seconds that a new operation may have to wait for AWS's rate limits; one that would wait longer gets 429
    #[arg(long, env = "PROVISIONER_MAX_QUEUE_SECONDS", default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub max_queue_seconds: u64,
}

impl LimitArgs {
    /// This replica's share of the limits.
    #[must_use]
    pub fn share(&self) -> RateLimits {
        self.rate_limits.shared_by(self.replicas)
    }

    /// The longest wait of an operation for AWS's rate limits.
    #[must_use]
    pub const fn max_queue(&self) -> Duration {
        Duration::from_secs(self.max_queue_seconds)
    }
}

impl AwsArgs {
    /// The time limits of one AWS call.
    #[must_use]
    pub const fn timeouts(&self) -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(self.aws_connect_timeout_seconds),
            attempt: Duration::from_secs(self.aws_attempt_timeout_seconds),
            operation: Duration::from_secs(self.aws_operation_timeout_seconds),
        }
    }
}

/// How containers are run.
#[derive(Debug, Clone, Args)]
pub struct ContainersArgs {
    /// Let ECS Exec open a shell in users' containers
    #[arg(long, env = "PROVISIONER_ENABLE_EXECUTE_COMMAND")]
    pub enable_execute_command: bool,
    /// Tasks that may fail before ECS gives a deployment up and rolls back to the previous one
    #[arg(long, env = "PROVISIONER_FAILED_TASKS_THRESHOLD", default_value_t = 2, value_name = "TASKS",
          value_parser = clap::value_parser!(u32).range(1..=200))]
    pub failed_tasks_threshold: u32,
    /// Order in which tasks are replaced: with stop_first, ECS starts the new task while the old one is still stopping; strict
    /// waits until it has stopped
    #[arg(long, env = "PROVISIONER_ROLLOUT_ORDER", value_enum, default_value_t = RolloutOrder::StopFirst)]
    pub rollout_order: RolloutOrder,
    /// How to check that a user's gateway answers before the container counts as ready
    #[arg(long, env = "PROVISIONER_GATEWAY_PROBE", value_enum, default_value_t = ProbeKind::Off)]
    pub gateway_probe: ProbeKind,
    /// Seconds that a gateway may take to answer the probe
    #[arg(long, env = "PROVISIONER_GATEWAY_PROBE_TIMEOUT_SECONDS", default_value_t = 2, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=10))]
    pub gateway_probe_timeout_seconds: u64,
}

impl ContainersArgs {
    /// The probe of users' gateways.
    #[must_use]
    pub fn probe(&self) -> GatewayProbe {
        let timeout = Duration::from_secs(self.gateway_probe_timeout_seconds);
        GatewayProbe { kind: self.gateway_probe, timeout, ..GatewayProbe::default() }
    }
}

/// How users' directories are measured.
#[derive(Debug, Clone, Copy, Args)]
pub struct DirectoriesArgs {
    /// Measure the size of users' directories, slowly and in the background, in one replica at a time
    #[arg(long, env = "PROVISIONER_MEASURE_DIRECTORIES", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub measure_directories: bool,
    /// GiB above which the size of a user's directory causes a warning; 0: never
    #[arg(long, env = "PROVISIONER_DIRECTORY_SOFT_LIMIT_GIB", default_value_t = 20, value_name = "GIB",
          value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub directory_soft_limit_gib: u64,
}

impl DirectoriesArgs {
    /// The soft limit in bytes, if there is one.
    #[must_use]
    pub fn soft_limit(&self) -> Option<u64> {
        Some(self.directory_soft_limit_gib << 30).filter(|limit| *limit > 0)
    }
}

/// The value of `PROVISIONER_OWNER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerArg {
    /// POSIX user of the access points.
    pub owner: PosixOwner,
    /// Whether staged files are given to that owner.
    pub chown: bool,
}

impl FromStr for OwnerArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self { owner: PosixOwner { uid: 1000, gid: 1000 }, chown: false });
        }
        let parsed = text.split_once(':').and_then(|(uid, gid)| {
            // For chown the largest number is -1, which leaves the owner as it is.
            let number = |text: &str| text.parse().ok().filter(|number| *number != u32::MAX);
            Some(PosixOwner { uid: number(uid)?, gid: number(gid)? })
        });
        match parsed {
            Some(PosixOwner { uid: 0, .. }) => {
                Err("uid 0 is root: a container that writes as root leaves files that nobody else can read".into())
            }
            Some(owner) => Ok(Self { owner, chown: true }),
            None => Err("write uid:gid in numbers, such as 1000:1000, or - to leave owners alone".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_two_numbers_or_a_dash() {
        let owner: OwnerArg = "1001:1002".parse().unwrap();
        assert_eq!(owner, OwnerArg { owner: PosixOwner { uid: 1001, gid: 1002 }, chown: true });
        assert!(!"-".parse::<OwnerArg>().unwrap().chown);
        for bad in ["", "1000", "node:node", "0:0", "-1:1", "4294967295:1"] {
            assert!(bad.parse::<OwnerArg>().is_err(), "{bad}");
        }
    }
}
