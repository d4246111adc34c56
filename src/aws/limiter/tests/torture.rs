//! The cases that broke the previous limiter: waiters that are polled for other reasons than their own, given up half-way, or
//! dropped at the moment of their turn, on several threads. `tests/asan.sh` runs it under AddressSanitizer for
//! TORTURE_SECONDS.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant as Clock;

use super::*;

/// A limiter with fifty tokens a millisecond.
fn fast() -> Arc<Limiter> {
    let rate = rates::Rate { burst: 1_000, interval: Duration::from_micros(20) };
    let limiter = Limiter::new(&RateLimits([rate; Bucket::ALL.len()]), Metrics::default());
    Arc::new(limiter)
}

fn for_how_long() -> Duration {
    Duration::from_secs(std::env::var("TORTURE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2))
}

async fn spin() {
    loop {
        yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiters_that_are_polled_and_dropped_at_any_moment_lose_and_block_nothing() {
    let (limiter, taken, start) = (fast(), Arc::new(AtomicU64::new(0)), Clock::now());
    let end = start + for_how_long();
    let tasks: Vec<_> = (0..64_u64)
        .map(|n| {
            let (limiter, taken) = (Arc::clone(&limiter), Arc::clone(&taken));
            let class = Class::ALL[usize::try_from(n).unwrap() % 3];
            tokio::spawn(of(class).run(async move {
                let mut random = fastrand::Rng::with_seed(n);
                while Clock::now() < end {
                    let bucket = Bucket::TaskDefinitionWrite;
                    match n % 4 {
                        // Polled all the time because of another future in the same select.
                        0 | 1 => {
                            let turn = Box::pin(limiter.acquire(bucket));
                            tokio::select! { biased; turn = turn => turn.unwrap(), () = spin() => {} }
                        }
                        // Given up after some time; on the heap, and freed at once.
                        2 => {
                            let turn = Box::pin(limiter.acquire(bucket));
                            let patience = Duration::from_micros(random.u64(..3_000));
                            match tokio::time::timeout(patience, turn).await {
                                Ok(turn) => turn.unwrap(),
                                Err(_) => continue,
                            }
                        }
                        // A registration, which another task may drop.
                        _ => {
                            let turn = Box::pin(limiter.acquire_registration(limiter.place_of_registration()));
                            let mut turn = tokio::select! { turn = turn => turn.unwrap(), () = spin() => continue };
                            if random.bool() {
                                turn.taken();
                            } else if random.u8(..) == 0 {
                                turn.refused();
                            }
                            tokio::spawn(async move { drop(turn) });
                        }
                    }
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            }))
        })
        .collect();
    // Some tasks are aborted while they work.
    for task in tasks.iter().step_by(16) {
        tokio::time::sleep(for_how_long() / 16).await;
        task.abort();
    }
    for (n, task) in tasks.into_iter().enumerate() {
        let ended = task.await;
        assert!(n % 16 == 0 || ended.is_ok(), "{ended:?}");
    }
    let allowed = 1_000 + start.elapsed().as_micros() / 20;
    let taken = taken.load(Ordering::Relaxed);
    assert!((1_000..=allowed).contains(&u128::from(taken)), "{taken} of at most {allowed}");
    // Nothing was lost: the bucket fills completely, and the window is empty.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..1_000 {
        let turn = poll_immediate(limiter.acquire(Bucket::TaskDefinitionWrite)).await;
        assert_eq!(turn, Some(Ok(())), "every caller gets a token");
    }
    limiter.acquire_registration(limiter.place_of_registration()).await.unwrap();
}
