//! The measurements, as a page of `docs/`.

use std::fmt::Write as _;
use std::process::Command;

use crate::{BESIDE, Bad, FLEET_BESIDE, Measured, OF_SCRIPT, OfModel, Rolled, SIGN_INS, bound};

pub(crate) fn table(measured: &Measured) -> String {
    let Measured { sizes, models, script, beside } = measured;
    let a_user = script.seconds_a_user;
    let mut page = format!(
        "# A change of the whole fleet, simulated\n\n\
         Written by `cargo bench --bench rollout` (benches/rollout) at {}, on {}. The figures are seconds of simulated time: the machine \
         does not change them.\n\n\
         The code is the real one, plan and runner; AWS is the emulator, which enforces the documented rate limits of ECS (20 registrations \
         at once and one a second after that, 50 changes of services and five a second). A call takes 50 ms, and a task a minute until it is \
         healthy. *The limits* are what those rates leave for one registration a user, and nothing else. *The script* is the one that \
         rollouts replaced, `infra/redeploy-all.sh`: one user after the other, each waited for. It was run over {OF_SCRIPT} users, at \
         {a_user:.0} s each; for more it is that many times as long.\n\n\
         ![Users who are done, over time](rollout-simulation.svg)\n\n\
         ## A base that works\n\n\
         The last rows are the plan alone, with a model of the two rates and of the start of a task in place of AWS: of so many users, every \
         call takes hours to simulate.\n\n\
         | users | the limits | everybody at once | of the limits | canary, 1 %, 10 %, the rest, 60 s of soak | of the limits | the script | of the limits | the script, of everybody at once |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        commit(),
        machine()
    );
    let real = sizes.iter().map(|sized| (sized.users, "", sized.at_once.seconds, sized.in_waves.seconds));
    let of_model = |model: &OfModel| (model.users, ", plan alone", model.at_once.seconds, model.in_waves.seconds);
    for (users, how, at_once, in_waves) in real.chain(models.iter().map(of_model)) {
        let limits = bound(users);
        let script = a_user * users as f64;
        let ratio = |seconds: f64| format!("{:.2}", seconds / limits);
        let _ = writeln!(
            page,
            "| {}{how} | {} | {} | {} | {} | {} | {} | {} | {:.0} times |",
            thousands(users),
            time(limits),
            time(at_once),
            ratio(at_once),
            time(in_waves),
            ratio(in_waves),
            time(script),
            ratio(script),
            script / at_once
        );
    }
    page.push_str(
        "\nA minute of each is the start of the last task, and of waves each one's. The second rollout of a fleet has the revisions of \
         before to deregister, which counts against the same rate; that is left to spare tokens.\n\n\
         ## What it asks of AWS\n\n\
         | users | rollout | calls | throttled | registrations | deregistrations |\n|---|---|---|---|---|---|\n",
    );
    for sized in sizes {
        let rows = [
            ("everybody at once", &sized.at_once),
            ("in waves", &sized.in_waves),
            ("to a base of the same content", &sized.unchanged),
        ];
        for (what, Rolled { calls, throttled, registrations, deregistrations, .. }) in rows {
            let share = *throttled as f64 / (*calls).max(1) as f64 * 100.0;
            let users = thousands(sized.users);
            let (calls, throttled) = (thousands(*calls), format!("{throttled} ({share:.2} %)"));
            let _ =
                writeln!(page, "| {users} | {what} | {calls} | {throttled} | {registrations} | {deregistrations} |");
        }
    }
    let _ = write!(
        page,
        "\n## A base whose containers do not start\n\n\
         With the default strategy: one canary, no failures. {SIGN_INS} other users sign in after it has stopped.\n\n\
         | | stops after | users moved to it | of {SIGN_INS} who sign in then, moved to it |\n|---|---|---|---|\n"
    );
    let mut row = |what: &str, bad: &Bad| {
        let Bad { stopped_after, moved, taken_by_sign_in } = bad;
        let _ = writeln!(page, "| {what} | {} | {moved} | {taken_by_sign_in} |", time(*stopped_after));
    };
    for sized in sizes {
        row(&format!("a rollout over {}", thousands(sized.users)), &sized.bad);
    }
    row("the script", &script.bad);
    let _ = write!(
        page,
        "\n## Users come first\n\n\
         The 99th percentile of {BESIDE} provisions of new users is {:.2} s where nothing goes on, and {:.2} s beside a rollout over {} users: \
         {:+.2} s, where one token of the slowest limit takes 1 s to come.\n",
        beside.without,
        beside.with,
        thousands(FLEET_BESIDE),
        beside.with - beside.without
    );
    page
}

/// Formats 10000 as 10,000.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats seconds for people.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 180.0 => format!("{seconds:.0} s"),
        seconds if seconds < 3.0 * 3600.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 3.0 * 86_400.0 => format!("{:.1} h", seconds / 3600.0),
        seconds => format!("{:.1} days", seconds / 86_400.0),
    }
}

fn commit() -> String {
    let told =
        Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    match told {
        Ok(told) if told.status.success() => format!("commit {}", String::from_utf8_lossy(&told.stdout).trim()),
        Ok(_) | Err(_) => "an unknown commit".to_owned(),
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores of {}", model.map_or("an unknown CPU", |(_, model)| model))
}
