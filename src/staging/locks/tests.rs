//! Locks between tasks, between "replicas" (two `UserLocks` on one root) and between processes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;

const AT_ONCE: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(60);
const CHILD_ROOT: &str = "OPENCLAW_PROVISIONER_TEST_LOCK_ROOT";

fn user() -> UserId {
    UserId::parse("u").unwrap()
}

fn replica(root: &TempDir) -> UserLocks {
    UserLocks::open(root.path()).unwrap()
}

fn lock_path(root: &TempDir) -> PathBuf {
    root.path().join(".provisioner/locks/u.lock")
}

fn is_busy<T>(result: Result<T, LockError>) -> bool {
    matches!(result, Err(LockError::Busy { .. }))
}

/// Incident 25: no lock at all. Two replicas, and two tasks of one, exclude each other; other users are not concerned.
#[tokio::test]
async fn a_user_is_held_by_one_task_of_one_replica() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (replica(&root), replica(&root));
    let held = one.acquire(&user(), AT_ONCE).await.unwrap();
    assert!(is_busy(one.acquire(&user(), AT_ONCE).await));
    assert!(is_busy(two.acquire(&user(), AT_ONCE).await));
    let _other = two.acquire(&UserId::parse("other").unwrap(), AT_ONCE).await.unwrap();
    drop(held);
    drop(two.acquire(&user(), AT_ONCE).await.unwrap());
    assert!(one.acquire(&user(), AT_ONCE).await.is_ok());
}

/// Incident 25: fcntl locks do not exclude threads, and do not survive a rename of the locked file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_that_is_read_and_replaced_under_the_lock_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let counter = root.path().join("counter");
    fs::write(&counter, "0").unwrap();
    let replicas = [replica(&root), replica(&root)];
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (locks, counter) = (replicas[task % 2].clone(), counter.clone());
            tokio::spawn(async move {
                for round in 0..5 {
                    let lock = locks.acquire(&user(), LONG).await.unwrap();
                    let count: u32 = fs::read_to_string(&counter).unwrap().parse().unwrap();
                    let new = counter.with_extension("new");
                    fs::write(&new, (count + 1).to_string()).unwrap();
                    fs::rename(new, &counter).unwrap();
                    // Retiring while others wait is the hard case: they hold a file without a name.
                    if round % 2 == 0 { lock.retire().await.unwrap() } else { drop(lock) }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(fs::read_to_string(&counter).unwrap(), "40");
    assert!(replicas.iter().all(|locks| locks.queues.lock().unwrap().is_empty()));
}

/// Incident 25: a lock on a file that somebody replaced is no lock.
#[tokio::test]
async fn a_lock_file_without_its_name_does_not_count() {
    let root = tempfile::tempdir().unwrap();
    let locks = replica(&root);
    drop(locks.acquire(&user(), AT_ONCE).await.unwrap());
    let nameless = fs::File::options().read(true).write(true).open(lock_path(&root)).unwrap();
    rustix::fs::flock(&nameless, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert!(is_busy(locks.acquire(&user(), AT_ONCE).await));
    fs::remove_file(lock_path(&root)).unwrap();
    let held = locks.acquire(&user(), AT_ONCE).await.unwrap();
    assert!(held.is_new());
}

/// Incident 25: whoever opened the file before its holder retired it locks a file without a name.
#[tokio::test]
async fn a_file_that_was_retired_after_it_was_opened_is_not_held() {
    let root = tempfile::tempdir().unwrap();
    let locks = replica(&root);
    let held = locks.acquire(&user(), AT_ONCE).await.unwrap();
    let (directory, name) = (directory(root.path()).unwrap(), file_name(&user()));
    let opened = directory.open(&name, FLAGS, Mode::empty()).unwrap();
    assert_eq!(lock(&directory, &name, &opened).unwrap(), Tried::Busy);
    held.retire().await.unwrap();
    assert_eq!(lock(&directory, &name, &opened).unwrap(), Tried::Nameless);
    let _next = locks.acquire(&user(), AT_ONCE).await.unwrap();
    assert_eq!(lock(&directory, &name, &opened).unwrap(), Tried::Nameless);
    let opened = directory.open(&name, FLAGS, Mode::empty()).unwrap();
    assert_eq!(lock(&directory, &name, &opened).unwrap(), Tried::Busy);
}

#[tokio::test]
async fn a_user_is_new_until_first_locked_and_again_after_retirement() {
    let root = tempfile::tempdir().unwrap();
    let locks = replica(&root);
    assert!(!locks.exists(&user()).await);
    let first = locks.acquire(&user(), AT_ONCE).await.unwrap();
    assert!(first.is_new() && locks.exists(&user()).await);
    drop(first);
    let second = locks.acquire(&user(), AT_ONCE).await.unwrap();
    assert!(!second.is_new());
    second.retire().await.unwrap();
    assert!(!locks.exists(&user()).await);
    assert!(locks.acquire(&user(), AT_ONCE).await.unwrap().is_new());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_deadline_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (replica(&root), replica(&root));
    let _held = one.acquire(&user(), AT_ONCE).await.unwrap();
    for (locks, by) in [(&one, ""), (&two, ", by another replica")] {
        let started = Instant::now();
        let error = locks.acquire(&user(), Duration::from_secs(7)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("user u was still locked after 7s{by}"));
        assert_eq!(started.elapsed(), Duration::from_secs(7));
    }
    assert!(two.queues.lock().unwrap().is_empty());
    // A timeout beyond the clock's range does not panic.
    assert!(two.acquire(&UserId::parse("free").unwrap(), Duration::MAX).await.is_ok());
}

#[tokio::test]
async fn whether_another_replica_holds_a_user_is_seen_without_a_trace() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (replica(&root), replica(&root));
    assert!(!one.is_held_elsewhere(&user(), AT_ONCE).await.unwrap());
    assert!(!lock_path(&root).exists());
    let held = one.acquire(&user(), AT_ONCE).await.unwrap();
    assert!(two.is_held_elsewhere(&user(), AT_ONCE).await.unwrap());
    // Its own holder is waited for.
    assert!(is_busy(one.is_held_elsewhere(&user(), AT_ONCE).await));
    drop(held);
    for locks in [&one, &two] {
        assert!(!locks.is_held_elsewhere(&user(), AT_ONCE).await.unwrap());
        drop(locks.acquire(&user(), AT_ONCE).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn giving_up_at_any_point_leaves_no_lock_and_no_queue() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (replica(&root), replica(&root));
    // While in the queue, and while another replica holds the file.
    let held = one.acquire(&user(), AT_ONCE).await.unwrap();
    for locks in [&one, &two] {
        let given_up = tokio::time::timeout(Duration::from_secs(1), locks.acquire(&user(), LONG)).await;
        assert!(given_up.is_err());
    }
    assert!(two.queues.lock().unwrap().is_empty());
    drop(held);
    assert!(one.queues.lock().unwrap().is_empty());
    // While the file is being locked: one poll starts the job, and dropping the future abandons it.
    {
        let user = user();
        let mut acquiring = std::pin::pin!(two.acquire(&user, LONG));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(acquiring.as_mut().poll(context))).await;
        drop(polled);
    }
    assert!(one.acquire(&user(), LONG).await.is_ok());
}

#[tokio::test]
async fn lock_files_are_private_and_a_link_in_their_place_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let locks = replica(&root);
    drop(locks.acquire(&user(), AT_ONCE).await.unwrap());
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([".provisioner", ".provisioner/locks", ".provisioner/locks/u.lock"].map(mode), [0o700, 0o700, 0o600]);
    fs::remove_file(lock_path(&root)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", lock_path(&root)).unwrap();
    let error = locks.acquire(&user(), AT_ONCE).await.unwrap_err();
    assert_eq!(error.to_string(), "could not lock user u");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "could not open .provisioner/locks/u.lock");
}

/// Incident 31, between processes; and the kernel lets go for a process that is killed.
#[tokio::test]
async fn another_process_is_excluded_and_a_killed_one_lets_go() {
    let root = tempfile::tempdir().unwrap();
    let locks = replica(&root);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", &child_test_name()])
        .env(CHILD_ROOT, root.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("the child holds the lock")));
    assert!(is_busy(locks.acquire(&user(), AT_ONCE).await));
    child.kill().unwrap();
    child.wait().unwrap();
    let held = locks.acquire(&user(), AT_ONCE).await.unwrap();
    assert!(!held.is_new());
}

/// Within whichever crate these files are compiled.
fn child_test_name() -> String {
    let (_, module) = module_path!().split_once("::").unwrap();
    format!("{module}::the_other_process")
}

#[tokio::test]
#[ignore = "run as a child process by another test"]
async fn the_other_process() {
    let Ok(root) = std::env::var(CHILD_ROOT) else {
        return;
    };
    let locks = UserLocks::open(Path::new(&root)).unwrap();
    let _held = locks.acquire(&user(), AT_ONCE).await.unwrap();
    println!("the child holds the lock");
    // Ends when the parent does, should it forget to kill us.
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}
