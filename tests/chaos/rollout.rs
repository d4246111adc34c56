//! A rollout with two replicas, which are killed in turn: a bad base that pauses at its canary, a rollback, and a good
//! base that ends, while other users are provisioned.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use aws_emulator::{Behaviour, Options as EmulatorOptions};
use openclaw_provisioner::domain::{LABEL_DIGEST, LABEL_USER, UserId};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{BASE, CLUSTER, USER_FAMILY, auth};
use crate::setting;
use crate::world::{Replica, World};

/// Duration of an AWS call: long enough for a kill during it.
const CALL: Duration = Duration::from_millis(5);
/// Longer than any part of it takes, plus a second for each user.
const LONG: Duration = Duration::from_secs(240);

fn provision(user: &str) -> Value {
    json!({"user_id": user, "auth": auth("acc_1", &format!("rt_{user}"), 1_777_000_000)})
}

/// Two replicas; one is killed again and again.
struct Two<'a> {
    world: &'a World,
    root: &'a std::path::Path,
    replicas: [Replica; 2],
    /// How long a part of it takes at most.
    patience: Duration,
    kills_left: u64,
    random: fastrand::Rng,
    newcomers: u64,
}

impl Two<'_> {
    /// Kills one of them at a random moment, and starts another in its place; the other one provisions a user meanwhile.
    fn disturb(&mut self) {
        thread::sleep(Duration::from_millis(self.random.u64(100..700)));
        if self.kills_left == 0 {
            return;
        }
        self.kills_left -= 1;
        let victim = usize::from(self.random.bool());
        let user = format!("new-{}", self.newcomers);
        self.newcomers += 1;
        thread::scope(|scope| {
            let other = &self.replicas[1 - victim];
            let answered = scope.spawn(|| other.call("POST", "/provision", &provision(&user)));
            thread::sleep(Duration::from_millis(self.random.u64(0..60)));
            self.replicas[victim].signal(Signal::KILL);
            let answer = answered.join().unwrap();
            assert!((200..300).contains(&answer.status), "{user}: {} {}", answer.status, answer.body);
        });
        self.replicas[victim] = self.world.replica(self.root);
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.replicas[0].call(method, path, body);
        assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// Kills replicas until the rollout is in this state.
    fn until(&mut self, id: &str, state: &str) -> Value {
        let began = Instant::now();
        loop {
            self.disturb();
            let seen = self.ask("GET", &format!("/rollouts/{id}"), &Value::Null);
            if seen["state"] == state {
                return seen;
            }
            assert!(began.elapsed() < self.patience, "not {state}: {seen}\n{}", self.replicas[0].log());
        }
    }
}

#[test]
fn a_rollout_continues_whichever_replica_is_killed_and_moves_no_user_twice() {
    let (users, kills, seed) = (setting("CHAOS_USERS", 24), setting("CHAOS_KILLS", 12), setting("CHAOS_SEED", 1));
    let root = tempfile::tempdir().unwrap();
    let world = World::new(EmulatorOptions { per_call_delay: CALL, ..EmulatorOptions::default() });
    let replicas = [world.replica(root.path()), world.replica(root.path())];
    let all: Vec<String> = (0..users).map(|n| format!("user-{n:03}")).collect();
    for user in &all {
        assert_eq!(replicas[0].call("POST", "/provision", &provision(user)).status, 201);
    }
    let random = fastrand::Rng::with_seed(seed);
    let patience = LONG + Duration::from_secs(users);
    let mut two = Two { world: &world, root: root.path(), replicas, patience, kills_left: kills, random, newcomers: 0 };
    two.ask("PUT", "/fleet/base", &json!({"revision": "1"}));
    // A different release in each, so that each renders differently.
    let release = |release: &str| {
        world.aws.register_base(|base| {
            base["containerDefinitions"][0]["image"] = json!(format!("ghcr.io/openclaw/openclaw:{release}"));
        });
    };
    let canary = &all[0];
    let service = UserId::parse(canary).unwrap().service_name();

    release("2026.4.24");
    world.emulator.set_behaviour(&service, Some(Behaviour::Crash));
    let strategy = json!({"soak_seconds": 1, "max_parallel": 8});
    let bad = two.ask("POST", "/rollouts", &json!({"change": {"base_revision": "2"}, "strategy": strategy}));
    let bad = bad["id"].as_str().unwrap().to_owned();
    let paused = two.until(&bad, "paused");
    assert_eq!(paused["progress"]["users"]["failed"], 1, "{paused}");
    world.emulator.set_behaviour(&service, None);
    two.ask("POST", &format!("/rollouts/{bad}/rollback"), &json!({}));
    two.until(&bad, "rolled_back");
    let bases = bases(&world, &all);
    assert_eq!(bases, BTreeMap::from([("1".to_owned(), all.len())]), "after the rollback");

    release("2026.4.25");
    world.emulator.clear_calls();
    let good = two.ask("POST", "/rollouts", &json!({"change": {"base_revision": "3"}, "strategy": strategy}));
    let good = good["id"].as_str().unwrap().to_owned();
    let done = two.until(&good, "done");
    assert_eq!(done["progress"]["users"]["failed"], 0, "{done}");
    let newcomers: Vec<String> = (0..two.newcomers).map(|n| format!("new-{n}")).collect();
    let everybody: Vec<String> = all.iter().chain(&newcomers).cloned().collect();
    assert_eq!(self::bases(&world, &everybody), BTreeMap::from([("3".to_owned(), everybody.len())]));
    for ((user, digest), revisions) in registered(&world) {
        assert_eq!(revisions.len(), 1, "{user} has {digest} in {revisions:?}");
    }
    let calls = world.emulator.calls();
    for user in &all {
        let name = UserId::parse(user).unwrap().service_name();
        let deployed = calls.iter().filter(|call| {
            call.action == "UpdateService"
                && call.request["service"] == name
                && !call.request["taskDefinition"].is_null()
        });
        let deployed: Vec<&Value> = deployed.map(|call| &call.request["taskDefinition"]).collect();
        let mut once = deployed.clone();
        once.dedup();
        assert_eq!(once.len(), 1, "{user} was moved to {deployed:?}");
        // The places where a release looks for it.
        let places = ["codex/auth.json", "agents/main/agent/auth-profiles.json"];
        let is_signed_in = places.iter().any(|place| {
            let file = root.path().join("users").join(user).join(place);
            std::fs::read_to_string(file).is_ok_and(|file| file.contains(&format!("rt_{user}")))
        });
        assert!(is_signed_in, "{user} is signed out");
    }
    println!("{users} users, {} killed, {} provisioned beside it", kills - two.kills_left, newcomers.len());
}

/// Revisions of users, also deregistered ones, by user and rendered content.
fn registered(world: &World) -> BTreeMap<(String, String), Vec<String>> {
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for status in ["ACTIVE", "INACTIVE"] {
        let mut page = Value::Null;
        loop {
            let mut input = json!({"familyPrefix": USER_FAMILY, "status": status, "maxResults": 100});
            if !page.is_null() {
                input["nextToken"] = page;
            }
            let mut listed = world.aws.aws("ecs", "ListTaskDefinitions", input);
            for arn in listed["taskDefinitionArns"].as_array().unwrap() {
                let definition = world.aws.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn}));
                let labels = &definition["taskDefinition"]["containerDefinitions"][0]["dockerLabels"];
                let label = |name: &str| labels[name].as_str().unwrap().to_owned();
                found.entry((label(LABEL_USER), label(LABEL_DIGEST))).or_default().push(arn.to_string());
            }
            page = listed["nextToken"].take();
            if page.is_null() {
                break;
            }
        }
    }
    found
}

/// The number of these users on each base, according to ECS.
fn bases(world: &World, users: &[String]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for user in users {
        let name = UserId::parse(user).unwrap().service_name();
        let services = world.aws.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [name]}));
        let revision = &services["services"][0]["taskDefinition"];
        let found_in = world.aws.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": revision}));
        let label = &found_in["taskDefinition"]["containerDefinitions"][0]["dockerLabels"];
        let base = label[openclaw_provisioner::domain::LABEL_BASE].as_str().unwrap_or_default();
        assert!(base.contains(BASE), "{user}: {label}");
        *found.entry(base.rsplit(':').next().unwrap().to_owned()).or_default() += 1;
    }
    found
}
