//! Faults: what goes wrong with selected calls.

use super::{Emulator, lock};
use std::time::Duration;

/// Strikes some of the calls that match it.
#[derive(Debug, Clone)]
pub struct Fault {
    /// `ecs`, `efs`, `ssm`, `ecr`, `iam` or `sts`; `None` matches every service.
    pub service: Option<String>,
    /// The action's name; `*` matches every action.
    pub action: String,
    /// How many matching calls pass before the first is struck.
    pub skip: usize,
    /// How many calls are struck; after that the fault is spent.
    pub times: usize,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// An AWS error; the call has no effect.
    Error {
        /// HTTP status.
        status: u16,
        /// AWS error code.
        code: String,
        /// AWS error message.
        message: String,
    },
    /// The call has its effect, then returns an AWS error.
    ErrorAfter {
        /// HTTP status.
        status: u16,
        /// AWS error code.
        code: String,
        /// AWS error message.
        message: String,
    },
    /// The connection closes; the call has no effect.
    DropBefore,
    /// The call has its effect, then the connection closes.
    DropAfter,
    /// The call takes that much longer.
    Delay(Duration),
    /// The call takes effect that much later, even if its caller has hung up, because it was on its way.
    Late(Duration),
    /// The call gets no answer and has no effect.
    Hang,
}

/// The active faults, in the order in which they were added.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// The fault that strikes this call, if any.
    pub(super) fn strike(&mut self, service: &str, action: &str) -> Option<FaultKind> {
        for fault in &mut self.0 {
            let service_matches = fault.service.as_deref().is_none_or(|name| name == service);
            if !service_matches || (fault.action != "*" && fault.action != action) || fault.times == 0 {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times -= 1;
            return Some(fault.kind.clone());
        }
        None
    }
}

impl Emulator {
    /// Adds a fault. If several match a call, the oldest strikes.
    pub fn inject(&self, fault: Fault) {
        lock(&self.inner.faults).0.push(fault);
    }

    /// Removes all faults. A call that already hangs continues to hang.
    pub fn clear_faults(&self) {
        lock(&self.inner.faults).0.clear();
    }

    /// The faults, including spent ones, with what is left of `skip` and `times`.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.inner.faults).0.clone()
    }
}
