//! A role for each user: made before anything can run with it, mounting their own files alone, and gone with them.

mod kept;
mod late;
mod removed;
mod turned;

use std::time::Duration;

use aws_emulator::{Fault, FaultKind, Options, StaleReads};
use openclaw_provisioner::domain::UserId;
use serde_json::{Value, json};

use crate::harness::{Answer, CLUSTER, ROLES_BOUNDARY, ROLES_PATH, TestApp, fresh_reads};

/// Roles are on, and whatever was accepted is seen at once.
async fn app() -> TestApp {
    let app = TestApp::with(fresh_reads()).await;
    app.give_roles(true);
    app
}

/// Roles are on, and seen so much later.
async fn late_app(up_to: Duration) -> TestApp {
    let mut options = Options::default();
    options.conduct.late_roles = Some(StaleReads { seed: 3, up_to });
    let app = TestApp::with(options).await;
    app.give_roles(true);
    app
}

async fn provisioned(app: &TestApp, user: &str) -> Answer {
    let answer = app.provision(user).await;
    assert!((200..300).contains(&answer.status), "{}", answer.body);
    app.pass_seconds(90).await;
    assert_eq!(state(app, user).await, "running");
    answer
}

async fn state(app: &TestApp, user: &str) -> String {
    app.get(&format!("/containers/{user}")).await.body["state"].as_str().unwrap_or_default().to_owned()
}

async fn warnings(app: &TestApp, user: &str) -> Vec<String> {
    let body = app.get(&format!("/containers/{user}")).await.body;
    let warnings = body["warnings"].as_array().unwrap().iter();
    warnings.map(|warning| warning["code"].as_str().unwrap().to_owned()).collect()
}

fn name(app: &TestApp, user: &str) -> String {
    let roles = app.coordinates.borrow().release.user_roles.clone().unwrap();
    roles.name(&UserId::parse(user).unwrap(), &app.file_system_id)
}

fn arn(name: &str) -> String {
    format!("arn:aws:iam::123456789012:role{ROLES_PATH}{name}")
}

/// A document as IAM answers it.
fn document(escaped: &Value) -> Value {
    let (text, mut bytes, mut at) = (escaped.as_str().unwrap().as_bytes(), Vec::new(), 0);
    while at < text.len() {
        if text[at] == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&text[at + 1..at + 3]).unwrap(), 16).unwrap());
            at += 3;
        } else {
            bytes.push(text[at]);
            at += 1;
        }
    }
    serde_json::from_slice(&bytes).unwrap()
}

fn iam_calls(app: &TestApp) -> Vec<String> {
    app.calls().into_iter().filter(|call| call.starts_with("iam:")).collect()
}

fn fail(app: &TestApp, action: &str, code: &str, times: usize) {
    let kind = FaultKind::Error { status: 400, code: code.into(), message: "not today".into() };
    app.emulator.inject(Fault { service: Some("iam".into()), action: action.into(), skip: 0, times, kind });
}

#[tokio::test(start_paused = true)]
async fn a_new_user_costs_two_iam_calls_and_nothing_runs_before_the_policy() {
    let app = app().await;
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, &answer.body["size"]["cpu"]), (202, &json!(512)), "{}", answer.body);
    let calls = app.calls();
    let reads = |call: &&str| call.contains(":Describe") || call.contains(":List");
    let made: Vec<&str> = calls.iter().map(String::as_str).filter(|call| !reads(call)).collect();
    assert_eq!(
        made,
        [
            "efs:CreateAccessPoint",
            "iam:CreateRole",
            "iam:PutRolePolicy",
            "ecs:RegisterTaskDefinition",
            "ecs:CreateService"
        ]
    );
    app.pass_seconds(90).await;
    assert_eq!(state(&app, "alice").await, "running");
    assert_eq!(iam_calls(&app).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_nobody_asks_iam() {
    let app = TestApp::with(fresh_reads()).await;
    provisioned(&app, "alice").await;
    assert_eq!(app.post("/containers/alice/redeploy", json!({"force": true})).await.status, 202);
    app.pass_seconds(60).await;
    assert_eq!(app.get("/fleet/capacity").await.status, 200);
    app.delete("/containers/alice?data=purge").await;
    app.pass_seconds(60).await;
    removed::gc(&app, 25).await;
    assert_eq!(iam_calls(&app), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_role_says_whose_it_is_and_allows_its_users_files_alone() {
    let app = app().await;
    provisioned(&app, "alice").await;
    let roles = app.roles();
    let [role] = roles.as_slice() else { panic!("{roles:?}") };
    assert_eq!((&role["RoleName"], &role["Path"]), (&json!(name(&app, "alice")), &json!(ROLES_PATH)));
    assert_eq!(role["PermissionsBoundary"]["PermissionsBoundaryArn"], ROLES_BOUNDARY);
    let tags: Vec<(&str, &str)> = role["Tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| (tag["Key"].as_str().unwrap(), tag["Value"].as_str().unwrap()))
        .collect();
    for tag in [
        ("openclaw:user-id", "alice"),
        ("openclaw:base-family", "openclaw-dev"),
        ("openclaw:file-system", &app.file_system_id),
    ] {
        assert!(tags.contains(&tag), "{tags:?}");
    }
    let trust = document(&role["AssumeRolePolicyDocument"]);
    assert_eq!(trust["Statement"][0]["Condition"]["StringEquals"], json!({"aws:SourceAccount": "123456789012"}));
    let efs = |resource: &str| format!("arn:aws:elasticfilesystem:us-east-1:123456789012:{resource}");
    let access_point = app.access_points()[0]["AccessPointId"].as_str().unwrap().to_owned();
    let policy = document(&role["Policy"]);
    assert_eq!(policy["Statement"].as_array().unwrap().len(), 1);
    assert_eq!(
        policy["Statement"][0]["Condition"],
        json!({"ArnEquals": {"elasticfilesystem:AccessPointArn": [efs(&format!("access-point/{access_point}"))]}})
    );
    assert_eq!(policy["Statement"][0]["Resource"], efs(&format!("file-system/{}", app.file_system_id)));
    let definition = app.newest_definition();
    assert_eq!(definition["taskRoleArn"], arn(&name(&app, "alice")));
    assert_eq!(definition["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"]["iam"], "ENABLED");
    assert!(!warnings(&app, "alice").await.contains(&"shares_task_role".to_owned()));
}

/// Whoever has a user's role and knows another user's access point mounts nothing with it.
#[tokio::test(start_paused = true)]
async fn another_users_files_are_not_mounted_with_ones_role() {
    let app = app().await;
    provisioned(&app, "alice").await;
    let of_alice = app.newest_definition();
    provisioned(&app, "bob").await;
    let run = async |change: &dyn Fn(&mut Value), service: &str| {
        let mut definition = of_alice.clone();
        for member in [
            "taskDefinitionArn",
            "revision",
            "status",
            "registeredAt",
            "registeredBy",
            "requiresAttributes",
            "compatibilities",
        ] {
            definition.as_object_mut().unwrap().remove(member);
        }
        definition["family"] = json!("stolen");
        change(&mut definition);
        app.aws("ecs", "RegisterTaskDefinition", definition);
        let service = json!({
            "cluster": CLUSTER, "serviceName": service, "taskDefinition": "stolen", "desiredCount": 1,
            "launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        });
        let made = app.aws("ecs", "CreateService", service)["service"]["serviceArn"].clone();
        app.pass_seconds(5).await;
        let found = app.aws("ecs", "DescribeServices", json!({"cluster": CLUSTER, "services": [made]}));
        found["services"][0]["runningCount"].clone()
    };
    assert_eq!(run(&|_| {}, "as-it-is").await, 1);
    let with_bobs_role = arn(&name(&app, "bob"));
    assert_eq!(run(&|definition| definition["taskRoleArn"] = json!(with_bobs_role), "with-another-role").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_role_of_somebody_else_is_neither_taken_nor_deleted() {
    let differing = [
        json!({"Path": "/others/"}),
        json!({"PermissionsBoundary": "arn:aws:iam::123456789012:policy/another"}),
        json!({"Tags": [{"Key": "openclaw:user-id", "Value": "bob"}]}),
    ];
    for (other, word) in differing.iter().zip(["path", "permissions boundary", "tags"]) {
        let app = app().await;
        let file_system = app.file_system_id.clone();
        let tag = |key: &str, value: &str| json!({"Key": key, "Value": value});
        let mut role = json!({
            "RoleName": name(&app, "alice"), "Path": ROLES_PATH, "PermissionsBoundary": ROLES_BOUNDARY,
            "AssumeRolePolicyDocument": r#"{"Version":"2012-10-17","Statement":[]}"#,
            "Tags": [tag("openclaw:user-id", "alice"), tag("openclaw:base-family", "openclaw-dev"), tag("openclaw:file-system", &file_system)],
        });
        role.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        app.aws("iam", "CreateRole", role);
        let answer = app.provision("alice").await;
        assert_eq!((answer.status, &answer.body["code"]), (502, &json!("aws_refused")), "{}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(&name(&app, "alice")) && detail.contains(word), "{detail}");
        assert_eq!((app.user_revisions().len(), app.services().len()), (0, 0));
        app.delete("/containers/alice?data=purge").await;
        app.pass_seconds(60).await;
        app.emulator.call("iam", "GetRole", json!({"RoleName": name(&app, "alice")})).unwrap();
    }
}

/// IAM's limits are the account's: whoever is throttled waits, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn throttling_is_waited_out_and_a_used_up_quota_is_said() {
    let app = app().await;
    fail(&app, "CreateRole", "Throttling", 2);
    provisioned(&app, "alice").await;
    assert_eq!(app.roles().len(), 1);
    fail(&app, "CreateRole", "LimitExceeded", usize::MAX);
    let refused = app.provision("bob").await;
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("aws_quota_exceeded")), "{}", refused.body);
    assert_eq!(app.services().len(), 1);
    app.emulator.clear_faults();
    provisioned(&app, "bob").await;
}

#[tokio::test(start_paused = true)]
async fn whats_left_of_the_accounts_roles_is_shown() {
    let app = app().await;
    provisioned(&app, "alice").await;
    let quotas = app.get("/fleet/capacity").await.body["quotas"].clone();
    let roles = quotas.as_array().unwrap().iter().find(|quota| quota["name"] == "roles").unwrap().clone();
    let told = ["used", "limit", "left", "limit_from", "counted_in"].map(|member| roles[member].clone());
    assert_eq!(json!(told), json!([1.0, 1000.0, 999.0, "in_force", "account"]));
    fail(&app, "GetAccountSummary", "AccessDenied", usize::MAX);
    app.pass_seconds(61).await;
    let quotas = app.get("/fleet/capacity").await.body["quotas"].clone();
    let roles = quotas.as_array().unwrap().iter().find(|quota| quota["name"] == "roles").unwrap().clone();
    assert_eq!((&roles["used"], &roles["limit_from"]), (&Value::Null, &json!("documented_default")));
    assert!(roles["problems"][0].as_str().unwrap().contains("iam:GetAccountSummary"), "{roles}");
}
