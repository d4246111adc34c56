//! An app with the embedded emulator: no socket, no process, and tokio's clock, which tests pause and advance.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_emulator::{Emulator, Options as EmulatorOptions, StaleReads};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use openclaw_provisioner::aws::{self, Aws, RateLimits, Timeouts};
use openclaw_provisioner::capacity::Capacity;
use openclaw_provisioner::config::{Freshness, Tokens};
use openclaw_provisioner::doctor::Infrastructure;
use openclaw_provisioner::domain::{BaseFamily, Coordinates, ReleaseDefaults, TAG_USER, UserId, UserRoles};
use openclaw_provisioner::files::Files;
use openclaw_provisioner::fleet::{self, Fleet};
use openclaw_provisioner::http::{App, Parts, Readiness, router};
use openclaw_provisioner::ledger::{FileLedger, Ledger};
use openclaw_provisioner::metrics::Metrics;
use openclaw_provisioner::reconcile::{Options, Reconciler};
use openclaw_provisioner::rollout::Rollouts;
use openclaw_provisioner::staging::{Initialize, Owner, Staging, identify};
use openclaw_provisioner::storage::{self, Storage};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt;

pub const CLUSTER: &str = "openclaw-dev";
pub const BASE: &str = "openclaw-dev";
pub const USER_FAMILY: &str = "openclaw-dev-user";
/// Size of a user's directory in bytes above which there is a warning.
pub const DIRECTORY_SOFT_LIMIT: u64 = 1 << 20;
/// Where users' roles are, where they have any.
pub const ROLES_PATH: &str = "/openclaw/dev/users/";
pub const ROLES_BOUNDARY: &str = "arn:aws:iam::123456789012:policy/openclaw-dev-users";
/// A token with every scope, and one that may only look.
pub const TOKEN: &str = "test-token-of-the-backend";
pub const READ_TOKEN: &str = "test-token-of-a-dashboard";

/// One replica. [`TestApp::replica`] makes another one over the same AWS and the same file system.
pub struct TestApp {
    pub emulator: Emulator,
    pub file_system_id: String,
    pub reconciler: Arc<Reconciler>,
    pub fleet: Fleet,
    pub capacity: Capacity,
    pub storage: Storage,
    pub rollouts: Rollouts,
    /// The adapters with which the replica calls AWS.
    pub sdk: Aws,
    pub coordinates: watch::Sender<Coordinates>,
    pub freshness: watch::Sender<Freshness>,
    root: Arc<TempDir>,
    pub router: Router,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    /// The raw body.
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl TestApp {
    /// A replica over a seeded emulator with default pace and without limits.
    pub async fn start() -> Self {
        Self::with(EmulatorOptions::default()).await
    }

    pub async fn with(options: EmulatorOptions) -> Self {
        Self::with_both(options, Options::default()).await
    }

    pub async fn with_both(emulator: EmulatorOptions, options: Options) -> Self {
        Self::with_all(emulator, options, fleet::Options::default()).await
    }

    /// A replica with its own options for the fleet.
    pub async fn with_fleet(emulator: EmulatorOptions, fleet: fleet::Options) -> Self {
        Self::with_all(emulator, Options::default(), fleet).await
    }

    async fn with_all(emulator: EmulatorOptions, options: Options, fleet: fleet::Options) -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), emulator, options, fleet).await
    }

    /// A replica whose EFS root is this directory.
    pub async fn in_directory(
        root: TempDir,
        emulator: EmulatorOptions,
        options: Options,
        fleet: fleet::Options,
    ) -> Self {
        let emulator = Emulator::new(stale(emulator));
        emulator.call("ecs", "CreateCluster", json!({"clusterName": CLUSTER})).unwrap();
        let made = emulator.call("efs", "CreateFileSystem", json!({"CreationToken": "test"})).unwrap();
        let file_system_id = made["FileSystemId"].as_str().unwrap().to_owned();
        let app = Self::over(emulator, file_system_id, Arc::new(root), options, fleet).await;
        app.register_base(|_| {});
        // The seed was created long before the first request.
        app.emulator.settle();
        app
    }

    /// Another replica over the same AWS and the same files, as after a restart.
    pub async fn replica(&self) -> Self {
        let (emulator, file_system_id) = (self.emulator.clone(), self.file_system_id.clone());
        let options = (Options::default(), fleet::Options::default());
        let replica = Self::over(emulator, file_system_id, self.root.clone(), options.0, options.1).await;
        replica.coordinates.send_replace(self.coordinates.borrow().clone());
        replica
    }

    /// Turns roles of users' own on, or off while there may be some.
    pub fn give_roles(&self, is_given: bool) {
        let roles = UserRoles::parse(is_given, ROLES_PATH, ROLES_BOUNDARY).unwrap();
        self.coordinates.send_modify(|at| at.release.user_roles = Some(roles));
    }

    /// Every role of the account under the path of users' roles, with its tags, and its policy beside it.
    pub fn roles(&self) -> Vec<Value> {
        self.emulator.settle();
        let listed = self.aws("iam", "ListRoles", json!({"PathPrefix": ROLES_PATH, "MaxItems": 1000}));
        let whole = |role: &Value| {
            let name = &role["RoleName"];
            let mut role = self.aws("iam", "GetRole", json!({"RoleName": name}))["Role"].clone();
            let wanted = json!({"RoleName": name, "PolicyName": "openclaw-user"});
            let policy = self.emulator.call("iam", "GetRolePolicy", wanted).ok();
            role["Policy"] = policy.map(|policy| policy["PolicyDocument"].clone()).unwrap_or_default();
            role
        };
        listed["Roles"].as_array().unwrap().iter().map(whole).collect()
    }

    async fn over(
        emulator: Emulator,
        file_system_id: String,
        root: Arc<TempDir>,
        options: Options,
        fleet: fleet::Options,
    ) -> Self {
        let config = aws::in_process(emulator.http_client(), Timeouts::default()).await;
        let coordinates = Coordinates {
            cluster: CLUSTER.into(),
            base_family: BaseFamily::parse(BASE).unwrap(),
            file_system_id: file_system_id.clone(),
            subnets: vec!["subnet-0123456789abcdef0".into()],
            security_groups: vec!["sg-0123456789abcdef0".into()],
            cloud_map_service_arn: None,
            release: ReleaseDefaults::default(),
        };
        let (coordinates, receiver) = watch::channel(coordinates);
        let owner = rustix::process::geteuid().is_root().then_some(Owner { uid: 1000, gid: 1000 });
        let metrics = Metrics::default();
        let aws = Aws::new(&config, &RateLimits::default(), &metrics);
        let (ecs, at) = (aws.ecs.clone(), receiver.clone());
        let infrastructure = Infrastructure::new(aws.clone(), receiver.clone(), options.owner);
        let capacity = Capacity::new(aws.clone(), receiver.clone(), metrics.clone());
        // A paused clock waits for work on this runtime's threads.
        let files = Files::on_this_runtime(root.path(), metrics.clone());
        identify(&files, &file_system_id, Initialize::IfMissing).await.unwrap();
        let ledger: Arc<dyn Ledger> = Arc::new(FileLedger::new(files.clone(), metrics.clone()));
        let staging = Staging::open(&files, owner).await.unwrap().with_file_system(&file_system_id);
        // No measuring before a test asks for it.
        let limited = storage::Options { soft_limit: Some(DIRECTORY_SOFT_LIMIT), ..storage::Options::default() };
        let storage = Storage::new(staging.clone(), ledger.clone(), limited, metrics.clone());
        let reconciler =
            Arc::new(Reconciler::new(aws.clone(), staging, ledger.clone(), receiver, options, metrics.clone()));
        let fleet = Fleet::new(ecs, reconciler.clone(), at, fleet, metrics.clone());
        let rollouts = Rollouts::new(reconciler.clone(), fleet.roster.clone(), ledger, metrics.clone());
        let tokens = Tokens::parse(&format!("backend:admin:{TOKEN}\ndashboard:read:{READ_TOKEN}")).unwrap();
        let (freshness, fresh) = watch::channel(Freshness { read_at: Instant::now(), error: None });
        let (tokens, readiness) = (watch::channel(tokens).1, Readiness::new(fresh, infrastructure));
        let app = App::from(Parts {
            reconciler: reconciler.clone(),
            fleet: fleet.clone(),
            capacity: capacity.clone(),
            storage: storage.clone(),
            rollouts: rollouts.clone(),
            tokens,
            readiness,
            metrics,
        });
        Self {
            emulator,
            file_system_id,
            reconciler,
            fleet,
            capacity,
            storage,
            rollouts,
            sdk: aws,
            coordinates,
            freshness,
            root,
            router: router(app),
        }
    }

    /// File work beneath a directory of the root.
    pub fn file_work(&self, beneath: &str) -> Files {
        Files::on_this_runtime(&self.path(beneath), Metrics::default())
    }

    /// Registers a revision of the base family, as infrastructure would: the fixture after `change`. Returns its ARN.
    pub fn register_base(&self, change: impl FnOnce(&mut Value)) -> String {
        let text = include_str!("../fixtures/base.json").replace("FILE_SYSTEM_ID", &self.file_system_id);
        let mut base: Value = serde_json::from_str(&text).unwrap();
        change(&mut base);
        let registered = self.emulator.call("ecs", "RegisterTaskDefinition", base).unwrap();
        registered["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    /// Sends any request; `headers` replace default ones with the same name, an empty value removes one.
    pub async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        let authorization = format!("Bearer {TOKEN}");
        let defaults = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let kept = defaults.iter().filter(|(name, _)| headers.iter().all(|(other, _)| other != name));
        for (name, value) in kept.chain(headers).filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let (parts, body) = self.send(request.body(body.into()).unwrap()).await.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body, text }
    }

    /// Sends a request; the body of the response is still unread.
    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.raw("GET", path, &[], Body::empty()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.raw("POST", path, &[], body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.raw("DELETE", path, &[], Body::empty()).await
    }

    pub async fn provision(&self, user_id: &str) -> Answer {
        self.post("/provision", provision_body(user_id)).await
    }

    /// Lets simulated time pass, so that simulated tasks move.
    pub async fn pass_seconds(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// As [`Self::pass_seconds`], in finer steps.
    pub async fn pass_millis(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Calls the emulated AWS directly, not through the service.
    pub fn aws(&self, service: &str, action: &str, input: Value) -> Value {
        self.emulator.call(service, action, input).unwrap()
    }

    /// ARNs of the ACTIVE revisions of the user family, oldest first.
    pub fn user_revisions(&self) -> Vec<String> {
        let listed = self.aws("ecs", "ListTaskDefinitions", json!({"familyPrefix": USER_FAMILY, "maxResults": 100}));
        listed["taskDefinitionArns"].as_array().unwrap().iter().map(|arn| arn.as_str().unwrap().to_owned()).collect()
    }

    /// The newest ACTIVE revision of the user family.
    pub fn newest_definition(&self) -> Value {
        self.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": USER_FAMILY}))["taskDefinition"].clone()
    }

    /// All access points that are not being deleted.
    pub fn access_points(&self) -> Vec<Value> {
        let found = self.aws("efs", "DescribeAccessPoints", json!({"FileSystemId": self.file_system_id}));
        let all = found["AccessPoints"].as_array().unwrap().iter();
        all.filter(|point| point["LifeCycleState"] != "deleting").cloned().collect()
    }

    /// ARNs of the services that are ACTIVE: AWS lists no others.
    pub fn services(&self) -> Vec<Value> {
        let listed = self.aws("ecs", "ListServices", json!({"cluster": CLUSTER, "maxResults": 100}));
        listed["serviceArns"].as_array().unwrap().clone()
    }

    /// `service:Action` of every AWS call since the log was cleared, in order.
    pub fn calls(&self) -> Vec<String> {
        self.emulator.calls().iter().map(|call| format!("{}:{}", call.service, call.action)).collect()
    }

    /// How often an AWS action was called since the log was cleared.
    pub fn count(&self, action: &str) -> usize {
        self.emulator.calls().iter().filter(|call| call.action == action).count()
    }

    /// Creates services of this many users directly in AWS, with the base itself as their revision.
    pub fn make_services(&self, users: usize) -> Vec<UserId> {
        let users: Vec<UserId> = (0..users).map(|n| UserId::parse(&format!("user-{n:04}")).unwrap()).collect();
        for user in &users {
            let service = json!({
                "cluster": CLUSTER, "serviceName": user.service_name(), "taskDefinition": BASE,
                "desiredCount": 1, "launchType": "FARGATE",
                "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
                "tags": [{"key": TAG_USER, "value": user}],
            });
            self.aws("ecs", "CreateService", service);
        }
        self.emulator.settle();
        users
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    /// Every path beneath the EFS root with the content of files, in order.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut found, mut directories) = (Vec::new(), vec![self.path("")]);
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path.clone());
                    found.push((path, Vec::new()));
                } else {
                    // A lock file names its last holder, so it is not compared; its effects are.
                    let is_lock = path.extension().is_some_and(|extension| extension == "lock");
                    let content = if is_lock { Vec::new() } else { std::fs::read(&path).unwrap() };
                    found.push((path, content));
                }
            }
        }
        found.sort();
        found
    }

    pub fn file(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap()
    }
}

/// Options for tests that count calls or check single moments: every read shows all accepted changes.
pub fn fresh_reads() -> EmulatorOptions {
    let mut options = EmulatorOptions::default();
    (options.conduct.stale_reads, options.conduct.late_roles) = (None, None);
    options
}

/// Makes reads up to two seconds old, unless a test sets this itself; `STALE_READS_SEED` gives other ages.
fn stale(mut options: EmulatorOptions) -> EmulatorOptions {
    if let Ok(seed) = std::env::var("STALE_READS_SEED")
        && options.conduct.stale_reads == Some(StaleReads::default())
    {
        options.conduct.stale_reads = Some(StaleReads { seed: seed.parse().unwrap(), ..StaleReads::default() });
    }
    options
}

/// A value of the environment variable in the first container of a definition.
pub fn variable<'a>(definition: &'a Value, name: &str) -> Vec<&'a str> {
    let environment = definition["containerDefinitions"][0]["environment"].as_array().unwrap();
    let named = environment.iter().filter(|entry| entry["name"] == name);
    named.map(|entry| entry["value"].as_str().unwrap()).collect()
}

pub fn provision_body(user_id: &str) -> Value {
    json!({"user_id": user_id, "auth": auth("acc_1", "rt_1", 1_770_000_000)})
}

/// A well-formed sign-in of no real account, issued at `issued_at` seconds of the Unix epoch.
pub fn auth(account: &str, refresh_token: &str, issued_at: i64) -> Value {
    let jwt = jwt(account, issued_at);
    json!({
        "auth_mode": "chatgpt",
        "tokens": {"access_token": jwt, "refresh_token": refresh_token, "id_token": jwt, "account_id": account}
    })
}

pub fn jwt(account: &str, issued_at: i64) -> String {
    use base64::Engine;
    let encode = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        // A hundred years, so that the token never expires in a test.
        "iat": issued_at, "exp": issued_at + 3_153_600_000,
        "https://api.openai.com/auth": {"chatgpt_account_id": account}
    });
    format!("{}.{}.c2ln", encode(json!({"alg": "none"})), encode(claims))
}
