//! File work that hangs, gets no turn or loses its lock.

use std::sync::mpsc;

use super::*;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

const SHORT: Duration = Duration::from_millis(20);

struct Fixture {
    _root: tempfile::TempDir,
    files: Files,
}

fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join(".provisioner")).unwrap();
    Fixture { files: Files::new(root.path(), Metrics::default()).unwrap(), _root: root }
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

/// Work that hangs until the sender is dropped.
fn hanging() -> (mpsc::Sender<()>, impl FnOnce(&Root) -> Result<(), Error> + Send + 'static) {
    let (release, held) = mpsc::channel::<()>();
    let work = move |_: &Root| {
        let _released = held.recv();
        Ok(())
    };
    (release, work)
}

async fn until_back(files: &Files) {
    files.0.health.subscribe().wait_for(|health| *health == Health::Answers).await.unwrap();
}

#[tokio::test]
async fn hanging_work_is_given_up_and_the_mount_is_checked_until_it_answers() {
    let f = fixture();
    let (release, work) = hanging();
    let error = f.files.run(Job::ours().within(SHORT), work).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(Unavailable::Overdue { within }) if within == SHORT));
    // The mount itself answers: one hanging call stops no other call.
    until_back(&f.files).await;
    f.files.run(Job::ours(), |_| Ok::<_, Error>(())).await.unwrap();
    assert_eq!(f.files.0.hanging.load(Ordering::Acquire), 1);
    drop(release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_many_calls_hang_others_fail_at_once_and_later_work_continues() {
    let f = fixture();
    let mut releases = Vec::new();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..TOO_MANY_HANG {
        let (release, work) = hanging();
        releases.push(release);
        let files = f.files.clone();
        let job = Job::of(&user(&n.to_string())).within(Duration::from_millis(200));
        calls.spawn(async move { files.run(job, work).await });
    }
    for result in calls.join_all().await {
        assert!(matches!(result, Err(Error::Unavailable(Unavailable::Overdue { .. }))), "{result:?}");
    }
    assert!(f.files.is_stuck());
    let error = f.files.run(Job::ours(), |_| Ok::<_, Error>(())).await.unwrap_err();
    assert_eq!(error.to_string(), "the file system does not answer");
    let counted = "openclaw_provisioner_files_unavailable_total{why=\"stuck\"} 1";
    assert!(f.files.0.metrics.encode().contains(counted), "{}", f.files.0.metrics.encode());
    assert!(f.files.0.metrics.encode().contains("openclaw_provisioner_files_stuck 1"));
    drop(releases);
    until_back(&f.files).await;
    f.files.run(Job::ours(), |_| Ok::<_, Error>(())).await.unwrap();
    // All of them end, each on its own thread.
    while f.files.0.hanging.load(Ordering::Acquire) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_calls_of_one_user_leave_turns_for_all_others() {
    let f = fixture();
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let mut calls = tokio::task::JoinSet::new();
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..100 {
        let (files, held, began) = (f.files.clone(), Arc::clone(&held), began.clone());
        calls.spawn(async move {
            let wait = move |_: &Root| {
                began.send(()).unwrap();
                let _released = held.lock().map(|held| held.recv());
                Ok::<_, Error>(())
            };
            files.run(Job::of(&user("loud")), wait).await
        });
    }
    for _ in 0..4 {
        begun.recv().await.unwrap();
    }
    f.files.run(Job::of(&user("quiet")), |_| Ok::<_, Error>(())).await.unwrap();
    assert!(begun.try_recv().is_err());
    drop(release);
    for result in calls.join_all().await {
        result.unwrap();
    }
    assert_eq!(f.files.0.turns.users_in_line(), 0);
}

#[tokio::test(start_paused = true)]
async fn work_that_nobody_waits_for_any_more_may_not_change_anything() {
    let f = fixture();
    let (release, held) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let work = move |root: &Root| {
        tell.send(root.permit().holds()).unwrap();
        begin.send(()).unwrap();
        let _released = held.recv();
        tell.send(root.permit().holds()).unwrap();
        Ok::<_, Error>(())
    };
    // The paused clock waits for the runtime's own threads, so the work has begun when its time is over.
    let has_begun = tokio::task::spawn_blocking(move || begun.recv());
    f.files.run(Job::ours().within(SHORT), work).await.unwrap_err();
    has_begun.await.unwrap().unwrap();
    drop(release);
    assert_eq!((told.recv().await, told.recv().await), (Some(true), Some(false)));
}

#[derive(Debug)]
struct Lock(std::sync::atomic::AtomicBool);

impl Fence for Lock {
    fn holds(&self, _root: &Root) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn is_recent(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn work_checks_its_lock_before_each_change_and_keeps_it() {
    let f = fixture();
    let lock = Arc::new(Lock(true.into()));
    let fence: Arc<dyn Fence> = lock.clone();
    let (asked, shared) = (Arc::clone(&lock), Arc::downgrade(&lock));
    let seen = f.files.run(Job::ours().under(Some(fence)), move |root| {
        let before = root.permit().holds();
        asked.0.store(false, Ordering::Release);
        drop(asked);
        Ok::<_, Error>((before, root.permit().holds(), shared.strong_count()))
    });
    assert_eq!(seen.await.unwrap(), (true, false, 2));
    assert_eq!(Arc::strong_count(&lock), 1);
}

#[test]
fn the_process_can_end_while_a_call_hangs() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let (release, work) = hanging();
    runtime.block_on(async {
        let f = fixture();
        f.files.run(Job::ours().within(SHORT), work).await.unwrap_err();
    });
    // This would wait for ever if the call ran on one of this runtime's threads.
    drop(runtime);
    drop(release);
}

#[tokio::test]
async fn a_late_hint_stops_hints_and_nothing_else() {
    let f = fixture();
    f.files.0.hanging.fetch_add(TOO_MANY_HANG, Ordering::AcqRel);
    let (release, work) = hanging();
    f.files.run(Job::ours().as_hint().within(SHORT), work).await.unwrap_err();
    let error = f.files.run(Job::ours().as_hint(), |_| Ok::<_, Error>(())).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(Unavailable::Stuck)));
    f.files.run(Job::ours(), |_| Ok::<_, Error>(())).await.unwrap();
    f.files.0.hanging.fetch_sub(TOO_MANY_HANG, Ordering::AcqRel);
    until_back(&f.files).await;
    f.files.run(Job::ours().as_hint(), |_| Ok::<_, Error>(())).await.unwrap();
    drop(release);
}

#[tokio::test]
async fn parallel_work_of_a_call_overlaps_and_is_done_even_without_free_threads() {
    let f = fixture();
    let all = |root: &Root| {
        let together = Arc::new(std::sync::Barrier::new(3));
        let work = |n: usize| {
            let together = Arc::clone(&together);
            move || {
                together.wait();
                n
            }
        };
        Ok::<_, Error>(root.permit().side_by_side(vec![work(0), work(1), work(2)]))
    };
    assert_eq!(f.files.run(Job::ours(), all).await.unwrap(), [0, 1, 2]);
    let taken = Arc::clone(&f.files.0.helpers.free).acquire_many_owned(SIDE_BY_SIDE as u32).await.unwrap();
    let alone = |root: &Root| {
        let on = || std::thread::current().id();
        let own = on();
        Ok::<_, Error>(root.permit().side_by_side(vec![on, on, on]).iter().all(|id| *id == own))
    };
    assert!(f.files.run(Job::ours(), alone).await.unwrap());
    drop(taken);
}
