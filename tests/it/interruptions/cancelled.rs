//! The caller goes away in the middle.

use std::sync::Arc;
use std::time::Duration;

use aws_emulator::Options;

use super::Operation::{self, *};
use super::{LONG_SECONDS, Undisturbed, assert_ends_as_undisturbed, world};

/// Every AWS call takes this long, so that there is a moment in which it is under way.
pub const CALL: Duration = Duration::from_millis(10);

pub fn slow() -> Options {
    Options { per_call_delay: CALL, ..Options::default() }
}

/// Drops the request while its `nth` call is under way. The work continues without its caller, with the same result, and
/// nothing has to be repeated.
async fn cancel_at_every_call(operation: Operation) {
    let undisturbed = Undisturbed::of(operation).await;
    for nth in 1..=undisturbed.calls.len() {
        let disturbance = format!("cancelled at call {nth}");
        let app = Arc::new(operation.prepared(slow()).await);
        let request = tokio::spawn({
            let app = app.clone();
            async move { operation.request(&app).await.status }
        });
        while app.emulator.calls().len() < nth {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        request.abort();
        drop(request.await);
        app.pass_seconds(LONG_SECONDS).await;
        let world = world::World::of(&app).await;
        world.assert_is(&undisturbed.world, &format!("{operation:?}, {disturbance}"));

        let other = app.replica().await;
        operation.repeat_until_done(&other).await;
        assert_ends_as_undisturbed(operation, &undisturbed, &other, &disturbance).await;
    }
}

macro_rules! goes_on {
    ($($name:ident: $operation:ident;)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                cancel_at_every_call($operation).await;
            }
        )*
    };
}

goes_on! {
    provisioning_a_new_user_goes_on_without_its_caller: ProvisionNew;
    provisioning_a_stopped_user_goes_on_without_its_caller: ProvisionStopped;
    changing_to_a_key_goes_on_without_its_caller: SwitchToKey;
    changing_to_chatgpt_goes_on_without_its_caller: SwitchToChatgpt;
    resizing_goes_on_without_its_caller: Resize;
    redeploying_by_force_goes_on_without_its_caller: RedeployForced;
    redeploying_from_a_new_base_goes_on_without_its_caller: RedeployNewBase;
    deleting_and_keeping_files_goes_on_without_its_caller: DeleteKeepingFiles;
    deleting_and_purging_files_goes_on_without_its_caller: DeletePurgingFiles;
    stopping_goes_on_without_its_caller: Stop;
    starting_goes_on_without_its_caller: Start;
}
