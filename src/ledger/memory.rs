//! A ledger in memory that works like a store with conditional writes, so that the tests in `tests.rs` do not depend on
//! files.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::queue::{QueueTurn, Queues};
use super::{Ask, Hold, Ledger, LedgerError, Listed, Noted, Pending, PendingSlot, Record};
use crate::domain::{DirectorySize, LastStop, Promotion, UserId};
use crate::files::{Fence, Root};

/// Each rollout and its journal.
type Rollouts = Arc<Mutex<HashMap<String, (Option<Value>, Vec<u8>)>>>;
type Rows = Arc<Mutex<HashMap<UserId, Row>>>;

#[derive(Default)]
struct Row {
    record: Record,
    stop: Option<LastStop>,
    generation: u64,
    is_held: bool,
    pending: Option<Pending>,
    ended: Option<Value>,
    /// The generation of the holder that is asked, and the request.
    ask: Option<(u64, Ask)>,
}

/// One replica's access to the shared rows.
#[derive(Clone, Default)]
pub(super) struct MemoryLedger {
    rows: Rows,
    promotion: Arc<Mutex<Option<Promotion>>>,
    rollouts: Rollouts,
    left_over: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    sizes: Arc<Mutex<BTreeMap<UserId, DirectorySize>>>,
    queues: Queues,
}

impl std::fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryLedger").finish_non_exhaustive()
    }
}

impl MemoryLedger {
    pub(super) fn replica(&self) -> Self {
        Self {
            rows: Arc::clone(&self.rows),
            promotion: Arc::clone(&self.promotion),
            rollouts: Arc::clone(&self.rollouts),
            left_over: Arc::clone(&self.left_over),
            sizes: Arc::clone(&self.sizes),
            queues: Queues::default(),
        }
    }

    pub(super) fn lose_lease(&self, user: &UserId) {
        self.rows.lock().unwrap().get_mut(user).unwrap().is_held = false;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queues.lock().unwrap().is_empty()
    }

    async fn place(&self, user: &UserId, started: Instant, timeout: Duration) -> Result<QueueTurn, LedgerError> {
        let deadline = started + timeout.min(Duration::from_secs(1 << 20));
        let late = || LedgerError::Busy { user_id: user.clone(), waited: started.elapsed(), elsewhere: false };
        timeout_at(deadline, QueueTurn::wait(&self.queues, user)).await.map_err(|_| late())
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn acquire_with(
        &self,
        user: &UserId,
        timeout: Duration,
        first: Record,
    ) -> Result<Box<dyn Hold>, LedgerError> {
        let started = Instant::now();
        let place = self.place(user, started, timeout).await?;
        loop {
            {
                let mut rows = self.rows.lock().unwrap();
                let is_new = !rows.contains_key(user);
                let row = rows.entry(user.clone()).or_default();
                if !row.is_held {
                    row.is_held = true;
                    row.generation += 1;
                    if is_new {
                        row.record = first;
                    }
                    let held = Arc::new(Held {
                        rows: Arc::clone(&self.rows),
                        user: user.clone(),
                        generation: AtomicU64::new(row.generation),
                        _place: place,
                    });
                    return Ok(Box::new(MemoryHold { held, is_new, record: row.record.clone() }));
                }
            }
            let waited = started.elapsed();
            if waited >= timeout {
                return Err(LedgerError::Busy { user_id: user.clone(), waited, elsewhere: true });
            }
            sleep(Duration::from_millis(10).min(timeout - waited)).await;
        }
    }

    async fn is_held_elsewhere(&self, user: &UserId, timeout: Duration) -> Result<bool, LedgerError> {
        let _place = self.place(user, Instant::now(), timeout).await?;
        Ok(self.rows.lock().unwrap().get(user).is_some_and(|row| row.is_held))
    }

    async fn read(&self, user: &UserId) -> Result<Option<Record>, LedgerError> {
        Ok(self.rows.lock().unwrap().get(user).map(|row| row.record.clone()))
    }

    async fn list(&self) -> Result<Vec<UserId>, LedgerError> {
        Ok(self.rows.lock().unwrap().keys().cloned().collect())
    }

    async fn last_stop(&self, user: &UserId) -> Result<Option<LastStop>, LedgerError> {
        Ok(self.rows.lock().unwrap().get(user).and_then(|row| row.stop.clone()))
    }

    async fn note_stop(&self, user: &UserId, stop: LastStop) -> Result<(), LedgerError> {
        if let Some(row) = self.rows.lock().unwrap().get_mut(user) {
            row.stop = Some(stop);
        }
        Ok(())
    }

    async fn noted(&self, user: &UserId) -> Result<Option<Noted>, LedgerError> {
        Ok(self.rows.lock().unwrap().get(user).and_then(|row| {
            let pending = row.pending.as_ref().map(|pending| Noted::Pending(pending.intent.clone()));
            pending.or_else(|| row.ended.clone().map(Noted::Ended))
        }))
    }

    async fn list_noted(&self) -> Result<Vec<Listed>, LedgerError> {
        let rows = self.rows.lock().unwrap();
        let noted = rows.iter().filter(|(_, row)| row.pending.is_some() || row.ended.is_some());
        Ok(noted.map(|(user, row)| Listed { user: user.clone(), is_pending: row.pending.is_some() }).collect())
    }

    async fn ask(&self, user: &UserId, ask: Ask) -> Result<(), LedgerError> {
        if let Some(row) = self.rows.lock().unwrap().get_mut(user) {
            row.ask = row.ask.max(Some((row.generation, ask)));
        }
        Ok(())
    }

    async fn promotion(&self) -> Result<Option<Promotion>, LedgerError> {
        Ok(self.promotion.lock().unwrap().clone())
    }

    async fn promote(&self, before: Option<Promotion>, after: Option<Promotion>) -> Result<bool, LedgerError> {
        let mut now = self.promotion.lock().unwrap();
        let is_before = *now == before;
        if is_before {
            *now = after;
        }
        Ok(is_before)
    }

    async fn rollouts(&self) -> Result<Vec<(String, Option<Value>)>, LedgerError> {
        let all = self.rollouts.lock().unwrap();
        Ok(all.iter().filter_map(|(id, (rollout, _))| Some((id.clone(), Some(rollout.clone()?)))).collect())
    }

    async fn rollout(&self, id: &str) -> Result<Option<Value>, LedgerError> {
        Ok(self.rollouts.lock().unwrap().get(id).and_then(|(rollout, _)| rollout.clone()))
    }

    async fn put_rollout(&self, id: &str, before: Option<Value>, after: Option<Value>) -> Result<bool, LedgerError> {
        let mut all = self.rollouts.lock().unwrap();
        let kept = all.entry(id.to_owned()).or_default();
        if kept.0 != before {
            return Ok(false);
        }
        let is_removed = after.is_none();
        kept.0 = after;
        if is_removed {
            all.remove(id);
        }
        Ok(true)
    }

    async fn journal(&self, id: &str) -> Result<Vec<u8>, LedgerError> {
        Ok(self.rollouts.lock().unwrap().get(id).map(|(_, journal)| journal.clone()).unwrap_or_default())
    }

    async fn left_over(&self) -> Result<BTreeMap<String, Timestamp>, LedgerError> {
        Ok(self.left_over.lock().unwrap().clone())
    }

    async fn keep_left_over(&self, since: BTreeMap<String, Timestamp>) -> Result<(), LedgerError> {
        *self.left_over.lock().unwrap() = since;
        Ok(())
    }

    async fn sizes(&self) -> Result<BTreeMap<UserId, DirectorySize>, LedgerError> {
        Ok(self.sizes.lock().unwrap().clone())
    }

    async fn keep_sizes(&self, sizes: BTreeMap<UserId, DirectorySize>) -> Result<(), LedgerError> {
        *self.sizes.lock().unwrap() = sizes;
        Ok(())
    }

    async fn append(&self, id: &str, lines: Vec<u8>, _under: Option<Arc<dyn Fence>>) -> Result<(), LedgerError> {
        self.rollouts.lock().unwrap().entry(id.to_owned()).or_default().1.extend(lines);
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryHold {
    held: Arc<Held>,
    is_new: bool,
    record: Record,
}

struct Held {
    rows: Rows,
    user: UserId,
    generation: AtomicU64,
    _place: QueueTurn,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Held {
    /// Changes the rows if this holder still has the user: the condition of every write.
    fn with_row<T>(&self, change: impl FnOnce(&mut HashMap<UserId, Row>) -> T) -> Result<T, LedgerError> {
        let mut rows = self.rows.lock().unwrap();
        let generation = self.generation.load(Ordering::Acquire);
        let is_ours = rows.get(&self.user).is_some_and(|row| row.generation == generation);
        if is_ours { Ok(change(&mut rows)) } else { Err(LedgerError::Lost { user_id: self.user.clone() }) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let user = self.user.clone();
        let _lost = self.with_row(|rows| {
            if let Some(row) = rows.get_mut(&user) {
                row.is_held = false;
            }
        });
    }
}

impl Fence for Held {
    fn holds(&self, _root: &Root) -> bool {
        self.is_recent()
    }

    fn is_recent(&self) -> bool {
        self.with_row(|_| ()).is_ok()
    }
}

#[async_trait]
impl Hold for MemoryHold {
    fn is_new(&self) -> bool {
        self.is_new
    }

    fn record(&self) -> &Record {
        &self.record
    }

    async fn verify(&self) -> Result<(), LedgerError> {
        self.held.with_row(|_| ())
    }

    fn fence(&self) -> Arc<dyn Fence> {
        Arc::<Held>::clone(&self.held)
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let held = Arc::downgrade(&self.held);
        Box::pin(async move {
            while let Some(held) = held.upgrade() {
                if !held.is_recent() {
                    return;
                }
                drop(held);
                sleep(super::VERIFIED_FOR / 2).await;
            }
            pending().await
        })
    }

    async fn write(&mut self, record: Record) -> Result<(), LedgerError> {
        let user = self.held.user.clone();
        self.held.with_row(|rows| {
            let row = rows.entry(user).or_default();
            row.stop.take_if(|_| record.is_of_deleted());
            row.record = record.clone();
        })?;
        self.record = record;
        Ok(())
    }

    fn pending(&self) -> Arc<dyn PendingSlot> {
        Arc::new(MemorySlot(Arc::clone(&self.held)))
    }

    async fn remove(self: Box<Self>) -> Result<(), LedgerError> {
        self.held.with_row(|rows| rows.remove(&self.held.user)).map(drop)
    }
}

#[derive(Debug)]
struct MemorySlot(Arc<Held>);

impl MemorySlot {
    fn with_row<T>(&self, change: impl FnOnce(&mut Row) -> T) -> Result<T, LedgerError> {
        self.0.with_row(|rows| change(rows.entry(self.0.user.clone()).or_default()))
    }
}

#[async_trait]
impl PendingSlot for MemorySlot {
    async fn read(&self) -> Result<Option<Pending>, LedgerError> {
        self.with_row(|row| row.pending.clone())
    }

    async fn find(&self) -> Result<Option<Pending>, LedgerError> {
        self.read().await
    }

    async fn write(&self, pending: &Pending) -> Result<(), LedgerError> {
        self.with_row(|row| (row.pending, row.ended) = (Some(pending.clone()), None))
    }

    async fn end(&self, why: Value) -> Result<(), LedgerError> {
        self.with_row(|row| (row.pending, row.ended) = (None, Some(why)))
    }

    async fn clear(&self) -> Result<(), LedgerError> {
        self.with_row(|row| (row.pending, row.ended) = (None, None))
    }

    fn is_noted(&self) -> bool {
        self.with_row(|row| row.pending.is_some() || row.ended.is_some()).unwrap_or_default()
    }

    async fn asked(&self) -> Result<Option<Ask>, LedgerError> {
        self.with_row(|row| row.ask.take().filter(|(of, _)| *of == row.generation).map(|(_, ask)| ask))
    }
}
