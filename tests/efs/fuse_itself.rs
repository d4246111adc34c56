//! Tests of the test file system itself: it does what other tests rely on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tempfile::tempdir;

use crate::fuse::{Failure, Group, Kind, Mount};
use crate::{mount, mount_believing};

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(20);

fn errno_of<T: std::fmt::Debug>(result: std::io::Result<T>) -> Errno {
    Errno::from_io_error(&result.unwrap_err()).unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process that reads a file, and waits without limit.
fn reader(path: &Path) -> Child {
    Command::new("cat").arg(path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

fn try_lock(file: &File) -> Result<(), Errno> {
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

#[test]
fn changes_through_a_mount_reach_the_backing_directory() {
    let backing = tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    let (here, there) = (efs.path(), backing.path());
    fs::create_dir_all(here.join("a/b")).unwrap();
    fs::write(here.join("a/b/c"), vec![7; 300_000]).unwrap();
    assert_eq!(fs::read(there.join("a/b/c")).unwrap(), vec![7; 300_000]);
    assert_eq!(fs::read(here.join("a/b/c")).unwrap(), vec![7; 300_000]);
    fs::set_permissions(here.join("a"), fs::Permissions::from_mode(0o711)).unwrap();
    assert_eq!(fs::metadata(there.join("a")).unwrap().mode() & 0o7777, 0o711);
    fs::rename(here.join("a/b"), here.join("a/d")).unwrap();
    std::os::unix::fs::symlink("d/c", here.join("a/link")).unwrap();
    fs::hard_link(here.join("a/d/c"), here.join("a/other")).unwrap();
    assert_eq!(fs::metadata(here.join("a/link")).unwrap().nlink(), 2);
    let mut names: Vec<_> = fs::read_dir(here.join("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["d", "link", "other"]);
    open(&here.join("a/d/c")).set_len(3).unwrap();
    assert_eq!(fs::read(there.join("a/other")).unwrap(), [7; 3]);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(here.join("a/other"), Some(1000), Some(1001)).unwrap();
        let owned = fs::metadata(there.join("a/d/c")).unwrap();
        assert_eq!((owned.uid(), owned.gid()), (1000, 1001));
    }
    fs::remove_dir_all(here.join("a")).unwrap();
    assert_eq!(fs::read_dir(there).unwrap().count(), 0);
}

#[test]
fn calls_are_counted_by_kind() {
    let backing = tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    efs.take_counts();
    let file = File::create(efs.path().join("new")).unwrap();
    rustix::io::write(&file, b"text").unwrap();
    file.sync_all().unwrap();
    fs::rename(efs.path().join("new"), efs.path().join("old")).unwrap();
    fs::remove_file(efs.path().join("old")).unwrap();
    let changed: BTreeMap<Kind, u64> =
        efs.take_counts().into_iter().filter(|(kind, _)| matches!(kind.group(), Group::Change | Group::Sync)).collect();
    let expected = [(Kind::Unlink, 1), (Kind::Rename, 1), (Kind::Write, 1), (Kind::Create, 1), (Kind::Fsync, 1)];
    assert_eq!(changed, BTreeMap::from(expected));
    assert!(efs.take_counts().into_keys().all(|kind| kind.group() == Group::End), "counted once");
}

#[test]
fn a_call_takes_as_long_as_configured() {
    let backing = tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    efs.set_latencies(BTreeMap::from([(Kind::Mkdir, 200)]));
    let start = Instant::now();
    let made: Vec<_> = (0..4).map(|n| efs.path().join(n.to_string())).collect();
    // At the same time: each waits only for itself. In separate directories, because the kernel allows only one change of
    // a directory at a time.
    made.iter().for_each(|path| fs::create_dir(path).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(800));
    let start = Instant::now();
    thread::scope(|scope| made.iter().for_each(|path| drop(scope.spawn(move || fs::create_dir(path.join("in"))))));
    let beside = start.elapsed();
    assert!(beside >= Duration::from_millis(200), "{beside:?}");
    assert!(made.iter().all(|path| path.join("in").is_dir()));
}

#[test]
fn a_hanging_call_continues_when_the_file_system_comes_back() {
    let backing = tempdir().unwrap();
    fs::write(backing.path().join("file"), "text").unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    efs.hang_all();
    let file = efs.path().join("file");
    let mut waiting = reader(&file);
    until("a call hangs", || efs.held() == 1);
    assert!(waiting.try_wait().unwrap().is_none());
    efs.come_back();
    assert!(waiting.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

#[test]
fn one_kind_of_call_can_hang_while_others_continue() {
    let backing = tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    efs.hang([Kind::Fsync]);
    let file = File::create(efs.path().join("file")).unwrap();
    thread::scope(|scope| {
        let syncing = scope.spawn(|| file.sync_all());
        until("the sync hangs", || efs.held() == 1);
        fs::write(efs.path().join("other"), "text").unwrap();
        assert!(!syncing.is_finished());
        efs.come_back();
        syncing.join().unwrap().unwrap();
    });
}

/// As on an NFS mount that is `hard`; otherwise no process over it could ever end.
#[test]
fn only_a_kill_ends_a_hanging_call() {
    let backing = tempdir().unwrap();
    fs::write(backing.path().join("file"), "text").unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    efs.hang_all();
    let mut waiting = reader(&efs.path().join("file"));
    until("a call hangs", || efs.held() == 1);
    let pid = rustix::process::Pid::from_child(&waiting);
    for signal in [rustix::process::Signal::STOP, rustix::process::Signal::CONT, rustix::process::Signal::WINCH] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    thread::sleep(Duration::from_millis(100));
    assert!(waiting.try_wait().unwrap().is_none());
    assert_eq!(efs.held(), 1);
    waiting.kill().unwrap();
    until("it is dead", || waiting.try_wait().unwrap().is_some());
    assert_eq!(efs.held(), 0);
}

#[test]
fn dropping_a_mount_ends_it_even_with_hanging_calls() {
    let backing = tempdir().unwrap();
    fs::write(backing.path().join("file"), "text").unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    let mountpoint = efs.path().to_owned();
    efs.hang_all();
    let mut waiting = reader(&mountpoint.join("file"));
    until("a call hangs", || efs.held() == 1);
    drop(efs);
    assert!(!waiting.wait().unwrap().success());
    assert_not_mounted(&mountpoint);
}

#[test]
fn a_panic_leaves_no_mount_behind() {
    let backing = tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    let mountpoint = efs.path().to_owned();
    let panicked = thread::spawn(move || {
        efs.hang_all();
        std::panic::resume_unwind(Box::new("as a failed assertion"));
    });
    assert!(panicked.join().is_err());
    assert_not_mounted(&mountpoint);
}

#[test]
fn a_dead_server_fails_calls_and_leaves_no_mount_behind() {
    let backing = tempdir().unwrap();
    let Some(mut efs) = mount(backing.path()) else { return };
    let mountpoint = efs.path().to_owned();
    efs.kill();
    assert_eq!(errno_of(fs::read_dir(&mountpoint)), Errno::NOTCONN);
    drop(efs);
    assert_not_mounted(&mountpoint);
}

fn assert_not_mounted(mountpoint: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(mountpoint.to_str().unwrap()), "{mounts}");
}

#[test]
fn calls_fail_from_the_nth_on_until_the_fault_is_removed() {
    let backing = tempdir().unwrap();
    let Some(efs) = mount(backing.path()) else { return };
    for errno in [Errno::IO, Errno::STALE, Errno::NOSPC, Errno::ROFS, Errno::DQUOT] {
        efs.fail(Failure::from_nth([Kind::Mkdir, Kind::Create], 3, errno));
        let path = |name: &str| efs.path().join(format!("{}-{name}", errno.raw_os_error()));
        fs::create_dir(path("1")).unwrap();
        File::create(path("2")).unwrap();
        assert_eq!(errno_of(fs::create_dir(path("3"))), errno);
        assert_eq!(errno_of(File::create(path("4"))), errno);
        fs::rename(path("1"), path("5")).unwrap();
        efs.mend();
        fs::create_dir(path("6")).unwrap();
    }
    efs.fail(Failure::only_nth([Kind::Mkdir], 2, Errno::IO));
    let made = ["a", "b", "c"].map(|name| fs::create_dir(efs.path().join(name)).map_err(|error| error.kind()));
    assert_eq!(made.map(|made| made.is_ok()), [true, false, true]);
}

#[test]
fn locks_of_two_mounts_exclude_each_other() {
    let backing = tempdir().unwrap();
    fs::write(backing.path().join("lock"), "").unwrap();
    let Some((one, other)) = two_mounts(backing.path()) else { return };
    let (ours, theirs) = (open(&one.path().join("lock")), open(&other.path().join("lock")));
    let again = open(&one.path().join("lock"));
    try_lock(&ours).unwrap();
    assert_eq!(try_lock(&again), Err(Errno::WOULDBLOCK));
    assert_eq!(try_lock(&theirs), Err(Errno::WOULDBLOCK));
    flock(&ours, FlockOperation::Unlock).unwrap();
    try_lock(&theirs).unwrap();
    drop(theirs);
    until("closing lets go", || try_lock(&again).is_ok());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| flock(&ours, FlockOperation::LockExclusive));
        assert!(!waiting.is_finished());
        flock(&again, FlockOperation::Unlock).unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn another_mount_can_take_a_lost_lock_without_notice_to_its_holder() {
    let backing = tempdir().unwrap();
    fs::write(backing.path().join("lock"), "").unwrap();
    let Some((one, other)) = two_mounts(backing.path()) else { return };
    let (ours, theirs) = (open(&one.path().join("lock")), open(&other.path().join("lock")));
    try_lock(&ours).unwrap();
    assert_eq!(one.lose_locks(), 1);
    assert_eq!(other.lose_locks(), 0);
    try_lock(&theirs).unwrap();
    rustix::io::pwrite(&ours, b"still mine", 0).unwrap();
    // Releasing the lost lock does not release the other one's lock.
    flock(&ours, FlockOperation::Unlock).unwrap();
    assert_eq!(try_lock(&ours), Err(Errno::WOULDBLOCK));
}

#[test]
fn a_name_is_cached_for_a_while_and_opening_it_asks_the_server() {
    let backing = tempdir().unwrap();
    let Some(one) = mount_believing(backing.path(), Duration::from_secs(3600)) else { return };
    let Some(other) = mount(backing.path()) else { return };
    let (here, there) = (one.path().join("file"), other.path().join("file"));
    fs::write(&here, "old").unwrap();
    let open = open(&here);
    assert!(!one.path().join("later").exists());
    fs::metadata(&here).unwrap();
    fs::write(other.path().join("new"), "new").unwrap();
    fs::rename(other.path().join("new"), &there).unwrap();
    assert_eq!(fs::metadata(&here).unwrap().ino(), open.metadata().unwrap().ino(), "still the old one");
    assert_eq!(fs::read_to_string(&here).unwrap(), "new");
    fs::metadata(&here).unwrap();
    fs::remove_file(&there).unwrap();
    assert!(fs::metadata(&here).is_ok(), "still believed");
    assert_eq!(fs::read(&here).unwrap_err().kind(), ErrorKind::NotFound);
    // A missing file is cached, too, until the client creates it itself.
    fs::write(other.path().join("later"), "").unwrap();
    assert!(!one.path().join("later").exists());
    let made = File::options().write(true).create_new(true).open(one.path().join("later"));
    assert_eq!(made.unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn a_file_removed_by_another_replica_is_stale_and_an_own_one_is_not() {
    let backing = tempdir().unwrap();
    let Some(one) = mount_believing(backing.path(), Duration::ZERO) else { return };
    let Some(other) = mount(backing.path()) else { return };
    let files = ["theirs", "ours"].map(|name| File::create(one.path().join(name)).unwrap());
    fs::remove_file(other.path().join("theirs")).unwrap();
    fs::remove_file(one.path().join("ours")).unwrap();
    let [theirs, ours] = files.map(|file| file.metadata().map(|metadata| metadata.nlink()));
    assert_eq!(errno_of(theirs), Errno::STALE);
    assert_eq!(ours.unwrap(), 0);
}

fn two_mounts(backing: &Path) -> Option<(Mount, Mount)> {
    Some((mount(backing)?, mount(backing)?))
}
