//! Roles as a client sees them, and as tasks that start with them do.

use super::*;
use crate::{Conduct, Emulator, Options};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

fn emulator(late: bool) -> Emulator {
    let conduct = if late { Conduct::default() } else { Conduct::KIND };
    Emulator::new(Options { conduct, ..Options::default() })
}

fn code(outcome: Result<Value, (String, String)>) -> String {
    outcome.unwrap_err().0
}

fn make(emulator: &Emulator, name: &str) -> Result<Value, (String, String)> {
    let role = json!({
        "RoleName": name, "Path": "/users/", "AssumeRolePolicyDocument": TRUST,
        "PermissionsBoundary": "arn:aws:iam::123456789012:policy/b", "Tags": [{"Key": "a", "Value": "1"}],
    });
    emulator.call("iam", "CreateRole", role)
}

#[tokio::test(start_paused = true)]
async fn a_role_is_made_once_and_goes_after_its_policies() {
    let emulator = emulator(false);
    let made = make(&emulator, "Alice").unwrap();
    assert_eq!(made["Role"]["Arn"], "arn:aws:iam::123456789012:role/users/Alice");
    // Names have no case.
    assert_eq!(code(make(&emulator, "alice")), "EntityAlreadyExists");
    let name = |name: &str| json!({"RoleName": name});
    let got = emulator.call("iam", "GetRole", name("Alice")).unwrap();
    assert_eq!(got["Role"]["Tags"], json!([{"Key": "a", "Value": "1"}]));
    let policy = json!({"RoleName": "Alice", "PolicyName": "p", "PolicyDocument": TRUST});
    emulator.call("iam", "PutRolePolicy", policy.clone()).unwrap();
    assert_eq!(code(emulator.call("iam", "DeleteRole", name("Alice"))), "DeleteConflict");
    emulator.call("iam", "DeleteRolePolicy", policy.clone()).unwrap();
    assert_eq!(code(emulator.call("iam", "DeleteRolePolicy", policy)), "NoSuchEntity");
    emulator.call("iam", "DeleteRole", name("Alice")).unwrap();
    assert_eq!(code(emulator.call("iam", "GetRole", name("Alice"))), "NoSuchEntity");
    let summary = emulator.call("iam", "GetAccountSummary", json!({})).unwrap();
    assert_eq!(summary["SummaryMap"]["entry"][0], json!({"key": "Roles", "value": 0}));
}

#[tokio::test(start_paused = true)]
async fn roles_are_listed_by_their_path_in_pages_without_tags_and_end_at_a_quota() {
    let emulator = emulator(false);
    for n in 0..QUOTA {
        make(&emulator, &format!("role-{n:04}")).unwrap();
    }
    assert_eq!(code(make(&emulator, "one-more")), "LimitExceeded");
    let (mut found, mut marker) = (0, Value::Null);
    loop {
        let wanted = json!({"PathPrefix": "/users/", "MaxItems": 400, "Marker": marker});
        let answer = emulator.call("iam", "ListRoles", wanted).unwrap();
        let roles = answer["Roles"].as_array().unwrap();
        assert!(roles.iter().all(|role| role["Tags"].is_null() && role["PermissionsBoundary"].is_null()));
        found += roles.len();
        marker = answer["Marker"].clone();
        if answer["IsTruncated"] == false {
            break;
        }
    }
    assert_eq!(found, QUOTA);
    let others = emulator.call("iam", "ListRoles", json!({"PathPrefix": "/others/"})).unwrap();
    assert_eq!(others["Roles"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_was_just_made_is_seen_a_while_later() {
    let emulator = emulator(true);
    let names: Vec<String> = (0..20).map(|n| format!("role-{n}")).collect();
    names.iter().for_each(|name| drop(make(&emulator, name).unwrap()));
    let seen =
        || names.iter().filter(|name| emulator.call("iam", "GetRole", json!({"RoleName": name})).is_ok()).count();
    assert!(seen() < names.len());
    assert_eq!(code(make(&emulator, "role-0")), "EntityAlreadyExists", "it is there all the same");
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(seen(), names.len());
}

#[tokio::test(start_paused = true)]
async fn a_task_mounts_through_the_access_point_that_its_role_allows_and_no_other() {
    let mut iam = Iam::new(Clock::start(), None);
    let call = |iam: &mut Iam, action: fn(&mut Iam, Input<'_>) -> Outcome, members: Value| {
        action(iam, Input::new(members.as_object().unwrap(), "ValidationError")).unwrap()
    };
    let role = json!({"RoleName": "alice", "Path": "/users/", "AssumeRolePolicyDocument": TRUST});
    call(&mut iam, create, role);
    let arn =
        |access_point: &str| format!("arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/{access_point}");
    let put = |iam: &mut Iam, condition: Value| {
        let document = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
            "Resource": "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-1", "Condition": condition,
        }]});
        call(iam, put_policy, json!({"RoleName": "alice", "PolicyName": "p", "PolicyDocument": document.to_string()}));
    };
    let judged = |iam: &Iam, role: &str, access_point: &str| {
        let volume = json!({"efsVolumeConfiguration": {
            "fileSystemId": "fs-1", "authorizationConfig": {"iam": "ENABLED", "accessPointId": access_point},
        }});
        iam.judge(iam.now, "us-east-1", Some(role), &[volume])
    };
    let alice = "arn:aws:iam::123456789012:role/users/alice";
    assert_eq!(judged(&iam, alice, "fsap-1"), Verdict::CannotMount, "it allows nothing yet");
    put(&mut iam, json!({"ArnEquals": {ACCESS_POINT_KEY: [arn("fsap-1")]}}));
    assert_eq!(judged(&iam, alice, "fsap-1"), Verdict::Allowed);
    assert_eq!(judged(&iam, alice, "fsap-2"), Verdict::CannotMount);
    put(&mut iam, json!({"ArnLike": {ACCESS_POINT_KEY: arn("*")}}));
    assert_eq!(judged(&iam, alice, "fsap-2"), Verdict::Allowed);
    put(&mut iam, json!({"StringEquals": {"aws:PrincipalTag/x": "y"}}));
    assert_eq!(judged(&iam, alice, "fsap-1"), Verdict::CannotMount, "EFS knows no such key");
    assert_eq!(judged(&iam, "arn:aws:iam::123456789012:role/users/bob", "fsap-1"), Verdict::CannotAssume);
    assert_eq!(judged(&iam, "arn:aws:iam::123456789012:role/task", "fsap-1"), Verdict::Allowed, "not one of ours");
}

const ACCESS_POINT_KEY: &str = "elasticfilesystem:AccessPointArn";
