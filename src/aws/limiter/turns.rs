//! Whose turn it is: one bucket, its window, and those who wait for it, class by class. Like the arithmetic beneath it,
//! this has no clock and waits for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::class::Class;
use super::rates::Rate;
use super::tokens::Tokens;
use super::window::{Ended, Window};

/// A class that was passed over for this long has the next token, whoever else waits; see [`Turns::patience`].
const PATIENCE: Duration = Duration::from_secs(2);
/// And no class behind the first gets more than a tenth of the bucket in this way.
const SHARE: u32 = 10;

/// One who waits, with what tells them that it is their turn.
#[derive(Debug)]
struct Waiter<T> {
    since: Instant,
    registers: bool,
    tell: T,
}

/// Those of one class who wait, in the order of their places.
#[derive(Debug)]
struct Line<T> {
    waiting: BTreeMap<u64, Waiter<T>>,
    served_at: Option<Instant>,
}

/// Who has their turn.
#[derive(Debug)]
pub(super) struct Turn<T> {
    pub(super) tell: T,
    /// Whether a place in the window goes with it.
    pub(super) registers: bool,
}

/// One bucket and its queue.
#[derive(Debug)]
pub(super) struct Turns<T> {
    tokens: Tokens,
    window: Window,
    lines: [Line<T>; Class::ALL.len()],
    /// Operations of people who wait for an answer, that have been let in and have not yet come to this bucket.
    expected: u64,
    next_place: u64,
}

/// The wait that a new caller would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// Which of those who wait they would be, 1 being the next; 0: there is a token for them.
    pub(super) position: u64,
    pub(super) time: Duration,
}

impl<T> Turns<T> {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let lines = Class::ALL.map(|_| Line { waiting: BTreeMap::new(), served_at: None });
        Self { tokens: Tokens::full(rate, now), window: Window::default(), lines, expected: 0, next_place: 0 }
    }

    /// A place in line, for whoever may come more than once for the same thing.
    pub(super) const fn place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lines.iter().all(|line| line.waiting.is_empty())
    }

    /// Takes a token without a wait, which only somebody may whom nobody waits before.
    pub(super) fn take_at_once(&mut self, class: Class, registers: bool, now: Instant) -> bool {
        let may = self.is_idle() && self.has_room(registers) && self.tokens.level(now) >= self.floor(class);
        may && self.take(class, registers, now)
    }

    /// Puts somebody in line.
    pub(super) fn line_up(&mut self, class: Class, place: u64, registers: bool, tell: T, now: Instant) {
        self.lines[class as usize].waiting.insert(place, Waiter { since: now, registers, tell });
    }

    /// Somebody waits no longer. Nobody to be found at that place has had their turn.
    pub(super) fn step_out(&mut self, class: Class, place: u64) {
        self.lines[class as usize].waiting.remove(&place);
    }

    /// Whoever has their turn now, with their token taken; `None` when nobody has.
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

    /// When somebody will have their turn, if nothing changes until then; `None` when only a change can bring it.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let of_class = |class: Class| {
            self.front(class).filter(|front| self.has_room(front.registers))?;
            let by_right = self.tokens.when(self.floor(class).into());
            let overdue = self.overdue_at(class).map(|at| at.max(self.tokens.when(1)));
            Some(overdue.map_or(by_right, |overdue| overdue.min(by_right)))
        };
        Class::ALL.into_iter().filter_map(of_class).min()
    }

    /// A token was not used after all, and with it its place in the window.
    pub(super) fn put_back(&mut self, registers: bool, now: Instant) {
        self.tokens.put_back();
        if registers {
            self.window.leave(now, Ended::Unknown, now);
        }
    }

    /// A registration that entered the window at `entered` is over.
    pub(super) fn leave_window(&mut self, entered: Instant, ended: Ended, now: Instant) {
        self.window.leave(entered, ended, now);
    }

    /// Somebody is let in who will come to this bucket.
    pub(super) const fn expect(&mut self) {
        self.expected += 1;
    }

    /// One who was expected has come, or never will.
    pub(super) const fn expect_no_longer(&mut self) {
        self.expected = self.expected.saturating_sub(1);
    }

    /// The wait that one more person's operation would have, behind all of its class who wait or are expected, and behind
    /// the share of those classes who wait behind it.
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

    /// What has to be in the bucket before a class takes from it: rollouts leave a quarter to people, background half.
    const fn floor(&self, class: Class) -> u32 {
        let floor = match class {
            Class::Interactive => 1,
            Class::Rollout => self.tokens.burst().div_ceil(4),
            Class::Background => self.tokens.burst().div_ceil(2),
        };
        if floor == 0 { 1 } else { floor }
    }

    /// When a class has waited long enough for a token out of turn.
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

    /// How long a class behind the first is passed over at most.
    fn patience(&self) -> Duration {
        PATIENCE.max(self.tokens.interval().saturating_mul(SHARE))
    }
}
