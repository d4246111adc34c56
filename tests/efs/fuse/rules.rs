//! The rules of a mount for its calls, and the counts of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::Kind;

/// How long each kind of call takes, in milliseconds.
pub(super) type Latencies = BTreeMap<Kind, u64>;

/// A rule that fails calls with an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The kinds of calls that count.
    pub kinds: BTreeSet<Kind>,
    /// How many of them still succeed.
    pub after: u64,
    /// How many of them fail; then all succeed again.
    pub times: u64,
    pub errno: i32,
}

impl Failure {
    /// From the n-th call of these kinds on, counted from 1.
    pub fn from_nth(kinds: impl IntoIterator<Item = Kind>, n: u64, errno: rustix::io::Errno) -> Self {
        Self { kinds: kinds.into_iter().collect(), after: n - 1, times: u64::MAX, errno: errno.raw_os_error() }
    }

    /// Only the n-th call of these kinds, counted from 1.
    pub fn only_nth(kinds: impl IntoIterator<Item = Kind>, n: u64, errno: rustix::io::Errno) -> Self {
        Self { times: 1, ..Self::from_nth(kinds, n, errno) }
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) latencies: Latencies,
    /// Kinds that hang.
    pub(super) hanging: BTreeSet<Kind>,
    failures: Vec<Failure>,
    counts: BTreeMap<Kind, u64>,
}

/// What to do with a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Delay(Duration),
    Hang,
    Fail(i32),
}

impl Rules {
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    pub(super) fn mend(&mut self) {
        self.failures.clear();
    }

    pub(super) fn take_counts(&mut self) -> BTreeMap<Kind, u64> {
        std::mem::take(&mut self.counts)
    }

    /// Reduces the count by one.
    pub(super) fn forgive(&mut self, kind: Kind) {
        if let Some(count) = self.counts.get_mut(&kind) {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn judge(&mut self, kind: Kind) -> Verdict {
        *self.counts.entry(kind).or_default() += 1;
        if self.hanging.contains(&kind) {
            return Verdict::Hang;
        }
        for failure in self.failures.iter_mut().filter(|failure| failure.kinds.contains(&kind)) {
            if failure.after > 0 {
                failure.after -= 1;
            } else if failure.times > 0 {
                failure.times -= 1;
                return Verdict::Fail(failure.errno);
            }
        }
        match self.latencies.get(&kind) {
            None | Some(0) => Verdict::Pass,
            Some(millis) => Verdict::Delay(Duration::from_millis(*millis)),
        }
    }
}
