//! The guarantees of every ledger, tested with two replicas, and the additional guarantees of the ledger on files.

mod kept;
mod on_files;
mod pending;

use std::collections::BTreeSet;

use jiff::Timestamp;
use tempfile::TempDir;

use super::memory::MemoryLedger;
use super::*;
use crate::domain::{Reason, ReasonCode, State, Status};
use crate::files::{Clock, Files, Job};
use crate::metrics::Metrics;

const AT_ONCE: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(60);

fn user() -> UserId {
    UserId::parse("u").unwrap()
}

fn is_busy<T>(result: Result<T, LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Busy { .. }))
}

fn is_lost<T>(result: Result<T, LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Lost { .. }))
}

fn revisions(names: &[&str]) -> Record {
    let names: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    Record::default().with_revisions(names)
}

/// Two replicas on one store, with a clock that tests move.
struct World {
    kind: Kind,
    one: Arc<dyn Ledger>,
    two: Arc<dyn Ledger>,
    now: Arc<std::sync::Mutex<Duration>>,
}

enum Kind {
    Files { root: TempDir, ledgers: [FileLedger; 2], files: Files },
    Memory([MemoryLedger; 2]),
}

impl World {
    /// One of each kind of store.
    async fn all() -> [Self; 2] {
        [Self::on_files().await, Self::in_memory()]
    }

    async fn on_files() -> Self {
        let root = tempfile::tempdir().unwrap();
        let now = Arc::new(std::sync::Mutex::new(Duration::from_secs(100)));
        let clock: Clock = Arc::new({
            let now = Arc::clone(&now);
            move || *now.lock().unwrap()
        });
        // tokio's paused clock waits only for work on this runtime's threads.
        let files = Files::on_this_runtime(root.path(), Metrics::default());
        crate::staging::Staging::open(&files, None).await.unwrap();
        let ledger = || FileLedger::new(files.clone(), Metrics::default()).with_clock(Arc::clone(&clock));
        let ledgers = [ledger(), ledger()];
        let (one, two) = (Arc::new(ledgers[0].clone()), Arc::new(ledgers[1].clone()));
        Self { kind: Kind::Files { root, ledgers, files }, one, two, now }
    }

    fn in_memory() -> Self {
        let one = MemoryLedger::default();
        let ledgers = [one.clone(), one.replica()];
        let (one, two) = (Arc::new(ledgers[0].clone()), Arc::new(ledgers[1].clone()));
        Self { kind: Kind::Memory(ledgers), one, two, now: Arc::default() }
    }

    /// The first replica is stopped while it holds the user, and the store releases the lock.
    fn lose_lease(&self) {
        match &self.kind {
            Kind::Files { ledgers, .. } => ledgers[0].lose_lease(&user()),
            Kind::Memory(ledgers) => ledgers[0].lose_lease(&user()),
        }
    }

    fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    /// Asserts that all queues of this process are empty.
    async fn assert_idle(&self) {
        // Earlier work on threads has ended when later work is done.
        if let Kind::Files { files, .. } = &self.kind {
            files.run(Job::ours(), |_| Ok::<_, StagingError>(())).await.unwrap();
        }
        for _ in 0..1_000 {
            let is_idle = match &self.kind {
                Kind::Files { ledgers, .. } => ledgers.iter().all(FileLedger::is_idle),
                Kind::Memory(ledgers) => ledgers.iter().all(MemoryLedger::is_idle),
            };
            if is_idle {
                return;
            }
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("somebody is left in a queue");
    }
}

/// Incident 25: there was no lock. Two replicas, and two tasks of one, exclude each other; other users are not affected.
#[tokio::test]
async fn a_user_is_held_by_one_task_of_one_replica() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let held = one.acquire(&user(), AT_ONCE).await.unwrap();
        assert!(is_busy(one.acquire(&user(), AT_ONCE).await));
        assert!(is_busy(two.acquire(&user(), AT_ONCE).await));
        let _other = two.acquire(&UserId::parse("other").unwrap(), AT_ONCE).await.unwrap();
        drop(held);
        drop(two.acquire(&user(), LONG).await.unwrap());
        one.acquire(&user(), LONG).await.unwrap();
    }
}

/// The first record of a new user is written like any later one; it does not replace an existing record.
#[tokio::test]
async fn a_record_that_is_given_with_the_lock_is_kept_only_for_a_new_user() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let first = one.acquire_with(&user(), AT_ONCE, Record::of_new(Some(7))).await.unwrap();
        assert_eq!((first.is_new(), first.record().registering), (true, Some(7)));
        first.verify().await.unwrap();
        assert_eq!(two.read(&user()).await.unwrap().unwrap().registering, Some(7));
        drop(first);
        let mut second = two.acquire_with(&user(), LONG, Record::of_new(Some(8))).await.unwrap();
        assert_eq!((second.is_new(), second.record().registering), (false, Some(7)));
        second.write(Record::default()).await.unwrap();
        drop(second);
        let third = one.acquire_with(&user(), LONG, Record::of_new(Some(9))).await.unwrap();
        assert_eq!(*third.record(), Record::default());
    }
}

/// Incident 25: no update under the lock is lost, even while records are removed and others wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_that_is_read_and_replaced_under_the_lock_loses_nothing() {
    for world in World::all().await {
        let counter = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let ledger = Arc::clone(if task % 2 == 0 { &world.one } else { &world.two });
            let counter = Arc::clone(&counter);
            tasks.spawn(async move {
                for round in 0..5 {
                    let held = ledger.acquire(&user(), LONG).await.unwrap();
                    let count = counter.load(std::sync::atomic::Ordering::Acquire);
                    tokio::task::yield_now().await;
                    counter.store(count + 1, std::sync::atomic::Ordering::Release);
                    // A removal while others wait is the hard case: they then hold a file without a name.
                    if round % 2 == 0 { held.remove().await.unwrap() } else { drop(held) }
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(counter.load(std::sync::atomic::Ordering::Acquire), 40);
        world.assert_idle().await;
    }
}

#[tokio::test]
async fn a_user_is_new_until_first_held_and_again_after_removal() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        assert_eq!(two.read(&user()).await.unwrap(), None);
        let first = one.acquire(&user(), AT_ONCE).await.unwrap();
        assert!(first.is_new());
        assert_eq!(two.read(&user()).await.unwrap(), Some(Record::default()));
        drop(first);
        let second = two.acquire(&user(), LONG).await.unwrap();
        assert!(!second.is_new());
        second.remove().await.unwrap();
        assert_eq!(one.read(&user()).await.unwrap(), None);
        assert!(one.acquire(&user(), LONG).await.unwrap().is_new());
    }
}

#[tokio::test]
async fn a_holders_record_is_read_by_all_replicas_and_by_the_next_holder() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let mut held = one.acquire(&user(), AT_ONCE).await.unwrap();
        for names in [&["a", "b"][..], &["b"], &[], &["c"]] {
            held.write(revisions(names)).await.unwrap();
            assert_eq!(held.record(), &revisions(names));
            assert_eq!(two.read(&user()).await.unwrap(), Some(revisions(names)));
        }
        drop(held);
        assert_eq!(two.acquire(&user(), LONG).await.unwrap().record(), &revisions(&["c"]));
    }
}

/// The stopped holder continues after somebody else has taken the user, changed them and perhaps even released them.
#[tokio::test]
async fn a_lost_lock_is_noticed_before_anything_is_changed() {
    for still_held in [true, false] {
        for world in World::all().await {
            let mut stopped = world.one.acquire(&user(), AT_ONCE).await.unwrap();
            stopped.write(revisions(&["old"])).await.unwrap();
            stopped.verify().await.unwrap();
            let (fence, lost) = (stopped.fence(), stopped.lost());
            world.lose_lease();
            let mut other = world.two.acquire(&user(), AT_ONCE).await.unwrap();
            assert_eq!(other.record(), &revisions(&["old"]));
            other.write(revisions(&["new"])).await.unwrap();
            let other = still_held.then_some(other);
            world.pass(VERIFIED_FOR);
            assert!(!fence.is_recent());
            assert!(is_lost(stopped.verify().await));
            assert!(is_lost(stopped.write(revisions(&["stale"])).await));
            lost.await;
            assert!(is_lost(stopped.remove().await));
            assert_eq!(world.two.read(&user()).await.unwrap(), Some(revisions(&["new"])));
            if let Some(other) = other {
                other.verify().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_user_who_was_removed_and_created_again_meanwhile_is_lost_too() {
    for world in World::all().await {
        let stopped = world.one.acquire(&user(), AT_ONCE).await.unwrap();
        stopped.verify().await.unwrap();
        world.lose_lease();
        world.two.acquire(&user(), AT_ONCE).await.unwrap().remove().await.unwrap();
        world.pass(VERIFIED_FOR);
        if let Kind::Files { .. } = world.kind {
            // The thread that removed it releases it a moment later.
            let again = world.two.acquire(&user(), LONG).await.unwrap();
            assert!(again.is_new() && is_lost(stopped.remove().await));
            again.verify().await.unwrap();
        } else {
            assert!(is_lost(stopped.remove().await));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_deadline_and_the_error_says_so() {
    for world in World::all().await {
        let _held = world.one.acquire(&user(), AT_ONCE).await.unwrap();
        for (ledger, by) in [(&world.one, ""), (&world.two, ", by another replica")] {
            let started = tokio::time::Instant::now();
            let error = ledger.acquire(&user(), Duration::from_secs(7)).await.unwrap_err();
            assert_eq!(error.to_string(), format!("user u was still locked after 7s{by}"));
            assert_eq!(started.elapsed(), Duration::from_secs(7));
        }
        // A timeout beyond the clock's range does not panic.
        assert!(world.two.acquire(&UserId::parse("free").unwrap(), Duration::MAX).await.is_ok());
    }
}

#[tokio::test]
async fn whether_another_replica_holds_a_user_is_checked_without_changes() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        assert!(!one.is_held_elsewhere(&user(), AT_ONCE).await.unwrap());
        assert_eq!(one.read(&user()).await.unwrap(), None);
        let held = one.acquire(&user(), AT_ONCE).await.unwrap();
        assert!(two.is_held_elsewhere(&user(), AT_ONCE).await.unwrap());
        // It waits for a holder in its own process.
        assert!(is_busy(one.is_held_elsewhere(&user(), AT_ONCE).await));
        drop(held);
        assert!(!one.is_held_elsewhere(&user(), LONG).await.unwrap());
        drop(two.acquire(&user(), LONG).await.unwrap());
    }
}

#[tokio::test]
async fn exactly_the_users_with_a_record_are_listed() {
    for World { one, two, kind: _kind, .. } in World::all().await {
        let names = ["a", "b-1", "c_2"].map(|name| UserId::parse(name).unwrap());
        for name in &names {
            drop(one.acquire(name, AT_ONCE).await.unwrap());
        }
        one.acquire(&user(), AT_ONCE).await.unwrap().remove().await.unwrap();
        let mut listed = two.list().await.unwrap();
        listed.sort();
        assert_eq!(listed, names);
    }
}

#[tokio::test]
async fn the_note_why_a_container_stopped_is_kept_until_the_user_is_deleted_or_removed() {
    let (code, stopped_at) = (ReasonCode::OutOfMemory, Some("2026-11-27T00:00:00Z".to_owned()));
    let reason = Reason { code, message: "x".to_owned(), hint: "", stopped_at, exit_code: Some(137) };
    let status = Status { state: State::Failed, phase: None, ready: false, reason: Some(reason) };
    let stop = LastStop::of(&status, "arn:x:1", Timestamp::UNIX_EPOCH).unwrap();
    for World { one, two, kind: _kind, .. } in World::all().await {
        let mut held = one.acquire(&user(), AT_ONCE).await.unwrap();
        assert_eq!(one.last_stop(&user()).await.unwrap(), None);
        two.note_stop(&user(), stop.clone()).await.unwrap();
        let record = Record { deregistered: BTreeSet::from(["arn:x:1".to_owned()]), ..Record::default() };
        held.write(record.with_revisions(BTreeSet::from(["arn:x:2".to_owned()]))).await.unwrap();
        assert_eq!(one.last_stop(&user()).await.unwrap(), Some(stop.clone()));
        held.write(record.of_deleted()).await.unwrap();
        assert_eq!(two.last_stop(&user()).await.unwrap(), None);
        two.note_stop(&user(), stop.clone()).await.unwrap();
        assert_eq!(one.last_stop(&user()).await.unwrap(), Some(stop.clone()));
        held.remove().await.unwrap();
        assert_eq!(two.last_stop(&user()).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn giving_up_at_any_point_leaves_no_lock_and_no_queue() {
    for world in World::all().await {
        // While in the queue, and while another replica holds the user.
        let held = world.one.acquire(&user(), AT_ONCE).await.unwrap();
        for ledger in [&world.one, &world.two] {
            let given_up = tokio::time::timeout(Duration::from_secs(1), ledger.acquire(&user(), LONG)).await;
            assert!(given_up.is_err());
        }
        drop(held);
        world.assert_idle().await;
        // While it takes the lock: one poll starts that, and dropping the future gives it up.
        {
            let user = user();
            let mut acquiring = world.two.acquire(&user, LONG);
            let polled = std::future::poll_fn(|context| std::task::Poll::Ready(acquiring.as_mut().poll(context))).await;
            drop(polled);
        }
        world.one.acquire(&user(), LONG).await.unwrap();
    }
}
