//! A clock that goes on while the process, or the machine, is stopped.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Tells the time since some fixed moment. Tests bring their own.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Time since the machine was started. Unlike `Instant` it also counts while the machine sleeps, so a lease that ran out
/// meanwhile is noticed.
#[must_use]
pub fn boot_time() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    // There it goes on while the machine sleeps.
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}
