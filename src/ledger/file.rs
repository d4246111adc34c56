//! The ledger on EFS: one lock file per user beneath `.provisioner/locks`.
//!
//! Two layers: within this process a fair queue per user, so that tasks wait in order instead of polling; between
//! replicas `flock` on the lock file. The lock file is never replaced by rename, and `flock` belongs to the open file, so
//! unlike `fcntl` it also excludes threads (incident 25). If a process is killed, the kernel or the NFS lease releases the
//! lock; if it is only stopped, the lease alone does. So the file also names its holder, see [`Holding::look`].

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::kept_files::{LEFT_OVER, SIZES};
use super::pending::{Ask, Listed, Noted, Pending, PendingSlot};
use super::queue::{QueueTurn, Queues};
use super::slots::{Entry, Newest};
use super::{Hold, Ledger, LedgerError, Record, VERIFIED_FOR, stops};
use super::{fleet_files, pending_files, rollout_files};
use crate::domain::{DirectorySize, LastStop, Promotion, UserId};
use crate::files::{Clock, Fence, Files, Job, Root, boot_time};
use crate::metrics::Metrics;
use crate::staging::jail::{Dir, Name, identity};
use crate::staging::{StagingError, paths};

/// Flags of a lock file. On NFS, flock becomes a write lock on the server, which needs a file that is open for writing.
const FLAGS: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// Suffix of a lock file's name. No user id contains a full stop.
const SUFFIX: &str = ".lock";
/// Pause between tries of a lock that another replica holds, with jitter, so that replicas do not try at the same time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// If a lock file disappears this often in one try, it counts as busy.
const RACES_ENDURED: u32 = 16;
/// The longest timeout; it means "wait for ever", without overflowing the clock.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
/// Time limit for checking whether another replica has a lock.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// The most names that are listed: EFS has at most ten thousand access points.
const MOST_NAMES: usize = 200_000;

/// The ledger on EFS. Cheap to clone; clones share the queues.
#[derive(Clone)]
pub struct FileLedger {
    files: Files,
    queues: Queues,
    clock: Clock,
    metrics: Metrics,
    #[cfg(test)]
    held: Arc<Mutex<std::collections::HashMap<UserId, std::sync::Weak<Holding>>>>,
}

impl fmt::Debug for FileLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLedger").field("files", &self.files).finish_non_exhaustive()
    }
}

/// A user who is held.
#[derive(Debug)]
pub(super) struct FileHold {
    holding: Arc<Holding>,
    is_new: bool,
    record: Record,
    /// The first write to the file, while it goes on beside other work.
    announcing: tokio::sync::Mutex<Option<JoinHandle<Result<(), LedgerError>>>>,
}

/// The locked file, shared with file work under the lock: it is unlocked when the last such work has ended.
pub(super) struct Holding {
    locked: Locked,
    /// Dropped after the file is unlocked, so that the next in the queue finds it free.
    place: Option<QueueTurn>,
    user: UserId,
    /// Marks in the file that this acquisition holds it.
    generation: String,
    newest: Mutex<Newest>,
    /// Whether there is a note on accepted work of the user.
    is_noted: AtomicBool,
    lost: AtomicBool,
    /// When the last successful check of the lock began, in milliseconds of `clock`.
    looked_at: AtomicU64,
    clock: Clock,
    metrics: Metrics,
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding").field("user", &self.user).field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// A locked file.
struct Locked {
    /// `None` after the file was moved out for unlocking.
    file: Option<OwnedFd>,
    files: Files,
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.files.detach(move || unlock(&file));
        }
    }
}

fn unlock(file: &OwnedFd) {
    // Closing is not enough: a process that is being spawned has a copy of the descriptor until it execs.
    let _closing_follows = rustix::fs::flock(file, FlockOperation::Unlock);
}

impl Drop for Holding {
    fn drop(&mut self) {
        // Not on this thread: an unlock may take long on a slow mount, and this thread may serve everybody.
        let (file, place) = (self.locked.file.take(), self.place.take());
        self.locked.files.detach(move || {
            if let Some(file) = file {
                unlock(&file);
            }
            drop(place);
        });
    }
}

impl FileLedger {
    /// The ledger beneath the root of `files`.
    #[must_use]
    pub fn new(files: Files, metrics: Metrics) -> Self {
        let (queues, clock) = (Queues::default(), Arc::new(boot_time));
        Self {
            files,
            queues,
            clock,
            metrics,
            #[cfg(test)]
            held: Arc::default(),
        }
    }

    pub(super) async fn hold(&self, user: &UserId, timeout: Duration, first: Record) -> Result<FileHold, LedgerError> {
        let started = Instant::now();
        let deadline = started + timeout.min(LONGEST_TIMEOUT);
        let place = self.place(user, started, deadline).await?;
        let mut pause = FIRST_PAUSE;
        loop {
            let (files, clock) = (self.files.clone(), Arc::clone(&self.clock));
            // If this future is dropped here, the job's result is dropped when it arrives, and the lock with it.
            if let Some(taken) = self.run(user, move |root, user| try_lock(root, user, files, &clock)).await? {
                return Ok(self.taken(place, taken, first));
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(LedgerError::Busy { user_id: user.clone(), waited: now - started, elsewhere: true });
            }
            sleep_until((now + pause.mul_f64(0.5 + fastrand::f64() / 2.0)).min(deadline)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn taken(&self, place: QueueTurn, Taken { locked, is_new, newest, looked_at }: Taken, first: Record) -> FileHold {
        let record = if is_new { first } else { newest.entry.record.clone() };
        let holding = Arc::new(Holding {
            locked,
            user: place.user.clone(),
            place: Some(place),
            generation: format!("{:016x}", fastrand::u64(..)),
            is_noted: AtomicBool::new(newest.entry.is_noted),
            newest: Mutex::new(newest),
            lost: AtomicBool::new(false),
            looked_at: AtomicU64::new(looked_at),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
        });
        #[cfg(test)]
        self.held.lock().unwrap().insert(holding.user.clone(), Arc::downgrade(&holding));
        let writer = Arc::clone(&holding);
        let (files, job) = (self.files.clone(), Job::of(&holding.user));
        let (user, begins_with) = (holding.user.clone(), record.clone());
        let announcing = tokio::spawn(async move {
            let written = files.run(job, move |root| writer.put(root, |entry| entry.record = begins_with)).await;
            written.map_err(|source| unusable(&user, source))
        });
        FileHold { holding, is_new, record, announcing: tokio::sync::Mutex::new(Some(announcing)) }
    }

    async fn place(&self, user: &UserId, started: Instant, deadline: Instant) -> Result<QueueTurn, LedgerError> {
        timeout_at(deadline, QueueTurn::wait(&self.queues, user)).await.map_err(|_| LedgerError::Busy {
            user_id: user.clone(),
            waited: started.elapsed(),
            elsewhere: false,
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        user: &UserId,
        work: impl FnOnce(&Root, &UserId) -> Result<T, StagingError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.run_as(Job::of(user), user, work).await
    }

    async fn run_as<T: Send + 'static>(
        &self,
        job: Job,
        user: &UserId,
        work: impl FnOnce(&Root, &UserId) -> Result<T, StagingError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let of = user.clone();
        let done = self.files.run(job, move |root| work(root, &of)).await;
        done.map_err(|source| unusable(user, source))
    }
}

fn unusable(user: &UserId, source: StagingError) -> LedgerError {
    LedgerError::Unusable { user_id: user.clone(), source }
}

#[async_trait]
impl Ledger for FileLedger {
    async fn acquire_with(
        &self,
        user: &UserId,
        timeout: Duration,
        first: Record,
    ) -> Result<Box<dyn Hold>, LedgerError> {
        Ok(Box::new(self.hold(user, timeout, first).await?))
    }

    async fn is_held_elsewhere(&self, user: &UserId, timeout: Duration) -> Result<bool, LedgerError> {
        let started = Instant::now();
        let _place = self.place(user, started, started + timeout.min(LONGEST_TIMEOUT)).await?;
        let locked = self.run_as(Job::of(user).within(SEEN_WITHIN), user, |root, user| {
            let (directory, name) = (paths::locks(root)?, file_name(user));
            let Some(file) = open(&directory, &name)? else { return Ok(false) };
            Ok(match lock(&directory, &name, &file)? {
                Tried::Busy => true,
                Tried::Held => {
                    unlock(&file);
                    false
                }
                Tried::Nameless => false,
            })
        });
        locked.await
    }

    async fn read(&self, user: &UserId) -> Result<Option<Record>, LedgerError> {
        let read = self.run_as(Job::of(user).as_hint(), user, |root, user| {
            let (directory, name) = (paths::locks(root)?, file_name(user));
            let Some(file) = open(&directory, &name)? else { return Ok(None) };
            let newest = Newest::read(&file).map_err(StagingError::io("read", directory.path_of(&name)))?;
            Ok(Some(newest.entry.record))
        });
        read.await
    }

    async fn list(&self) -> Result<Vec<UserId>, LedgerError> {
        let listed = self.files.run(Job::ours(), |root| paths::locks(root)?.names(MOST_NAMES)).await;
        let names = listed.map_err(LedgerError::Unlisted)?;
        Ok(names.iter().filter_map(|name| user_of(name.bytes())).collect())
    }

    async fn last_stop(&self, user: &UserId) -> Result<Option<LastStop>, LedgerError> {
        self.run_as(Job::of(user).as_hint(), user, stops::read).await
    }

    async fn note_stop(&self, user: &UserId, stop: LastStop) -> Result<(), LedgerError> {
        let job = Job::of(user).as_hint();
        self.run_as(job, user, move |root, user| stops::note(root, user, &stop)).await
    }

    async fn noted(&self, user: &UserId) -> Result<Option<Noted>, LedgerError> {
        self.run_as(Job::of(user).as_hint(), user, pending_files::noted).await
    }

    async fn list_noted(&self) -> Result<Vec<Listed>, LedgerError> {
        self.files.run(Job::ours(), pending_files::list).await.map_err(LedgerError::Unlisted)
    }

    async fn ask(&self, user: &UserId, ask: Ask) -> Result<(), LedgerError> {
        let asked = self.run_as(Job::of(user).within(SEEN_WITHIN), user, move |root, user| {
            let (directory, name) = (paths::locks(root)?, file_name(user));
            let Some(file) = open(&directory, &name)? else { return Ok(()) };
            let newest = Newest::read(&file).map_err(StagingError::io("read", directory.path_of(&name)))?;
            pending_files::ask(root, user, newest.entry.generation, ask)
        });
        asked.await
    }

    async fn promotion(&self) -> Result<Option<Promotion>, LedgerError> {
        fleet_files::promotion_in(&self.files).await
    }

    async fn promote(&self, before: Option<Promotion>, after: Option<Promotion>) -> Result<bool, LedgerError> {
        fleet_files::promote(&self.files, before, after).await
    }

    async fn rollouts(&self) -> Result<Vec<(String, Option<Value>)>, LedgerError> {
        self.files.run(Job::ours(), rollout_files::list).await.map_err(LedgerError::Fleet)
    }

    async fn rollout(&self, id: &str) -> Result<Option<Value>, LedgerError> {
        let id = id.to_owned();
        let read = self.files.run(Job::ours(), move |root| rollout_files::one(root, &id)).await;
        read.map_err(LedgerError::Fleet)?
    }

    async fn put_rollout(&self, id: &str, before: Option<Value>, after: Option<Value>) -> Result<bool, LedgerError> {
        let id = id.to_owned();
        let put = self.files.run(Job::ours(), move |root| rollout_files::put(root, &id, before.as_ref(), after)).await;
        put.map_err(LedgerError::Fleet)?
    }

    async fn journal(&self, id: &str) -> Result<Vec<u8>, LedgerError> {
        let id = id.to_owned();
        let read = self.files.run(Job::ours(), move |root| rollout_files::journal(root, &id)).await;
        read.map_err(LedgerError::Fleet)
    }

    async fn left_over(&self) -> Result<BTreeMap<String, Timestamp>, LedgerError> {
        self.files.run(Job::ours(), |root| LEFT_OVER.read(root)).await.map_err(LedgerError::Fleet)
    }

    async fn keep_left_over(&self, since: BTreeMap<String, Timestamp>) -> Result<(), LedgerError> {
        let kept = self.files.run(Job::ours(), move |root| LEFT_OVER.write(root, &since)).await;
        kept.map_err(LedgerError::Fleet)
    }

    async fn sizes(&self) -> Result<BTreeMap<UserId, DirectorySize>, LedgerError> {
        self.files.run(Job::ours().as_hint(), |root| SIZES.read(root)).await.map_err(LedgerError::Fleet)
    }

    async fn keep_sizes(&self, sizes: BTreeMap<UserId, DirectorySize>) -> Result<(), LedgerError> {
        let kept = self.files.run(Job::ours(), move |root| SIZES.write(root, &sizes)).await;
        kept.map_err(LedgerError::Fleet)
    }

    async fn append(&self, id: &str, lines: Vec<u8>, under: Option<Arc<dyn Fence>>) -> Result<(), LedgerError> {
        let id = id.to_owned();
        let appended =
            self.files.run(Job::ours().under(under), move |root| rollout_files::append(root, &id, &lines)).await;
        appended.map_err(LedgerError::Fleet)
    }
}

impl Holding {
    /// Whether there is a note. Called on the runtime's threads, so it does not lock `newest`, which a hanging write may hold.
    fn is_noted(&self) -> bool {
        self.is_noted.load(Ordering::Acquire)
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(Errno) -> StagingError + use<> {
        StagingError::io(action, format!(".provisioner/locks/{}", file_name(&self.user).shown()))
    }

    fn lose(&self) -> StagingError {
        if !self.lost.swap(true, Ordering::AcqRel) {
            self.metrics.lock_lost();
            tracing::error!(user_id = %self.user, "the user's lock was lost; nothing more is changed under it");
        }
        StagingError::LockLost { path: format!("users/{}", self.user) }
    }

    /// Gives the lock up after an error: a holder that cannot verify its lock must not rely on it.
    fn doubt(&self, error: &StagingError) -> StagingError {
        if !matches!(error, StagingError::LockLost { .. }) {
            tracing::warn!(user_id = %self.user, error = error as &dyn Error, "the user's lock could not be verified");
        }
        self.lose()
    }

    /// Writes to the file that this acquisition holds it, and the entry after `change`.
    fn put(&self, root: &Root, change: impl FnOnce(&mut Entry)) -> Result<(), StagingError> {
        if !self.is_recent() {
            self.look(root)?;
        }
        let Some(file) = &self.locked.file else { return Err(self.lose()) };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entry = Entry { generation: self.generation.clone(), ..newest.entry.clone() };
        change(&mut entry);
        *newest = newest.replace(file, entry).map_err(self.failed("write"))?;
        self.is_noted.store(newest.entry.is_noted, Ordering::Release);
        // If this process was stopped after the check, another one may have taken the lock, and this write may have replaced
        // the other one's mark. Then neither can know who holds the lock, and both lose it.
        if self.is_recent() { Ok(()) } else { Err(self.lose()) }
    }

    /// Checks that this process still has the lock, that the path still leads to the locked file, and that the file still names
    /// this acquisition: another one may have held it meanwhile. Opening the path again asks the NFS server; the existing
    /// descriptor would be answered from this client's cache.
    fn look(&self, root: &Root) -> Result<(), StagingError> {
        if self.lost.load(Ordering::Acquire) {
            return Err(self.lose());
        }
        let now = (self.clock)();
        let (directory, name) = (paths::locks(root)?, file_name(&self.user));
        let Some(named) = open(&directory, &name)? else { return Err(self.lose()) };
        let Some(file) = &self.locked.file else { return Err(self.lose()) };
        // flock succeeds again for the process that still holds it. Another holder may not have written its mark yet.
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(self.lose()),
            Err(errno) => return Err(self.failed("lock")(errno)),
        }
        let stat = |file: &OwnedFd| rustix::fs::fstat(file).map(|stat| identity(&stat)).map_err(self.failed("stat"));
        let is_ours = {
            // Waits for a write of this process that is not finished.
            let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            Newest::read(&named).map_err(self.failed("read"))?.entry.generation == newest.entry.generation
        };
        if stat(file)? != stat(&named)? || !is_ours {
            return Err(self.lose());
        }
        self.looked_at.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        Ok(())
    }
}

impl Fence for Holding {
    fn holds(&self, root: &Root) -> bool {
        self.is_recent() || self.look(root).map_err(|error| self.doubt(&error)).is_ok()
    }

    fn is_recent(&self) -> bool {
        if self.lost.load(Ordering::Acquire) {
            return false;
        }
        let now = u64::try_from((self.clock)().as_millis()).unwrap_or(u64::MAX);
        let age = now.saturating_sub(self.looked_at.load(Ordering::Acquire));
        u128::from(age) < VERIFIED_FOR.as_millis()
    }
}

impl FileHold {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Holding, &Root) -> Result<T, StagingError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (holding, user) = (Arc::clone(&self.holding), &self.holding.user);
        let done = self.holding.locked.files.run(Job::of(user), move |root| work(&holding, root)).await;
        done.map_err(|source| match source {
            StagingError::LockLost { .. } => LedgerError::Lost { user_id: user.clone() },
            source => unusable(user, source),
        })
    }

    /// Waits for the first write.
    async fn announced(&self) -> Result<(), LedgerError> {
        let mut announcing = self.announcing.lock().await;
        let Some(handle) = announcing.as_mut() else { return Ok(()) };
        let written = handle.await;
        *announcing = None;
        match written {
            Ok(Err(LedgerError::Unusable { source: StagingError::LockLost { .. }, user_id })) => {
                Err(LedgerError::Lost { user_id })
            }
            Ok(result) => result,
            Err(_) => Err(LedgerError::Lost { user_id: self.holding.user.clone() }),
        }
    }
}

#[async_trait]
impl Hold for FileHold {
    fn is_new(&self) -> bool {
        self.is_new
    }

    fn record(&self) -> &Record {
        &self.record
    }

    async fn verify(&self) -> Result<(), LedgerError> {
        self.announced().await?;
        if self.holding.is_recent() {
            return Ok(());
        }
        let lost = |error| match error {
            LedgerError::Unusable { source, user_id } => {
                self.holding.doubt(&source);
                LedgerError::Lost { user_id }
            }
            lost => lost,
        };
        self.run(Holding::look).await.map_err(lost)
    }

    fn fence(&self) -> Arc<dyn Fence> {
        Arc::<Holding>::clone(&self.holding)
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let holding = Arc::downgrade(&self.holding);
        Box::pin(async move {
            loop {
                sleep(VERIFIED_FOR / 2).await;
                let Some(holding) = holding.upgrade() else { return pending().await };
                let (files, job) = (holding.locked.files.clone(), Job::of(&holding.user));
                let looking = Arc::clone(&holding);
                if let Err(error) = files.run(job, move |root| looking.look(root)).await {
                    holding.doubt(&error);
                    return;
                }
            }
        })
    }

    async fn write(&mut self, record: Record) -> Result<(), LedgerError> {
        self.verify().await?;
        let written = record.clone();
        self.run(move |holding, root| {
            if written.is_of_deleted() {
                // The note explains a container that no longer exists.
                stops::remove(&paths::locks(root)?, &holding.user);
            }
            holding.put(root, |entry| entry.record = written)
        })
        .await?;
        self.record = record;
        Ok(())
    }

    fn pending(&self) -> Arc<dyn PendingSlot> {
        Arc::new(FileSlot(Arc::clone(&self.holding)))
    }

    async fn remove(self: Box<Self>) -> Result<(), LedgerError> {
        self.verify().await?;
        let removed = self.run(|holding, root| {
            holding.look(root)?;
            let (directory, name) = (paths::locks(root)?, file_name(&holding.user));
            stops::remove(&directory, &holding.user);
            if holding.is_noted() {
                pending_files::clear(root, &holding.user)?;
            }
            match directory.unlink(&name) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(StagingError::io("remove", directory.path_of(&name))(errno)),
            }
        });
        removed.await
    }
}

/// Pending work of a held user.
#[derive(Debug)]
struct FileSlot(Arc<Holding>);

impl FileSlot {
    /// Runs work whose changes are all made under the lock.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Holding, &Root) -> Result<T, StagingError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let holding = Arc::clone(&self.0);
        let fence: Arc<dyn Fence> = Arc::<Holding>::clone(&holding);
        let (files, job) = (holding.locked.files.clone(), Job::of(&holding.user).under(Some(fence)));
        let done = files.run(job, move |root| work(&holding, root)).await;
        done.map_err(|source| match source {
            StagingError::LockLost { .. } => LedgerError::Lost { user_id: self.0.user.clone() },
            source => unusable(&self.0.user, source),
        })
    }
}

#[async_trait]
impl PendingSlot for FileSlot {
    async fn read(&self) -> Result<Option<Pending>, LedgerError> {
        if self.is_noted() { self.find().await } else { Ok(None) }
    }

    async fn find(&self) -> Result<Option<Pending>, LedgerError> {
        let read = self.run(|holding, root| {
            let found = pending_files::take_up(root, &holding.user)?;
            if !holding.is_noted() && !matches!(found, Ok(None)) {
                holding.put(root, |entry| entry.is_noted = true)?;
            }
            Ok(found)
        });
        read.await?.map_err(|()| LedgerError::NotUnderstood { user_id: self.0.user.clone() })
    }

    async fn write(&self, pending: &Pending) -> Result<(), LedgerError> {
        let pending = pending.clone();
        let written = self.run(move |holding, root| {
            if !holding.is_noted() {
                // Set the mark first. Otherwise no holder would look for the work, but a listing could find it, and it would be
                // done much later, after other requests.
                holding.put(root, |entry| entry.is_noted = true)?;
            }
            pending_files::write(root, &holding.user, &pending)
        });
        written.await
    }

    async fn end(&self, why: Value) -> Result<(), LedgerError> {
        let ended = self.run(move |holding, root| {
            if !holding.is_noted() {
                holding.put(root, |entry| entry.is_noted = true)?;
            }
            pending_files::end(root, &holding.user, why)
        });
        ended.await
    }

    async fn clear(&self) -> Result<(), LedgerError> {
        if !self.is_noted() {
            return Ok(());
        }
        let cleared = self.run(|holding, root| {
            pending_files::clear(root, &holding.user)?;
            holding.put(root, |entry| entry.is_noted = false)
        });
        cleared.await
    }

    fn is_noted(&self) -> bool {
        self.0.is_noted()
    }

    async fn asked(&self) -> Result<Option<Ask>, LedgerError> {
        self.run(|holding, root| pending_files::asked(root, &holding.user, &holding.generation)).await
    }
}

fn file_name(user: &UserId) -> Name {
    Name::of(user).plus(SUFFIX)
}

fn user_of(name: &[u8]) -> Option<UserId> {
    UserId::parse(std::str::from_utf8(name).ok()?.strip_suffix(SUFFIX)?).ok()
}

/// The lock file, if there is one.
fn open(directory: &Dir, name: &Name) -> Result<Option<OwnedFd>, StagingError> {
    match directory.open(name, FLAGS, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::STALE) => Ok(None),
        Err(errno) => Err(StagingError::io("open", directory.path_of(name))(errno)),
    }
}

/// The start of an acquisition: the locked file and its content.
struct Taken {
    locked: Locked,
    is_new: bool,
    newest: Newest,
    looked_at: u64,
}

/// Tries to lock the user's file once; `None` when somebody else holds it.
fn try_lock(root: &Root, user: &UserId, files: Files, clock: &Clock) -> Result<Option<Taken>, StagingError> {
    let (directory, name) = (paths::locks(root)?, file_name(user));
    let failed = |action| StagingError::io(action, directory.path_of(&name));
    for _ in 0..RACES_ENDURED {
        let (file, is_new) = match open(&directory, &name)? {
            Some(file) => (file, false),
            None => {
                let created = directory.open(&name, FLAGS | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR);
                match created {
                    Ok(file) => (file, true),
                    Err(Errno::EXIST) => continue,
                    Err(errno) => return Err(failed("create")(errno)),
                }
            }
        };
        let looked_at = u64::try_from(clock().as_millis()).unwrap_or(u64::MAX);
        match lock(&directory, &name, &file)? {
            Tried::Held => {
                let locked = Locked { file: Some(file), files };
                let read = locked.file.as_ref().map_or_else(|| Ok(Newest::default()), Newest::read);
                let newest = read.map_err(failed("read"))?;
                return Ok(Some(Taken { locked, is_new, newest, looked_at }));
            }
            Tried::Busy => return Ok(None),
            Tried::Nameless => {}
        }
    }
    Ok(None)
}

/// The result of trying to lock an open file.
#[derive(Debug, PartialEq, Eq)]
enum Tried {
    Held,
    Busy,
    /// The name no longer leads to this file, so the lock is useless.
    Nameless,
}

fn lock(directory: &Dir, name: &Name, file: &OwnedFd) -> Result<Tried, StagingError> {
    let failed = |action| StagingError::io(action, directory.path_of(name));
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(Tried::Busy),
        // The file was removed on the server between opening and locking.
        Err(Errno::STALE | Errno::INTR) => return Ok(Tried::Nameless),
        Err(errno) => return Err(failed("lock")(errno)),
    }
    // The previous holder may have removed the file after we opened it. Then we hold a file without a name, and the next
    // process creates and locks a new file. Opening again asks the NFS server; a stat may be answered from the cache.
    let Some(named_now) = open(directory, name)? else { return Ok(Tried::Nameless) };
    let stat = |file: &OwnedFd| rustix::fs::fstat(file).map(|stat| identity(&stat)).map_err(failed("stat"));
    Ok(if stat(file)? == stat(&named_now)? { Tried::Held } else { Tried::Nameless })
}

#[cfg(test)]
impl FileLedger {
    pub(super) fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queues.lock().unwrap().is_empty()
    }

    /// Loses a user's lock without notice, like a client whose lease ran out.
    pub(super) fn lose_lease(&self, user: &UserId) {
        let held = self.held.lock().unwrap().remove(user).and_then(|held| held.upgrade()).unwrap();
        unlock(held.locked.file.as_ref().unwrap());
    }
}
