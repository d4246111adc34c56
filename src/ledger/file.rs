//! The ledger on EFS: one lock file per user beneath `.provisioner/locks`.
//!
//! Two layers: within this process a fair queue per user, so that tasks wait in order instead of polling; between
//! replicas `flock` on the lock file. The lock file is never replaced by rename, and `flock` belongs to the open file, so
//! unlike `fcntl` it also excludes threads (incident 25). If a process is killed, the kernel or the NFS lease releases the
//! lock; if it is only stopped, the lease alone does. So the file also names its holder, see `file_hold`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::file_hold::{FileHold, Holding, unusable};
use super::kept_files::{LEFT_OVER, SIZES};
use super::lock_file::{Taken, Tried, file_name, lock, open, try_lock, unlock, user_of};
use super::pending::{Ask, Listed, Noted};
use super::queue::{QueueTurn, Queues};
use super::slots::Newest;
use super::{Hold, Ledger, LedgerError, Record, stops};
use super::{fleet_files, pending_files, rollout_files};
use crate::domain::{DirectorySize, LastStop, Promotion, UserId};
use crate::files::{Clock, Fence, Files, Job, Root, boot_time};
use crate::metrics::Metrics;
use crate::staging::{StagingError, paths};

/// Pause between tries of a lock that another replica holds, with jitter, so that replicas do not try at the same time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
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
