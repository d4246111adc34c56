//! Who this service is to AWS, and whether both agree on the time.

use tokio::time::timeout;

use super::{Check, DEADLINE};
use crate::aws::{AwsError, CallerIdentity, ErrorKind, Sts};

const IDENTITY: &str = "aws_identity";
const CLOCK: &str = "clock";

/// AWS refuses requests whose clock is more than 5 minutes off (IAM user guide, "Signing requests"): warned of while
/// there is time, and failed a minute before.
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
            let message = format!("{arn} in {region}: whatever takes over this service has the whole account");
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
            // No permission is needed to ask, so the credentials themselves are to blame.
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

/// Only `doctor` asks STS: a network without a way to it serves users all the same.
fn unanswered(message: String) -> Check {
    let fix = "nothing, if this network has no way to STS on purpose and the checks of ECS pass".to_owned();
    Check::warn(IDENTITY, "aws_unanswered", message, Some(fix))
}

fn clock(ahead_seconds: Option<i64>) -> Check {
    let Some(ahead) = ahead_seconds else { return Check::skip(CLOCK, "AWS has not said what time it is", None) };
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
    fn the_root_user_is_warned_of() {
        let identity = |arn: &str| identity(Ok(arn.into()), "us-east-1").verdict;
        assert_eq!(identity("arn:aws:iam::123456789012:root"), Verdict::Warn);
        assert_eq!(identity("arn:aws:sts::123456789012:assumed-role/provisioner/1"), Verdict::Pass);
    }

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off_on_either_side() {
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
