//! One of two replicas gets SIGKILL or SIGTERM at a random moment. Nothing is sent again.

use std::thread;
use std::time::Duration;

use aws_emulator::{Fault, FaultKind, Options as EmulatorOptions};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::auth;
use crate::setting;
use crate::state::State;
use crate::verdict::{PATIENCE, Table, Wrong, settle};
use crate::world::World;

/// Duration of an AWS call: long enough for a kill during it.
const CALL: Duration = Duration::from_millis(10);
/// Users, who are changed in turn.
const USERS: u64 = 5;

/// The desired state of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    exists: bool,
    runs: bool,
    cpu: u32,
    /// The number of the sign-in.
    sign_in: u64,
}

impl Wanted {
    /// A request that changes it, at random.
    fn next(&self, random: &mut fastrand::Rng, user: &str, sign_in: u64) -> (Self, (&'static str, String, Value)) {
        let of_user = |rest: &str| format!("/containers/{user}{rest}");
        let auth = auth("acc_1", &format!("rt_{sign_in}"), 1_777_000_000 + 1000 * i64::try_from(sign_in).unwrap());
        if !self.exists {
            let wanted = Self { exists: true, runs: true, cpu: 512, sign_in };
            return (wanted, ("POST", "/provision".to_owned(), json!({"user_id": user, "auth": auth})));
        }
        match random.u8(0..6) {
            0 => {
                let cpu = if self.cpu == 512 { 1024 } else { 512 };
                let body = json!({"cpu": cpu, "memory_mib": 2048});
                (Self { cpu, ..self.clone() }, ("POST", of_user("/resize"), body))
            }
            1 => (Self { runs: false, ..self.clone() }, ("POST", of_user("/stop"), json!({}))),
            2 => (Self { runs: true, ..self.clone() }, ("POST", of_user("/start"), json!({}))),
            3 => {
                let wanted = Self { sign_in, ..self.clone() };
                (wanted, ("PUT", of_user("/credentials"), json!({"auth": auth})))
            }
            4 => {
                let body = json!({"user_id": user, "auth": auth});
                (Self { runs: true, sign_in, ..self.clone() }, ("POST", "/provision".to_owned(), body))
            }
            _ => {
                let wanted = Self { exists: false, ..self.clone() };
                (wanted, ("DELETE", of_user("?data=purge"), Value::Null))
            }
        }
    }

    /// The part of it that a state shows.
    fn of(state: &State) -> Self {
        let token = state.files.get("codex/auth.json").and_then(Option::as_deref);
        let sign_in = token.and_then(|token| token.strip_prefix("rt_")?.parse().ok()).unwrap_or_default();
        match &state.service {
            Some((desired, cpu, ..)) => Self { exists: true, runs: *desired == 1, cpu: cpu.parse().unwrap(), sign_in },
            None => Self { exists: false, runs: false, cpu: 0, sign_in },
        }
    }

    fn is(&self, state: &State) -> bool {
        let now = Self::of(state);
        if self.exists { now == *self } else { !now.exists && state.files.is_empty() }
    }
}

#[test]
fn accepted_work_is_done_whichever_replica_is_killed() {
    let (rounds, seed) = (setting("CHAOS_ROUNDS", 40), setting("CHAOS_SEED", 1));
    let mut random = fastrand::Rng::with_seed(seed);
    let root = tempfile::tempdir().unwrap();
    let world = World::new(EmulatorOptions { per_call_delay: CALL, ..EmulatorOptions::default() });
    let (mut one, other) = (world.replica(root.path()), world.replica(root.path()));
    let nothing = Wanted { exists: false, runs: false, cpu: 0, sign_in: 0 };
    let mut wanted = vec![nothing; usize::try_from(USERS).unwrap()];
    let mut table = Table::default();
    for round in 0..rounds {
        let n = usize::try_from(random.u64(0..USERS)).unwrap();
        let user = format!("user-{n}");
        // Each sign-in is newer than all before.
        let (next, (method, path, body)) = wanted[n].next(&mut random, &user, round + 1);
        let signal = if random.bool() { Signal::KILL } else { Signal::TERM };
        let after = Duration::from_millis(random.u64(0..120));
        let answer = thread::scope(|scope| {
            let asked = scope.spawn(|| one.ask(method, &path, &body, Duration::from_secs(90)));
            thread::sleep(after);
            one.signal(signal);
            asked.join().unwrap()
        });
        drop(std::mem::replace(&mut one, world.replica(root.path())));
        let is_success = answer.as_ref().is_some_and(|answer| (200..300).contains(&answer.status));
        let told = answer.map_or("no answer".to_owned(), |answer| answer.status.to_string());
        let look = || State::of(&world.aws, root.path(), &user);
        // A delete without an answer may have stopped anywhere in between.
        let is_between = |state: &State| {
            !next.exists && (state.service.is_none() || Wanted { runs: false, ..wanted[n].clone() }.is(state))
        };
        let allowed = |state: &State| next.is(state) || (!is_success && (wanted[n].is(state) || is_between(state)));
        let ended = settle(look, |state| wrong(allowed(state), state));
        let row = format!(
            "{signal:?} within 120 ms of {}",
            path.split('/').next_back().unwrap_or_default().split('?').next().unwrap_or_default()
        );
        table.count(&row.replace(&user, "container"), ended.as_ref().err().map(|ended| ended.0));
        if let Err(ended) = ended {
            let (wrong, now) = *ended;
            table.details.push(format!("{wrong:?}: round {round}, {signal:?} {after:?} into {method} {path}: {told}; {now:?} instead of {next:?}, before {:?}", wanted[n]));
        }
        wanted[n] = Wanted::of(&look());
    }
    table.print("a replica is ended while it works");
    drop(other);
    table.assert_all_zero();
}

/// The caller got no answer, so no replica continues; the next process that starts finds the revision by its labels.
#[test]
fn a_revision_is_removed_whose_process_was_killed_before_it_could_record_it() {
    let root = tempfile::tempdir().unwrap();
    let world = World::new(EmulatorOptions::default());
    let replica = world.replica(root.path());
    let ask = |(method, path, body): &(&'static str, String, Value)| replica.ask(method, path, body, PATIENCE);
    let nothing = Wanted { exists: false, runs: false, cpu: 0, sign_in: 0 };
    let (made, provision) = nothing.next(&mut fastrand::Rng::new(), "alice", 1);
    assert_eq!(ask(&provision).unwrap().status, 201);
    // Sent, and takes effect after the process is gone.
    let kind = FaultKind::Late(Duration::from_secs(1));
    let action = "RegisterTaskDefinition";
    world.aws.emulator.clear_calls();
    world.aws.emulator.inject(Fault { service: None, action: action.to_owned(), skip: 0, times: 1, kind });
    let resize = ("POST", "/containers/alice/resize".to_owned(), json!({"cpu": 1024, "memory_mib": 2048}));
    thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&resize));
        while world.aws.count(action) == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        replica.signal(Signal::KILL);
        assert!(asked.join().unwrap().is_none());
    });
    let look = || State::of(&world.aws, root.path(), "alice");
    while look().orphans == 0 {
        thread::sleep(Duration::from_millis(50));
    }
    let _next = world.replica(root.path());
    let ended = settle(look, |state| wrong(made.is(state), state));
    assert_eq!(ended, Ok(()));
}

fn wrong(is_wanted: bool, now: &State) -> Option<Wrong> {
    match is_wanted {
        false => Some(Wrong::Lost),
        true if now.services > 1 || now.has_two_access_points => Some(Wrong::Duplicated),
        true if now.orphans > 0 => Some(Wrong::Orphaned),
        true => None,
    }
}
