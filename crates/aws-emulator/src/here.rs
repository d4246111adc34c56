//! What every service knows of its region.

use super::clock::{Clock, Pace};
use super::conduct::Conduct;
use super::error::Outcome;
use super::input::Input;
use std::net::Ipv4Addr;
use std::time::Duration;

/// An action's name in the table of a service, and what it does to the state `S` of that service.
pub(crate) type Action<S> = (&'static str, fn(&mut S, Input<'_>) -> Outcome);

/// A region: its name, its time, and how AWS behaves there.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    /// The moment that is simulated: the present, or a past one that is being caught up on.
    pub(crate) now: Duration,
    pub(crate) pace: Pace,
    pub(crate) conduct: Conduct,
    pub(crate) task_address: Option<Ipv4Addr>,
}

impl Here {
    /// A moment as AWS writes it.
    pub(crate) fn epoch(&self, moment: Duration) -> f64 {
        self.clock.epoch_seconds(moment)
    }
}
