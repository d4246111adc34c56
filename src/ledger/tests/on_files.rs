//! Additional guarantees of the ledger on files: names, links, processes, and a store that fails.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::FlockOperation;

use super::*;

const CHILD_ROOT: &str = "OPENCLAW_PROVISIONER_TEST_LOCK_ROOT";

async fn ledger(root: &Path) -> FileLedger {
    let files = Files::new(root, Metrics::default()).unwrap();
    crate::staging::Staging::open(&files, None).await.unwrap();
    FileLedger::new(files, Metrics::default())
}

fn lock_path(root: &Path) -> PathBuf {
    root.join(".provisioner/locks/u.lock")
}

/// Incident 25: a lock on a file that somebody replaced is useless.
#[tokio::test]
async fn a_lock_file_without_its_name_does_not_count() {
    let root = tempfile::tempdir().unwrap();
    let ledger = ledger(root.path()).await;
    drop(ledger.acquire(&user(), AT_ONCE).await.unwrap());
    let nameless = fs::File::options().read(true).write(true).open(lock_path(root.path())).unwrap();
    // Another thread releases it.
    while rustix::fs::flock(&nameless, FlockOperation::NonBlockingLockExclusive).is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(is_busy(ledger.acquire(&user(), AT_ONCE).await));
    fs::remove_file(lock_path(root.path())).unwrap();
    assert!(ledger.acquire(&user(), AT_ONCE).await.unwrap().is_new());
}

#[tokio::test]
async fn lock_files_are_private_and_a_link_in_their_place_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let ledger = ledger(root.path()).await;
    let held = ledger.acquire(&user(), AT_ONCE).await.unwrap();
    held.verify().await.unwrap();
    drop(held);
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([".provisioner", ".provisioner/locks", ".provisioner/locks/u.lock"].map(mode), [0o700, 0o700, 0o600]);
    fs::remove_file(lock_path(root.path())).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", lock_path(root.path())).unwrap();
    let error = ledger.acquire(&user(), LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "could not lock user u");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "could not open .provisioner/locks/u.lock");
}

/// Without the file system, the mount point is an empty directory: a lock in it would exclude no other replica.
#[tokio::test]
async fn no_lock_is_taken_while_the_file_system_is_not_mounted() {
    let root = tempfile::tempdir().unwrap();
    let ledger = ledger(root.path()).await;
    fs::rename(root.path().join(".provisioner"), root.path().join("unmounted")).unwrap();
    let error = ledger.acquire(&user(), AT_ONCE).await.unwrap_err();
    let LedgerError::Unusable { source: StagingError::NotMounted { .. }, .. } = error else { panic!("{error:?}") };
    assert!(!root.path().join(".provisioner").exists());
}

/// The path must lead to the locked file.
#[tokio::test]
async fn a_lock_file_that_was_replaced_or_removed_under_its_holder_is_lost() {
    for replaced in [true, false] {
        let world = World::on_files().await;
        let Kind::Files { root, .. } = &world.kind else { panic!("not on files") };
        let held = world.one.acquire(&user(), AT_ONCE).await.unwrap();
        held.verify().await.unwrap();
        let content = fs::read(lock_path(root.path())).unwrap();
        fs::remove_file(lock_path(root.path())).unwrap();
        if replaced {
            fs::write(lock_path(root.path()), content).unwrap();
        }
        // An earlier check is trusted for some time.
        held.verify().await.unwrap();
        world.pass(VERIFIED_FOR);
        assert!(is_lost(held.verify().await));
        assert!(is_lost(held.remove().await));
        assert_eq!(lock_path(root.path()).exists(), replaced);
    }
}

/// A holder that is stopped between locking the file and writing its mark must not take the lock back with that write.
#[tokio::test(start_paused = true)]
async fn a_holder_that_is_overtaken_before_its_first_write_loses_and_the_other_does_not() {
    let world = World::on_files().await;
    // The lock is taken, but its first write has not begun when the time has passed.
    let stopped = world.one.acquire(&user(), AT_ONCE).await.unwrap();
    world.pass(VERIFIED_FOR);
    world.lose_lease();
    // On another thread: while this one waits for it, the first replica makes no progress.
    let overtake = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let other = world.two.acquire(&user(), AT_ONCE).await.unwrap();
            other.verify().await.unwrap();
            other
        })
    };
    let other = std::thread::scope(|scope| scope.spawn(overtake).join().unwrap());
    assert!(is_lost(stopped.verify().await));
    other.verify().await.unwrap();
}

/// Work that began under a lock keeps the lock while it hangs, even if nobody waits for it any more.
#[tokio::test]
async fn a_lock_is_held_as_long_as_work_under_it_continues() {
    let root = tempfile::tempdir().unwrap();
    let ledger = ledger(root.path()).await;
    let files = Files::new(root.path(), Metrics::default()).unwrap();
    let held = ledger.acquire(&user(), AT_ONCE).await.unwrap();
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let job = Job::of(&user()).under(Some(held.fence())).within(Duration::from_millis(20));
    let work = move |_: &crate::files::Root| {
        let _released = hangs.recv();
        Ok::<_, StagingError>(())
    };
    files.run(job, work).await.unwrap_err();
    drop(held);
    assert!(is_busy(ledger.acquire(&user(), Duration::from_millis(50)).await));
    drop(release);
    ledger.acquire(&user(), LONG).await.unwrap();
}

/// A kill in the middle of a write once left a line that blocked the user until somebody edited the file.
#[tokio::test]
async fn a_lock_file_in_the_old_format_is_read_and_blocks_nobody() {
    let root = tempfile::tempdir().unwrap();
    let ledger = ledger(root.path()).await;
    let arn = "arn:aws:ecs:eu-west-1:123456789012:task-definition/openclaw-dev-user:990";
    fs::write(lock_path(root.path()), format!("{arn}\n{}\n", &arn[1..])).unwrap();
    let mut held = ledger.acquire(&user(), AT_ONCE).await.unwrap();
    assert!(!held.is_new());
    assert_eq!(held.record(), &revisions(&[arn]));
    held.write(revisions(&["b"])).await.unwrap();
    assert_eq!(ledger.read(&user()).await.unwrap(), Some(revisions(&["b"])));
}

/// Incident 31, between processes; the kernel releases the lock of a killed process.
#[tokio::test]
async fn another_process_is_excluded_and_a_killed_one_releases_the_lock() {
    let root = tempfile::tempdir().unwrap();
    let ledger = ledger(root.path()).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", &child_test_name()])
        .env(CHILD_ROOT, root.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("the child holds the lock")));
    assert!(is_busy(ledger.acquire(&user(), AT_ONCE).await));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!ledger.acquire(&user(), LONG).await.unwrap().is_new());
}

/// The name of the child's test, in any crate that compiles this file.
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
    let ledger = ledger(Path::new(&root)).await;
    let held = ledger.acquire(&user(), AT_ONCE).await.unwrap();
    held.verify().await.unwrap();
    println!("the child holds the lock");
    // Ends with the parent, in case it does not kill this process.
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}
