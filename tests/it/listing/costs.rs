//! What the list costs in AWS calls.

use std::time::Duration;

use aws_emulator::Options;
use futures_util::future::join_all;
use serde_json::json;

use super::{list, users};
use crate::harness::{BASE, CLUSTER, TestApp};

/// Calls since the log was cleared: pages, services, definitions, and others.
fn calls(app: &TestApp) -> [usize; 4] {
    let named = ["ListServices", "DescribeServices", "DescribeTaskDefinition"].map(|action| app.count(action));
    let [pages, services, definitions] = named;
    let all = app.emulator.calls().len();
    app.emulator.clear_calls();
    [pages, services, definitions, all - pages - services - definitions]
}

#[tokio::test(start_paused = true)]
async fn a_list_costs_one_call_per_100_names_and_per_10_services_and_one_per_revision() {
    let app = TestApp::start().await;
    let made = app.make_services(250);
    assert_eq!(users(&list(&app, "limit=1000").await).len(), 250);
    app.pass_seconds(1).await;
    assert_eq!(calls(&app), [3, 25, 1, 0]);
    for _ in 0..3 {
        list(&app, "limit=1000").await;
    }
    assert_eq!(calls(&app), [0; 4], "the snapshot answers");
    // Only the new revision of one user has to be read.
    app.register_base(|_| {});
    let update = json!({"cluster": CLUSTER, "service": made[7].service_name(), "taskDefinition": BASE});
    app.aws("ecs", "UpdateService", update);
    app.pass_seconds(31).await;
    list(&app, "fresh=true").await;
    app.pass_seconds(1).await;
    assert_eq!(calls(&app), [3, 25, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_fresh_lists_share_one_reading_and_the_next_one_is_30_seconds_later() {
    let app = TestApp::with(Options { per_call_delay: Duration::from_millis(50), ..Options::default() }).await;
    app.make_services(30);
    let lists = join_all((0..100).map(|_| list(&app, "fresh=true"))).await;
    assert!(lists.iter().all(|list| users(list).len() == 30));
    app.pass_seconds(1).await;
    assert_eq!(calls(&app), [1, 3, 1, 0]);
    app.pass_seconds(25).await;
    let list = list(&app, "fresh=true").await;
    assert_eq!((calls(&app), &list["snapshot"]["age_seconds"]), ([0; 4], &json!(26)));
    app.pass_seconds(10).await;
    super::list(&app, "fresh=true").await;
    assert_eq!(calls(&app), [1, 3, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_fleet_is_read_in_the_background_every_five_minutes() {
    let app = TestApp::start().await;
    app.make_services(3);
    app.fleet.roster.refresh_in_background();
    app.pass_seconds(1).await;
    assert_eq!(calls(&app), [1, 1, 1, 0]);
    app.pass_seconds(298).await;
    assert_eq!(calls(&app), [0; 4]);
    app.pass_seconds(2).await;
    assert_eq!(calls(&app), [1, 1, 0, 0]);
    app.fleet.shut_down();
    app.pass_seconds(3600).await;
    assert_eq!(calls(&app), [0; 4]);
}

/// A caller gets an answer before clients give up, and the reading goes on.
#[tokio::test(start_paused = true)]
async fn a_list_that_takes_too_long_has_retry_after() {
    let app = TestApp::with(Options { per_call_delay: Duration::from_secs(1), ..Options::default() }).await;
    app.make_services(300);
    let answer = app.get("/containers").await;
    let said = (answer.status, &answer.body["code"], answer.header("retry-after"));
    assert_eq!(said, (503, &json!("fleet_being_read"), Some("5")));
    app.pass_seconds(5).await;
    assert_eq!(users(&list(&app, "limit=1000").await).len(), 300);
    assert_eq!(app.count("ListServices"), 3, "it was not begun anew");
}

/// The first reading of a large fleet may take long; a call for one user does not wait for it.
#[tokio::test(start_paused = true)]
async fn a_first_reading_delays_no_other_call_and_is_never_throttled() {
    let app = TestApp::with(Options { enforce_rate_limits: true, ..Options::default() }).await;
    app.make_services(900);
    app.fleet.roster.refresh_in_background();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        app.pass_millis(100).await;
        let start = tokio::time::Instant::now();
        assert_eq!(app.get("/containers/nobody").await.status, 404);
        slowest = slowest.max(start.elapsed());
    }
    assert!(app.count("DescribeServices") < 110, "the reading is still under way: {}", app.count("DescribeServices"));
    assert_eq!(slowest.as_millis(), 0);
    app.pass_seconds(20).await;
    assert_eq!(app.count("DescribeServices"), 20 + 90);
    assert!(app.emulator.calls().iter().all(|call| call.status == 200));
}
