//! What every service knows of the region that it is in.

use super::clock::{Clock, Pace};
use super::conduct::Conduct;
use super::error::Outcome;
use super::input::Input;
use std::net::Ipv4Addr;
use std::time::Duration;

/// A name in the table of a service's actions, and what it does to the state `S` of that service.
pub(crate) type Action<S> = (&'static str, fn(&mut S, Input<'_>) -> Outcome);

/// A region: its name, its time, and how AWS behaves there.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    /// The moment that is being played: the present, or one in the past that is being made up for.
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
