//! The process is killed in the middle. A replica is a tokio runtime here: dropping it ends every task wherever it
//! stands and closes every file, which is what the kernel does to a killed process; its lock goes with its file.

use std::sync::Arc;
use std::time::Duration;

use aws_emulator::{Fault, FaultKind};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::Operation::{self, *};
use super::cancelled::{CALL, slow};
use super::{NthCall, Undisturbed, assert_ends_as_undisturbed};
use crate::harness::TestApp;

/// Which calls concurrent with the killed one still took effect.
#[derive(Debug, Clone, Copy)]
enum Beside {
    /// None of them: they are under way as well.
    Nothing,
    /// All of them.
    Everything,
}

fn process() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Runs the operation until `call` is under way, kills the process, and returns what it was, with its lifetime.
fn killed(operation: Operation, call: &NthCall, beside: Beside) -> (TestApp, Duration) {
    let process = process();
    let result = process.block_on(async {
        let born = Instant::now();
        let app = Arc::new(operation.prepared(slow()).await);
        let NthCall { service, action, occurrence } = call.clone();
        app.emulator.inject(Fault {
            service: Some(service.clone()),
            action: action.clone(),
            skip: occurrence,
            times: 1,
            kind: FaultKind::Hang,
        });
        let request = tokio::spawn({
            let app = app.clone();
            async move { operation.request(&app).await.status }
        });
        let under_way = || {
            let calls = app.emulator.calls();
            calls.iter().filter(|made| made.service == service && made.action == action).count() > occurrence
        };
        while !under_way() {
            tokio::time::sleep(CALL / 10).await;
        }
        if let Beside::Everything = beside {
            // Far below the SDK's timeout for the hanging call.
            tokio::time::sleep(CALL * 5).await;
        }
        (app, request, born.elapsed())
    });
    let (app, request, lived) = result;
    drop(process);
    drop(request);
    app.emulator.clear_faults();
    let Ok(app) = Arc::try_unwrap(app) else { panic!("something of the killed process lives on") };
    (app, lived)
}

fn kill_at_every_call(operation: Operation) {
    let undisturbed = process().block_on(Undisturbed::of(operation));
    for call in &undisturbed.calls {
        for beside in [Beside::Nothing, Beside::Everything] {
            let (dead, lived) = killed(operation, call, beside);
            process().block_on(async {
                // The emulator's clock continues at the time of the first process.
                tokio::time::advance(lived).await;
                let other = dead.replica().await;
                drop(dead);
                operation.repeat_until_done(&other).await;
                let disturbance = format!("killed at {call:?}, beside it {beside:?}");
                assert_ends_as_undisturbed(operation, &undisturbed, &other, &disturbance).await;
            });
        }
    }
}

macro_rules! survives {
    ($($name:ident: $operation:ident;)*) => {
        $(
            #[test]
            fn $name() {
                kill_at_every_call($operation);
            }
        )*
    };
}

survives! {
    provisioning_a_new_user_survives_a_kill: ProvisionNew;
    provisioning_a_stopped_user_survives_a_kill: ProvisionStopped;
    changing_to_a_key_survives_a_kill: SwitchToKey;
    changing_to_chatgpt_survives_a_kill: SwitchToChatgpt;
    resizing_survives_a_kill: Resize;
    redeploying_by_force_survives_a_kill: RedeployForced;
    redeploying_from_a_new_base_survives_a_kill: RedeployNewBase;
    deleting_and_keeping_files_survives_a_kill: DeleteKeepingFiles;
    deleting_and_purging_files_survives_a_kill: DeletePurgingFiles;
    stopping_survives_a_kill: Stop;
    starting_survives_a_kill: Start;
    provisioning_a_new_user_with_a_role_survives_a_kill: ProvisionNewWithRole;
    redeploying_to_a_role_survives_a_kill: RedeployToOwnRole;
    deleting_with_a_role_survives_a_kill: DeleteWithRole;
}
