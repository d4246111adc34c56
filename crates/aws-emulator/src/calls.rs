//! The log of calls, for tests that count them.

use super::error::Outcome;
use super::protocol::{Operation, Protocol};
use super::{Emulator, lock};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// How many calls are kept; older ones are forgotten first.
const KEPT: usize = 100_000;

/// A call that came in through [`Emulator::handle`], except for admin paths.
#[derive(Debug, Clone)]
pub struct Call {
    /// `ecs`, `efs`, `ssm`, `ecr`, `iam`, `sts`, or the name of a service that the emulator does not have.
    pub service: String,
    /// The action's name.
    pub action: String,
    /// Whether the action can change anything.
    pub mutating: bool,
    /// The request's members; parameter values are blanked out.
    pub request: Value,
    /// HTTP status; 0 if no answer went out (yet).
    pub status: u16,
    /// AWS error code, when the answer was an error.
    pub code: Option<String>,
    /// When it came in, counted from the emulator's start.
    pub started: Duration,
    /// When it was answered or dropped, or when the caller gave up.
    pub finished: Duration,
}

/// The calls in the order in which they came in.
#[derive(Default)]
pub(super) struct CallLog {
    calls: VecDeque<Call>,
    /// Number of the first call that is still kept.
    first: u64,
}

/// A call under way. Dropping it, as a caller that gives up does, ends the call in the log.
pub(super) struct Record {
    emulator: Emulator,
    number: u64,
    status: u16,
    code: Option<String>,
    success: u16,
}

impl Record {
    /// Notes the answer that goes out.
    pub(super) fn finish(mut self, outcome: Outcome) -> Outcome {
        (self.status, self.code) = match &outcome {
            Ok(_) => (self.success, None),
            Err(error) => (error.status, Some(error.code.clone())),
        };
        outcome
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let now = self.emulator.inner.clock.now();
        let mut log = lock(&self.emulator.inner.log);
        let index = self.number.checked_sub(log.first).and_then(|index| usize::try_from(index).ok());
        if let Some(call) = index.and_then(|index| log.calls.get_mut(index)) {
            (call.status, call.code, call.finished) = (self.status, self.code.take(), now);
        }
    }
}

impl Emulator {
    pub(super) fn log_call(&self, operation: &Operation) -> Record {
        let now = self.inner.clock.now();
        let mut log = lock(&self.inner.log);
        if log.calls.len() >= KEPT {
            log.calls.pop_front();
            log.first += 1;
        }
        log.calls.push_back(Call {
            service: operation.service.clone(),
            action: operation.action.clone(),
            mutating: !["Describe", "List", "Get"].iter().any(|verb| operation.action.starts_with(verb)),
            request: request_of(operation),
            status: 0,
            code: None,
            started: now,
            finished: now,
        });
        let number = log.first + log.calls.len() as u64 - 1;
        let success = match operation.protocol {
            Protocol::RestJson => super::efs::routes::success_status(&operation.action),
            _ => 200,
        };
        Record { emulator: self.clone(), number, status: 0, code: None, success }
    }

    /// The calls so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.inner.log).calls.iter().cloned().collect()
    }

    /// Forgets the calls so far; calls under way are no longer logged.
    pub fn clear_calls(&self) {
        let mut log = lock(&self.inner.log);
        log.first += log.calls.len() as u64;
        log.calls.clear();
    }

    /// How many calls had to wait for one another: the length of the longest chain in which each starts when or after the
    /// one before has finished. It is meaningful only with a [`per_call_delay`](super::Options::per_call_delay) above 0.
    pub fn round_trips(&self) -> usize {
        let mut spans: Vec<_> = self.calls().iter().map(|call| (call.finished, call.started)).collect();
        // Taking the earliest finish each time gives the longest chain.
        spans.sort_unstable();
        let mut free_from = Duration::ZERO;
        let mut chain = 0;
        for (finished, started) in spans {
            if started >= free_from {
                (free_from, chain) = (finished, chain + 1);
            }
        }
        chain
    }
}

/// Keeps secrets out of the log: a parameter written with `Overwrite` need not even say that it is one.
fn request_of(operation: &Operation) -> Value {
    let mut members = operation.input.clone().unwrap_or_default();
    if operation.service == "ssm" && members.contains_key("Value") {
        members.insert("Value".to_owned(), json!("(not logged)"));
    }
    Value::Object(members)
}
