//! One bucket and its waiters, which are woken when their turn comes.
//!
//! While somebody waits, a task gives the tokens out, with one channel per waiter, so that no waiter depends on another one
//! being polled. A token that reaches nobody goes back: it is a guard, and a dropped waiter drops it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::class::Class;
use super::rates::Rate;
use super::turns::{Turn, Turns, Wait};
use super::window::Ended;

type Tell = oneshot::Sender<Token>;

/// One bucket with its queue.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the task when the state has changed.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    turns: Turns<Tell>,
    /// Whether the task is running.
    is_driven: bool,
}

impl Queue {
    pub(super) fn new(rate: Rate) -> Arc<Self> {
        let state = Mutex::new(State { turns: Turns::new(rate, Instant::now()), is_driven: false });
        Arc::new(Self { state, changed: Notify::new() })
    }

    /// A place in the queue that is kept for more than one wait.
    pub(super) fn place(&self) -> u64 {
        self.lock().turns.place()
    }

    /// Enters the queue, at `place` if one was given out before. Dropping the result leaves the queue, and no token is lost.
    pub(super) fn line_up(self: &Arc<Self>, class: Class, place: Option<u64>, registers: bool) -> Waiting {
        let now = Instant::now();
        let mut state = self.lock();
        if state.turns.take_at_once(class, registers, now) {
            drop(state);
            return Waiting(Either::Now(self.token(registers)));
        }
        let place = place.unwrap_or_else(|| state.turns.place());
        let (tell, told) = oneshot::channel();
        state.turns.line_up(class, place, registers, tell, now);
        if state.is_driven {
            self.changed.notify_one();
        } else {
            state.is_driven = true;
            tokio::spawn(Driver(Some(Arc::clone(self))).run());
        }
        drop(state);
        Waiting(Either::InLine(InLine { queue: Arc::clone(self), class, place, told }))
    }

    /// Takes a token only if nobody waits and the class may have one now.
    pub(super) fn take_at_once(self: &Arc<Self>, class: Class) -> Option<Token> {
        let is_taken = self.lock().turns.take_at_once(class, false, Instant::now());
        is_taken.then(|| self.token(false))
    }

    /// Reserves a place for a later caller, unless they would wait for longer than `longest`.
    pub(super) fn expect(self: &Arc<Self>, longest: Duration) -> Result<Ticket, Wait> {
        let mut state = self.lock();
        let wait = state.turns.wait(Instant::now());
        if wait.time > longest {
            return Err(wait);
        }
        state.turns.expect();
        drop(state);
        Ok(Ticket(Arc::clone(self)))
    }

    fn token(self: &Arc<Self>, registers: bool) -> Token {
        Token { queue: Arc::clone(self), registers, is_spent: false }
    }

    /// Gives a token to every waiter whose turn it is.
    fn give_out(self: &Arc<Self>) {
        loop {
            let next = self.lock().turns.next(Instant::now());
            let Some(Turn { tell, registers }) = next else { return };
            // Not under the lock, because this wakes another task.
            if let Err(mut token) = tell.send(self.token(registers)) {
                token.put_back();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that gives out a queue's tokens. If it is dropped with its runtime, the next waiter starts a new one.
struct Driver(Option<Arc<Queue>>);

impl Driver {
    async fn run(mut self) {
        while let Some(queue) = self.0.clone() {
            queue.give_out();
            let next_at = {
                let mut state = queue.lock();
                if state.turns.is_idle() {
                    state.is_driven = false;
                    drop(state);
                    self.0 = None;
                    return;
                }
                state.turns.next_at()
            };
            match next_at {
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = queue.changed.notified() => {}
                },
                None => queue.changed.notified().await,
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.lock().is_driven = false;
        }
    }
}

/// A wait for a token.
#[derive(Debug)]
pub(super) struct Waiting(Either);

#[derive(Debug)]
enum Either {
    Now(Token),
    InLine(InLine),
}

impl Waiting {
    /// Waits for the turn; `None` when the runtime is stopping.
    pub(super) async fn turn(self) -> Option<Token> {
        match self.0 {
            Either::Now(token) => Some(token),
            Either::InLine(mut line) => (&mut line.told).await.ok(),
        }
    }
}

#[derive(Debug)]
struct InLine {
    queue: Arc<Queue>,
    class: Class,
    place: u64,
    told: oneshot::Receiver<Token>,
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.queue.lock().turns.step_out(self.class, self.place);
        // The task may have waited only for this waiter.
        self.queue.changed.notify_one();
    }
}

/// A taken token; it goes back unless it is spent.
#[derive(Debug)]
pub(super) struct Token {
    queue: Arc<Queue>,
    registers: bool,
    is_spent: bool,
}

impl Token {
    pub(super) fn spend(mut self) {
        self.is_spent = true;
    }

    /// Spends it on a registration.
    pub(super) fn spend_on_registration(mut self) -> Registration {
        self.is_spent = true;
        Registration { queue: Arc::clone(&self.queue), entered: Instant::now(), ended: Ended::Unknown }
    }

    fn put_back(&mut self) {
        self.is_spent = true;
        self.queue.lock().turns.put_back(self.registers, Instant::now());
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.is_spent {
            self.put_back();
            self.queue.changed.notify_one();
        }
    }
}

/// A running registration: it has a place in the window until it is dropped.
#[derive(Debug)]
pub(in crate::aws) struct Registration {
    queue: Arc<Queue>,
    entered: Instant,
    ended: Ended,
}

impl Registration {
    /// Records that ECS accepted it.
    pub(in crate::aws) const fn taken(&mut self) {
        self.ended = Ended::Taken;
    }

    /// Records that ECS refused it because of too many at the same time.
    pub(in crate::aws) const fn refused(&mut self) {
        self.ended = Ended::Refused;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.queue.lock().turns.leave_window(self.entered, self.ended, Instant::now());
        self.queue.changed.notify_one();
    }
}

/// A place that is reserved for an admitted operation.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Queue>);

impl Ticket {
    pub(super) fn is_for(&self, queue: &Arc<Queue>) -> bool {
        Arc::ptr_eq(&self.0, queue)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.lock().turns.expect_no_longer();
    }
}
