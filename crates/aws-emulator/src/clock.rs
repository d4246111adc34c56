//! The emulator's time: an offset from its start, and how long each simulated phase takes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Offsets come from tokio's clock, so a test that pauses it drives every simulated task with `advance`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    epoch: Duration,
}

impl Clock {
    /// Starts now. The wall clock is read once; from then on only tokio's clock counts.
    pub(crate) fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), epoch }
    }

    /// Time since the emulator started.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// A timestamp as the JSON protocols write it: epoch seconds with a fraction of milliseconds.
    pub(crate) fn epoch_seconds(&self, offset: Duration) -> f64 {
        ((self.epoch + offset).as_secs_f64() * 1000.0).round() / 1000.0
    }

    /// A moment as the query protocol carries it, in whole seconds.
    pub(crate) fn rfc3339(&self, offset: Duration) -> String {
        let seconds = i64::try_from((self.epoch + offset).as_secs()).unwrap_or_default();
        jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
    }

    /// Now as the `Date` header has it, on a clock that is this much ahead.
    pub(crate) fn http_date(&self, ahead_seconds: i64) -> Option<String> {
        let seconds = i64::try_from((self.epoch + self.now()).as_secs()).ok()?.checked_add(ahead_seconds)?;
        let moment = jiff::Timestamp::from_second(seconds).ok()?;
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).ok()
    }
}

/// How long simulated tasks and services stay in each phase. AWS needs minutes for what takes two seconds here. A phase
/// takes at least a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A task stays PROVISIONING (its network interface is created).
    pub provisioning: Duration,
    /// A task stays PENDING (its image is pulled), and for its last third ACTIVATING.
    pub pending: Duration,
    /// From RUNNING to HEALTHY, if a container has a health check; also the lifetime of a task that goes bad.
    pub healthy: Duration,
    /// From the order to stop until STOPPED, spread over DEACTIVATING, STOPPING and DEPROVISIONING.
    pub stopping: Duration,
    /// A deleted service stays DRAINING this long after its last task is gone, or is STOPPING if that is enough.
    pub draining: Duration,
    /// Until a task that could not be placed is tried again. AWS takes about a minute.
    pub placement: Duration,
    /// From StopServiceDeployment until the service names the former revision; half of it ROLLBACK_REQUESTED.
    pub rollback: Duration,
    /// An access point stays `deleting`.
    pub deleting: Duration,
}

impl Pace {
    /// Makes every phase take some time: otherwise a crash loop would run for ever within one moment.
    pub(super) fn at_least_a_millisecond(self) -> Self {
        let floor = |phase: Duration| phase.max(Duration::from_millis(1));
        Self {
            provisioning: floor(self.provisioning),
            pending: floor(self.pending),
            healthy: floor(self.healthy),
            stopping: floor(self.stopping),
            draining: floor(self.draining),
            placement: floor(self.placement),
            rollback: floor(self.rollback),
            deleting: floor(self.deleting),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            provisioning: Duration::from_millis(500),
            pending: Duration::from_millis(700),
            healthy: Duration::from_millis(800),
            stopping: Duration::from_millis(900),
            draining: Duration::from_millis(100),
            placement: Duration::from_secs(15),
            rollback: Duration::from_millis(600),
            deleting: Duration::from_millis(300),
        }
    }
}
