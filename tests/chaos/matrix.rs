//! Each changing operation, each of its AWS calls, each fault of that call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::thread;

use aws_emulator::Options as EmulatorOptions;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::auth;
use crate::proxy::{Plan, Proxy, Trouble};
use crate::setting;
use crate::state::State;
use crate::verdict::{Table, Wrong, settle};
use crate::world::{Replica, World};

/// Number of worlds that are tested at the same time.
const WORKERS: usize = 6;

/// A request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Provision,
    ProvisionAgain,
    Resize,
    Redeploy,
    Stop,
    Start,
    SignIn,
    SignOut,
    Rotate,
    Delete,
    Purge,
}

impl Operation {
    const ALL: [Self; 11] = [
        Self::Provision,
        Self::ProvisionAgain,
        Self::Resize,
        Self::Redeploy,
        Self::Stop,
        Self::Start,
        Self::SignIn,
        Self::SignOut,
        Self::Rotate,
        Self::Delete,
        Self::Purge,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::ProvisionAgain => "provision with a newer sign-in and size",
            Self::Resize => "resize",
            Self::Redeploy => "redeploy with a pin",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::SignIn => "put credentials",
            Self::SignOut => "delete credentials",
            Self::Rotate => "rotate the gateway's token",
            Self::Delete => "delete",
            Self::Purge => "delete with purge",
        }
    }

    /// Prepares the state before the operation.
    fn prepare(self, replica: &Replica, user: &str) {
        if self == Self::Provision {
            return;
        }
        done(replica, &Self::Provision.request(user));
        if self == Self::Start {
            done(replica, &Self::Stop.request(user));
        }
    }

    fn request(self, user: &str) -> (&'static str, String, Value) {
        let of_user = |rest: &str| format!("/containers/{user}{rest}");
        match self {
            Self::Provision => (
                "POST",
                "/provision".to_owned(),
                json!({"user_id": user, "auth": auth("acc_1", "rt_1", 1_777_000_000)}),
            ),
            Self::ProvisionAgain => {
                let size = json!({"cpu": 1024, "memory_mib": 4096});
                let newer = auth("acc_1", "rt_2", 1_777_500_000);
                ("POST", "/provision".to_owned(), json!({"user_id": user, "auth": newer, "size": size}))
            }
            Self::Resize => ("POST", of_user("/resize"), json!({"cpu": 1024, "memory_mib": 2048})),
            Self::Redeploy => {
                let image = "ghcr.io/openclaw/openclaw:2026.4.15";
                ("POST", of_user("/redeploy"), json!({"image": image}))
            }
            Self::Stop => ("POST", of_user("/stop"), json!({})),
            Self::Start => ("POST", of_user("/start"), json!({})),
            Self::SignIn => ("PUT", of_user("/credentials"), json!({"auth": auth("acc_1", "rt_2", 1_777_500_000)})),
            Self::SignOut => ("DELETE", of_user("/credentials"), Value::Null),
            Self::Rotate => ("POST", of_user("/gateway/rotate"), json!({})),
            Self::Delete => ("DELETE", of_user(""), Value::Null),
            Self::Purge => ("DELETE", of_user("?data=purge"), Value::Null),
        }
    }
}

fn done(replica: &Replica, (method, path, body): &(&'static str, String, Value)) -> u16 {
    let answer = replica.call(method, path, body);
    assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    answer.status
}

struct Place {
    world: World,
    root: TempDir,
    proxy: Proxy,
    replica: Replica,
}

impl Place {
    fn new() -> Self {
        let (world, root) = (World::new(EmulatorOptions::default()), tempfile::tempdir().unwrap());
        let proxy = Proxy::to(world.address());
        let replica =
            world.replica_through(proxy.address, env!("CARGO_BIN_EXE_openclaw-provisioner").as_ref(), root.path());
        Self { world, root, proxy, replica }
    }

    fn state(&self, user: &str) -> State {
        State::of(&self.world.aws, self.root.path(), user)
    }

    /// Waits until nothing is left to do, and returns the state.
    fn quiet(&self, user: &str) -> State {
        let mut before = self.state(user);
        let mut same = 0;
        while same < 8 {
            thread::sleep(std::time::Duration::from_millis(100));
            let now = self.state(user);
            same = if now == before && now.pending.is_empty() { same + 1 } else { 0 };
            before = now;
        }
        before
    }
}

/// An operation without a fault.
#[derive(Clone)]
struct Undisturbed {
    operation: Operation,
    before: State,
    after: State,
    /// Each action with how often it is called.
    calls: BTreeMap<String, usize>,
}

fn undisturbed(place: &Place, operation: Operation) -> Undisturbed {
    let user = format!("calm-{}", operation as u8);
    operation.prepare(&place.replica, &user);
    let before = place.quiet(&user);
    place.proxy.arm(None);
    done(&place.replica, &operation.request(&user));
    // The last task stops before the service is removed.
    while matches!(operation, Operation::Delete | Operation::Purge) && place.state(&user).services > 0 {
        thread::sleep(std::time::Duration::from_millis(100));
    }
    let after = place.quiet(&user);
    let mut calls = BTreeMap::new();
    for action in place.proxy.calls() {
        *calls.entry(action).or_insert(0) += 1;
    }
    Undisturbed { operation, before, after, calls }
}

struct Scenario {
    of: Undisturbed,
    plan: Plan,
}

fn scenarios(all: &[Undisturbed]) -> VecDeque<Scenario> {
    let mut scenarios = VecDeque::new();
    for of in all {
        for (action, times) in &of.calls {
            // The second and third call of a kind may have another purpose; more are repetitions in a loop.
            for skip in 0..*times.min(&2) {
                for trouble in Trouble::ALL {
                    let is_read =
                        action.starts_with("Describe") || action.starts_with("List") || action.starts_with("Get");
                    if trouble == Trouble::Stale && !is_read {
                        continue;
                    }
                    let plan = |times| Plan { action: action.clone(), skip, times, trouble };
                    scenarios.push_back(Scenario { of: of.clone(), plan: plan(1) });
                    // Every call, until the caller has an answer.
                    if matches!(trouble, Trouble::ErrorBefore | Trouble::ResetAfter) && skip == 0 {
                        scenarios.push_back(Scenario { of: of.clone(), plan: plan(1000) });
                    }
                }
            }
        }
    }
    scenarios
}

/// Runs a scenario; `None` if the call was not made this time.
fn disturb(place: &Place, number: usize, Scenario { of, plan }: &Scenario) -> Option<Result<(), (Wrong, String)>> {
    let user = format!("user-{number}");
    of.operation.prepare(&place.replica, &user);
    place.proxy.arm(Some(plan.clone()));
    let (method, path, body) = of.operation.request(&user);
    let answer = place.replica.ask(method, &path, &body, std::time::Duration::from_secs(90));
    if place.proxy.disarm() == 0 {
        return None;
    }
    let told =
        answer.as_ref().map_or("no answer".to_owned(), |answer| format!("{} {}", answer.status, answer.body["code"]));
    let is_success = answer.as_ref().is_some_and(|answer| (200..300).contains(&answer.status));
    let is_retryable = answer.as_ref().is_some_and(|answer| answer.body["retryable"] == true);
    let context = format!("{}, {:?}: {told}", of.operation.name(), plan);
    if !is_success && !is_retryable {
        return Some(Err((Wrong::Answer, context)));
    }
    let mut allowed = vec![of.after.clone()];
    if !is_success {
        allowed.push(of.before.clone());
        // A delete stops the container first; if it could not finish, its answer says that it has to be called again.
        if matches!(of.operation, Operation::Delete | Operation::Purge) {
            let mut stopped = of.before.clone();
            stopped.service.as_mut().unwrap().0 = 0;
            allowed.push(stopped);
        }
    }
    let ended = settle(|| place.state(&user), |now| wrong(&allowed, now));
    let told = |ended: Box<(Wrong, State)>| {
        let log = said_of(&place.replica.log(), &user);
        (ended.0, format!("{context}: {:?} instead of {allowed:?}\n{log}", ended.1))
    };
    Some(ended.map_err(told))
}

/// The last lines of a replica's log about a user.
fn said_of(log: &str, user: &str) -> String {
    let quoted = format!("\"{user}\"");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&quoted)).collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

fn wrong(allowed: &[State], now: &State) -> Option<Wrong> {
    if allowed.contains(now) {
        return None;
    }
    // Work that was not accepted may have left files for the next request: each as before or as after.
    if let [after, before, ..] = allowed
        && (State { files: before.files.clone(), ..now.clone() }) == *before
        && before.files.keys().all(|name| now.files.contains_key(name))
        && now
            .files
            .iter()
            .all(|(name, token)| [before, after].iter().any(|state| state.files.get(name) == Some(token)))
    {
        return None;
    }
    if now.services > 1 || now.has_two_access_points {
        return Some(Wrong::Duplicated);
    }
    let bare = |state: &State| State { orphans: 0, files: BTreeMap::new(), ..state.clone() };
    Some(if allowed.iter().any(|allowed| bare(allowed) == bare(now)) { Wrong::Orphaned } else { Wrong::Lost })
}

#[test]
fn each_call_of_each_operation_survives_each_fault() {
    let first = Place::new();
    let chosen = std::env::var("CHAOS_OPERATION").ok();
    let chosen =
        Operation::ALL.iter().filter(|operation| chosen.as_deref().is_none_or(|name| name == operation.name()));
    let all: Vec<Undisturbed> = chosen.map(|operation| undisturbed(&first, *operation)).collect();
    // One in `every`, beginning with a different one for each seed.
    let (every, seed) = (setting("CHAOS_EVERY", 1), setting("CHAOS_SEED", 1));
    let is_chosen = |number: usize| u64::try_from(number).unwrap() % every == seed % every;
    let chosen = scenarios(&all).into_iter().enumerate().filter(|(number, _)| is_chosen(*number));
    let queue = Mutex::new(chosen.collect::<VecDeque<_>>());
    let table = Mutex::new(Table::default());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let place = Place::new();
                loop {
                    let Some((number, scenario)) = queue.lock().unwrap().pop_front() else { return };
                    let Some(ended) = disturb(&place, number, &scenario) else { continue };
                    let mut table = table.lock().unwrap();
                    let wrong = ended.as_ref().err().map(|(wrong, _)| *wrong);
                    table.count(scenario.of.operation.name(), wrong);
                    table.count(&format!("any operation, {}", scenario.plan.trouble.name()), wrong);
                    table.details.extend(ended.err().map(|(wrong, detail)| format!("{wrong:?}: {detail}")));
                }
            });
        }
    });
    let table = table.into_inner().unwrap();
    table.print("one call of one operation");
    table.assert_all_zero();
}
