//! The arithmetic of one token bucket. It has no clock: every call passes the time.

use std::time::Duration;

use tokio::time::Instant;

use super::rates::Rate;

/// The tokens in a bucket, and when the next one comes.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    rate: Rate,
    /// At most `rate.burst`.
    level: u32,
    /// The time of `level`; the next token comes one interval later.
    since: Instant,
}

impl Tokens {
    /// A full bucket.
    pub(super) const fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, level: rate.burst, since: now }
    }

    pub(super) const fn interval(&self) -> Duration {
        self.rate.interval
    }

    pub(super) const fn burst(&self) -> u32 {
        self.rate.burst
    }

    /// The number of tokens now.
    pub(super) fn level(&mut self, now: Instant) -> u32 {
        let interval = self.rate.interval.as_nanos().max(1);
        let came = now.saturating_duration_since(self.since).as_nanos() / interval;
        let missing = self.rate.burst - self.level;
        if came >= u128::from(missing) {
            // A full bucket collects no more, so its time starts again now.
            (self.level, self.since) = (self.rate.burst, now.max(self.since));
        } else {
            let came = u32::try_from(came).unwrap_or(missing);
            self.level += came;
            self.since += self.rate.interval * came;
        }
        self.level
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let is_there = self.level(now) > 0;
        self.level -= u32::from(is_there);
        is_there
    }

    /// Puts back an unused token.
    pub(super) fn put_back(&mut self) {
        self.level = (self.level + 1).min(self.rate.burst);
    }

    /// The time by which the bucket has `tokens` tokens, if nobody takes any. For more than a full bucket: the time when the
    /// last of that many callers has its turn.
    pub(super) fn when(&self, tokens: u64) -> Instant {
        let missing = tokens.saturating_sub(u64::from(self.level));
        let wait = self.rate.interval.saturating_mul(u32::try_from(missing).unwrap_or(u32::MAX));
        self.since.checked_add(wait).unwrap_or(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_token_per_interval() {
        let start = Instant::now();
        let mut tokens = Tokens::full(Rate::new(3, 0.5), start);
        assert_eq!([0; 4].map(|_| tokens.take(start)), [true, true, true, false]);
        assert_eq!(tokens.when(1), start + seconds(2));
        assert_eq!(tokens.when(5), start + seconds(10));
        assert!(!tokens.take(start + Duration::from_millis(1_999)));
        assert!(tokens.take(start + seconds(2)));
        // A late call loses no part of an interval.
        assert!(tokens.take(start + seconds(5)));
        assert!(!tokens.take(start + Duration::from_millis(5_999)));
        assert!(tokens.take(start + seconds(6)));
        // A full bucket collects no more tokens.
        let later = start + seconds(1_000);
        assert_eq!(tokens.level(later), 3);
        assert!(tokens.take(later));
        assert_eq!(tokens.when(3), later + seconds(2));
    }

    #[test]
    fn a_bucket_never_gives_more_than_the_rate_allows_in_any_period() {
        // Takes all tokens, at irregular times.
        let (start, rate) = (Instant::now(), Rate::new(7, 3.0));
        let mut tokens = Tokens::full(rate, start);
        let (mut given, mut at) = (0_u128, Duration::ZERO);
        for step in 0..10_000_u64 {
            at += Duration::from_nanos(step * 7_919 % 900_000_007);
            while tokens.take(start + at) {
                given += 1;
            }
            assert!(given <= 7 + at.as_nanos() / rate.interval.as_nanos(), "after {at:?}");
        }
        assert!(given > 1_000, "{given}");
    }

    #[test]
    fn a_returned_token_goes_to_the_next_caller_and_a_full_bucket_stays_full() {
        let start = Instant::now();
        let mut tokens = Tokens::full(Rate::new(1, 1.0), start);
        assert!(tokens.take(start));
        tokens.put_back();
        tokens.put_back();
        assert_eq!([tokens.take(start), tokens.take(start)], [true, false]);
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_tokens() {
        let start = Instant::now();
        let mut tokens = Tokens::full(Rate::new(1, 1.0), start + seconds(10));
        assert!(tokens.take(start));
        assert!(!tokens.take(start + seconds(10)));
        assert!(tokens.take(start + seconds(11)));
    }
}
