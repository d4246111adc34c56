//! One call fails, once or for as long as the request lasts.

use aws_emulator::{Fault, FaultKind, Options};

use super::Operation::{self, *};
use super::{LONG_SECONDS, NthCall, Undisturbed, assert_ends_as_undisturbed, is_retryable};

/// A fault until the faults are cleared: more often than any caller retries.
const STUCK: usize = 1_000;

fn error(status: u16, code: &str) -> FaultKind {
    FaultKind::Error { status, code: code.into(), message: "by a test".into() }
}

/// A failure before the effect, and failures with an unknown effect.
fn kinds() -> [FaultKind; 5] {
    let after = FaultKind::ErrorAfter { status: 500, code: "ServerException".into(), message: "by a test".into() };
    [
        error(500, "ServerException"),
        error(400, "ThrottlingException"),
        FaultKind::DropBefore,
        FaultKind::DropAfter,
        after,
    ]
}

async fn disturb(operation: Operation, undisturbed: &Undisturbed, call: &NthCall, kind: FaultKind, times: usize) {
    let disturbance = format!("{kind:?} of {call:?} {times} times");
    let app = operation.prepared(Options::default()).await;
    let NthCall { service, action, occurrence } = call.clone();
    app.emulator.inject(Fault { service: Some(service), action, skip: occurrence, times, kind });
    let answer = operation.request(&app).await;
    let succeeded = (200..300).contains(&answer.status);
    app.pass_seconds(LONG_SECONDS).await;
    let left = app.emulator.faults()[0].times;
    assert!(left < times, "{operation:?}: the fault never struck: {disturbance}");
    app.emulator.clear_faults();
    if times == 1 {
        assert!(succeeded, "{operation:?}, {disturbance}: the caller sees {} {}", answer.status, answer.body);
    } else {
        assert!(succeeded || is_retryable(&answer), "{operation:?}, {disturbance}: {} {}", answer.status, answer.body);
    }
    let other = app.replica().await;
    operation.repeat_until_done(&other).await;
    assert_ends_as_undisturbed(operation, undisturbed, &other, &disturbance).await;
}

async fn disturb_every_call(operation: Operation, times: usize) {
    let undisturbed = Undisturbed::of(operation).await;
    for call in &undisturbed.calls {
        for kind in kinds() {
            disturb(operation, &undisturbed, call, kind, times).await;
        }
    }
}

macro_rules! at_every_call {
    ($($name:ident: $operation:ident;)*) => {
        /// One failure of any call is repaired before the caller sees it.
        mod a_call_that_fails_once_is_not_noticed_by {
            use super::*;
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    disturb_every_call($operation, 1).await;
                }
            )*
        }

        /// Incident 20: a retry after a failure leaked what the first try had made.
        mod a_call_that_keeps_failing_is_made_up_for_by_repeating {
            use super::*;
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    disturb_every_call($operation, STUCK).await;
                }
            )*
        }
    };
}

at_every_call! {
    provisioning_a_new_user: ProvisionNew;
    provisioning_a_stopped_user: ProvisionStopped;
    changing_to_a_key: SwitchToKey;
    changing_to_chatgpt: SwitchToChatgpt;
    resizing: Resize;
    redeploying_by_force: RedeployForced;
    redeploying_from_a_new_base: RedeployNewBase;
    deleting_and_keeping_files: DeleteKeepingFiles;
    deleting_and_purging_files: DeletePurgingFiles;
    stopping: Stop;
    starting: Start;
    provisioning_a_new_user_with_a_role: ProvisionNewWithRole;
    redeploying_to_a_role: RedeployToOwnRole;
    deleting_with_a_role: DeleteWithRole;
}
