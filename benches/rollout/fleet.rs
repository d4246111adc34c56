//! A running fleet, and the actions on it.

use std::time::Duration;

use aws_emulator::{Options as EmulatorOptions, Pace};
use futures_util::{StreamExt as _, stream};
use openclaw_provisioner::domain::UserId;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::{CLUSTER, TestApp};

/// About as long as Fargate takes: a minute until a task is healthy.
const PACE: Pace = Pace {
    provisioning: Duration::from_secs(15),
    pending: Duration::from_secs(25),
    healthy: Duration::from_secs(20),
    stopping: Duration::from_secs(30),
    draining: Duration::from_secs(5),
    placement: Duration::from_secs(60),
    rollback: Duration::from_secs(10),
    deleting: Duration::from_secs(5),
};
/// How long AWS takes for a call.
const CALL: Duration = Duration::from_millis(50);

pub(crate) struct Fleet {
    pub(crate) app: TestApp,
    pub(crate) users: Vec<String>,
}

impl Fleet {
    /// That many users, all running.
    pub(crate) async fn running(users: usize) -> Self {
        let options = EmulatorOptions {
            enforce_rate_limits: true,
            pace: PACE,
            per_call_delay: CALL,
            ..EmulatorOptions::default()
        };
        let app = TestApp::with(options).await;
        let users: Vec<String> = (0..users).map(|n| format!("user-{n:05}")).collect();
        let made = stream::iter(&users).map(|user| {
            let app = &app;
            async move {
                while !provisioned(app, user).await {
                    sleep(Duration::from_secs(5)).await;
                }
            }
        });
        made.buffer_unordered(20).collect::<Vec<()>>().await;
        sleep(Duration::from_secs(180)).await;
        Self { app, users }
    }

    /// Registers a base that becomes the newest.
    pub(crate) fn release(&self, image: &str) {
        self.app.register_base(|base| base["containerDefinitions"][0]["image"] = json!(image));
    }

    /// Starts a rollout to the newest base; returns its id.
    pub(crate) async fn start(&self, strategy: Value) -> String {
        let body = json!({"change": {"base_revision": "newest"}, "strategy": strategy});
        loop {
            let started = self.app.post("/rollouts", body.clone()).await;
            if started.status == 201 {
                return started.body["id"].as_str().unwrap().to_owned();
            }
            // The first rollout of a process waits until everybody's definition is read.
            assert_eq!(started.body["code"], "fleet_being_read", "{}", started.body);
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Signs in the last users of the list; returns how many of their containers get that image.
    pub(crate) async fn sign_in(&self, number: usize, tag: &str) -> usize {
        let mut taken = 0;
        for user in self.users.iter().rev().take(number) {
            while !provisioned(&self.app, user).await {
                sleep(Duration::from_secs(5)).await;
            }
            taken += usize::from(self.image(user).ends_with(tag));
        }
        taken
    }

    /// The image that the user's service was told to run.
    fn image(&self, user: &str) -> String {
        let name = UserId::parse(user).unwrap().service_name();
        self.app.emulator.settle();
        let found = self.app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [name]}));
        let revision = json!({"taskDefinition": found["services"][0]["taskDefinition"]});
        let found = self.app.aws("ecs", "DescribeTaskDefinition", revision);
        found["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap().to_owned()
    }
}

async fn provisioned(app: &TestApp, user: &str) -> bool {
    match app.provision(user).await.status {
        200..=299 => true,
        429 | 503 => false,
        other => panic!("{user}: {other}"),
    }
}
