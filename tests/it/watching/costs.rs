//! The cost of watching in AWS calls.

use openclaw_provisioner::domain::State;
use openclaw_provisioner::fleet::{Sight, Watch};

use crate::harness::TestApp;

/// Reads on until the container is in the state.
async fn until(watch: &mut Watch, state: State) {
    loop {
        match watch.next().await.unwrap() {
            Sight::Seen(status) if status.state == state => return,
            Sight::Seen(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Calls of `action` in each of the next `cycles` readings of everybody.
async fn calls_a_cycle(app: &TestApp, watches: &mut [Watch], cycles: usize) -> Vec<[usize; 3]> {
    let mut counts = Vec::new();
    for _ in 0..cycles {
        app.emulator.clear_calls();
        for watch in &mut *watches {
            watch.next().await.unwrap();
        }
        counts.push(["DescribeServices", "DescribeTasks", "ListTasks"].map(|action| app.count(action)));
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn a_thousand_watchers_of_one_user_cost_one_call_of_each_kind_per_cycle() {
    let app = TestApp::start().await;
    let user = app.make_services(1).remove(0);
    app.pass_seconds(5).await;
    let mut watches: Vec<_> = (0..1000).map(|_| app.fleet.watchers.watch(user.clone()).unwrap()).collect();
    for watch in &mut watches {
        until(watch, State::Running).await;
    }
    assert_eq!(app.count("DescribeServices"), 1, "the first look is shared, too");
    assert_eq!(calls_a_cycle(&app, &mut watches, 5).await, vec![[1, 1, 0]; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_users_with_watchers_cost_100_describe_services_calls_per_cycle() {
    let app = TestApp::with(aws_emulator::Options { enforce_rate_limits: true, ..Default::default() }).await;
    let users = app.make_services(1000);
    app.pass_seconds(5).await;
    let mut watches: Vec<_> = users.iter().map(|user| app.fleet.watchers.watch(user.clone()).unwrap()).collect();
    for watch in &mut watches {
        until(watch, State::Running).await;
    }
    // The rate limits decide the length of a cycle, and a user's own call always gets its token at once.
    for [services, tasks, lists] in calls_a_cycle(&app, &mut watches, 3).await {
        assert!((1..=100).contains(&services), "{services} DescribeServices");
        assert!((1..=10).contains(&tasks), "{tasks} DescribeTasks");
        assert_eq!(lists, 0, "nothing changed, so there was nothing to list");
    }
    let throttled = app.emulator.calls().iter().filter(|call| call.status != 200).count();
    assert_eq!(throttled, 0);
    let start = tokio::time::Instant::now();
    assert_eq!(app.get("/containers/nobody").await.status, 404);
    assert_eq!(start.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_changed_service_are_listed_once_for_all_watchers() {
    let app = TestApp::start().await;
    let user = app.make_services(1).remove(0);
    app.pass_seconds(5).await;
    let mut watches: Vec<_> = (0..10).map(|_| app.fleet.watchers.watch(user.clone()).unwrap()).collect();
    for watch in &mut watches {
        until(watch, State::Running).await;
    }
    app.emulator.clear_calls();
    let stop =
        serde_json::json!({"cluster": crate::harness::CLUSTER, "service": user.service_name(), "desiredCount": 0});
    app.aws("ecs", "UpdateService", stop);
    for watch in &mut watches {
        until(watch, State::Stopped).await;
    }
    // Running ones and stopped ones, when the desired count changed and perhaps when the running one did.
    assert!((2..=4).contains(&app.count("ListTasks")), "{:?}", app.calls());
    // A container that stays stopped needs no task calls at all.
    assert_eq!(calls_a_cycle(&app, &mut watches, 3).await, vec![[1, 0, 0]; 3]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_without_watchers() {
    let app = TestApp::start().await;
    let user = app.make_services(1).remove(0);
    app.pass_seconds(60).await;
    assert_eq!(app.calls(), Vec::<String>::new());
    for _ in 0..2 {
        let mut watch = app.fleet.watchers.watch(user.clone()).unwrap();
        until(&mut watch, State::Running).await;
        drop(watch);
        assert_eq!(app.fleet.watchers.count(), 0);
        // The reading under way may end; no other begins.
        app.pass_seconds(5).await;
        app.emulator.clear_calls();
        app.pass_seconds(600).await;
        assert_eq!(app.calls(), Vec::<String>::new());
    }
}
