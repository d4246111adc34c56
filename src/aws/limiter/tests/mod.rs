//! The limiter on tokio's clock, which these tests pause.

mod admission;
mod torture;

use std::sync::Mutex;

use futures_util::future::{join_all, poll_immediate};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use super::*;

fn limiter(limits: &str) -> Arc<Limiter> {
    Arc::new(Limiter::new(&limits.parse().unwrap(), Metrics::default()))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A scope of that class with a very late deadline.
fn of(class: Class) -> Scope {
    Scope::new(class, Instant::now() + seconds(1_000_000))
}

/// Empties a bucket.
async fn drain(limiter: &Limiter, bucket: Bucket) {
    while poll_immediate(limiter.acquire(bucket)).await.is_some() {}
    yield_now().await;
}

/// The names of served callers in order, and the times.
type Served = Arc<Mutex<Vec<(&'static str, u64)>>>;

fn call(limiter: &Arc<Limiter>, class: Class, name: &'static str, served: &Served) -> JoinHandle<()> {
    let (limiter, served, start) = (Arc::clone(limiter), Arc::clone(served), Instant::now());
    tokio::spawn(of(class).run(async move {
        limiter.acquire(Bucket::ServiceWrite).await.unwrap();
        served.lock().unwrap().push((name, start.elapsed().as_secs()));
    }))
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_free_and_then_each_call_waits_for_its_refill() {
    let limiter = Limiter::new(&RateLimits::default(), Metrics::default());
    let start = Instant::now();
    for _ in 0..20 {
        limiter.acquire(Bucket::TaskDefinitionWrite).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for second in 1..=5 {
        limiter.acquire(Bucket::TaskDefinitionWrite).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), second);
    }
    // Another category is not slowed down by it.
    limiter.acquire(Bucket::TaskDefinitionRead).await.unwrap();
    assert!(!limiter.try_acquire_spare(Bucket::TaskDefinitionWrite));
    assert!(limiter.try_acquire_spare(Bucket::ServiceWrite));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_counted_in_the_queue_until_they_get_a_token_or_give_up() {
    let metrics = Metrics::default();
    let limiter = Arc::new(Limiter::new(&RateLimits::default(), metrics.clone()));
    let depth = |calls: u32| {
        let line = format!("limiter_queue_depth{{bucket=\"task-definition-write\"}} {calls}\n");
        assert!(metrics.encode().contains(&line), "not {calls}: {}", metrics.encode());
    };
    let registrations: Vec<_> = (0..500)
        .map(|_| {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(of(Class::Interactive).run(async move {
                let place = limiter.place_of_registration();
                let mut turn = limiter.acquire_registration(place).await.unwrap();
                sleep(Duration::from_millis(100)).await;
                turn.taken();
            }))
        })
        .collect();
    yield_now().await;
    sleep(Duration::from_millis(1)).await;
    // Four are running; all others wait, for a token or for the window.
    depth(496);
    sleep(seconds(10)).await;
    depth(500 - 30);
    registrations[400].abort();
    yield_now().await;
    depth(500 - 31);
    for registration in &registrations {
        registration.abort();
    }
    join_all(registrations).await;
    depth(0);
}

#[tokio::test(start_paused = true)]
async fn people_go_before_rollouts_and_rollouts_before_background_calls() {
    let (limiter, served) = (limiter("service-write=1/1"), Served::default());
    drain(&limiter, Bucket::ServiceWrite).await;
    let mut calls = Vec::new();
    for (class, name) in [
        (Class::Background, "clean-up 1"),
        (Class::Background, "clean-up 2"),
        (Class::Rollout, "rollout 1"),
        (Class::Rollout, "rollout 2"),
        (Class::Interactive, "alice"),
        (Class::Interactive, "bob"),
    ] {
        calls.push(call(&limiter, class, name, &served));
        yield_now().await;
    }
    for call in calls {
        call.await.unwrap();
    }
    let expected = [("alice", 1), ("bob", 2), ("rollout 1", 3), ("rollout 2", 4), ("clean-up 1", 5), ("clean-up 2", 6)];
    assert_eq!(*served.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_lower_class_still_gets_a_tenth_of_the_bucket() {
    let (limiter, served) = (limiter("service-write=1/1"), Served::default());
    drain(&limiter, Bucket::ServiceWrite).await;
    for _ in 0..100 {
        call(&limiter, Class::Interactive, "person", &served);
        call(&limiter, Class::Rollout, "rollout", &served);
        call(&limiter, Class::Background, "background", &served);
    }
    sleep(Duration::from_millis(100_500)).await;
    let count = |name| served.lock().unwrap().iter().filter(|(other, _)| *other == name).count();
    // Both are due at the tenth second; the second of them gets its turn one second later, and stays one second behind.
    assert_eq!((count("person"), count("rollout"), count("background")), (81, 10, 9));
}

#[tokio::test(start_paused = true)]
async fn deleting_many_users_does_not_delay_the_next_sign_up() {
    let limiter = Arc::new(Limiter::new(&RateLimits::default(), Metrics::default()));
    let cleaning: Vec<_> = (0..500)
        .map(|_| {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move { limiter.acquire_in_background(Bucket::TaskDefinitionWrite).await.unwrap() })
        })
        .collect();
    sleep(seconds(30)).await;
    let start = Instant::now();
    for _ in 0..10 {
        let place = limiter.place_of_registration();
        limiter.acquire_registration(place).await.unwrap().taken();
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "half the bucket is kept for people");
    // Background calls take the spare tokens: as fast as the bucket fills above its half.
    join_all(cleaning).await;
    assert!(start.elapsed() < seconds(500), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_bulk_reader_leaves_half_the_bucket_and_is_slowed_but_never_stopped() {
    let limiter = Limiter::new(&RateLimits::default(), Metrics::default());
    let start = Instant::now();
    for _ in 0..150 {
        limiter.acquire_in_background(Bucket::ServiceRead).await.unwrap();
    }
    // 51 at once, and the others as fast as the bucket is refilled: 20 a second.
    assert_eq!(start.elapsed(), Duration::from_millis(99 * 50));
    let others = Instant::now();
    for _ in 0..49 {
        limiter.acquire(Bucket::ServiceRead).await.unwrap();
    }
    assert_eq!(others.elapsed(), Duration::ZERO);
    // While all others call without a pause, it gets one token every two seconds.
    let limiter = Arc::new(limiter);
    let others: Vec<_> = (0..2)
        .map(|_| {
            let busy = Arc::clone(&limiter);
            tokio::spawn(async move {
                loop {
                    busy.acquire(Bucket::ServiceRead).await.unwrap();
                }
            })
        })
        .collect();
    let start = Instant::now();
    for _ in 0..5 {
        limiter.acquire_in_background(Bucket::ServiceRead).await.unwrap();
    }
    assert!((10..=11).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    for other in others {
        other.abort();
    }
    // Tokens that came back while nobody called count.
    sleep(seconds(10)).await;
    assert!(limiter.try_acquire_spare(Bucket::ServiceRead));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_deadline_and_takes_no_token() {
    let limiter = limiter("service-write=1/0.1");
    let bucket = Bucket::ServiceWrite;
    limiter.acquire(bucket).await.unwrap();
    let start = Instant::now();
    let until = |end| Scope::new(Class::Interactive, start + seconds(end)).run(limiter.acquire(bucket));
    assert_eq!(until(4).await, Err(NotInTime { bucket }));
    assert_eq!(start.elapsed(), seconds(4));
    // A scope whose deadline has passed takes nothing, although there is a token.
    sleep(seconds(20)).await;
    assert_eq!(until(4).await, Err(NotInTime { bucket }));
    assert_eq!(until(25).await, Ok(()));
    assert_eq!(start.elapsed(), seconds(24));
    // Without a scope, the wait is as long as a caller of the API waits.
    let slow = self::limiter("service-write=1/0.01");
    slow.acquire(bucket).await.unwrap();
    assert_eq!((slow.acquire(bucket).await, start.elapsed()), (Err(NotInTime { bucket }), seconds(24 + 25)));
    assert_eq!(NotInTime { bucket }.to_string(), "its turn at the rate limit service-write did not come in time");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_who_gives_up_loses_no_token_and_others_keep_their_places() {
    let (limiter, served) = (limiter("service-write=1/1"), Served::default());
    drain(&limiter, Bucket::ServiceWrite).await;
    let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let calls: Vec<_> = names.map(|name| call(&limiter, Class::Interactive, name, &served)).into();
    yield_now().await;
    for (n, call) in calls.iter().enumerate().filter(|(n, _)| n % 3 != 1) {
        call.abort();
        if n == 6 {
            sleep(Duration::from_millis(1_500)).await;
        }
    }
    for call in calls {
        drop(call.await);
    }
    assert_eq!(*served.lock().unwrap(), [("1", 1), ("4", 2), ("7", 3)]);
    let start = Instant::now();
    limiter.acquire(Bucket::ServiceWrite).await.unwrap();
    assert_eq!(start.elapsed(), seconds(1));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_not_polled_holds_only_its_own_token_and_returns_it() {
    let limiter = limiter("service-write=1/1");
    drain(&limiter, Bucket::ServiceWrite).await;
    let mut asleep = Box::pin(limiter.acquire(Bucket::ServiceWrite));
    assert!(poll_immediate(&mut asleep).await.is_none());
    let start = Instant::now();
    limiter.acquire(Bucket::ServiceWrite).await.unwrap();
    assert_eq!(start.elapsed(), seconds(2), "the first token is the sleeper's, the second is ours");
    // It got a token but was never polled; the token goes to the next.
    drop(asleep);
    limiter.acquire(Bucket::ServiceWrite).await.unwrap();
    assert_eq!(start.elapsed(), seconds(2));
}

#[tokio::test(start_paused = true)]
async fn a_refused_registration_keeps_its_place_and_the_window_shrinks() {
    let limiter = limiter("task-definition-write=1000/1000");
    let (first, second) = (limiter.place_of_registration(), limiter.place_of_registration());
    let take = async |place| limiter.acquire_registration(place).await.unwrap();
    let mut under_way = Vec::new();
    for _ in 0..4 {
        under_way.push(take(limiter.place_of_registration()).await);
    }
    let later = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.acquire_registration(second).await.unwrap() }
    });
    yield_now().await;
    let mut earlier = Box::pin(take(first));
    assert!(poll_immediate(&mut earlier).await.is_none());
    // The window shrank to two, so one more may enter only when two have left.
    for mut refused in under_way.drain(..2) {
        refused.refused();
    }
    sleep(seconds(1)).await;
    assert!(poll_immediate(&mut earlier).await.is_none() && !later.is_finished());
    drop(under_way.pop());
    let earlier = earlier.await;
    sleep(seconds(1)).await;
    assert!(!later.is_finished(), "it came first, but its place is second");
    drop(earlier);
    later.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deregistration_does_not_wait_for_the_window_of_registrations() {
    let limiter = limiter("task-definition-write=1000/1000");
    let mut under_way = Vec::new();
    for _ in 0..4 {
        under_way.push(limiter.acquire_registration(limiter.place_of_registration()).await.unwrap());
    }
    let mut next = Box::pin(limiter.acquire_registration(limiter.place_of_registration()));
    assert!(poll_immediate(&mut next).await.is_none());
    limiter.acquire_in_background(Bucket::TaskDefinitionWrite).await.unwrap();
    drop(under_way);
    next.await.unwrap();
}
