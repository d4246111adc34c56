//! How long a caller waits for `POST /provision` of a new user, over a file system as slow as EFS and with 50 ms for each
//! AWS call. The unit is one AWS call measured in the same run: `cargo bench --bench efs` (`--profile dev` uses an existing
//! debug build). If PROVISIONER_BEFORE names another build of the executable, both are measured in turn in the same run.
//!
//! Each build is a process of its own over a mount of its own; `tests/efs/fuse` says what is known of EFS.

#![cfg(target_os = "linux")]

#[path = "../tests/efs/fuse/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "made for tests"
)]
mod fuse;
#[path = "../tests/it/harness.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "made for tests")]
mod harness;
#[path = "../tests/efs/world.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "made for tests")]
mod world;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use aws_emulator::Options;
use fuse::{Group, Kind, Mount, missing, serve_if_asked};
use harness::{CLUSTER, provision_body};
use serde_json::json;
use world::{Replica, World};

const ROUNDS: usize = 15;
const CALL: Duration = Duration::from_millis(50);
/// How long an NFS client trusts a look-up.
const BELIEVED: Duration = Duration::from_secs(3);
/// One release of each plan: codex/auth.json alone, profiles, and a store that the entry script fills.
const RELEASES: [&str; 3] = ["2026.4.15", "2026.4.25", "2026.9.6"];

struct Build {
    name: &'static str,
    replica: Replica,
    efs: Mount,
    times: Vec<Duration>,
}

fn main() {
    serve_if_asked();
    if let Some(why) = missing() {
        println!("SKIPPED: no FUSE here: {why}");
        return;
    }
    let world = World::new(Options { per_call_delay: CALL, ..Options::default() });
    let before = std::env::var_os("PROVISIONER_BEFORE").map(|binary| ("before", binary));
    let builds = before.into_iter().chain([("after", OsString::from(env!("CARGO_BIN_EXE_openclaw-provisioner")))]);
    let directories: Vec<_> = builds.filter_map(|build| Some((build, tempfile::tempdir().ok()?))).collect();
    let mut builds: Vec<Build> = Vec::new();
    for ((name, binary), backing) in &directories {
        let efs = Mount::new(backing.path(), BELIEVED, &[]);
        let replica = world.replica_of(binary, efs.path());
        efs.be_as_slow_as_efs();
        builds.push(Build { name, replica, efs, times: Vec::new() });
    }
    for release in RELEASES {
        world.aws.register_base(|base| {
            base["containerDefinitions"][0]["image"] = json!(format!("ghcr.io/openclaw/openclaw:{release}"));
        });
        let mut calls = Vec::new();
        // Measured in turn: a machine that slows down slows all. The first round warms up.
        for round in 0..=ROUNDS {
            let start = Instant::now();
            world.call_aws("ecs", "DescribeServices", &json!({"cluster": CLUSTER, "services": ["nobody"]}));
            calls.push(start.elapsed());
            for build in &mut builds {
                let user = format!("{}-{round}-{}", build.name, release.replace('.', "-"));
                let answer = build.replica.call("POST", "/provision", &provision_body(&user));
                assert_eq!(answer.status, 201, "{}: {}\n{}", build.name, answer.body, build.replica.log());
                build.times.push(answer.took);
            }
        }
        let call = median(calls);
        println!("OpenClaw {release}: one AWS call (50 ms injected) {:.1} ms", millis(call));
        for build in &mut builds {
            let time = median(std::mem::take(&mut build.times));
            let (ratio, counts) = (time.as_secs_f64() / call.as_secs_f64(), build.efs.take_counts());
            let each = |is_meant: &dyn Fn(Kind) -> bool| {
                let calls: u64 = counts.iter().filter(|(kind, _)| is_meant(**kind)).map(|(_, count)| count).sum();
                calls as f64 / (ROUNDS + 1) as f64
            };
            println!(
                "  {:<7} a new user {:>7.1} ms   {ratio:.2} x one call   {:.0} file calls, {:.0} of them changes, {:.0} syncs",
                build.name,
                millis(time),
                each(&|kind| kind.is_waited_for()),
                each(&|kind| Group::Change.kinds().any(|change| change == kind)),
                each(&|kind| Group::Sync.kinds().any(|sync| sync == kind)),
            );
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.remove(0);
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
