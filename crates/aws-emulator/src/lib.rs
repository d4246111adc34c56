#![doc = include_str!("../README.md")]

mod admin;
mod calls;
mod clock;
mod conduct;
mod connector;
mod ecr;
mod ecs;
mod efs;
mod error;
mod faults;
mod here;
mod http;
mod iam;
mod ids;
mod input;
mod limits;
mod paging;
mod protocol;
mod quotas;
mod registering;
mod server;
mod ssm;
mod staleness;
mod state;
mod sts;
mod tags;
#[cfg(test)]
mod tests;

pub use calls::Call;
pub use clock::Pace;
pub use conduct::{Conduct, StaleReads};
pub use connector::EmulatorHttpClient;
pub use ecs::Behaviour;
pub use faults::{Fault, FaultKind};
pub use http::{Dropped, Request, Response};

use calls::CallLog;
use clock::Clock;
use error::{ApiError, Outcome};
use faults::Faults;
use input::Input;
use limits::Limits;
use protocol::Operation;
use registering::Registering;
use serde_json::{Map, Value};
use staleness::History;
use state::{SERVICES, State};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many registrations of one family at once ECS accepts. ECS does not document the number (aws-facts §1).
const MOST_REGISTRATIONS_AT_ONCE: usize = 10;

/// The options of an emulator, which hold from its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// How fast simulated tasks move.
    pub pace: Pace,
    /// How unkind AWS is; by default as AWS documents itself.
    pub conduct: Conduct,
    /// Time every AWS call takes before it has its effect; zero by default.
    pub per_call_delay: Duration,
    /// Whether the documented request rates of ECS are enforced; false by default.
    pub enforce_rate_limits: bool,
    /// ECS refuses more registrations of one family at once than this; `None`: it never refuses.
    pub most_registrations_at_once: Option<usize>,
    /// The address that every task gets instead of a random private one, for a stand-in of the container.
    pub task_address: Option<Ipv4Addr>,
    /// How many seconds the clock that dates answers is ahead of this machine's clock; zero by default.
    pub clock_ahead_seconds: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pace: Pace::default(),
            conduct: Conduct::default(),
            per_call_delay: Duration::ZERO,
            enforce_rate_limits: false,
            most_registrations_at_once: Some(MOST_REGISTRATIONS_AT_ONCE),
            task_address: None,
            clock_ahead_seconds: 0,
        }
    }
}

/// A handle on one emulated AWS account; clones share it.
#[derive(Clone)]
pub struct Emulator {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator").finish_non_exhaustive()
    }
}

struct Inner {
    options: Options,
    clock: Clock,
    state: Mutex<State>,
    faults: Mutex<Faults>,
    limits: Mutex<Limits>,
    registrations: Mutex<BTreeMap<String, usize>>,
    log: Mutex<CallLog>,
    /// What reads may still show; `None`: reads are never stale.
    history: Option<Mutex<History>>,
}

impl Emulator {
    /// An empty account.
    pub fn new(options: Options) -> Self {
        let clock = Clock::start();
        let history = options.conduct.stale_reads.map(|stale| Mutex::new(History::new(stale)));
        let state = State::new(clock, options.pace.at_least_a_millisecond(), options.conduct, options.task_address);
        Self {
            inner: Arc::new(Inner {
                options,
                clock,
                state: Mutex::new(state),
                faults: Mutex::default(),
                limits: Mutex::default(),
                registrations: Mutex::default(),
                log: Mutex::default(),
                history,
            }),
        }
    }

    /// Answers one HTTP request. Dropping the future is safe: a call has its whole effect or none.
    ///
    /// # Errors
    /// [`Dropped`] when a fault closes the connection.
    pub async fn handle(&self, request: Request) -> Result<Response, Dropped> {
        if request.path().starts_with("/_") {
            return Ok(self.administer(&request));
        }
        let operation = protocol::decode(&request);
        let outcome = self.answer(&operation).await?;
        let mut response = protocol::encode(operation.protocol, &operation.action, &outcome);
        response
            .headers
            .extend(self.inner.clock.http_date(self.inner.options.clock_ahead_seconds).map(|date| ("date", date)));
        Ok(response)
    }

    /// In this order: delay, fault, rate limit, effect, fault. All of it is in the log.
    async fn answer(&self, operation: &Operation) -> Result<Outcome, Dropped> {
        let record = self.log_call(operation);
        let under_way = Registering::begin(self, operation);
        if !self.inner.options.per_call_delay.is_zero() {
            tokio::time::sleep(self.inner.options.per_call_delay).await;
        }
        let fault = lock(&self.inner.faults).strike(&operation.service, &operation.action);
        match &fault {
            Some(FaultKind::Error { status, code, message }) => {
                return Ok(record.finish(Err(ApiError::new(*status, code, message.as_str()))));
            }
            Some(FaultKind::DropBefore) => return Err(Dropped),
            Some(FaultKind::Delay(time)) => tokio::time::sleep(*time).await,
            Some(FaultKind::Hang) => std::future::pending().await,
            Some(FaultKind::Late(time)) => {
                let (time, emulator, operation) = (*time, self.clone(), operation.clone());
                let performed = tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    under_way.and_then(|_registering| emulator.perform(&operation))
                });
                return Ok(record.finish(performed.await.map_err(|_| Dropped)?));
            }
            Some(FaultKind::ErrorAfter { .. } | FaultKind::DropAfter) | None => {}
        }
        let outcome = under_way.and_then(|_registering| self.perform(operation));
        match fault {
            Some(FaultKind::ErrorAfter { status, code, message }) => {
                Ok(record.finish(Err(ApiError::new(status, &code, message))))
            }
            Some(FaultKind::DropAfter) => Err(Dropped),
            _ => Ok(record.finish(outcome)),
        }
    }

    fn perform(&self, operation: &Operation) -> Outcome {
        let input = operation.input.clone()?;
        if self.inner.options.enforce_rate_limits && operation.service == "ecs" {
            lock(&self.inner.limits).take(&operation.region, &operation.action, self.inner.clock.now())?;
        }
        let Operation { region, service, action, .. } = operation;
        let Some(history) = &self.inner.history else { return self.dispatch(region, service, action, &input) };
        // The state before a change and the change itself have to be recorded together.
        let mut history = lock(history);
        let mut ask =
            |service: &str, action: &str, members: &Map<String, Value>| self.dispatch(region, service, action, members);
        history.perform(region, self.inner.clock.now(), (service, action), &input, &mut ask)
    }

    /// Calls an action directly in us-east-1: no fault, delay or limit applies, and the call is not logged. It never reads
    /// anything old; its changes are seen by others as late as any change. The members are those of the API, for EFS too
    /// (`{"AccessPointId": ...}` and the like).
    ///
    /// # Errors
    /// The AWS error code and message.
    pub fn call(&self, service: &str, action: &str, input: Value) -> Result<Value, (String, String)> {
        let members = match input {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let region = "us-east-1";
        let mut ask =
            |service: &str, action: &str, members: &Map<String, Value>| self.dispatch(region, service, action, members);
        let outcome = match &self.inner.history {
            Some(history) if staleness::is_change(service, action, &members) => {
                lock(history).perform(region, self.inner.clock.now(), (service, action), &members, &mut ask)
            }
            Some(_) | None => ask(service, action, &members),
        };
        outcome.map_err(|error| (error.code, error.message))
    }

    /// Makes reads show everything that was accepted, as if that were long ago.
    pub fn settle(&self) {
        lock(&self.inner.state).iam().settle();
        if let Some(history) = &self.inner.history {
            lock(history).settle();
        }
    }

    fn dispatch(&self, region: &str, service: &str, action: &str, members: &Map<String, Value>) -> Outcome {
        let Some(known) = SERVICES.iter().find(|known| known.name == service) else {
            return Err(ApiError::not_implemented(service, action, &supported(None)));
        };
        let mut state = lock(&self.inner.state);
        match (known.perform)(&mut state, region, action, Input::new(members, known.code_of_bad_members)) {
            Some(outcome) => outcome.map(without_nulls),
            None => Err(ApiError::not_implemented(service, action, &supported(Some(service)))),
        }
    }

    /// Chooses how tasks of a service or family behave from now on; `None` removes the choice. [`Behaviour::Oom`],
    /// [`Behaviour::Crash`] and [`Behaviour::Unhealthy`] strike running tasks at once.
    pub fn set_behaviour(&self, service_or_family: &str, behaviour: Option<Behaviour>) {
        lock(&self.inner.state).set_behaviour(service_or_family, behaviour);
    }
}

/// `service:Action` for every action of the emulator, or for every action of one service.
fn supported(service: Option<&str>) -> Vec<String> {
    let chosen = SERVICES.iter().filter(|known| service.is_none_or(|service| service == known.name));
    chosen.flat_map(|known| (known.actions)().map(move |action| format!("{}:{action}", known.name))).collect()
}

/// AWS omits a member that has no value (a `nextToken` after the last page).
fn without_nulls(mut body: Value) -> Value {
    if let Some(members) = body.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    body
}

/// A panic elsewhere must not break the emulator too: its state is consistent between calls.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
