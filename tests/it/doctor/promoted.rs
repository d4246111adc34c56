//! `doctor`'s check of the promoted base.

use serde_json::{Value, json};

use super::{PASS, doctor_with, examined, fail, of, said, warn};
use crate::harness::{BASE, TestApp};

fn promoted(app: &TestApp, revision: &str, at: &str) {
    let promoted = json!({"version": 1, "revision": revision, "promoted_at": at, "by": "ops"});
    std::fs::write(app.path(".provisioner/promoted-base.json"), promoted.to_string()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unusable_promoted_base_fails_with_the_fix() {
    let app = TestApp::start().await;
    app.register_base(|base| base["containerDefinitions"][0]["mountPoints"] = json!([]));
    app.register_base(|_| {});
    app.register_base(|_| {});
    app.aws("ecs", "DeregisterTaskDefinition", json!({"taskDefinition": format!("{BASE}:3")}));
    for (revision, finding) in [
        (format!("{BASE}:9"), "no_such_revision"),
        (format!("{BASE}:3"), "not_active"),
        (format!("{BASE}:2"), "unusable"),
        ("other:1".to_owned(), "other_family"),
    ] {
        promoted(&app, &revision, "2026-11-20T10:00:00Z");
        assert_eq!(of(&examined(&app).await, "promoted_base"), [fail(finding)], "{revision}");
    }
    std::fs::write(app.path(".provisioner/promoted-base.json"), "{").unwrap();
    let told = examined(&app).await;
    assert_eq!(of(&told, "promoted_base"), [fail("not_understood")]);
    assert!(said(&told, "promoted_base").contains("promote --follow"));
}

#[tokio::test(start_paused = true)]
async fn a_warning_says_when_a_promoted_base_has_long_been_behind_the_newest() {
    let app = TestApp::start().await;
    promoted(&app, &format!("{BASE}:1"), "2026-01-01T10:00:00Z");
    assert_eq!(of(&examined(&app).await, "promoted_base"), [PASS], "it is the newest");
    app.register_base(|_| {});
    assert_eq!(of(&examined(&app).await, "promoted_base"), [PASS], "the newest is new");
    let ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 30);
    app.register_base(|base| base["registeredAt"] = json!(ago.as_second()));
    let told = examined(&app).await;
    let registered: Value = app.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": BASE}));
    // ECS sets the time itself; so does the emulator, and then nothing is old.
    let is_old = registered["taskDefinition"]["registeredAt"].as_f64().unwrap() < ago.as_second() as f64 + 1.0;
    assert_eq!(of(&told, "promoted_base"), [if is_old { warn("behind_newest") } else { PASS }]);
    assert_eq!(of(&doctor_with(&app, |doctor| doctor.files = None).examine().await, "promoted_base"), [super::SKIP]);
}
