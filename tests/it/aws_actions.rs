//! Which AWS actions the service can call. `infra/aws-actions.json` is made from `src/aws/` here, and a test of the
//! infrastructure compares the role with it: the role allows only what the code calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::architecture::rust_files;

const FILE: &str = "infra/aws-actions.json";

/// Where calls of each service are made, and how IAM writes its name.
const SERVICES: [(&str, &str); 7] = [
    ("ecs", "ecs"),
    ("efs", "elasticfilesystem"),
    ("ssm", "ssm"),
    ("ecr", "ecr"),
    ("iam", "iam"),
    ("quotas", "servicequotas"),
    ("sts", "sts"),
];

/// The calls of `dev seed`, on an emulator: the production build does not have them (feature `emulator`).
const NOT_IN_PRODUCTION: &str = "seed.rs";

/// AWS checks these beside the action that is called (service authorization reference): who registers a definition hands
/// its roles over, and what is tagged when it is made takes the permission to tag.
const BESIDE: [(&str, &str); 5] = [
    ("ecs:RegisterTaskDefinition", "iam:PassRole"),
    ("ecs:RegisterTaskDefinition", "ecs:TagResource"),
    ("ecs:CreateService", "ecs:TagResource"),
    ("elasticfilesystem:CreateAccessPoint", "elasticfilesystem:TagResource"),
    ("iam:CreateRole", "iam:TagRole"),
];

/// The mount of the file system's root, where the owners of files are set.
const MOUNT: [&str; 3] =
    ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientRootAccess", "elasticfilesystem:ClientWrite"];

/// Allowed to everybody (IAM user guide, GetCallerIdentity).
const NEEDS_NO_PERMISSION: [&str; 1] = ["sts:GetCallerIdentity"];

/// The files below `src/aws/` that call AWS: the service of each, and its text without tests and comments.
fn calling_files() -> Vec<(&'static str, String)> {
    let files = rust_files().into_iter().filter_map(|(path, text)| {
        let file = path.strip_prefix("aws/")?;
        let name = file.split(['/', '.']).next()?;
        let (_, service) = SERVICES.iter().find(|(folder, _)| *folder == name)?;
        (file != NOT_IN_PRODUCTION).then(|| (*service, code_of(&text)))
    });
    files.collect()
}

/// The text up to the tests, without comments and white space, so that a call over several lines is found.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(str::split_whitespace).collect()
}

/// The operations that are called on a client: `client.describe_services()` is `ecs:DescribeServices`.
fn called(service: &str, code: &str) -> BTreeSet<String> {
    let calls = code.split("client.").skip(1).filter_map(|rest| {
        let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        (name != "clone" && rest[name.len()..].starts_with("()")).then_some(name)
    });
    calls.map(|name| format!("{service}:{}", pascal(&name))).collect()
}

fn pascal(snake: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    snake.split('_').filter(|part| !part.is_empty()).map(word).collect()
}

/// The operations that errors are named after, as in `AwsError::from_sdk("ecs:DescribeServices", …)`.
fn named(service: &str, code: &str) -> BTreeSet<String> {
    let literals = code.split('"').skip(1).step_by(2);
    let named = literals.filter(|literal| literal.strip_prefix(service).is_some_and(|rest| rest.starts_with(':')));
    named.map(str::to_owned).collect()
}

/// Every action, with the reason why it is on the list.
fn actions() -> BTreeMap<String, String> {
    let mut actions: BTreeMap<String, String> = calling_files()
        .iter()
        .flat_map(|(service, code)| called(service, code))
        .filter(|action| !NEEDS_NO_PERMISSION.contains(&action.as_str()))
        .map(|action| (action, "called".to_owned()))
        .collect();
    for (call, beside) in BESIDE.iter().rev() {
        assert!(actions.contains_key(*call), "{call} is no longer called, and {beside} may not be needed: see BESIDE");
        actions.insert((*beside).into(), format!("checked beside {call}"));
    }
    actions.extend(MOUNT.map(|action| (action.to_owned(), "mounts the root of the file system".to_owned())));
    actions
}

#[test]
fn the_list_of_actions_matches_the_calls_in_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let wanted = json!({
        "about": "Made from src/aws/ by tests/it/aws_actions.rs: UPDATE_AWS_ACTIONS=1 cargo test --test it aws_actions",
        "actions": actions(),
    });
    if std::env::var_os("UPDATE_AWS_ACTIONS").is_some() {
        fs::write(&path, format!("{wanted:#}\n")).unwrap();
    }
    let found: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(found, wanted, "{FILE} is not what the code calls; make it anew with UPDATE_AWS_ACTIONS=1");
}

/// The calls are found by the name `client`; the names in errors are a second way to the same list. So a call written
/// in another way is missed only if it also has no error.
#[test]
fn every_call_names_its_action_in_its_errors() {
    let (mut calls, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (service, code) in calling_files() {
        calls.extend(called(service, &code));
        names.extend(named(service, &code));
    }
    assert!(calls.len() > 10, "{calls:?}");
    assert_eq!(calls, names);
}

/// A client of another service, or one in another file, has to be added to `SERVICES`; the SDK stays in `src/aws/`
/// (architecture.rs).
#[test]
fn every_aws_client_is_in_a_file_that_this_test_reads() {
    let clients: BTreeSet<String> = rust_files()
        .into_iter()
        .filter(|(path, text)| path.starts_with("aws/") && code_of(text).contains("::Client"))
        .map(|(path, _)| path["aws/".len()..].split(['/', '.']).next().unwrap().to_owned())
        .collect();
    let known = SERVICES.map(|(folder, _)| folder).into_iter().chain([NOT_IN_PRODUCTION.trim_end_matches(".rs")]);
    assert_eq!(clients, known.map(str::to_owned).collect());
}

/// docs/own-infrastructure.md's table and the list name the same actions.
#[test]
fn the_document_lists_the_same_actions() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/own-infrastructure.md");
    let document = fs::read_to_string(path).unwrap();
    let section = document.split("## IAM of this service").nth(1).unwrap().split("\n#").next().unwrap();
    let mut listed = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let mut prefix = "";
        // Text in brackets is a remark.
        let cell = row.split('|').nth(1).unwrap().split('(').next().unwrap();
        for word in cell.split('`').skip(1).step_by(2) {
            let name = word.rsplit_once(':').map_or(word, |(service, name)| {
                prefix = service;
                name
            });
            listed.insert(format!("{prefix}:{name}"));
        }
    }
    assert_eq!(listed, actions().into_keys().collect());
}

#[test]
fn a_call_over_several_lines_is_found_and_a_comment_is_none() {
    let text = "// self.client.stop_task()\nself\n    .client\n    .describe_tasks()\n    .send();\nlet client = client.clone();\n#[cfg(test)]\nmod tests { client.run_task() }";
    assert_eq!(called("ecs", &code_of(text)), BTreeSet::from(["ecs:DescribeTasks".to_owned()]));
}
