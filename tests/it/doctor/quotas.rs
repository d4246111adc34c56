//! `doctor`'s check of the account's quotas.

use openclaw_provisioner::doctor::Check;
use serde_json::{Value, json};

use super::{PASS, SKIP, doctor_with, examined, fail, of, refusal, said, strike, warn};
use crate::harness::TestApp;

async fn planned(app: &TestApp, users: u32) -> Vec<Check> {
    app.emulator.settle();
    doctor_with(app, |doctor| doctor.planned_users = Some(users)).examine().await
}

#[tokio::test(start_paused = true)]
async fn a_plan_above_the_quotas_fails_and_says_how_to_ask_for_more() {
    let app = TestApp::start().await;
    assert_eq!(of(&planned(&app, 5_000).await, "quotas"), [PASS]);
    // 0.5 vCPU each; 4,000 are in force.
    let told = planned(&app, 8_001).await;
    assert_eq!(of(&told, "quotas"), [fail("quota_below_plan"), fail("quota_below_plan")]);
    let said = said(&told, "quotas");
    for part in [
        "8001 users take 4000.5 Fargate vCPU, and 4000 are in force",
        "8001 users take 8001 services in the cluster, and 5000 are in force",
        "--service-code fargate --quota-code L-3032A538",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let told = planned(&app, 10_001).await;
    assert!(super::said(&told, "quotas").contains("there are 10000; it cannot be raised"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_default_that_may_have_been_raised_only_warns() {
    let app = TestApp::start().await;
    strike(&app, "GetServiceQuota", refusal("AccessDeniedException"));
    assert_eq!(of(&examined(&app).await, "quotas"), [PASS]);
    let told = planned(&app, 13).await;
    assert_eq!(of(&told, "quotas"), [warn("quota_below_plan")]);
    let said = said(&told, "quotas");
    assert!(said.contains("6.5 Fargate vCPU, and 6 are the default") && said.contains("GetServiceQuota"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn numbers_that_cannot_be_counted_or_are_unknown_are_reported() {
    let app = TestApp::start().await;
    strike(&app, "ListTasks", refusal("AccessDeniedException"));
    let told = examined(&app).await;
    assert_eq!(of(&told, "quotas"), [warn("quota_unknown"), warn("quota_unknown")]);
    assert!(said(&told, "quotas").contains("Fargate vCPU could not be counted"), "{told:?}");
    app.emulator.clear_faults();
    // A definition that is not for Fargate needs no size.
    app.register_base(|base| {
        base["requiresCompatibilities"] = json!(["EC2"]);
        base["cpu"] = Value::Null;
    });
    let told = planned(&app, 5_000).await;
    assert_eq!(of(&told, "quotas"), [PASS, SKIP]);
    assert!(said(&told, "quotas").contains("the base says no cpu"), "{told:?}");
    let nowhere = doctor_with(&app, |doctor| doctor.coordinates.file_system_id = None);
    assert_eq!(of(&nowhere.examine().await, "quotas"), [SKIP]);
}
