//! The state of a user in AWS and on the file system, in a form that can be compared.

use serde_json::{Value, json};

use super::{USER, without};
use crate::harness::{CLUSTER, ROLES_PATH, TestApp, USER_FAMILY};

/// The state of a user without ids and revision numbers, which differ in every run.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// How the API answers: status, state and readiness.
    pub shown: Value,
    /// The services that are not INACTIVE.
    pub services: Vec<Value>,
    /// The service's revision, then the revisions before it.
    pub chain: Vec<Value>,
    pub access_points: Vec<Value>,
    /// Roles of users' own.
    pub roles: Vec<Value>,
    /// Files of the user's, with content.
    pub auth_json: Option<String>,
    pub profiles: Option<String>,
    pub model: Value,
    pub lock_files: Vec<String>,
    pub active_revisions: usize,
    /// Number of deployments that the service ever had: only this shows a forced one.
    pub deployments: usize,
}

impl World {
    /// The state after a purge.
    pub fn nothing() -> Self {
        Self {
            shown: json!([404, null, null]),
            services: vec![],
            chain: vec![],
            access_points: vec![],
            roles: vec![],
            auth_json: None,
            profiles: None,
            model: json!(null),
            lock_files: vec![],
            active_revisions: 0,
            deployments: 0,
        }
    }

    pub async fn of(app: &TestApp) -> Self {
        let answer = app.get(&format!("/containers/{USER}")).await;
        let access_points = app.access_points();
        let ids: Vec<&str> = access_points.iter().filter_map(|point| point["AccessPointId"].as_str()).collect();
        let arns = app.services();
        let described: Vec<Value> = arns
            .iter()
            .map(|arn| app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [arn]})))
            .map(|answer| answer["services"][0].clone())
            .collect();
        let newest = described.first().and_then(|service| service["taskDefinition"].as_str());
        Self {
            shown: json!([answer.status, answer.body["state"], answer.body["ready"]]),
            chain: newest.map_or_else(Vec::new, |arn| chain(app, arn, &ids)),
            services: described.iter().map(service).collect(),
            access_points: access_points
                .iter()
                .map(|point| {
                    without(point.clone(), &["AccessPointId", "AccessPointArn", "FileSystemId", "ClientToken"])
                })
                .collect(),
            roles: app.roles().iter().map(|found| role(found, app, &ids)).collect(),
            auth_json: of_user(app, "codex/auth.json"),
            profiles: of_user(app, "agents/main/agent/auth-profiles.json"),
            model: of_user(app, "openclaw.json")
                .map(|text| serde_json::from_str::<Value>(&text).unwrap()["agents"].take())
                .unwrap_or_default(),
            lock_files: names_in(app, ".provisioner/locks"),
            active_revisions: app.user_revisions().len(),
            deployments: arns.iter().map(|arn| deployments_of(app, arn)).sum(),
        }
    }

    /// Panics with only the differences: a whole world has hundreds of lines.
    pub fn assert_is(&self, expected: &Self, context: &str) {
        if self == expected {
            return;
        }
        let (ours, theirs) = (format!("{self:#?}"), format!("{expected:#?}"));
        let only_in = |text: &str, other: &str| {
            let lines = text.lines().filter(|line| other.lines().all(|other| other != *line));
            lines.collect::<Vec<_>>().join("\n")
        };
        panic!("{context}\n--- only here\n{}\n--- missing\n{}", only_in(&ours, &theirs), only_in(&theirs, &ours));
    }

    /// The state without counts: the number of revisions and deployments depends on the moment of the interruption, and the
    /// caller checks it.
    pub fn without_counts(&self) -> Self {
        Self { active_revisions: 0, deployments: 0, ..self.clone() }
    }
}

fn of_user(app: &TestApp, path: &str) -> Option<String> {
    std::fs::read_to_string(app.path(&format!("users/{USER}/{path}"))).ok()
}

fn deployments_of(app: &TestApp, arn: &Value) -> usize {
    let listed = app.aws("ecs", "ListServiceDeployments", json!({"cluster": CLUSTER, "service": arn}));
    listed["serviceDeployments"].as_array().unwrap().len()
}

fn service(described: &Value) -> Value {
    let deployments = described["deployments"].as_array().unwrap();
    let rollouts: Vec<&Value> = deployments.iter().map(|deployment| &deployment["rolloutState"]).collect();
    let own =
        ["taskDefinition", "deployments", "events", "createdAt", "currentServiceDeployment", "currentServiceRevisions"];
    let kept = without(described.clone(), &own);
    json!({"service": kept, "rollouts": rollouts})
}

/// A role without what every run has of its own.
fn role(found: &Value, app: &TestApp, access_points: &[&str]) -> Value {
    let mut text = without(found.clone(), &["RoleId", "RoleName", "Arn", "CreateDate"]).to_string();
    for id in access_points {
        text = text.replace(id, "the access point");
    }
    json!(text.replace(&app.file_system_id, "the file system"))
}

/// The definitions as registered, newest first, following the label that names the revision before.
fn chain(app: &TestApp, newest: &str, access_points: &[&str]) -> Vec<Value> {
    let (mut chain, mut next) = (Vec::new(), Some(newest.to_owned()));
    while let Some(arn) = next {
        assert!(arn.contains(&format!("task-definition/{USER_FAMILY}:")), "{arn} is not of the user family");
        let answer = app.aws("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn, "include": ["TAGS"]}));
        let mut definition = answer["taskDefinition"].clone();
        assert!(!chain.is_empty() || definition["status"] == "ACTIVE", "the service runs {definition}");
        let labels = &mut definition["containerDefinitions"][0]["dockerLabels"];
        next = labels.as_object_mut().unwrap().remove("openclaw.provisioner.previous").map(|arn| text(&arn));
        // Every run has its own access point, and the digest includes its id.
        labels.as_object_mut().unwrap().remove("openclaw.provisioner.access-point");
        let digest = labels.as_object_mut().unwrap().remove("openclaw.provisioner.digest");
        assert_eq!(digest.map(|digest| text(&digest).len()), Some(64));
        let efs = &mut definition["volumes"][0]["efsVolumeConfiguration"];
        let mounted = text(&efs["authorizationConfig"]["accessPointId"]);
        assert!(access_points.contains(&mounted.as_str()), "{arn} mounts {mounted}, which is not there");
        efs["authorizationConfig"]["accessPointId"] = json!("the user's");
        efs["fileSystemId"] = json!("the file system");
        if definition["taskRoleArn"].as_str().is_some_and(|arn| arn.contains(ROLES_PATH)) {
            definition["taskRoleArn"] = json!("the user's");
        }
        let noise = ["taskDefinitionArn", "revision", "status", "registeredAt", "deregisteredAt"];
        chain.push(json!({"definition": without(definition, &noise), "tags": answer["tags"]}));
    }
    chain
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn names_in(app: &TestApp, directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(app.path(directory)).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
