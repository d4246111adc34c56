//! Two replicas, many callers, and a history: one order of all operations of a user must explain it.

use std::collections::HashSet;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use aws_emulator::Options as EmulatorOptions;
use serde_json::{Value, json};

use crate::harness::provision_body;
use crate::setting;
use crate::world::{Replica, World};

const USERS: u64 = 10;
/// Independent callers for one user at the same time.
const CALLERS: u64 = 3;

/// Fargate's sizes, CPU units and MiB: enough sizes that each identifies its writer.
fn sizes() -> Vec<(u32, u32)> {
    let steps = |cpu: u32, from: u32, to: u32| (from..=to).step_by(1024).map(move |memory| (cpu, memory));
    let sizes = steps(512, 1024, 4096).chain(steps(1024, 2048, 8192)).chain(steps(2048, 4096, 16384));
    sizes.collect()
}

/// An operation on a user's size, which acts as a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Wrote((u32, u32)),
    Read((u32, u32)),
}

#[derive(Clone, Copy, Debug)]
struct Done {
    what: What,
    began: Duration,
    /// `None`: there was no success answer, so that it may take effect at any later time, or never.
    ended: Option<Duration>,
}

/// Whether one order of the operations, each between its beginning and its end, explains all reads. Searches depth first
/// over the sets of done operations, as Wing and Gong do, and visits no state twice, as Lowe does.
fn is_linearizable(history: &[Done], first: (u32, u32)) -> bool {
    let mut seen: HashSet<(Vec<u64>, (u32, u32))> = HashSet::new();
    let mut stack = vec![(vec![0_u64; history.len().div_ceil(64)], first)];
    while let Some((done, size)) = stack.pop() {
        let is_done = |n: usize| done[n / 64] >> (n % 64) & 1 == 1;
        let open: Vec<usize> = (0..history.len()).filter(|n| !is_done(*n)).collect();
        if open.iter().all(|n| history[*n].ended.is_none()) {
            return true;
        }
        if !seen.insert((done.clone(), size)) {
            continue;
        }
        // An operation that began after another one had ended comes after it.
        let first_end = open.iter().filter_map(|n| history[*n].ended).min().unwrap_or(Duration::MAX);
        for n in open.into_iter().filter(|n| history[*n].began <= first_end) {
            let next = match history[n].what {
                What::Wrote(size) => size,
                What::Read(read) if read == size => size,
                What::Read(_) => continue,
            };
            let mut done = done.clone();
            done[n / 64] |= 1 << (n % 64);
            stack.push((done, next));
        }
    }
    false
}

fn size_of(body: &Value) -> Option<(u32, u32)> {
    let number = |member: &str| u32::try_from(body["size"][member].as_u64()?).ok();
    Some((number("cpu")?, number("memory_mib")?))
}

fn act(replica: &Replica, user: &str, random: &mut fastrand::Rng, start: Instant) -> Option<Done> {
    let began = start.elapsed();
    if random.bool() {
        let answer = replica.get(&format!("/containers/{user}"));
        // A failed read gives no information.
        let read = (answer.status == 200).then(|| size_of(&answer.body)).flatten()?;
        return Some(Done { what: What::Read(read), began, ended: Some(start.elapsed()) });
    }
    let sizes = sizes();
    let (cpu, memory) = sizes[random.usize(0..sizes.len())];
    let answer =
        replica.call("POST", &format!("/containers/{user}/resize"), &json!({"cpu": cpu, "memory_mib": memory}));
    let is_success = matches!(answer.status, 200 | 202);
    assert!(is_success || answer.body["retryable"] == true, "{} {}", answer.status, answer.body);
    Some(Done { what: What::Wrote((cpu, memory)), began, ended: is_success.then(|| start.elapsed()) })
}

#[test]
fn two_replicas_act_as_one_for_many_callers() {
    let (operations, seed) = (setting("CHAOS_OPERATIONS", 2000), setting("CHAOS_SEED", 1));
    let root = tempfile::tempdir().unwrap();
    let delay = Duration::from_millis(5);
    let world = World::new(EmulatorOptions { per_call_delay: delay, ..EmulatorOptions::default() });
    let replicas = [world.replica(root.path()), world.replica(root.path())];
    let mut wrong = Vec::new();
    let start = Instant::now();
    let mut count = 0;
    thread::scope(|scope| {
        let users: Vec<_> = (0..USERS)
            .map(|n| {
                let replicas = &replicas;
                scope.spawn(move || {
                    let user = format!("user-{n}");
                    let answer = replicas[0].call("POST", "/provision", &provision_body(&user));
                    assert_eq!(answer.status, 201, "{}", answer.body);
                    let first = size_of(&replicas[0].get(&format!("/containers/{user}")).body).unwrap();
                    let history = Mutex::new(Vec::new());
                    thread::scope(|scope| {
                        for caller in 0..CALLERS {
                            let (history, user) = (&history, &user);
                            scope.spawn(move || {
                                let mut random = fastrand::Rng::with_seed(seed * 1000 + n * 10 + caller);
                                for _ in 0..operations / USERS / CALLERS {
                                    let replica = &replicas[random.usize(0..2)];
                                    let done = act(replica, user, &mut random, start);
                                    history.lock().unwrap().extend(done);
                                }
                            });
                        }
                    });
                    (user, first, history.into_inner().unwrap())
                })
            })
            .collect();
        for user in users {
            let (user, first, history) = user.join().unwrap();
            count += history.len();
            if !is_linearizable(&history, first) {
                wrong.push(format!("{user}: {history:?}"));
            }
        }
    });
    println!("| two replicas, {USERS} users, {CALLERS} callers each | operations | users whose history has no order |");
    println!("|---|---|---|");
    println!("| seed {seed} | {count} | {} |", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_history_without_a_valid_order_is_detected() {
    let at = |began: u64, ended: u64| (Duration::from_millis(began), Some(Duration::from_millis(ended)));
    let done = |what, (began, ended)| Done { what, began, ended };
    let (small, large) = ((512, 1024), (1024, 2048));
    let write = done(What::Wrote(large), at(0, 10));
    assert!(is_linearizable(&[write, done(What::Read(large), at(20, 30))], small));
    assert!(!is_linearizable(&[write, done(What::Read(small), at(20, 30))], small), "a read of before");
    assert!(is_linearizable(&[write, done(What::Read(small), at(5, 30))], small), "they overlap");
    let unanswered = Done { ended: None, ..write };
    let reads = [done(What::Read(small), at(20, 30)), done(What::Read(large), at(40, 50))];
    assert!(is_linearizable(&[unanswered, reads[0], reads[1]], small));
    assert!(!is_linearizable(&[unanswered, reads[1], done(What::Read(small), at(60, 70))], small), "it went back");
}
