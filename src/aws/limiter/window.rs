//! The number of registrations that may run at the same time.
//!
//! ECS refuses "too many concurrent attempts" to register in one family and does not say how many that is. So the window
//! works like TCP's: one more after a quiet period, half as many after a refusal.

use std::time::Duration;

use tokio::time::Instant;

/// Size at start.
const START: u32 = 4;
/// Largest size. A replica needs no more: it is measured with this many callers.
const MOST: u32 = 64;
/// How long after a refusal the window does not grow.
const CALM: Duration = Duration::from_secs(5);

/// The end of a registration, for the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// ECS accepted it.
    Taken,
    /// ECS refused it because of too many at the same time.
    Refused,
    /// Neither is known: another error, no answer, or it was given up.
    Unknown,
}

/// The window and the registrations in it.
#[derive(Debug, Clone)]
pub(super) struct Window {
    size: u32,
    under_way: u32,
    /// Registrations that ECS accepted one after another while the window was full.
    taken: u32,
    shrunk_at: Option<Instant>,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: START, under_way: 0, taken: 0, shrunk_at: None }
    }
}

impl Window {
    pub(super) const fn is_open(&self) -> bool {
        self.under_way < self.size
    }

    pub(super) const fn enter(&mut self) {
        self.under_way += 1;
    }

    /// Records the end of a registration that entered at `entered`. A quiet period is as many accepted registrations in a row
    /// as the window's size, without a refusal for [`CALM`]. Registrations that a smaller window could also hold do not count.
    pub(super) fn leave(&mut self, entered: Instant, ended: Ended, now: Instant) {
        let was_full = self.under_way >= self.size;
        self.under_way = self.under_way.saturating_sub(1);
        match ended {
            Ended::Taken if was_full => {
                self.taken += 1;
                let is_calm = self.shrunk_at.is_none_or(|at| now.saturating_duration_since(at) >= CALM);
                if self.taken >= self.size && is_calm {
                    self.size = (self.size + 1).min(MOST);
                    self.taken = 0;
                }
            }
            // Registrations that began before the window shrank say nothing about its new size.
            Ended::Refused if self.shrunk_at.is_none_or(|at| entered > at) => {
                self.size = (self.size / 2).max(1);
                self.taken = 0;
                self.shrunk_at = Some(now);
            }
            Ended::Taken | Ended::Refused | Ended::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the window and empties it again; every registration has this end.
    fn round(window: &mut Window, ended: Ended, now: Instant) -> u32 {
        let mut entered = 0;
        while window.is_open() {
            window.enter();
            entered += 1;
        }
        // When one leaves, another enters, so the window is always full.
        for _ in 0..entered {
            window.leave(now, ended, now);
            window.enter();
        }
        for _ in 0..entered {
            window.leave(now, Ended::Unknown, now);
        }
        entered
    }

    #[test]
    fn the_window_grows_by_one_per_quiet_round_and_halves_once_per_refused_one() {
        let (mut window, start) = (Window::default(), Instant::now());
        assert_eq!([0; 3].map(|_| round(&mut window, Ended::Taken, start)), [4, 5, 6]);
        let refused = start + Duration::from_secs(1);
        for _ in 0..7 {
            window.enter();
        }
        // Seven refusals of one burst count once.
        for _ in 0..7 {
            window.leave(start, Ended::Refused, refused);
        }
        assert_eq!(round(&mut window, Ended::Taken, refused), 3);
        assert_eq!(round(&mut window, Ended::Taken, refused), 3, "too soon after a refusal");
        let calm = refused + CALM;
        assert_eq!([0; 2].map(|_| round(&mut window, Ended::Taken, calm)), [3, 4]);
    }

    #[test]
    fn the_window_never_closes_and_never_grows_beyond_its_limit() {
        let (mut window, mut now) = (Window::default(), Instant::now());
        for _ in 0..10 {
            round(&mut window, Ended::Refused, now);
            now += Duration::from_secs(1);
        }
        assert_eq!(round(&mut window, Ended::Unknown, now), 1);
        now += CALM;
        for _ in 0..1_000 {
            round(&mut window, Ended::Taken, now);
        }
        assert_eq!(round(&mut window, Ended::Unknown, now), MOST);
    }

    #[test]
    fn registrations_that_a_smaller_window_could_hold_do_not_widen_it() {
        let (mut window, now) = (Window::default(), Instant::now());
        for _ in 0..100 {
            window.enter();
            window.leave(now, Ended::Taken, now);
        }
        assert_eq!(round(&mut window, Ended::Unknown, now), START);
    }
}
