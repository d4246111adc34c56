//! An operation on a user, from its beginning to whatever end it comes to.

use super::{ConvergeError, Outcome};
use crate::metrics::Metrics;

/// One operation under way. It is written down exactly once: when it ends, or when it is dropped, because its task
/// panicked or the process went down over it.
pub(super) struct Operation {
    kind: &'static str,
    metrics: Metrics,
    is_open: bool,
}

impl Operation {
    pub(super) const fn begin(kind: &'static str, metrics: Metrics) -> Self {
        Self { kind, metrics, is_open: true }
    }

    pub(super) fn end(mut self, result: Result<Outcome, &ConvergeError>) {
        match result {
            Ok(outcome) => self.write_down(outcome.name(), None),
            Err(error) => self.write_down("failed", Some(error)),
        }
    }

    fn write_down(&mut self, outcome: &'static str, error: Option<&ConvergeError>) {
        self.is_open = false;
        let reason = error.map_or("none", |error| error.kind().name());
        self.metrics.operation(self.kind, outcome, reason);
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.is_open {
            self.write_down("interrupted", None);
        }
    }
}
