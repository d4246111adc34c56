//! Faults: what goes wrong with chosen calls.

use super::{Emulator, lock};
use std::time::Duration;

/// Strikes some of the calls that match it.
#[derive(Debug, Clone)]
pub struct Fault {
    /// `ecs`, `efs`, `ssm`, `ecr`, `iam` or `sts`; `None` matches every service.
    pub service: Option<String>,
    /// The action's name; `*` matches every action.
    pub action: String,
    /// Matching calls that pass before the first is struck.
    pub skip: usize,
    /// Calls that are struck; after that the fault is spent.
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
    /// The call has its effect, then an AWS error is answered.
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
    /// The call takes this much longer.
    Delay(Duration),
    /// The call takes effect this much later, also when its caller has hung up: it was on its way.
    Late(Duration),
    /// The call is never answered and has no effect.
    Hang,
}

/// The faults in force, in the order in which they came.
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
    /// Puts a fault in force. Where several match a call, the oldest strikes.
    pub fn inject(&self, fault: Fault) {
        lock(&self.inner.faults).0.push(fault);
    }

    /// Takes all faults back. A call that hangs already goes on hanging.
    pub fn clear_faults(&self) {
        lock(&self.inner.faults).0.clear();
    }

    /// The faults in force, spent ones included, with what is left of `skip` and `times`.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.inner.faults).0.clone()
    }
}
