//! Results of faults, and their counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::state::State;

/// What can be wrong at the end of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// Accepted work is not done in time.
    Stuck,
    /// A reported success is not true.
    Lost,
    /// Something is left that nothing refers to.
    Orphaned,
    /// Something exists twice.
    Duplicated,
    /// The answer itself is wrong: a correct request was refused.
    Answer,
}

/// Longest time until accepted work is done: a sweep, an attempt that stalls, and the work.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// Longest time until a revision is removed whose process was killed before it could record it.
const SWEPT_WITHIN: Duration = Duration::from_secs(150);

/// Waits until a user's state is right; otherwise returns what is wrong.
pub fn settle(look: impl Fn() -> State, judge: impl Fn(&State) -> Option<Wrong>) -> Result<(), Box<(Wrong, State)>> {
    let start = Instant::now();
    let mut since: Option<Instant> = None;
    loop {
        let now = look();
        let wrong = if !now.pending.is_empty() { Some(Wrong::Stuck) } else { judge(&now) };
        let Some(wrong) = wrong else {
            // The state stays right: no refused work continues.
            if since.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(300) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        since = None;
        let patience = if wrong == Wrong::Orphaned { SWEPT_WITHIN } else { PATIENCE };
        if start.elapsed() > patience {
            return Err(Box::new((wrong, now)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Counts by kind of fault, printed as the table of `docs/chaos.md`.
#[derive(Default)]
pub struct Table {
    rows: BTreeMap<String, (u64, BTreeMap<Wrong, u64>)>,
    pub details: Vec<String>,
}

impl Table {
    pub fn count(&mut self, row: &str, wrong: Option<Wrong>) {
        let (scenarios, counts) = self.rows.entry(row.to_owned()).or_default();
        *scenarios += 1;
        if let Some(wrong) = wrong {
            *counts.entry(wrong).or_default() += 1;
        }
    }

    pub fn print(&self, title: &str) {
        use Wrong::{Answer, Duplicated, Lost, Orphaned, Stuck};
        println!("| {title} | scenarios | stuck | lost | orphaned | duplicated | wrong answers |");
        println!("|---|---|---|---|---|---|---|");
        for (row, (scenarios, counts)) in &self.rows {
            let of = |wrong| counts.get(&wrong).copied().unwrap_or_default();
            let counts = [Stuck, Lost, Orphaned, Duplicated, Answer].map(|wrong| of(wrong).to_string()).join(" | ");
            println!("| {row} | {scenarios} | {counts} |");
        }
        for detail in &self.details {
            println!("- {detail}");
        }
    }

    pub fn assert_all_zero(&self) {
        assert!(self.details.is_empty(), "{} went wrong", self.details.len());
    }
}
