//! Runs all work on files; no other code touches the file system.
//!
//! EFS is a hard mount: a call on it can take for ever (incident 22). So file work runs on its own threads, of limited
//! number; every call has a deadline; one user takes only a few turns at a time; and while the mount does not answer, calls
//! fail at once, and one call at a time checks whether it answers again.
//!
//! Work is a closure that receives the [`Root`]. There is no other way to get one, so a thread that serves other requests
//! cannot reach a file beneath the root.

mod clock;
mod turns;

use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

pub use clock::{Clock, boot_time};

use crate::domain::UserId;
use crate::metrics::Metrics;
use turns::{Turn, Turns};

/// The most calls at the same time. Each has a thread, which hangs if the mount does not answer.
const AT_A_TIME: usize = 32;
/// Additional threads for parallel work within calls.
const SIDE_BY_SIDE: usize = 2 * AT_A_TIME;
/// All threads, including those for checks whether the mount answers again, and for unlocks, which nobody waits for.
const THREADS: usize = AT_A_TIME + SIDE_BY_SIDE + 4;
/// While this many calls hang, the mount counts as stuck, even if a single check succeeds.
const TOO_MANY_HANG: usize = AT_A_TIME / 2;
/// Pause between two checks whether the mount answers again.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// Default time limit of a call. EFS answers in milliseconds, and staging a user takes about fifty calls.
pub const WITHIN: Duration = Duration::from_secs(10);
/// Time limit of a hint: a caller who asks for a status should not wait long.
const HINTED_WITHIN: Duration = Duration::from_millis(500);

/// Why file work was not done, or may not be done.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The mount does not answer, so nothing was tried.
    #[error("the file system does not answer")]
    Stuck,
    /// Too many other calls are running, so nothing was tried.
    #[error("the file system is too slow for the number of calls")]
    Crowded,
    /// The work began and did not end in time. It makes no further change after its present call returns.
    #[error("the file system has not answered within {} s", .within.as_secs_f32())]
    Overdue {
        /// How long the caller waited.
        within: Duration,
    },
    /// The work panicked, or the process is stopping.
    #[error("work on files was cut short")]
    CutShort(#[source] tokio::task::JoinError),
}

impl Unavailable {
    const fn why(&self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Crowded => "crowded",
            Self::Overdue { .. } => "overdue",
            Self::CutShort(_) => "cut_short",
        }
    }
}

/// The lock under which work is done, and which may be lost meanwhile.
pub trait Fence: fmt::Debug + Send + Sync {
    /// Whether the lock is still held. Called before every change; checks the lock again if its last check is old. It may
    /// block, so only file work calls it.
    fn holds(&self, root: &Root) -> bool;

    /// Whether the last check is recent and found the lock held. Never blocks.
    fn is_recent(&self) -> bool;
}

/// User, lock and time limit of a piece of file work.
#[derive(Debug, Clone)]
pub struct Job {
    user: Option<UserId>,
    fence: Option<Arc<dyn Fence>>,
    within: Duration,
    is_hint: bool,
}

impl Job {
    /// Work that belongs to no user.
    #[must_use]
    pub const fn ours() -> Self {
        Self { user: None, fence: None, within: WITHIN, is_hint: false }
    }

    /// Work for a user.
    #[must_use]
    pub fn of(user: &UserId) -> Self {
        Self { user: Some(user.clone()), ..Self::ours() }
    }

    /// Work under a lock, if there is one: after the lock is lost, nothing more is changed. The lock is held as long as the
    /// work runs, even if nobody waits for it any more.
    #[must_use]
    pub fn under(self, fence: Option<Arc<dyn Fence>>) -> Self {
        Self { fence, ..self }
    }

    /// Optional work: an answer is complete without it. It has less time, is not tried while the mount is slow, and never
    /// makes other work fail.
    #[must_use]
    pub fn as_hint(self) -> Self {
        Self { within: HINTED_WITHIN, is_hint: true, ..self }
    }

    /// Work with another time limit.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }
}

/// The root of the file system, which only file work has.
#[derive(Debug)]
pub struct Root(Permit);

impl Root {
    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// The permit, which must be checked before each change.
    #[must_use]
    pub const fn permit(&self) -> &Permit {
        &self.0
    }
}

/// Whether file work may still change something. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Permit {
    root: Arc<Path>,
    fence: Option<Arc<dyn Fence>>,
    progress: Arc<AtomicU8>,
    helpers: Arc<Helpers>,
}

/// Threads for parallel work within a call.
#[derive(Debug)]
struct Helpers {
    threads: Handle,
    free: Arc<Semaphore>,
}

impl Permit {
    /// Does all works in parallel, because each takes at least one round trip to the file system. If no thread is free, this
    /// thread does the work.
    pub fn side_by_side<W, R>(&self, mut works: Vec<W>) -> Vec<R>
    where
        W: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let Some(last) = works.pop() else { return Vec::new() };
        let Helpers { threads, free } = &*self.helpers;
        let begin = |work: W| match Arc::clone(free).try_acquire_owned() {
            Ok(thread) => Ok(threads.spawn_blocking(move || {
                let done = work();
                drop(thread);
                done
            })),
            Err(_) => Err(work()),
        };
        let end = |begun: Result<JoinHandle<R>, R>| match begun {
            Ok(thread) => threads.block_on(thread).unwrap_or_else(|error| {
                let panic = error.try_into_panic();
                resume_unwind(panic.unwrap_or_else(|error| Box::new(error.to_string())))
            }),
            Err(done) => done,
        };
        let begun: Vec<_> = works.into_iter().map(begin).collect();
        let last = last();
        begun.into_iter().map(end).chain([last]).collect()
    }

    /// Whether somebody still waits for the work, and its lock is held.
    #[must_use]
    pub fn holds(&self) -> bool {
        if self.progress.load(Ordering::Acquire) != RUNNING {
            return false;
        }
        // Checking the lock only reads, so it needs no permit itself.
        self.fence.as_ref().is_none_or(|fence| fence.holds(&Root(Self { fence: None, ..self.clone() })))
    }
}

/// State of the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Answers,
    /// A hint was late, so no hints are tried.
    Slow,
    /// A call was late, so nothing is tried.
    Stuck,
}

/// State of a call: [`RUNNING`], [`OVERDUE`] or [`ENDED`].
const RUNNING: u8 = 0;
/// Nobody waits for it any more.
const OVERDUE: u8 = 1;
const ENDED: u8 = 2;

/// The threads that file work runs on.
enum Threads {
    /// Own threads.
    Own(Option<Runtime>),
    /// The threads of another runtime.
    Of(Handle),
}

impl Threads {
    fn handle(&self) -> Handle {
        match self {
            Self::Own(Some(runtime)) => runtime.handle().clone(),
            Self::Own(None) => Handle::current(),
            Self::Of(handle) => handle.clone(),
        }
    }

    fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match self {
            Self::Own(Some(runtime)) => runtime.spawn_blocking(work),
            Self::Own(None) => Handle::current().spawn_blocking(work),
            Self::Of(handle) => handle.spawn_blocking(work),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Self::Own(runtime) = self
            && let Some(runtime) = runtime.take()
        {
            // Does not wait: a thread that hangs in the kernel ends with the process.
            runtime.shutdown_background();
        }
    }
}

/// Runs file work beneath one root. Cheap to clone; clones share threads and turns.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    threads: Threads,
    helpers: Arc<Helpers>,
    root: Arc<Path>,
    turns: Turns,
    health: watch::Sender<Health>,
    /// Calls that have not ended although nobody waits for them any more.
    hanging: AtomicUsize,
    metrics: Metrics,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("root", &self.0.root).finish_non_exhaustive()
    }
}

impl Files {
    /// File work beneath `root`, on its own threads, counted in `metrics`.
    ///
    /// # Errors
    /// When the system refuses more threads.
    pub fn new(root: &Path, metrics: Metrics) -> std::io::Result<Self> {
        let threads = Builder::new_current_thread().thread_name("files").max_blocking_threads(THREADS).build()?;
        Ok(Self::with(Threads::Own(Some(threads)), root, metrics))
    }

    /// File work on the blocking threads of the caller's runtime. For tests, because a paused clock then waits for it.
    #[must_use]
    pub fn on_this_runtime(root: &Path, metrics: Metrics) -> Self {
        Self::with(Threads::Of(Handle::current()), root, metrics)
    }

    fn with(threads: Threads, root: &Path, metrics: Metrics) -> Self {
        let (health, _) = watch::channel(Health::Answers);
        let turns = Turns::new(AT_A_TIME);
        let spare = match threads {
            Threads::Own(_) => SIDE_BY_SIDE,
            // The number of threads is unknown, and work that waits for one more may wait for ever.
            Threads::Of(_) => 0,
        };
        let helpers = Arc::new(Helpers { threads: threads.handle(), free: Arc::new(Semaphore::new(spare)) });
        let hanging = AtomicUsize::new(0);
        metrics.files_stuck(false);
        Self(Arc::new(Inner { threads, helpers, root: root.into(), turns, health, hanging, metrics }))
    }

    /// Where the root is mounted, for messages.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Whether the mount does not answer now.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        *self.0.health.borrow() == Health::Stuck
    }

    /// Does `work`, and waits for it at most as long as the job's time limit. Dropping the future does not stop work that has
    /// begun.
    ///
    /// # Errors
    /// Errors of the work; [`Unavailable`] when it could not begin or did not end in time.
    pub async fn run<T, E>(&self, job: Job, work: impl FnOnce(&Root) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        match self.run_in_time(job, work).await {
            Ok(result) => result,
            Err(unavailable) => {
                self.0.metrics.files_unavailable(unavailable.why());
                Err(unavailable.into())
            }
        }
    }

    async fn run_in_time<T: Send + 'static>(
        &self,
        Job { user, fence, within, is_hint }: Job,
        work: impl FnOnce(&Root) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let deadline = Instant::now() + within;
        let late = if is_hint { Health::Slow } else { Health::Stuck };
        let turn = self.turn(user.as_ref(), deadline, late).await?;
        let progress = Arc::new(AtomicU8::new(RUNNING));
        let (root, helpers) = (Arc::clone(&self.0.root), Arc::clone(&self.0.helpers));
        let root = Root(Permit { root, fence, progress: Arc::clone(&progress), helpers });
        let this = Arc::downgrade(&self.0);
        let mut begun = self.0.threads.spawn(move || {
            let result = work(&root);
            if root.0.progress.swap(ENDED, Ordering::AcqRel) == OVERDUE
                && let Some(inner) = this.upgrade()
            {
                inner.hanging.fetch_sub(1, Ordering::AcqRel);
            }
            // The lock first: the next to get the turn may need it.
            drop(root);
            drop(turn);
            result
        });
        match timeout_at(deadline, &mut begun).await {
            Ok(ended) => ended.map_err(Unavailable::CutShort),
            Err(_) => {
                // Count it first: it may end at this moment, and then reduces the count.
                self.0.hanging.fetch_add(1, Ordering::AcqRel);
                if progress.compare_exchange(RUNNING, OVERDUE, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    self.0.hanging.fetch_sub(1, Ordering::AcqRel);
                    return begun.await.map_err(Unavailable::CutShort);
                }
                self.report(late);
                Err(Unavailable::Overdue { within })
            }
        }
    }

    /// Does `work` on a thread without waiting for it; for use in a `Drop`.
    pub fn detach(&self, work: impl FnOnce() + Send + 'static) {
        drop(self.0.threads.spawn(work));
    }

    /// Waits for a turn, unless the mount is in state `late` or worse.
    async fn turn(&self, user: Option<&UserId>, deadline: Instant, late: Health) -> Result<Turn, Unavailable> {
        let mut health = self.0.health.subscribe();
        let turn = async {
            tokio::select! {
                // In this order: while the mount is stuck, even a free turn must not cost a thread.
                biased;
                _ = health.wait_for(|health| *health >= late) => Err(Unavailable::Stuck),
                turn = self.0.turns.take(user) => Ok(turn),
            }
        };
        timeout_at(deadline, turn).await.unwrap_or(Err(Unavailable::Crowded))
    }

    /// Sets the mount's state to at least `late`, until a check shows that it answers.
    fn report(&self, late: Health) {
        let mut before = late;
        self.0.health.send_if_modified(|health| {
            before = *health;
            *health = late.max(before);
            *health != before
        });
        if before < Health::Stuck && late == Health::Stuck {
            tracing::warn!(root = %self.0.root.display(), "the file system does not answer; calls on it fail until it does");
            self.0.metrics.files_stuck(true);
        }
        if before == Health::Answers {
            tokio::spawn(look_until_it_answers(Arc::downgrade(&self.0)));
        }
    }
}

/// Checks the mount until it answers; one check at a time, because it may hang like other calls.
async fn look_until_it_answers(files: Weak<Inner>) {
    let since = Instant::now();
    loop {
        let Some(inner) = files.upgrade() else { return };
        let root = Arc::clone(&inner.root);
        let look = inner.threads.spawn(move || look(&root));
        drop(inner);
        let looked = look.await;
        let Some(inner) = files.upgrade() else { return };
        if looked.is_ok() && inner.hanging.load(Ordering::Acquire) < TOO_MANY_HANG {
            if inner.health.send_replace(Health::Answers) == Health::Stuck {
                let seconds = since.elapsed().as_secs_f32();
                tracing::info!(root = %inner.root.display(), seconds, "the file system answers again");
                inner.metrics.files_stuck(false);
            }
            return;
        }
        drop(inner);
        tokio::time::sleep(LOOKS_EVERY).await;
    }
}

/// Checks the mount: writes a byte and syncs it, because an answer from the client's cache proves nothing. An error is an
/// answer, too.
fn look(root: &Path) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let looked = rustix::fs::open(root.join(".provisioner/probe"), flags, Mode::RUSR | Mode::WUSR).and_then(|file| {
        rustix::io::pwrite(&file, b"\n", 0)?;
        rustix::fs::fsync(&file)
    });
    if let Err(errno) = looked {
        tracing::debug!(%errno, "the file system answers a check with an error");
    }
}

#[cfg(test)]
mod tests;
