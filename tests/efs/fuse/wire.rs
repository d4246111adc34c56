//! Between the kernel and the passthrough: every request passes here, and is delayed, held or refused according to the rules.
//!
//! A request is a message that begins with its length, its opcode, an id and, later, the thread that waits for it; an
//! answer begins with its length, a negative errno and the id (linux/fuse.h: `fuse_in_header`, `fuse_out_header`).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::io::Errno;

use super::kind::Kind;
use super::rules::{Rules, Verdict};

/// The largest read and write: with their headers they fit into one message of a socket.
pub(super) const LARGEST_WRITE: u32 = 128 * 1024;
/// Buffer for a request: the kernel refuses reads that are smaller than the largest request.
const BUFFER: usize = LARGEST_WRITE as usize + 64 * 1024;
const INTERRUPT: u32 = 36;
/// How often it checks whether a hanging thread was killed.
const KILLS_EVERY: Duration = Duration::from_millis(10);

/// The wire: `device` is /dev/fuse, `inner` the socket that the passthrough uses in its place.
pub(super) struct Wire {
    device: OwnedFd,
    inner: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Rules,
    /// The name that each thread looked up last, with the directory.
    looked_up: BTreeMap<u32, (u64, Vec<u8>)>,
    /// Hanging requests, in the order of their arrival.
    held: BTreeMap<u64, Request>,
    arrived: u64,
}

struct Request {
    kind: Kind,
    id: u64,
    thread: u32,
    message: Vec<u8>,
}

impl Wire {
    pub(super) fn new(device: OwnedFd, inner: OwnedFd) -> Arc<Self> {
        Arc::new(Self { device, inner, state: Mutex::default() })
    }

    /// Starts to pass messages on; `ended` is called when the file system was unmounted.
    pub(super) fn run(self: &Arc<Self>, ended: impl FnOnce() + Send + 'static) {
        let this = Arc::clone(self);
        std::thread::spawn(move || {
            this.pass_requests();
            ended();
        });
        let this = Arc::clone(self);
        std::thread::spawn(move || this.pass_answers());
        let this = Arc::clone(self);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(KILLS_EVERY);
                this.let_killed_threads_go();
            }
        });
    }

    pub(super) fn with_rules<T>(&self, change: impl FnOnce(&mut Rules) -> T) -> T {
        change(&mut self.state().rules)
    }

    /// Passes on requests that no longer hang, in the order of their arrival.
    pub(super) fn let_go(&self) {
        let State { rules, held, .. } = &mut *self.state();
        for (_, request) in held.extract_if(.., |_, request| !rules.hanging.contains(&request.kind)) {
            self.pass(&request.message);
        }
    }

    /// How many requests hang.
    pub(super) fn held(&self) -> usize {
        self.state().held.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn pass_requests(self: &Arc<Self>) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let message = match rustix::io::read(&self.device, &mut buffer) {
                Ok(length) => &buffer[..length],
                // ENOENT: interrupted before it was read.
                Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
                // ENODEV: unmounted.
                Err(_) => return,
            };
            let opcode = u32_at(message, 4);
            let Some(kind) = Kind::of(opcode) else {
                // A thread got a signal while it waits. As with NFS, only a kill ends the wait, and a separate loop checks
                // for that.
                if opcode != INTERRUPT {
                    self.pass(message);
                }
                continue;
            };
            self.take(Request { kind, id: u64_at(message, 8), thread: u32_at(message, 32), message: message.to_vec() });
        }
    }

    fn take(self: &Arc<Self>, request: Request) {
        let State { rules, looked_up, held, arrived } = &mut *self.state();
        let name = request.kind.name_in(&request.message);
        if request.kind == Kind::Lookup {
            looked_up.extend(name.map(|name| (request.thread, name)));
        } else if looked_up.remove(&request.thread).is_some_and(|before| Some(before) == name) {
            // The kernel looks a name up before it creates it or renames to it; an NFS client does not
            // (fs/nfs/dir.c, nfs_lookup).
            rules.forgive(Kind::Lookup);
        }
        match rules.judge(request.kind) {
            Verdict::Pass => self.pass(&request.message),
            Verdict::Delay(time) => {
                let this = Arc::clone(self);
                std::thread::spawn(move || {
                    std::thread::sleep(time);
                    this.pass(&request.message);
                });
            }
            Verdict::Hang => {
                *arrived += 1;
                held.insert(*arrived, request);
            }
            Verdict::Fail(errno) => self.refuse(request.id, errno),
        }
    }

    fn let_killed_threads_go(&self) {
        for (_, request) in self.state().held.extract_if(.., |_, request| was_killed(request.thread)) {
            self.refuse(request.id, Errno::INTR.raw_os_error());
        }
    }

    fn pass(&self, message: &[u8]) {
        // The passthrough lives as long as this process.
        rustix::io::write(&self.inner, message).unwrap();
    }

    fn refuse(&self, id: u64, errno: i32) {
        let mut answer = 16u32.to_ne_bytes().to_vec();
        answer.extend((-errno).to_ne_bytes());
        answer.extend(id.to_ne_bytes());
        self.answer(&answer);
    }

    fn pass_answers(&self) {
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = rustix::io::read(&self.inner, &mut buffer) {
            self.answer(&buffer[..length]);
        }
    }

    fn answer(&self, message: &[u8]) {
        // ENOENT: no caller waits any more. ENODEV: unmounted meanwhile.
        let _nobody_waits = rustix::io::write(&self.device, message);
    }
}

/// Whether the thread has a pending SIGKILL, or is gone.
fn was_killed(thread: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{thread}/status")) else { return true };
    let pending = |line: &str| {
        let set = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    };
    // SIGKILL is number 9.
    status.lines().filter_map(pending).any(|signals| signals & (1 << 8) != 0)
}

fn u32_at(message: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(message[at..at + 4].try_into().unwrap())
}

fn u64_at(message: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(message[at..at + 8].try_into().unwrap())
}
