//! Every operation, disturbed at every single AWS call: failed, cut off, cancelled, killed. Whatever happens, repeating
//! the request at another replica has the same result as the undisturbed request.

mod cancelled;
mod faults;
mod killed;
mod world;

pub use cancelled::{CALL, slow};

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, auth};
use aws_emulator::Options;

pub const USER: &str = "alice";
const REPOSITORY: &str = "openclaw";
const IMAGE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/openclaw:2026.4.25";
/// How many reads of one kind are disturbed; the first ones.
const READS_DISTURBED: usize = 3;
/// Longer than any operation takes in simulated time, with its waits and retries.
const LONG_SECONDS: u64 = 120;

/// The operation, and the state of the user before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    ProvisionNew,
    ProvisionStopped,
    SwitchToKey,
    SwitchToChatgpt,
    Resize,
    RedeployForced,
    RedeployNewBase,
    DeleteKeepingFiles,
    DeletePurgingFiles,
    Stop,
    Start,
    ProvisionNewWithRole,
    RedeployToOwnRole,
    DeleteWithRole,
}

use Operation::*;

impl Operation {
    /// An app that is ready for the operation.
    pub async fn prepared(self, options: Options) -> TestApp {
        let app = TestApp::with(options).await;
        app.aws("ecr", "CreateRepository", json!({"repositoryName": REPOSITORY}));
        let image = json!({"repositoryName": REPOSITORY, "imageManifest": "{}", "imageTag": "2026.4.25"});
        app.aws("ecr", "PutImage", image);
        if matches!(self, ProvisionNewWithRole | DeleteWithRole) {
            app.give_roles(true);
        }
        if !matches!(self, ProvisionNew | ProvisionNewWithRole) {
            // Two revisions, so that there is a chain to follow and one before the last to retire.
            for round in ["one", "two"] {
                base_round(&app, round);
                let made = provision(&app).await;
                assert!((200..300).contains(&made.status), "{}", made.body);
                app.pass_seconds(5).await;
            }
        }
        match self {
            ProvisionStopped | Start => {
                let stopped = app.post("/containers/alice/stop", json!({})).await;
                assert_eq!(stopped.status, 202, "{}", stopped.body);
                app.pass_seconds(5).await;
            }
            SwitchToChatgpt => {
                let switched = switch_to_key(&app).await;
                assert_eq!(switched.status, 202, "{}", switched.body);
                app.pass_seconds(5).await;
            }
            RedeployNewBase => base_round(&app, "three"),
            RedeployToOwnRole => app.give_roles(true),
            ProvisionNew | SwitchToKey | Resize | RedeployForced | DeleteKeepingFiles | DeletePurgingFiles | Stop
            | ProvisionNewWithRole | DeleteWithRole => {}
        }
        app.emulator.clear_calls();
        app
    }

    pub async fn request(self, app: &TestApp) -> Answer {
        match self {
            ProvisionNew | ProvisionStopped | SwitchToChatgpt | ProvisionNewWithRole => provision(app).await,
            SwitchToKey => switch_to_key(app).await,
            Resize => app.post("/containers/alice/resize", json!({"cpu": 2048, "memory_mib": 8192})).await,
            RedeployForced => app.post("/containers/alice/redeploy", json!({"force": true})).await,
            RedeployNewBase | RedeployToOwnRole => app.post("/containers/alice/redeploy", json!({})).await,
            DeleteKeepingFiles => app.delete("/containers/alice?data=keep").await,
            DeletePurgingFiles | DeleteWithRole => app.delete("/containers/alice?data=purge").await,
            Stop => app.post("/containers/alice/stop", json!({})).await,
            Start => app.post("/containers/alice/start", json!({})).await,
        }
    }

    fn has_role(self) -> bool {
        matches!(self, ProvisionNewWithRole | RedeployToOwnRole | DeleteWithRole)
    }

    fn deletes(self) -> bool {
        matches!(self, DeleteKeepingFiles | DeletePurgingFiles | DeleteWithRole)
    }

    /// How many more revisions there may be than without an interruption: one registered just before it, or one not yet
    /// deregistered, but never both.
    pub fn revisions_in_flight(self) -> usize {
        match self {
            ProvisionNew | SwitchToKey | SwitchToChatgpt | Resize | RedeployNewBase | ProvisionNewWithRole
            | RedeployToOwnRole => 1,
            ProvisionStopped | RedeployForced | DeleteKeepingFiles | DeletePurgingFiles | Stop | Start
            | DeleteWithRole => 0,
        }
    }

    /// Repeats the request at a replica as a caller does: until it is 2xx, and a DELETE until there is nothing left.
    pub async fn repeat_until_done(self, replica: &TestApp) {
        for _ in 0..10 {
            let answer = self.request(replica).await;
            let done = match self.deletes() {
                true => answer.status == 404,
                false => (200..300).contains(&answer.status),
            };
            if done {
                replica.pass_seconds(LONG_SECONDS).await;
                return;
            }
            assert!(answer.status == 202 || is_retryable(&answer), "{self:?}: {} {}", answer.status, answer.body);
            replica.pass_seconds(5).await;
        }
        panic!("{self:?} was not done after ten requests");
    }
}

async fn provision(app: &TestApp) -> Answer {
    let body = json!({
        "user_id": USER,
        "provider": "chatgpt",
        "auth": auth("acc_1", "rt_1", 1_770_000_000),
        "size": {"cpu": 1024, "memory_mib": 4096},
        "image": IMAGE,
        "variables": {"GREETING": "hello"},
        "secrets": {"OPENAI_API_KEY": "arn:aws:secretsmanager:us-east-1:123456789012:secret:key"},
        "labels": {"plan": "pro"},
    });
    app.post("/provision", body).await
}

async fn switch_to_key(app: &TestApp) -> Answer {
    let key = "arn:aws:secretsmanager:us-east-1:123456789012:secret:other";
    let body = json!({"user_id": USER, "provider": "anthropic_key", "secrets": {"ANTHROPIC_API_KEY": key}});
    app.post("/provision", body).await
}

/// A new base revision that differs from every other round's.
fn base_round(app: &TestApp, round: &str) {
    app.register_base(|base| {
        let environment = base["containerDefinitions"][0]["environment"].as_array_mut().unwrap();
        environment.push(json!({"name": "ROUND", "value": round}));
    });
}

/// Whether the answer is an error that may be retried.
pub fn is_retryable(answer: &Answer) -> bool {
    answer.status >= 400 && answer.body["retryable"] == json!(true) && answer.header("retry-after").is_some()
}

/// One call of an operation: the `occurrence`th (from 0) of that action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NthCall {
    pub service: String,
    pub action: String,
    pub occurrence: usize,
}

/// An operation without disturbance.
pub struct Undisturbed {
    pub calls: Vec<NthCall>,
    pub world: world::World,
}

impl Undisturbed {
    pub async fn of(operation: Operation) -> Self {
        let app = operation.prepared(Options::default()).await;
        let answer = operation.request(&app).await;
        assert!((200..300).contains(&answer.status), "{}", answer.body);
        app.pass_seconds(LONG_SECONDS).await;
        let mut seen: HashMap<(String, String), usize> = HashMap::new();
        let calls = app.emulator.calls().into_iter().filter_map(|call| {
            let count = seen.entry((call.service.clone(), call.action.clone())).or_default();
            *count += 1;
            // Reads are repeated while they are old, and the next one is like the one before.
            // With a role, reads of ECS are those that are disturbed without.
            let is_read = call.service == "iam" || !operation.has_role();
            let is_disturbed = call.mutating || is_read && *count <= READS_DISTURBED;
            is_disturbed.then(|| NthCall { service: call.service, action: call.action, occurrence: *count - 1 })
        });
        let calls: Vec<NthCall> = calls.collect();
        assert!(
            calls.iter().any(|call| !call.action.starts_with("Describe")),
            "{operation:?} changes nothing: {calls:?}"
        );
        Self { calls, world: world::World::of(&app).await }
    }
}

/// Compares the result with the undisturbed one, then deletes the user and checks that nothing is left.
pub async fn assert_ends_as_undisturbed(
    operation: Operation,
    undisturbed: &Undisturbed,
    replica: &TestApp,
    disturbance: &str,
) {
    let world = world::World::of(replica).await;
    let context = format!("{operation:?}, {disturbance}");
    world.without_counts().assert_is(&undisturbed.world.without_counts(), &context);
    let (deployments, least) = (world.deployments, undisturbed.world.deployments);
    assert!(deployments >= least, "{context}: {deployments} deployments, undisturbed {least}");
    let expected = undisturbed.world.active_revisions;
    let most = expected + operation.revisions_in_flight();
    let revisions = world.active_revisions;
    assert!((expected..=most).contains(&revisions), "{context}: {revisions} ACTIVE revisions");

    DeletePurgingFiles.repeat_until_done(replica).await;
    let left = world::World::of(replica).await;
    let nothing = world::World { active_revisions: left.active_revisions, ..world::World::nothing() };
    left.assert_is(&nothing, &format!("{context}: left after deleting"));
    let orphans = left.active_revisions;
    assert!(orphans <= operation.revisions_in_flight(), "{context}: {orphans} orphans after deleting");
}

/// The value without the members.
fn without(mut value: Value, members: &[&str]) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| !members.contains(&name.as_str()));
    }
    value
}
