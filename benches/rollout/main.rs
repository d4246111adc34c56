//! A change of the whole fleet, simulated: the real code over the emulator, which enforces the documented rate limits of
//! ECS, in simulated time, which skips idle periods. The time of a rollout is compared with what those limits allow, and
//! with the script that it replaced, in the same run.
//!
//! For ten thousand users every call would take hours to simulate. There only the plan is the real one, and AWS is a model
//! (`model`). For [`COMPARED`] users both are run and shown side by side.
//!
//! `cargo bench --bench rollout` writes the table and the plot into `docs/`, in about ten minutes; `ROLLOUT_USERS=100,1000`
//! chooses the sizes (with `--profile dev` an existing debug build is used: simulated time is the same).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a bench may stop at once, and says how far it is"
)]

#[path = "../../tests/it/harness.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use more of it")]
mod harness;

mod fleet;
mod model;
mod plot;
mod script;
mod table;

use std::path::Path;
use std::time::Duration;

use openclaw_provisioner::rollout::Figures;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use fleet::Fleet;
use model::Modelled;

/// How many users sign in while a bad base is the newest one.
const SIGN_INS: usize = 20;
/// How many users the script moves: it takes the same time for each, one after the other.
const OF_SCRIPT: usize = 100;
/// How many new users are provisioned, how far apart, and the size of the fleet whose rollout goes on meanwhile.
const BESIDE: usize = 60;
const APART: Duration = Duration::from_secs(15);
const FLEET_BESIDE: usize = 1_000;
/// The users of the model, and of the real code with which it is compared.
const MODELLED: usize = 10_000;
const COMPARED: usize = 1_000;

/// A rollout from start to end.
struct Rolled {
    seconds: f64,
    /// The calls to AWS, and how many of them it throttled.
    calls: usize,
    throttled: usize,
    registrations: usize,
    deregistrations: usize,
    /// Seconds since its start, and the share of users who are done.
    progress: Vec<(f64, f64)>,
}

/// A bad base: its containers do not start.
struct Bad {
    /// The seconds until no more users are moved.
    stopped_after: f64,
    /// How many users' containers were moved to it.
    moved: usize,
    /// Of [`SIGN_INS`] users who signed in after that, how many containers were moved to it.
    taken_by_sign_in: usize,
}

/// A fleet of one size.
struct Sized {
    users: usize,
    at_once: Rolled,
    in_waves: Rolled,
    unchanged: Rolled,
    bad: Bad,
}

/// The former script.
struct Script {
    seconds_a_user: f64,
    bad: Bad,
}

/// How long provisions take, in seconds.
struct Beside {
    without: f64,
    with: f64,
}

/// The plan alone, for that many users.
struct OfModel {
    users: usize,
    at_once: Modelled,
    in_waves: Modelled,
}

struct Measured {
    sizes: Vec<Sized>,
    models: Vec<OfModel>,
    script: Script,
    beside: Beside,
}

fn main() {
    let sizes = std::env::var("ROLLOUT_USERS").unwrap_or_else(|_| "100,1000".to_owned());
    let sizes: Vec<usize> = sizes.split(',').map(|users| users.trim().parse().expect("numbers of users")).collect();
    let script = in_simulated_time(async {
        Script { seconds_a_user: script::good().await / OF_SCRIPT as f64, bad: script::bad().await }
    });
    eprintln!("script: {:.0} s a user", script.seconds_a_user);
    let beside = Beside {
        without: in_simulated_time(provisions(None)),
        with: in_simulated_time(provisions(Some(FLEET_BESIDE))),
    };
    eprintln!("beside: {:.2} s, {:.2} s", beside.without, beside.with);
    let sizes = sizes.into_iter().map(|users| in_simulated_time(sized(users))).collect();
    let models = [COMPARED, MODELLED].map(|users| OfModel {
        users,
        at_once: model::run(users, model::at_once()),
        in_waves: model::run(users, model::in_waves()),
    });
    let measured = Measured { sizes, models: models.into(), script, beside };
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let table = table::table(&measured);
    println!("{table}");
    std::fs::write(docs.join("rollout-simulation.md"), table).unwrap();
    std::fs::write(docs.join("rollout-simulation.svg"), plot::plot(&measured)).unwrap();
}

/// The seconds that AWS's limits need for that many users: 20 registrations at once and one a second, 50 updates and five a
/// second.
fn bound(users: usize) -> f64 {
    let users = users as f64;
    (users - 20.0).max((users - 50.0) / 5.0).max(1.0)
}

fn in_simulated_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// Measures everything for one size, on one fleet.
async fn sized(users: usize) -> Sized {
    let began = std::time::Instant::now();
    let fleet = Fleet::running(users).await;
    fleet.app.rollouts.run_in_background();
    let told = |what: &str| eprintln!("{users} users: {what} after {:.0} s", began.elapsed().as_secs_f64());
    told("they run");
    let bad = bad(&fleet).await;
    told("a bad base");
    let at_once = json!({"canaries": 0, "soak_seconds": 0, "max_parallel": 200});
    let in_waves = json!({"canaries": 1, "soak_seconds": 60, "waves": ["1%", "10%"], "max_parallel": 200});
    fleet.release("ghcr.io/openclaw/openclaw:2026.4.24");
    let at_once = rolled(&fleet, at_once).await;
    told("everybody at once");
    fleet.release("ghcr.io/openclaw/openclaw:2026.4.25");
    let in_waves = rolled(&fleet, in_waves).await;
    told("in waves");
    // The base has another number and the same content.
    fleet.release("ghcr.io/openclaw/openclaw:2026.4.25");
    let unchanged = rolled(&fleet, json!({"canaries": 0, "soak_seconds": 0, "max_parallel": 200})).await;
    told("to a base of the same content");
    Sized { users, at_once, in_waves, unchanged, bad }
}

async fn rolled(fleet: &Fleet, strategy: Value) -> Rolled {
    // Wait until every bucket is full.
    sleep(Duration::from_secs(120)).await;
    fleet.app.emulator.clear_calls();
    let id = fleet.start(strategy).await;
    let began = Instant::now();
    let mut rolled = Rolled {
        seconds: 0.0,
        calls: 0,
        throttled: 0,
        registrations: 0,
        deregistrations: 0,
        progress: vec![(0.0, 0.0)],
    };
    loop {
        sleep(Duration::from_secs(5)).await;
        for call in fleet.app.emulator.calls() {
            rolled.calls += 1;
            rolled.throttled += usize::from(call.code.as_deref() == Some("ThrottlingException"));
            rolled.registrations += usize::from(call.action == "RegisterTaskDefinition");
            rolled.deregistrations += usize::from(call.action == "DeregisterTaskDefinition");
        }
        fleet.app.emulator.clear_calls();
        let (rollout, journal) = fleet.app.rollouts.get(&id).await.unwrap();
        let figures = Figures::of(&journal);
        assert_eq!(figures.failed, 0, "{rollout:?}");
        let through = figures.done + figures.skipped;
        rolled.progress.push((began.elapsed().as_secs_f64(), through as f64 / fleet.users.len() as f64));
        if rolled.seconds == 0.0 && through == fleet.users.len() {
            rolled.seconds = began.elapsed().as_secs_f64();
        }
        if rollout.state.is_over() {
            return rolled;
        }
    }
}

/// A bad base with the default strategy; then everybody is taken back.
async fn bad(fleet: &Fleet) -> Bad {
    fleet.release("ghcr.io/sim-crash/openclaw:2026.4.23");
    sleep(Duration::from_secs(120)).await;
    let id = fleet.start(json!({"max_parallel": 200})).await;
    let began = Instant::now();
    while fleet.app.rollouts.get(&id).await.unwrap().0.reason.is_none() {
        sleep(Duration::from_secs(1)).await;
    }
    let stopped_after = began.elapsed().as_secs_f64();
    let (_, journal) = fleet.app.rollouts.get(&id).await.unwrap();
    let moved = journal.people.values().filter(|person| person.was_sent).count();
    let taken_by_sign_in = fleet.sign_in(SIGN_INS, "2026.4.23").await;
    assert_eq!(fleet.app.post(&format!("/rollouts/{id}/rollback"), json!({})).await.status, 200);
    while !fleet.app.rollouts.get(&id).await.unwrap().0.state.is_over() {
        sleep(Duration::from_secs(5)).await;
    }
    Bad { stopped_after, moved, taken_by_sign_in }
}

/// The 99th percentile of provisions of new users, alone or beside a rollout over that many.
async fn provisions(beside: Option<usize>) -> f64 {
    let fleet = Fleet::running(beside.unwrap_or(1)).await;
    fleet.release("ghcr.io/openclaw/openclaw:2026.4.24");
    sleep(Duration::from_secs(120)).await;
    let mut rollout = None;
    if beside.is_some() {
        fleet.app.rollouts.run_in_background();
        rollout = Some(fleet.start(json!({"canaries": 0, "soak_seconds": 0, "max_parallel": 200})).await);
    }
    let mut took = Vec::new();
    for n in 0..BESIDE {
        sleep(APART).await;
        let began = Instant::now();
        assert_eq!(fleet.app.provision(&format!("new-{n}")).await.status, 201);
        took.push(began.elapsed().as_secs_f64());
    }
    if let Some(id) = rollout {
        assert!(!fleet.app.rollouts.get(&id).await.unwrap().0.state.is_over(), "it went on beside all of them");
    }
    took.sort_by(f64::total_cmp);
    took[(took.len() * 99).div_ceil(100) - 1]
}
