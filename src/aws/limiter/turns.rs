//! Decides whose turn it is: one bucket, its window, and its waiters by class. Like the arithmetic of tokens, this has no
//! clock and never waits.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::class::Class;
use super::rates::Rate;
use super::tokens::Tokens;
use super::window::{Ended, Window};

/// A class that got no token for this long gets the next one, before all others; see [`Turns::patience`].
const PATIENCE: Duration = Duration::from_secs(2);
/// Limits that rule: no lower class gets more than one in ten tokens in this way.
const SHARE: u32 = 10;

/// A waiter, with the channel that tells them that it is their turn.
#[derive(Debug)]
struct Waiter<T> {
    since: Instant,
    registers: bool,
    tell: T,
}

/// The waiters of one class, in the order of their places.
#[derive(Debug)]
struct Line<T> {
    waiting: BTreeMap<u64, Waiter<T>>,
    served_at: Option<Instant>,
}

/// The turn of a waiter.
#[derive(Debug)]
pub(super) struct Turn<T> {
    pub(super) tell: T,
    /// Whether it includes a place in the window.
    pub(super) registers: bool,
}

/// One bucket and its queue.
#[derive(Debug)]
pub(super) struct Turns<T> {
    tokens: Tokens,
    window: Window,
    lines: [Line<T>; Class::ALL.len()],
    /// Admitted operations of people that have not reached this bucket yet.
    expected: u64,
    next_place: u64,
}

/// The wait of a new caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// Their place in the queue, 1 being the next; 0: there is a token for them.
    pub(super) position: u64,
    pub(super) time: Duration,
}

impl<T> Turns<T> {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let lines = Class::ALL.map(|_| Line { waiting: BTreeMap::new(), served_at: None });
        Self { tokens: Tokens::full(rate, now), window: Window::default(), lines, expected: 0, next_place: 0 }
    }

    /// A place in the queue, for a caller who may need it more than once.
    pub(super) const fn place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lines.iter().all(|line| line.waiting.is_empty())
    }

    /// Takes a token without a wait, if nobody else waits.
    pub(super) fn take_at_once(&mut self, class: Class, registers: bool, now: Instant) -> bool {
        let may = self.is_idle() && self.has_room(registers) && self.tokens.level(now) >= self.floor(class);
        may && self.take(class, registers, now)
    }

    /// Adds a waiter.
    pub(super) fn line_up(&mut self, class: Class, place: u64, registers: bool, tell: T, now: Instant) {
        self.lines[class as usize].waiting.insert(place, Waiter { since: now, registers, tell });
    }

    /// Removes a waiter who gave up; one who already had their turn is no longer there.
    pub(super) fn step_out(&mut self, class: Class, place: u64) {
        self.lines[class as usize].waiting.remove(&place);
    }

    /// Takes a token for the next waiter whose turn it is; `None` if there is none.
    pub(super) fn next(&mut self, now: Instant) -> Option<Turn<T>> {
        let level = self.tokens.level(now);
        let has_turn = |&class: &Class| match self.front(class) {
            Some(front) => self.has_room(front.registers) && level >= self.floor(class),
            None => false,
        };
        let is_overdue = |&class: &Class| {
            level > 0
                && self.overdue_at(class).is_some_and(|at| at <= now)
                && self.front(class).is_some_and(|front| self.has_room(front.registers))
        };
        let overdue = Class::ALL.into_iter().filter(is_overdue).min_by_key(|&class| self.overdue_at(class));
        let class = overdue.or_else(|| Class::ALL.into_iter().find(has_turn))?;
        let (_, Waiter { registers, tell, .. }) = self.lines[class as usize].waiting.pop_first()?;
        self.take(class, registers, now);
        Some(Turn { tell, registers })
    }

    /// The time of the next turn, if nothing changes until then; `None` if the next turn needs a change.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let of_class = |class: Class| {
            self.front(class).filter(|front| self.has_room(front.registers))?;
            let by_right = self.tokens.when(self.floor(class).into());
            let overdue = self.overdue_at(class).map(|at| at.max(self.tokens.when(1)));
            Some(overdue.map_or(by_right, |overdue| overdue.min(by_right)))
        };
        Class::ALL.into_iter().filter_map(of_class).min()
    }

    /// Puts back an unused token, and its place in the window.
    pub(super) fn put_back(&mut self, registers: bool, now: Instant) {
        self.tokens.put_back();
        if registers {
            self.window.leave(now, Ended::Unknown, now);
        }
    }

    /// Records the end of a registration that entered the window at `entered`.
    pub(super) fn leave_window(&mut self, entered: Instant, ended: Ended, now: Instant) {
        self.window.leave(entered, ended, now);
    }

    /// Counts an admitted operation that will need this bucket.
    pub(super) const fn expect(&mut self) {
        self.expected += 1;
    }

    /// Stops counting an admitted operation: it has arrived, or never will.
    pub(super) const fn expect_no_longer(&mut self) {
        self.expected = self.expected.saturating_sub(1);
    }

    /// The wait of one more operation of a person: after all of its class who wait or are admitted, and after the tokens that
    /// the lower classes get meanwhile.
    pub(super) fn wait(&mut self, now: Instant) -> Wait {
        let level = self.tokens.level(now);
        let before = self.lines[Class::Interactive as usize].waiting.len() as u64 + self.expected;
        let position = (before + 1).saturating_sub(level.into());
        if position == 0 {
            return Wait { position, time: Duration::ZERO };
        }
        let own = self.tokens.when(before + 1).saturating_duration_since(now);
        let others = self.lines[1..].iter().filter(|line| !line.waiting.is_empty()).count();
        let shares = own.as_nanos() / self.patience().as_nanos().max(1);
        let shares = u32::try_from(shares * others as u128).unwrap_or(u32::MAX);
        Wait { position, time: own.saturating_add(self.tokens.interval().saturating_mul(shares)) }
    }

    fn front(&self, class: Class) -> Option<&Waiter<T>> {
        self.lines[class as usize].waiting.first_key_value().map(|(_, front)| front)
    }

    const fn has_room(&self, registers: bool) -> bool {
        !registers || self.window.is_open()
    }

    fn take(&mut self, class: Class, registers: bool, now: Instant) -> bool {
        let is_there = self.tokens.take(now);
        if is_there {
            self.lines[class as usize].served_at = Some(now);
            if registers {
                self.window.enter();
            }
        }
        is_there
    }

    /// Tokens that must be in the bucket before a class takes one: rollouts leave a quarter to people, background calls half.
    const fn floor(&self, class: Class) -> u32 {
        let floor = match class {
            Class::Interactive => 1,
            Class::Rollout => self.tokens.burst().div_ceil(4),
            Class::Background => self.tokens.burst().div_ceil(2),
        };
        if floor == 0 { 1 } else { floor }
    }

    /// The time after which a class gets a token before higher classes.
    fn overdue_at(&self, class: Class) -> Option<Instant> {
        match class {
            Class::Interactive => None,
            Class::Rollout | Class::Background => {
                let since = self.front(class)?.since;
                let served_at = self.lines[class as usize].served_at;
                Some(served_at.map_or(since, |at| at.max(since)) + self.patience())
            }
        }
    }

    /// The longest time that a lower class gets no token.
    fn patience(&self) -> Duration {
        PATIENCE.max(self.tokens.interval().saturating_mul(SHARE))
    }
}
