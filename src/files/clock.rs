//! A clock that continues while the process, or the machine, is stopped.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Returns the time since some fixed moment. Tests use their own.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Time since the machine started. Unlike `Instant` it also counts while the machine sleeps, so a lease that expired
/// meanwhile is noticed.
#[must_use]
pub fn boot_time() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    // On other systems this clock continues while the machine sleeps.
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}
