//! How many registrations may be under way at once.
//!
//! ECS refuses "too many concurrent attempts" to register in one family and does not say how many that is, so the window
//! is found as TCP finds its own: one more after a quiet spell, half as many after a refusal.

use std::time::Duration;

use tokio::time::Instant;

/// To begin with.
const START: u32 = 4;
/// A replica has no use for more: as many callers as it is measured with.
const MOST: u32 = 64;
/// How long after a refusal the window stays as it is.
const CALM: Duration = Duration::from_secs(5);

/// How a registration ended, as far as the window is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// ECS took it.
    Taken,
    /// ECS had too many at once.
    Refused,
    /// Neither can be said: another error, no answer, or it was given up.
    Unknown,
}

/// The window and what is in it.
#[derive(Debug, Clone)]
pub(super) struct Window {
    size: u32,
    under_way: u32,
    /// Registrations that ECS took in a row while the window was full.
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

    /// One that entered at `entered` is over. A quiet spell is as many registrations in a row as the window holds, all
    /// taken and none refused for [`CALM`]; those that would have fitted into a smaller window prove nothing.
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
            // Those that were under way when it shrank say nothing of the smaller window.
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

    /// Fills the window and empties it again, every registration ending as said.
    fn round(window: &mut Window, ended: Ended, now: Instant) -> u32 {
        let mut entered = 0;
        while window.is_open() {
            window.enter();
            entered += 1;
        }
        // As each leaves, another enters: the window is full all the time.
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
    fn the_window_grows_by_one_a_quiet_round_and_halves_once_a_refused_one() {
        let (mut window, start) = (Window::default(), Instant::now());
        assert_eq!([0; 3].map(|_| round(&mut window, Ended::Taken, start)), [4, 5, 6]);
        let refused = start + Duration::from_secs(1);
        for _ in 0..7 {
            window.enter();
        }
        // Seven refusals of one burst are one answer.
        for _ in 0..7 {
            window.leave(start, Ended::Refused, refused);
        }
        assert_eq!(round(&mut window, Ended::Taken, refused), 3);
        assert_eq!(round(&mut window, Ended::Taken, refused), 3, "not so soon after a refusal");
        let calm = refused + CALM;
        assert_eq!([0; 2].map(|_| round(&mut window, Ended::Taken, calm)), [3, 4]);
    }

    #[test]
    fn the_window_never_closes_and_never_grows_without_end() {
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
    fn registrations_that_would_have_fitted_into_less_do_not_widen_it() {
        let (mut window, now) = (Window::default(), Instant::now());
        for _ in 0..100 {
            window.enter();
            window.leave(now, Ended::Taken, now);
        }
        assert_eq!(round(&mut window, Ended::Unknown, now), START);
    }
}
