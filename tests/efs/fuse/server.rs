//! The server process of a mount, and its orders.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::passthrough::Passthrough;
use super::rules::{Failure, Latencies};
use super::wire::Wire;

/// The variable that says what a process has to serve; not an argument, because the test harness uses those.
pub(super) const SERVE: &str = "PROVISIONER_TEST_EFS";
pub(super) const FUSERMOUNT: &str = "fusermount3";

/// What a server has to serve.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Served {
    pub(super) backing: PathBuf,
    pub(super) mountpoint: PathBuf,
    pub(super) cached_millis: u64,
}

/// An order; each is one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    Latencies(Latencies),
    /// From now on exactly these kinds hang.
    Hang(BTreeSet<Kind>),
    Fail(Failure),
    /// No call fails any more.
    Mend,
    LoseLocks,
    TakeCounts,
    /// How many calls hang now.
    Held,
}

/// The answer to an order, or the message that the mount is ready.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Done,
    Number(usize),
    Counts(BTreeMap<Kind, u64>),
    NotMounted(String),
}

/// Serves a mount, if this process was started for that, and then exits.
pub fn serve_if_asked() {
    if let Some(served) = std::env::var_os(SERVE) {
        let served: Served = serde_json::from_str(served.to_str().unwrap()).unwrap();
        serve(&served);
        std::process::exit(0);
    }
}

fn serve(served: &Served) {
    let orders = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut answers = orders.try_clone().unwrap();
    let mut answer = |reply: &Reply| {
        let line = serde_json::to_string(reply).unwrap();
        // The test may be gone; the next read will show that.
        let _gone = writeln!(answers, "{line}");
    };
    let device = match mount(&served.mountpoint) {
        Ok(device) => device,
        Err(why) => return answer(&Reply::NotMounted(why)),
    };
    let cached_for = Duration::from_millis(served.cached_millis);
    let passthrough = Passthrough::over(&served.backing, cached_for).unwrap();
    let wire = start(device, passthrough.clone());
    answer(&Reply::Done);
    for line in BufReader::new(orders).lines() {
        let Ok(line) = line else { break };
        answer(&obey(&wire, &passthrough, serde_json::from_str(&line).unwrap()));
    }
    // No more orders. Waiting calls get an error when this process ends.
    unmount(&served.mountpoint);
}

fn obey(wire: &Arc<Wire>, passthrough: &Passthrough, order: Order) -> Reply {
    match order {
        Order::Latencies(latencies) => wire.with_rules(|rules| rules.latencies = latencies),
        Order::Hang(kinds) => {
            wire.with_rules(|rules| rules.hanging = kinds);
            wire.let_go();
        }
        Order::Fail(failure) => wire.with_rules(|rules| rules.fail(failure)),
        Order::Mend => wire.with_rules(super::rules::Rules::mend),
        Order::LoseLocks => return Reply::Number(passthrough.lose_locks()),
        Order::TakeCounts => return Reply::Counts(wire.with_rules(super::rules::Rules::take_counts)),
        Order::Held => return Reply::Number(wire.held()),
    }
    Reply::Done
}

fn start(device: OwnedFd, passthrough: Passthrough) -> Arc<Wire> {
    let (outer, inner) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let wire = Wire::new(device, outer);
    wire.run(|| std::process::exit(0));
    std::thread::spawn(move || {
        // The handshake with the kernel comes first, through the wire.
        let session = fuser::Session::from_fd(passthrough, inner, fuser::SessionACL::All, fuser::Config::default());
        session.unwrap().run().unwrap();
    });
    wire
}

/// Mounts, and returns the descriptor of the kernel's requests. Uses fusermount3, which needs no root; it sends the
/// descriptor through a socket.
fn mount(mountpoint: &Path) -> Result<OwnedFd, String> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mounted = Command::new(FUSERMOUNT)
        .args(["-o", &format!("fsname={},subtype=openclaw-test-efs", std::process::id()), "--"])
        .arg(mountpoint)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !mounted.status.success() {
        return Err(String::from_utf8_lossy(&mounted.stderr).into_owned());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [std::io::IoSliceMut::new(&mut byte)];
    recvmsg(&ours, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC).map_err(|errno| errno.to_string())?;
    let mut sent = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    sent.next().and_then(|mut descriptors| descriptors.next()).ok_or_else(|| "no descriptor was sent".to_owned())
}

/// Removes the mount at once, even if it is in use or its server is dead.
pub(super) fn unmount(mountpoint: &Path) {
    let _not_mounted_any_more =
        Command::new(FUSERMOUNT).args(["-u", "-q", "-z", "--"]).arg(mountpoint).stdin(Stdio::null()).output();
}
