//! Checks of this service's identity in AWS, and of its clock.

use tokio::time::timeout;

use super::{Check, DEADLINE};
use crate::aws::{AwsError, CallerIdentity, ErrorKind, Sts};

const IDENTITY: &str = "aws_identity";
const CLOCK: &str = "clock";

/// AWS refuses requests whose clock is more than 5 minutes off (IAM user guide, "Signing requests"). The check warns early,
/// and fails a minute before.
const WARN_FROM_SECONDS: u64 = 60;
const FAIL_FROM_SECONDS: u64 = 240;

/// Both checks, from one call.
pub(super) async fn checks(sts: &Sts, is_told_anything: bool) -> [Check; 2] {
    let Some(region) = sts.region() else {
        let fix = "set AWS_REGION (ECS sets it for a task)";
        let identity = match is_told_anything {
            true => Check::fail(IDENTITY, "no_region", "no AWS region is set", Some(fix.into())),
            false => Check::skip(IDENTITY, "no AWS region is set", Some(fix)),
        };
        return [identity, Check::skip(CLOCK, "AWS was not asked", None)];
    };
    match timeout(DEADLINE, sts.caller()).await {
        Ok(CallerIdentity { arn, clock_ahead_seconds }) => [identity(arn, region), clock(clock_ahead_seconds)],
        Err(_) => [unanswered(format!("STS has not answered within {} s", DEADLINE.as_secs())), clock(None)],
    }
}

fn identity(arn: Result<String, AwsError>, region: &str) -> Check {
    match arn {
        Ok(arn) if arn.ends_with(":root") => {
            let message = format!("{arn} in {region}: an attacker who takes over this service has the whole account");
            Check::warn(
                IDENTITY,
                "root_user",
                message,
                Some("use a role with the permissions of docs/own-infrastructure.md".into()),
            )
        }
        Ok(arn) => Check::pass(IDENTITY, format!("{arn} in {region}")),
        Err(error) => match error.kind() {
            ErrorKind::Unanswered | ErrorKind::Unreachable => unanswered(crate::domain::with_causes(&error)),
            // The call needs no permission, so the credentials themselves are wrong.
            ErrorKind::Denied => {
                let fix = "give this service valid credentials (task role, AWS_PROFILE)".to_owned();
                Check::fail(IDENTITY, "aws_denied", error.to_string(), Some(fix))
            }
            ErrorKind::Throttled
            | ErrorKind::Quota
            | ErrorKind::Unavailable
            | ErrorKind::NotSent
            | ErrorKind::Refused
            | ErrorKind::Fenced => Check::aws(IDENTITY, &error),
        },
    }
}

/// A warning only: nothing but `doctor` calls STS, so a network without access to it can still serve users.
fn unanswered(message: String) -> Check {
    let fix = "nothing, if this network has no way to STS on purpose and the checks of ECS pass".to_owned();
    Check::warn(IDENTITY, "aws_unanswered", message, Some(fix))
}

fn clock(ahead_seconds: Option<i64>) -> Check {
    let Some(ahead) = ahead_seconds else { return Check::skip(CLOCK, "AWS did not send its time", None) };
    let off = ahead.unsigned_abs();
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    let message = format!("this machine's clock is {off} s {side} AWS's; from 300 s on AWS refuses every request");
    let fix = Some("synchronise the clock (chrony or systemd-timesyncd; 169.254.169.123 inside AWS)".to_owned());
    match off {
        FAIL_FROM_SECONDS.. => Check::fail(CLOCK, "clock_off", message, fix),
        WARN_FROM_SECONDS.. => Check::warn(CLOCK, "clock_off", message, fix),
        _ => Check::pass(CLOCK, format!("less than {WARN_FROM_SECONDS} s off AWS's")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn the_root_user_gives_a_warning() {
        let identity = |arn: &str| identity(Ok(arn.into()), "us-east-1").verdict;
        assert_eq!(identity("arn:aws:iam::123456789012:root"), Verdict::Warn);
        assert_eq!(identity("arn:aws:sts::123456789012:assumed-role/provisioner/1"), Verdict::Pass);
    }

    #[test]
    fn the_clock_check_depends_on_the_difference_in_either_direction() {
        for (off, verdict) in [
            (0, Verdict::Pass),
            (59, Verdict::Pass),
            (60, Verdict::Warn),
            (239, Verdict::Warn),
            (240, Verdict::Fail),
            (i64::MAX, Verdict::Fail),
        ] {
            assert_eq!((clock(Some(off)).verdict, clock(Some(-off)).verdict), (verdict, verdict), "{off}");
        }
        assert_eq!(clock(None).verdict, Verdict::Skip);
        assert!(clock(Some(-70)).message.contains("70 s behind AWS's"));
    }
}
