//! Runs all work on files, and nothing else does.
//!
//! EFS is a hard mount: a call on it can take for ever (incident 22). So file work runs on threads of its own, of which
//! there is a bounded number; every call has a deadline; one user takes only a few turns at a time; and while the mount
//! does not answer, calls fail at once and one call at a time looks whether it is back.
//!
//! Work is a closure that is given the [`Root`]. There is no other way to one, so a file beneath the root cannot be
//! reached from a thread that serves others.

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

/// Calls at a time, each with a thread that a mount which does not answer can take.
const AT_A_TIME: usize = 32;
/// Threads beside theirs for what calls do side by side.
const SIDE_BY_SIDE: usize = 2 * AT_A_TIME;
/// And for the look whether the mount is back, and for unlocks, which nobody waits for.
const THREADS: usize = AT_A_TIME + SIDE_BY_SIDE + 4;
/// While as many calls as this hang, the mount counts as stuck, whatever a single look says.
const TOO_MANY_HANG: usize = AT_A_TIME / 2;
/// Between two looks whether the mount is back.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// How long a call may take unless it says less. EFS answers in milliseconds, and a user's whole staging is some fifty
/// calls.
pub const WITHIN: Duration = Duration::from_secs(10);
/// How long a hint may take: whoever asks for a status wants it now.
const HINTED_WITHIN: Duration = Duration::from_millis(500);

/// Why file work was not done, or is not known to be done.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The mount does not answer, so nothing was tried.
    #[error("the file system does not answer")]
    Stuck,
    /// Too many other calls are under way, so nothing was tried.
    #[error("the file system is too slow for what is asked of it")]
    Crowded,
    /// It was begun and had not ended in time. It changes nothing any more once a call of it returns.
    #[error("the file system has not answered within {} s", .within.as_secs_f32())]
    Overdue {
        /// How long it was waited for.
        within: Duration,
    },
    /// The work panicked, or the process is going down.
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

/// The lock under which work is done, and which it may have lost meanwhile.
pub trait Fence: fmt::Debug + Send + Sync {
    /// Whether the lock is still held. It is asked before every change, and looks again when its last look is old. It may
    /// block: only file work calls it.
    fn holds(&self, root: &Root) -> bool;

    /// Whether the last look is recent and found the lock held. Never blocks.
    fn is_recent(&self) -> bool;
}

/// What a piece of file work is for.
#[derive(Debug, Clone)]
pub struct Job {
    user: Option<UserId>,
    fence: Option<Arc<dyn Fence>>,
    within: Duration,
    is_hint: bool,
}

impl Job {
    /// Work that is no user's.
    #[must_use]
    pub const fn ours() -> Self {
        Self { user: None, fence: None, within: WITHIN, is_hint: false }
    }

    /// Work for a user.
    #[must_use]
    pub fn of(user: &UserId) -> Self {
        Self { user: Some(user.clone()), ..Self::ours() }
    }

    /// Work under a lock, where there is one: nothing is changed any more once it is lost. The lock lives as long as the
    /// work, also when nobody waits for that any more.
    #[must_use]
    pub fn under(self, fence: Option<Arc<dyn Fence>>) -> Self {
        Self { fence, ..self }
    }

    /// Work that an answer can go without: it has less time, and while the mount is slow it is not tried. It never makes other
    /// work fail.
    #[must_use]
    pub fn as_hint(self) -> Self {
        Self { within: HINTED_WITHIN, is_hint: true, ..self }
    }

    /// Work with another deadline.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }
}

/// The root of the file system, in the hands of file work.
#[derive(Debug)]
pub struct Root(Permit);

impl Root {
    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// What has to be asked before each change.
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

/// Threads for what one call does side by side.
#[derive(Debug)]
struct Helpers {
    threads: Handle,
    free: Arc<Semaphore>,
}

impl Permit {
    /// Does all of it at a time, for each takes a round trip to the file system or several. What no thread is free for is done on
    /// this one.
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
        // Looking at the lock is reading, which needs no permission itself.
        self.fence.as_ref().is_none_or(|fence| fence.holds(&Root(Self { fence: None, ..self.clone() })))
    }
}

/// How the mount answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Answers,
    /// A hint was late: hints are not tried.
    Slow,
    /// A call was late: nothing is tried.
    Stuck,
}

/// How far a call is: [`RUNNING`], [`OVERDUE`] or [`ENDED`].
const RUNNING: u8 = 0;
/// Nobody waits for it any more.
const OVERDUE: u8 = 1;
const ENDED: u8 = 2;

/// The threads that file work runs on.
enum Threads {
    /// Its own.
    Own(Option<Runtime>),
    /// Those of a runtime that somebody else has.
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
            // Never waits: a thread that hangs in the kernel ends with the process.
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
    /// Calls that nobody waits for any more and that have not ended.
    hanging: AtomicUsize,
    metrics: Metrics,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("root", &self.0.root).finish_non_exhaustive()
    }
}

impl Files {
    /// File work beneath `root`, on threads of its own, counted in `metrics`.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn new(root: &Path, metrics: Metrics) -> std::io::Result<Self> {
        let threads = Builder::new_current_thread().thread_name("files").max_blocking_threads(THREADS).build()?;
        Ok(Self::with(Threads::Own(Some(threads)), root, metrics))
    }

    /// File work on the blocking threads of the runtime that calls. A paused clock waits for it then: for tests.
    #[must_use]
    pub fn on_this_runtime(root: &Path, metrics: Metrics) -> Self {
        Self::with(Threads::Of(Handle::current()), root, metrics)
    }

    fn with(threads: Threads, root: &Path, metrics: Metrics) -> Self {
        let (health, _) = watch::channel(Health::Answers);
        let turns = Turns::new(AT_A_TIME);
        let spare = match threads {
            Threads::Own(_) => SIDE_BY_SIDE,
            // How many there are, nobody says: work that waits for one more may wait for ever.
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

    /// Whether the mount does not answer at present.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        *self.0.health.borrow() == Health::Stuck
    }

    /// Does `work`, and waits for it at most as long as the job says. Dropping the future does not stop work that has
    /// begun.
    ///
    /// # Errors
    /// What the work says; [`Unavailable`] when it could not be begun or has not ended in time.
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
            // The lock first: whoever is given the turn may want it.
            drop(root);
            drop(turn);
            result
        });
        match timeout_at(deadline, &mut begun).await {
            Ok(ended) => ended.map_err(Unavailable::CutShort),
            Err(_) => {
                // Counted first: it may end at this very moment, and is taken off the count then.
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

    /// Does `work` after all that is under way, without anybody waiting for it: for what a `Drop` has to do.
    pub fn detach(&self, work: impl FnOnce() + Send + 'static) {
        drop(self.0.threads.spawn(work));
    }

    /// Waits for a turn, unless the mount answers as badly as `late`.
    async fn turn(&self, user: Option<&UserId>, deadline: Instant, late: Health) -> Result<Turn, Unavailable> {
        let mut health = self.0.health.subscribe();
        let turn = async {
            tokio::select! {
                // In this order: with the mount stuck, a free turn is no reason to lose a thread.
                biased;
                _ = health.wait_for(|health| *health >= late) => Err(Unavailable::Stuck),
                turn = self.0.turns.take(user) => Ok(turn),
            }
        };
        timeout_at(deadline, turn).await.unwrap_or(Err(Unavailable::Crowded))
    }

    /// The mount answers as badly as that, until a look has shown that it answers.
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

/// One look at a time: it may hang as other calls do.
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

/// Writes a byte and syncs it: what a client has in its cache proves nothing. An error is an answer too.
fn look(root: &Path) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let looked = rustix::fs::open(root.join(".provisioner/probe"), flags, Mode::RUSR | Mode::WUSR).and_then(|file| {
        rustix::io::pwrite(&file, b"\n", 0)?;
        rustix::fs::fsync(&file)
    });
    if let Err(errno) = looked {
        tracing::debug!(%errno, "the file system answers a look with an error");
    }
}

#[cfg(test)]
mod tests;
