//! The test's side of a mount.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use super::kind::{Group, Kind};
use super::rules::Failure;
use super::server::{FUSERMOUNT, Order, Reply, SERVE, Served, unmount};

/// A mount of a backing directory. Dropping it ends it, whatever calls hang.
pub struct Mount {
    server: Child,
    orders: Mutex<BufReader<UnixStream>>,
    mountpoint: TempDir,
}

/// Why this machine cannot mount; `None` if it can.
pub fn missing() -> Option<String> {
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        return Some(format!("/dev/fuse: {error}"));
    }
    match Command::new(FUSERMOUNT).arg("-V").stdin(Stdio::null()).output() {
        Ok(_) => None,
        Err(error) => Some(format!("{FUSERMOUNT}: {error} (Debian: apt-get install fuse3)")),
    }
}

impl Mount {
    /// Mounts `backing`; the kernel caches names and attributes for `cached_for`. `arguments` make this executable
    /// call [`super::serve_if_asked`].
    pub fn new(backing: &Path, cached_for: Duration, arguments: &[&str]) -> Self {
        remove_leftovers();
        let mountpoint = tempfile::tempdir().unwrap();
        let served = Served {
            backing: backing.to_owned(),
            mountpoint: mountpoint.path().to_owned(),
            cached_millis: u64::try_from(cached_for.as_millis()).unwrap(),
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .env(SERVE, serde_json::to_string(&served).unwrap())
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self { server, orders: Mutex::new(BufReader::new(ours)), mountpoint };
        match this.reply() {
            Reply::Done => this,
            other => panic!("the file system could not be mounted: {other:?}"),
        }
    }

    pub fn path(&self) -> &Path {
        self.mountpoint.path()
    }

    /// Sets the milliseconds of each kind of call from now on; other kinds take no extra time.
    pub fn set_latencies(&self, latencies: BTreeMap<Kind, u64>) {
        self.tell(&Order::Latencies(latencies));
    }

    #[allow(dead_code, reason = "what measures uses it")]
    /// Sets latencies as reported for EFS: 1 ms for a read of names or attributes, 8 ms for a change of one, 10 ms for a
    /// sync. A write costs nothing by itself: NFS sends it with the sync.
    pub fn be_as_slow_as_efs(&self) {
        let of = |kind: Kind| match kind.group() {
            Group::Look | Group::Lock => 1,
            Group::Change if kind == Kind::Write => 0,
            Group::Change => 8,
            Group::Sync => 10,
            Group::End => 0,
        };
        self.set_latencies(Kind::ALL.iter().map(|kind| (*kind, of(*kind))).collect());
    }

    /// Makes new calls of these kinds hang until the next call of this function; calls under way go on.
    pub fn hang(&self, kinds: impl IntoIterator<Item = Kind>) {
        self.tell(&Order::Hang(kinds.into_iter().collect()));
    }

    /// Makes every call hang.
    pub fn hang_all(&self) {
        self.hang(Kind::ALL.iter().copied());
    }

    /// Ends all hanging; the hanging calls go on, in order.
    pub fn come_back(&self) {
        self.tell(&Order::Hang(BTreeSet::new()));
    }

    pub fn fail(&self, failure: Failure) {
        self.tell(&Order::Fail(failure));
    }

    /// No call fails any more.
    pub fn mend(&self) {
        self.tell(&Order::Mend);
    }

    /// Releases all locks that were taken through this mount, without notice to their holders. Returns how many.
    pub fn lose_locks(&self) -> usize {
        self.number(&Order::LoseLocks)
    }

    /// Number of calls that hang now.
    pub fn held(&self) -> usize {
        self.number(&Order::Held)
    }

    /// The calls of each kind since the last time.
    pub fn take_counts(&self) -> BTreeMap<Kind, u64> {
        match self.ask(&Order::TakeCounts) {
            Reply::Counts(counts) => counts,
            other => panic!("{other:?}"),
        }
    }

    /// Kills the server, as if the file server were gone for ever: the kernel fails every call.
    pub fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    fn number(&self, order: &Order) -> usize {
        match self.ask(order) {
            Reply::Number(number) => number,
            other => panic!("{other:?}"),
        }
    }

    fn tell(&self, order: &Order) {
        match self.ask(order) {
            Reply::Done => {}
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, order: &Order) -> Reply {
        let line = serde_json::to_string(order).unwrap();
        writeln!(self.orders.lock().unwrap().get_mut(), "{line}").unwrap();
        self.reply()
    }

    fn reply(&self) -> Reply {
        let mut line = String::new();
        self.orders.lock().unwrap().read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("the file system's server answers")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // In this order: the kernel fails hanging calls, and the mount of a dead server can always be removed.
        let _dead = self.server.kill();
        let _gone = self.server.wait();
        unmount(self.mountpoint.path());
    }
}

/// Removes leftovers of killed runs: mounts whose server is dead.
fn remove_leftovers() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(server), Some(mountpoint), Some("fuse.openclaw-test-efs")) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if !Path::new("/proc").join(server).exists() {
            unmount(Path::new(mountpoint));
        }
    }
}
