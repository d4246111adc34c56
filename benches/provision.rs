//! How long a caller waits for `POST /provision` when every AWS call takes 50 ms, as a ratio to one such call measured in
//! the same run: `cargo bench --bench provision` (add `--profile dev` to use an existing debug build).

#[path = "../tests/it/harness.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "the tests use more of the harness, and a bench may stop at once"
)]
mod harness;

use std::time::{Duration, Instant};

use aws_emulator::Options;
use harness::TestApp;
use openclaw_provisioner::aws::{Aws, RateLimits, Timeouts, in_process};
use openclaw_provisioner::metrics::Metrics;

const ROUNDS: usize = 15;
const DELAY: Duration = Duration::from_millis(50);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let app = TestApp::with(Options { per_call_delay: DELAY, ..Options::default() }).await;
    let config = in_process(app.emulator.http_client(), Timeouts::default()).await;
    let aws = Aws::new(&config, &RateLimits::default(), &Metrics::default());
    // Measured in turn: a machine that slows down slows both.
    let (mut calls, mut new_users, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let start = Instant::now();
        assert!(aws.ecs.describe_service(harness::CLUSTER, "nobody").await.is_ok_and(|found| found.is_none()));
        let call = start.elapsed();
        let user = format!("bench-{round}");
        let start = Instant::now();
        assert_eq!(app.provision(&user).await.status, 201);
        let new_user = start.elapsed();
        let start = Instant::now();
        assert!((200..=202).contains(&app.provision(&user).await.status));
        // The first round warms up.
        if round > 0 {
            calls.push(call);
            new_users.push(new_user);
            unchanged.push(start.elapsed());
        }
    }
    let call = median(&mut calls);
    println!("one AWS call (50 ms injected)   {:>7.1} ms", millis(call));
    for (what, times) in [("provision, a new user", &mut new_users), ("provision, an unchanged user", &mut unchanged)] {
        let time = median(times);
        let ratio = time.as_secs_f64() / call.as_secs_f64();
        println!("{what:<31} {:>7.1} ms   {ratio:.2} x one call", millis(time));
    }
    let budget = 4 * DELAY + Duration::from_millis(30);
    println!("budget for a new user           {:>7.1} ms   4 calls and 30 ms of our own", millis(budget));
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
