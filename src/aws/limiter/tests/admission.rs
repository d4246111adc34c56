//! Admission of operations: which are admitted and which are refused.

use super::*;

const BUCKETS: [Bucket; 2] = [Bucket::TaskDefinitionWrite, Bucket::ServiceWrite];

fn documented() -> Arc<Limiter> {
    limiter("")
}

#[tokio::test(start_paused = true)]
async fn of_500_operations_exactly_those_are_admitted_that_get_their_turn_in_time() {
    let limiter = documented();
    let scopes: Vec<Scope> = (0..500).map(|_| of(Class::Interactive)).collect();
    let mut answers = Vec::new();
    for scope in &scopes {
        answers.push(scope.clone().run(async { limiter.admit(&BUCKETS, seconds(60)) }).await);
    }
    // A burst of 20, then one per second for a minute.
    assert_eq!(answers.iter().position(Result::is_err), Some(80));
    let refused = QueueFull { bucket: BUCKETS[0], position: 61, wait: seconds(61), longest: seconds(60) };
    assert!(answers[80..].iter().all(|answer| *answer == Err(refused)));
    assert_eq!(
        refused.to_string(),
        "it would be number 61 in the queue for AWS's rate limit task-definition-write, a wait of about 61 s; the \
         longest wait is 60 s"
    );
    // The estimate is right: the last of them gets its turn after a minute.
    let start = Instant::now();
    let calls = scopes[..80].iter().map(|scope| {
        scope.clone().run(async {
            let place = limiter.place_of_registration();
            limiter.acquire_registration(place).await.unwrap().taken();
        })
    });
    join_all(calls).await;
    assert_eq!(start.elapsed(), seconds(60));
    drop(scopes);
    assert!(of(Class::Interactive).run(async { limiter.admit(&BUCKETS, Duration::ZERO) }).await.is_err());
    sleep(seconds(2)).await;
    assert_eq!(of(Class::Interactive).run(async { limiter.admit(&BUCKETS, Duration::ZERO) }).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_reserved_once_and_freed_when_the_operation_ends_or_gives_it_up() {
    let limiter = limiter("task-definition-write=1/1,service-write=1/1");
    let admit = async |scope: &Scope| scope.clone().run(async { limiter.admit(&BUCKETS, Duration::ZERO) }).await;
    let (one, two) = (of(Class::Interactive), of(Class::Interactive));
    assert_eq!(admit(&one).await, Ok(()));
    assert_eq!(admit(&one).await, Ok(()), "admitted twice, counted once");
    assert_eq!(admit(&two).await.map_err(|full| full.position), Err(1));
    one.clone().run(async { limiter.give_up_places() }).await;
    assert_eq!(admit(&two).await, Ok(()));
    assert_eq!(admit(&one).await.map_err(|full| full.position), Err(1));
    drop(two);
    assert_eq!(admit(&one).await, Ok(()));
    // If one bucket is full, no place at the other is reserved.
    drop(one);
    limiter.acquire(Bucket::ServiceWrite).await.unwrap();
    assert_eq!(admit(&of(Class::Interactive)).await.map_err(|full| full.bucket), Err(Bucket::ServiceWrite));
    assert!(limiter.try_acquire_spare(Bucket::TaskDefinitionWrite));
    let only_registers = of(Class::Interactive);
    sleep(seconds(1)).await;
    assert_eq!(admit(&only_registers).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_share_of_lower_classes_counts_in_the_wait_and_they_are_never_refused() {
    let limiter = limiter("service-write=1/1");
    drain(&limiter, Bucket::ServiceWrite).await;
    let served = Served::default();
    for class in [Class::Rollout, Class::Background] {
        call(&limiter, class, "behind", &served);
    }
    for _ in 0..30 {
        call(&limiter, Class::Interactive, "before", &served);
    }
    yield_now().await;
    let admit = |class| of(class).run(async { limiter.admit(&[Bucket::ServiceWrite], seconds(30)) });
    let full = admit(Class::Interactive).await.unwrap_err();
    assert_eq!((full.position, full.wait), (31, seconds(31 + 6)));
    assert_eq!(admit(Class::Rollout).await, Ok(()));
    assert_eq!(admit(Class::Background).await, Ok(()));
}
