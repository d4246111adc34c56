//! An operation on a user, from its beginning to its end: counted, and written to the audit log.

use std::sync::Arc;

use tokio::time::Instant;

use super::plan::Observed;
use super::{ConvergeError, ConvergeOutcome, Verb};
use crate::domain::service::Service;
use crate::domain::{CurrentDefinition, State, UserId, derive_status};
use crate::metrics::Metrics;

/// Who asks for an operation: the name of a token, never the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(Arc<str>);

impl Caller {
    /// A caller of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// One operation under way. It is counted and written down exactly once: when it ends, even if its caller was answered long
/// before, or when it is dropped, because its task panicked or the process ended during it.
pub(super) struct Operation {
    verb: Verb,
    /// Our own id: a request id is the caller's, who may send it twice.
    id: String,
    caller: Caller,
    user: UserId,
    metrics: Metrics,
    started: Instant,
    before: Option<Seen>,
    after: Option<Seen>,
    is_open: bool,
}

impl Operation {
    pub(super) fn begin(verb: Verb, caller: Caller, user: UserId, metrics: Metrics) -> Self {
        let (id, started) = (format!("{:016x}", fastrand::u64(..)), Instant::now());
        Self { verb, id, caller, user, metrics, started, before: None, after: None, is_open: true }
    }

    pub(super) const fn verb(&self) -> Verb {
        self.verb
    }

    pub(super) const fn user(&self) -> &UserId {
        &self.user
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Records the user's state: the first call is the state before the operation, later calls the state after it.
    pub(super) fn saw(&mut self, observed: &Observed) {
        let seen = Some(Seen::of(observed));
        if self.before.is_none() { self.before = seen } else { self.after = seen }
    }

    pub(super) fn end(mut self, result: Result<ConvergeOutcome, &ConvergeError>) {
        match result {
            Ok(outcome) => self.write_down(outcome.name(), None),
            Err(ConvergeError::Yielded) => self.write_down("handed_over", None),
            Err(error) => self.write_down("failed", Some(error)),
        }
    }

    fn write_down(&mut self, outcome: &'static str, error: Option<&ConvergeError>) {
        self.is_open = false;
        let reason = error.map(|error| error.kind().name());
        self.metrics.operation(self.verb.name(), outcome, reason.unwrap_or("none"));
        let (before, after) = (self.before.take().unwrap_or_default(), self.after.take().unwrap_or_default());
        tracing::info!(
            target: "audit",
            caller = &*self.caller.0,
            operation = self.verb.name(),
            operation_id = self.id,
            user_id = %self.user,
            outcome,
            reason,
            elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            before_state = before.state,
            before_desired = before.desired,
            before_size = before.size,
            before_image = before.image,
            before_task_definition = before.task_definition,
            before_base = before.base,
            after_state = after.state,
            after_desired = after.desired,
            after_size = after.size,
            after_image = after.image,
            after_task_definition = after.task_definition,
            after_base = after.base,
            "audit"
        );
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.is_open {
            self.write_down("interrupted", None);
        }
    }
}

/// What the audit log says of a user. Nothing in it is secret: variables, secrets and sign-ins are left out.
#[derive(Default)]
struct Seen {
    state: Option<&'static str>,
    desired: Option<u32>,
    size: Option<String>,
    image: Option<String>,
    task_definition: Option<String>,
    base: Option<String>,
}

impl Seen {
    fn of(observed: &Observed) -> Self {
        let state = observed.service.as_ref().and_then(state);
        // Nothing is left of a service that is gone, even though it is still known what it ran.
        let Some((service, state)) = observed.service.as_ref().zip(state) else {
            return Self { state: Some("absent"), ..Self::default() };
        };
        let current = observed.current.as_ref();
        let size = |of: &CurrentDefinition| of.cpu.zip(of.memory_mib).map(|(cpu, mib)| format!("{cpu}/{mib}"));
        Self {
            state: Some(state.name()),
            desired: Some(service.desired),
            size: current.and_then(size),
            image: current.map(|current| current.image.clone()),
            task_definition: current.map(|current| revision(&current.arn)),
            base: current.and_then(|current| current.base.as_deref()).map(revision),
        }
    }
}

/// The state as far as the service itself shows it; its tasks are not read.
fn state(service: &Service) -> Option<State> {
    let state = derive_status(service, &[], false)?.state;
    let runs = state == State::Provisioning && service.running > 0;
    Some(if runs { State::Running } else { state })
}

/// `openclaw-dev:42` of an ARN.
fn revision(arn: &str) -> String {
    arn.rsplit('/').next().unwrap_or(arn).to_owned()
}
