//! A rollout over more users than can be simulated call by call. The plan is the real one; AWS is a model of its two rate
//! limits and of the time that a task takes to start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use openclaw_provisioner::domain::UserId;
use openclaw_provisioner::rollout::Figures;
use openclaw_provisioner::rollout::plan::{self, Seen, Step};
use openclaw_provisioner::rollout::words::{
    Canaries, Change, Event, Journal, Line, Rollout, RolloutState, Select, Share, Strategy,
};

/// The time between two looks.
const TICK: i64 = 2_000;
/// The time until a task is healthy.
const START: i64 = 60_000;

/// The tokens left in one of AWS's buckets; a rollout leaves some of them to callers who wait for an answer.
struct Tokens {
    burst: f64,
    per_second: f64,
    left: f64,
}

impl Tokens {
    const fn full(burst: f64, per_second: f64) -> Self {
        Self { burst, per_second, left: burst }
    }

    fn refill(&mut self) {
        self.left = (self.left + self.per_second * TICK as f64 / 1_000.0).min(self.burst);
    }

    fn has_one(&self) -> bool {
        self.left >= 1.0 + self.burst / 4.0
    }
}

/// How many seconds it took, and the share of users who were done at each moment.
pub(crate) struct Modelled {
    pub(crate) seconds: f64,
    pub(crate) progress: Vec<(f64, f64)>,
}

pub(crate) fn at_once() -> Strategy {
    Strategy { canaries: Canaries::Number(0), max_parallel: 200, soak_seconds: 0, ..Strategy::default() }
}

pub(crate) fn in_waves() -> Strategy {
    Strategy { waves: vec![Share::Percent(1), Share::Percent(10)], max_parallel: 200, ..Strategy::default() }
}

/// Runs the plan until everybody is done.
pub(crate) fn run(users: usize, strategy: Strategy) -> Modelled {
    let all: BTreeSet<UserId> = (0..users).map(|n| UserId::parse(&format!("user-{n:06}")).unwrap()).collect();
    let mut journal = Journal::default();
    for (user, wave) in plan::waves(&all, &strategy.canaries, &strategy.waves) {
        journal.take(Line { u: Some(user), event: Event::Selected { wave, is_stopped: false } });
    }
    let rollout = rollout(strategy);
    let (mut registrations, mut updates) = (Tokens::full(20.0, 1.0), Tokens::full(50.0, 5.0));
    let (mut queue, mut busy, mut ready_at) = (VecDeque::<UserId>::new(), BTreeSet::new(), BTreeMap::new());
    let mut modelled = Modelled { seconds: 0.0, progress: vec![(0.0, 0.0)] };
    for now in (0..).step_by(usize::try_from(TICK).unwrap()) {
        registrations.refill();
        updates.refill();
        while registrations.has_one() && updates.has_one() {
            let Some(user) = queue.pop_front() else { break };
            registrations.left -= 1.0;
            updates.left -= 1.0;
            busy.remove(&user);
            ready_at.insert(user.clone(), now + START);
            journal.take(Line { u: Some(user), event: Event::Sent { at: now } });
        }
        let is_ready =
            |(user, at): (&UserId, &i64)| (*at <= now).then(|| (user.clone(), Seen::Ready { reauth_required: false }));
        let seen: BTreeMap<UserId, Seen> = ready_at.iter().filter_map(is_ready).collect();
        for step in plan::next(&rollout, &journal, &seen, &busy, &BTreeSet::new(), now) {
            match step {
                Step::Note(user, event) => {
                    if event == Event::Done {
                        ready_at.remove(&user);
                    }
                    journal.take(Line { u: Some(user), event });
                }
                Step::Move(user) => {
                    busy.insert(user.clone());
                    queue.push_back(user.clone());
                    journal.take(Line { u: Some(user), event: Event::From(Box::default()) });
                }
                Step::Finish => {
                    modelled.seconds = now as f64 / 1_000.0;
                    modelled.progress.push((modelled.seconds, 1.0));
                    return modelled;
                }
                Step::Return(_) | Step::Pause(_) => panic!("nobody fails in the model: {step:?}"),
            }
        }
        modelled.progress.push((now as f64 / 1_000.0, Figures::of(&journal).done as f64 / users as f64));
    }
    modelled
}

fn rollout(strategy: Strategy) -> Rollout {
    Rollout {
        id: "model".into(),
        created_at: Timestamp::UNIX_EPOCH,
        created_by: "model".into(),
        select: Select::default(),
        change: Change::Base("base:2".into()),
        strategy,
        promotes: true,
        promoted_before: Some("base:1".into()),
        state: RolloutState::Running,
        is_back: false,
        reason: None,
        accepted_failures: 0,
        changed_by: "model".into(),
        changed_at: Timestamp::UNIX_EPOCH,
        planned_seconds: 0,
        is_at_end: false,
        figures: None,
    }
}
