//! A user who is held: the locked file, the check that it still is, and what is remembered and pending of them.
//!
//! A stopped process loses the lease of its lock without noticing. So the file also says which acquisition it belongs to; see
//! [`Holding::look`].

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::lock_file::{Locked, file_name, open, unlock};
use super::pending::{Ask, Pending, PendingSlot};
use super::queue::QueueTurn;
use super::slots::{Entry, Newest};
use super::{Hold, LedgerError, Record, VERIFIED_FOR, pending_files, stops};
use crate::domain::UserId;
use crate::files::{Clock, Fence, Job, Root};
use crate::metrics::Metrics;
use crate::staging::jail::identity;
use crate::staging::{StagingError, paths};

/// A user who is held.
#[derive(Debug)]
pub(super) struct FileHold {
    pub(super) holding: Arc<Holding>,
    pub(super) is_new: bool,
    pub(super) record: Record,
    /// The first write to the file, while it goes on beside other work.
    pub(super) announcing: tokio::sync::Mutex<Option<JoinHandle<Result<(), LedgerError>>>>,
}

/// The locked file, shared with file work under the lock: it is unlocked when the last such work has ended.
pub(super) struct Holding {
    pub(super) locked: Locked,
    /// Dropped after the file is unlocked, so that the next in the queue finds it free.
    pub(super) place: Option<QueueTurn>,
    pub(super) user: UserId,
    /// Marks in the file that this acquisition holds it.
    pub(super) generation: String,
    pub(super) newest: Mutex<Newest>,
    /// Whether there is a note on accepted work of the user.
    pub(super) is_noted: AtomicBool,
    pub(super) lost: AtomicBool,
    /// When the last successful check of the lock began, in milliseconds of `clock`.
    pub(super) looked_at: AtomicU64,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding").field("user", &self.user).field("lost", &self.lost).finish_non_exhaustive()
    }
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
    pub(super) fn put(&self, root: &Root, change: impl FnOnce(&mut Entry)) -> Result<(), StagingError> {
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

pub(super) fn unusable(user: &UserId, source: StagingError) -> LedgerError {
    LedgerError::Unusable { user_id: user.clone(), source }
}
