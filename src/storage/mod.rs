//! Sizes of users' directories: how much of the file system each user takes. EFS has no quota for a directory.
//!
//! One replica measures all the time, slowly, and begins with the user who was measured longest ago; see [`Pace`]. It stores the
//! results, and all replicas report them. Nothing waits for a measurement, and none makes other work on files fail.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::domain::{DirectorySize, DirectorySizes, UserId, with_causes};
use crate::ledger::{Hold, Ledger, LedgerError};
use crate::metrics::Metrics;
use crate::staging::{Measured, Pace, Staging, StagingError};

/// How many of the largest directories the metrics show, without names.
const LARGEST: usize = 10;
/// Walks until the list of directories is read again; after that, sizes of removed directories are no longer reported.
const ROUND: usize = 20;

/// How directories are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether this process may measure.
    pub measures: bool,
    /// Bytes of one directory above which there is a warning.
    pub soft_limit: Option<u64>,
    /// How long after its start a replica begins, because a starting replica has more urgent work.
    pub begins_after: Duration,
    /// Pause between two checks whether a user must be measured, or whether another replica has stopped measuring.
    pub looks_every: Duration,
    /// Age of a measurement after which the user is measured again.
    pub again_after: Duration,
    /// Pause between two walks.
    pub rests: Duration,
    /// How often results are stored, and after how long a replica that does not measure reads them again.
    pub kept_every: Duration,
    /// Speed of a walk.
    pub pace: Pace,
}

impl Default for Options {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            measures: true,
            soft_limit: None,
            begins_after: seconds(60),
            looks_every: seconds(60),
            again_after: seconds(24 * 3_600),
            rests: seconds(5),
            kept_every: seconds(60),
            pace: Pace::default(),
        }
    }
}

/// Why measuring was interrupted.
#[derive(Debug, Error)]
enum Interrupted {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Staging(#[from] StagingError),
}

/// The known sizes of all directories. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    staging: Staging,
    ledger: Arc<dyn Ledger>,
    options: Options,
    metrics: Metrics,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    sizes: Arc<Sizes>,
    at: Instant,
}

/// The sizes of all directories that were measured.
#[derive(Debug, Clone, Default)]
pub struct Sizes {
    of_users: BTreeMap<UserId, DirectorySize>,
    soft_limit: Option<u64>,
}

impl Sizes {
    /// The size of the user's directory; `None` if it was not measured yet, or does not exist.
    #[must_use]
    pub fn of(&self, user: &UserId) -> Option<DirectorySize> {
        self.of_users.get(user).copied()
    }

    /// The total of all directories.
    #[must_use]
    pub fn total(&self) -> DirectorySizes {
        DirectorySizes::of(self.of_users.values())
    }

    /// The soft limit, if this size is above it.
    #[must_use]
    pub fn limit_below(&self, size: &DirectorySize) -> Option<u64> {
        self.soft_limit.filter(|limit| size.bytes > *limit)
    }

    fn tell(&self, metrics: &Metrics) {
        let mut largest: Vec<u64> = self.of_users.values().map(|size| size.bytes).collect();
        largest.sort_unstable_by_key(|bytes| Reverse(*bytes));
        largest.truncate(LARGEST);
        let above = self.of_users.values().filter(|size| self.limit_below(size).is_some()).count();
        metrics.directories(self.total(), above, &largest);
    }
}

impl Storage {
    /// Creates it for the directories of `staging`; results are stored in `ledger` and shown in `metrics`.
    #[must_use]
    pub fn new(staging: Staging, ledger: Arc<dyn Ledger>, options: Options, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { staging, ledger, options, metrics, known: Mutex::default() }))
    }

    /// The known sizes, read again when they are older than `kept_every`; the old ones while the file system does not answer.
    pub async fn sizes(&self) -> Arc<Sizes> {
        let mut known = self.0.known.lock().await;
        if let Some(Known { sizes, at }) = known.as_ref().filter(|known| known.at.elapsed() < self.0.options.kept_every)
        {
            tracing::trace!(seconds = at.elapsed().as_secs(), "sizes are known");
            return Arc::clone(sizes);
        }
        let sizes = match self.0.ledger.sizes().await {
            Ok(of_users) => Arc::new(self.0.judged(of_users)),
            Err(error) => {
                tracing::debug!(error = %with_causes(&error), "sizes of directories could not be read");
                known.as_ref().map(|known| Arc::clone(&known.sizes)).unwrap_or_default()
            }
        };
        // Also after a failure, so that the next caller does not wait for another one.
        *known = Some(Known { sizes: Arc::clone(&sizes), at: Instant::now() });
        sizes
    }

    /// Measures if no other replica does, and shows the known sizes in metrics, until it is aborted.
    pub fn measure_in_background(&self) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            let options = this.0.options;
            sleep(options.begins_after).await;
            loop {
                if options.measures
                    && let Err(error) = this.measure_if_elected().await
                {
                    tracing::warn!(error = %with_causes(&error), "directories could not be measured; trying again");
                }
                this.sizes().await.tell(&this.0.metrics);
                sleep(options.looks_every.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            }
        })
    }

    async fn measure_if_elected(&self) -> Result<(), Interrupted> {
        let hold = match self.0.ledger.acquire(&UserId::of_measuring(), Duration::ZERO).await {
            Ok(hold) => hold,
            Err(LedgerError::Busy { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let lost = hold.lost();
        tokio::select! {
            // In this order: after the lock is lost, another replica stores its results.
            biased;
            () = lost => Ok(()),
            measured = self.measure_all(hold.as_ref()) => measured,
        }
    }

    /// Measures for ever all users who are due, beginning with those who were never measured.
    async fn measure_all(&self, hold: &dyn Hold) -> Result<(), Interrupted> {
        let Inner { staging, ledger, options, .. } = &*self.0;
        let mut sizes = ledger.sizes().await?;
        // A user who cannot be measured does not delay the others.
        let mut failed = BTreeMap::new();
        let (mut kept_at, mut is_kept) = (Instant::now(), true);
        loop {
            let users = staging.users().await?;
            let before = sizes.len();
            let is_there = |user: &UserId| users.binary_search(user).is_ok();
            sizes.retain(|user, _| is_there(user));
            failed.retain(|user, _| is_there(user));
            is_kept &= sizes.len() == before;
            let mut round = due(&users, &sizes, &failed, options.again_after);
            round.truncate(ROUND);
            let is_idle = round.is_empty();
            for user in round {
                let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
                match staging.measure(&user, options.pace).await {
                    Ok(Some(Measured { bytes, entries, complete })) => {
                        let size = DirectorySize { bytes, entries, complete, measured_at: now };
                        let former = sizes.insert(user.clone(), size);
                        self.0.warn_of(&user, former.as_ref(), &size);
                    }
                    Ok(None) => drop(sizes.remove(&user)),
                    // The problem is the mount, not this user.
                    Err(error @ StagingError::Unavailable(_)) => return Err(error.into()),
                    Err(error) => {
                        tracing::info!(user_id = %user, error = %with_causes(&error), "a directory could not be measured");
                        failed.insert(user, now);
                    }
                }
                is_kept = false;
                self.know(&sizes).await;
                if kept_at.elapsed() >= options.kept_every {
                    self.keep(hold, &sizes).await?;
                    (kept_at, is_kept) = (Instant::now(), true);
                }
                sleep(options.rests).await;
            }
            if is_idle {
                self.know(&sizes).await;
                if !is_kept {
                    self.keep(hold, &sizes).await?;
                    (kept_at, is_kept) = (Instant::now(), true);
                }
                sleep(options.looks_every).await;
            }
        }
    }

    async fn keep(&self, hold: &dyn Hold, sizes: &BTreeMap<UserId, DirectorySize>) -> Result<(), Interrupted> {
        hold.verify().await?;
        Ok(self.0.ledger.keep_sizes(sizes.clone()).await?)
    }

    /// Makes the results known in this process at once.
    async fn know(&self, sizes: &BTreeMap<UserId, DirectorySize>) {
        let sizes = Arc::new(self.0.judged(sizes.clone()));
        sizes.tell(&self.0.metrics);
        *self.0.known.lock().await = Some(Known { sizes, at: Instant::now() });
    }
}

impl Inner {
    fn judged(&self, of_users: BTreeMap<UserId, DirectorySize>) -> Sizes {
        Sizes { of_users, soft_limit: self.options.soft_limit }
    }

    /// Logs a warning once, when a directory is first seen above the limit.
    fn warn_of(&self, user: &UserId, former: Option<&DirectorySize>, now: &DirectorySize) {
        let is_above = |size: &DirectorySize| self.options.soft_limit.is_some_and(|limit| size.bytes > limit);
        if is_above(now) && !former.is_some_and(is_above) {
            tracing::warn!(user_id = %user, bytes = now.bytes, "a user's directory is larger than the soft limit");
        }
    }
}

/// The users to measure now: first those who were never tried, then the others, beginning with the oldest measurement.
fn due(
    users: &[UserId],
    sizes: &BTreeMap<UserId, DirectorySize>,
    failed: &BTreeMap<UserId, Timestamp>,
    again_after: Duration,
) -> Vec<UserId> {
    let now = Timestamp::now();
    let again_after = SignedDuration::try_from(again_after).unwrap_or(SignedDuration::MAX);
    // A time in the future was recorded before a clock was corrected.
    let is_due = |at: Timestamp| at > now || now.duration_since(at) >= again_after;
    let tried_at = |user| sizes.get(user).map(|size| size.measured_at).max(failed.get(user).copied());
    let mut due: Vec<(Option<Timestamp>, &UserId)> = users.iter().map(|user| (tried_at(user), user)).collect();
    due.retain(|(at, _)| at.is_none_or(is_due));
    due.sort_unstable();
    due.into_iter().map(|(_, user)| user.clone()).collect()
}

#[cfg(test)]
mod tests;
