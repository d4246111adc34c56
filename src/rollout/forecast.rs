//! How long a rollout takes if nothing goes wrong. That depends on AWS's rate limits, the soaks and the starts of tasks.
//! Pure, except that it reads the limits.

use std::time::Duration;

use super::words::Strategy;
use crate::aws::{Bucket, RateLimits};

/// How long a Fargate task takes to become healthy, about (docs/limits.md).
const START_SECONDS: f64 = 60.0;
/// The part of each bucket that a rollout leaves to callers who wait for an answer.
const LEFT_FOR_OTHERS: f64 = 0.25;

/// The load of a wave on AWS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) registrations: u32,
    pub(super) updates: u32,
    /// Users whose task is replaced.
    pub(super) starts: u32,
}

impl Load {
    pub(super) fn add(&mut self, registrations: u32, updates: u32, starts: bool) {
        self.registrations += registrations;
        self.updates += updates;
        self.starts += u32::from(starts);
    }

    const fn is_empty(self) -> bool {
        self.registrations == 0 && self.updates == 0
    }
}

/// A bucket, and when it was last read.
struct Tokens {
    burst: f64,
    interval: f64,
    level: f64,
    at: f64,
}

impl Tokens {
    fn full(limits: &RateLimits, bucket: Bucket) -> Self {
        let (burst, interval) = limits.of(bucket);
        let burst = f64::from(burst) * (1.0 - LEFT_FOR_OTHERS);
        Self { burst, interval: interval.as_secs_f64(), level: burst, at: 0.0 }
    }

    /// The time at which that many tokens are taken, if they are wanted from `now` on.
    fn take(&mut self, number: u32, now: f64) -> f64 {
        self.level = (self.level + (now - self.at) / self.interval).min(self.burst) - f64::from(number);
        self.at = now;
        let end = now + (-self.level).max(0.0) * self.interval;
        self.level += (end - now) / self.interval;
        self.at = end;
        end
    }
}

/// The seconds that these waves take, one after the other.
pub(super) fn seconds(waves: &[Load], strategy: &Strategy, limits: &RateLimits) -> u64 {
    let mut registrations = Tokens::full(limits, Bucket::TaskDefinitionWrite);
    let mut updates = Tokens::full(limits, Bucket::ServiceWrite);
    let mut now = 0.0;
    for wave in waves.iter().filter(|wave| !wave.is_empty()) {
        let began: f64 = now;
        let sent = registrations.take(wave.registrations, now).max(updates.take(wave.updates, now));
        let rounds = f64::from(wave.starts.div_ceil(strategy.max_parallel.max(1)));
        let started = (sent + if wave.starts > 0 { START_SECONDS } else { 0.0 }).max(began + rounds * START_SECONDS);
        now = started + f64::from(strategy.soak_seconds);
    }
    Duration::from_secs_f64(now.max(0.0)).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(max_parallel: u32, soak_seconds: u32) -> Strategy {
        Strategy { max_parallel, soak_seconds, ..Strategy::default() }
    }

    fn load(users: u32) -> Load {
        Load { registrations: users, updates: users, starts: users }
    }

    #[test]
    fn thousands_take_as_long_as_their_registrations() {
        let limits = RateLimits::default();
        // 15 of the burst of 20 at once, then one a second.
        assert_eq!(seconds(&[load(5_000)], &strategy(1_000, 0), &limits), 5_000 - 15 + 60);
        let unchanged = Load { registrations: 0, updates: 5_000, starts: 5_000 };
        assert_eq!(seconds(&[unchanged], &strategy(1_000, 0), &limits), (5_000 * 10 - 375) / 50 + 60);
    }

    #[test]
    fn few_take_as_long_as_their_soaks_and_starts_while_the_bucket_refills() {
        let limits = RateLimits::default();
        assert_eq!(seconds(&[load(1), load(10)], &strategy(10, 60), &limits), 2 * (60 + 60));
        assert_eq!(seconds(&[load(20)], &strategy(5, 0), &limits), 4 * 60);
        assert_eq!(seconds(&[Load::default(), load(1)], &strategy(5, 30), &limits), 60 + 30);
        assert_eq!(seconds(&[], &strategy(5, 30), &limits), 0);
    }
}
