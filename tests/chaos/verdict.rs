//! What came of a disturbance, counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::state::State;

/// What is wrong with the end of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// Accepted work is not done in time.
    Stuck,
    /// What was answered with success is not so.
    Lost,
    /// Something is left that nothing refers to.
    Orphaned,
    /// Something is there twice.
    Duplicated,
    /// The answer itself is wrong: a refusal of what is right.
    Answer,
}

/// Longest time until what was accepted is done: a sweep, an attempt that stalls, and the work.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// Longest time until a revision is gone whose process was killed before it could be written down.
const SWEPT_WITHIN: Duration = Duration::from_secs(150);

/// Waits until nothing is wrong with what there is of a user any more, and says what is where it does not become so.
pub fn settle(look: impl Fn() -> State, judge: impl Fn(&State) -> Option<Wrong>) -> Result<(), Box<(Wrong, State)>> {
    let start = Instant::now();
    let mut since: Option<Instant> = None;
    loop {
        let now = look();
        let wrong = if !now.pending.is_empty() { Some(Wrong::Stuck) } else { judge(&now) };
        let Some(wrong) = wrong else {
            // It stays so: nothing goes on with what was refused.
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

/// Counts by what was disturbed, printed as the table of `docs/chaos.md`.
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
