//! `doctor`: every check with every possible result, over the embedded emulator.

mod bases;
mod command;
mod promoted;
mod quotas;
mod settings;
mod user_roles;

use aws_emulator::{Fault, FaultKind, Options};
use openclaw_provisioner::config::{CoordinatesArgs, GivenTokens, OwnerArg};
use openclaw_provisioner::doctor::{Check, Doctor, Verdict};
use openclaw_provisioner::files::Files;
use openclaw_provisioner::metrics::Metrics;
use serde_json::json;

use crate::harness::{BASE, CLUSTER, TestApp};

const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// A doctor with every setting of the app given as a variable, after `change`.
fn doctor_with(app: &TestApp, change: impl FnOnce(&mut Doctor)) -> Doctor {
    // All changes happened a while ago.
    app.emulator.settle();
    let mut doctor = Doctor {
        coordinates: CoordinatesArgs {
            cluster: Some(CLUSTER.into()),
            base_family: Some(BASE.into()),
            file_system_id: Some(app.file_system_id.clone()),
            subnets: Some("subnet-0123456789abcdef0".into()),
            security_groups: Some("sg-0123456789abcdef0".into()),
            ..CoordinatesArgs::default()
        },
        aws: app.sdk.clone(),
        owner: "-".parse().unwrap(),
        files: Some(app.file_work("")),
        tokens: GivenTokens::default(),
        planned_users: None,
    };
    change(&mut doctor);
    doctor
}

async fn examined(app: &TestApp) -> Vec<Check> {
    doctor_with(app, |_| {}).examine().await
}

/// Verdict and finding of every check with this name.
fn of(checks: &[Check], name: &str) -> Vec<(Verdict, Option<&'static str>)> {
    let named: Vec<&Check> = checks.iter().filter(|check| check.name == name).collect();
    assert!(!named.is_empty(), "no check is called {name}: {checks:?}");
    for Check { verdict, fix, finding, .. } in &named {
        let is_wrong = matches!(verdict, Verdict::Warn | Verdict::Fail);
        assert_eq!(finding.is_some(), is_wrong, "{named:?}");
        assert!(!is_wrong || fix.is_some() || finding.is_some_and(|code| code == "aws_refused"), "{named:?}");
    }
    named.iter().map(|check| (check.verdict, check.finding)).collect()
}

/// The messages of the checks with this name, and their fixes.
fn said(checks: &[Check], name: &str) -> String {
    let of_name = checks.iter().filter(|check| check.name == name);
    let lines: Vec<String> = of_name
        .map(|check| {
            [Some(check.message.clone()), check.fix.clone()].into_iter().flatten().collect::<Vec<_>>().join("; ")
        })
        .collect();
    lines.join("\n")
}

/// Makes the next calls of `action` fail in this way.
fn strike(app: &TestApp, action: &str, kind: FaultKind) {
    app.emulator.inject(Fault { service: None, action: action.into(), skip: 0, times: usize::MAX, kind });
}

fn refusal(code: &str) -> FaultKind {
    FaultKind::Error { status: 400, code: code.into(), message: "not today".into() }
}

const PASS: (Verdict, Option<&str>) = (Verdict::Pass, None);
const SKIP: (Verdict, Option<&str>) = (Verdict::Skip, None);

const fn warn(finding: &'static str) -> (Verdict, Option<&'static str>) {
    (Verdict::Warn, Some(finding))
}

const fn fail(finding: &'static str) -> (Verdict, Option<&'static str>) {
    (Verdict::Fail, Some(finding))
}

#[tokio::test(start_paused = true)]
async fn a_good_installation_passes_every_check_without_changing_anything_in_aws() {
    let app = TestApp::start().await;
    push(&app, "openclaw", "2026.4.21");
    app.register_base(|base| {
        base["containerDefinitions"][0]["image"] = json!(format!("{REGISTRY}/openclaw:2026.4.21"))
    });
    let tokens = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tokens.path(), "web:provision:a-token-of-sixteen-characters\n").unwrap();
    for name in ["cluster", "base-family", "file-system-id", "subnets", "security-groups"] {
        publish(&app, name, "not used: the variables win", "String");
    }
    app.emulator.clear_calls();
    let doctor = doctor_with(&app, |doctor| {
        doctor.coordinates.ssm_path = Some("/openclaw/test".into());
        doctor.tokens.file = Some(tokens.path().into());
    });
    let checks = doctor.examine().await;
    let told: Vec<_> = checks.iter().map(|check| (check.name, check.verdict)).collect();
    let names = [
        "ssm_parameters",
        "settings",
        "tokens_file",
        "aws_identity",
        "clock",
        "cluster",
        "base_family",
        "image",
        "network",
        "promoted_base",
        "quotas",
        "efs_root",
    ];
    assert_eq!(told, names.map(|name| (name, Verdict::Pass)));
    assert!(app.emulator.calls().iter().all(|call| !call.mutating), "{:?}", app.calls());
}

#[tokio::test(start_paused = true)]
async fn aws_identity_fails_without_credentials_and_warns_when_sts_is_unreachable() {
    let app = TestApp::start().await;
    let told = examined(&app).await;
    assert_eq!(said(&told, "aws_identity"), "arn:aws:iam::123456789012:user/emulator in us-east-1");
    for (kind, outcome) in [
        (refusal("ExpiredToken"), fail("aws_denied")),
        (refusal("InvalidClientTokenId"), fail("aws_denied")),
        (refusal("Throttling"), fail("aws_throttled")),
        (FaultKind::DropBefore, warn("aws_unanswered")),
        (FaultKind::Hang, warn("aws_unanswered")),
    ] {
        strike(&app, "GetCallerIdentity", kind.clone());
        let told = examined(&app).await;
        assert_eq!(of(&told, "aws_identity"), [outcome], "{kind:?}");
        assert_eq!(of(&told, "cluster"), [PASS], "a check that fails hides no other");
        app.emulator.clear_faults();
    }
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_compared_with_the_date_of_aws_answers_also_of_errors() {
    for (ahead, outcome) in [(0, PASS), (150, warn("clock_off")), (-150, warn("clock_off")), (-290, fail("clock_off"))]
    {
        let app = TestApp::with(Options { clock_ahead_seconds: ahead, ..Options::default() }).await;
        let told = examined(&app).await;
        assert_eq!(of(&told, "clock"), [outcome], "{}", said(&told, "clock"));
    }
    let app = TestApp::with(Options { clock_ahead_seconds: 400, ..Options::default() }).await;
    strike(&app, "GetCallerIdentity", refusal("SignatureDoesNotMatch"));
    let told = examined(&app).await;
    assert_eq!(of(&told, "clock"), [fail("clock_off")]);
    assert!(said(&told, "clock").contains("s behind AWS's"), "{}", said(&told, "clock"));
    app.emulator.clear_faults();
    strike(&app, "GetCallerIdentity", FaultKind::DropBefore);
    assert_eq!(of(&examined(&app).await, "clock"), [SKIP]);
}

#[tokio::test(start_paused = true)]
async fn the_cluster_must_exist_and_be_active_and_missing_permission_is_a_warning() {
    let app = TestApp::start().await;
    assert_eq!(of(&examined(&app).await, "cluster"), [PASS]);
    strike(&app, "DescribeClusters", refusal("AccessDeniedException"));
    assert_eq!(of(&examined(&app).await, "cluster"), [warn("aws_denied")]);
    app.emulator.clear_faults();
    strike(&app, "DescribeClusters", FaultKind::DropBefore);
    assert_eq!(of(&examined(&app).await, "cluster"), [fail("aws_unanswered")]);
    app.emulator.clear_faults();
    app.aws("ecs", "DeleteCluster", json!({"cluster": CLUSTER}));
    let told = examined(&app).await;
    assert_eq!(of(&told, "cluster"), [fail("cluster_not_active")]);
    assert!(said(&told, "cluster").contains("is INACTIVE; deploy the infrastructure"));
    let other = doctor_with(&app, |doctor| doctor.coordinates.cluster = Some("openclaw-prod".into()));
    assert_eq!(of(&other.examine().await, "cluster"), [fail("no_such_cluster")]);
}

#[tokio::test(start_paused = true)]
async fn a_check_without_an_answer_fails_at_its_deadline_and_others_are_reported() {
    let app = TestApp::start().await;
    for action in ["DescribeClusters", "DescribeTaskDefinition"] {
        strike(&app, action, FaultKind::Hang);
    }
    let told = examined(&app).await;
    for name in ["cluster", "base_family"] {
        assert_eq!(of(&told, name), [fail("timed_out")]);
    }
    assert_eq!((of(&told, "image"), of(&told, "network"), of(&told, "efs_root")), (vec![SKIP], vec![PASS], vec![PASS]));
}

#[tokio::test(start_paused = true)]
async fn an_image_is_looked_up_if_that_is_possible() {
    let app = TestApp::start().await;
    assert_eq!(of(&examined(&app).await, "image"), [SKIP], "ghcr.io is not asked");
    let image = |image: &str| {
        let image = image.to_owned();
        app.register_base(|base| base["containerDefinitions"][0]["image"] = json!(image));
    };
    image(&format!("{REGISTRY}/openclaw:2026.4.21"));
    let told = examined(&app).await;
    assert_eq!(of(&told, "image"), [fail("image_not_found")]);
    assert!(said(&told, "image").contains("has no ECR repository openclaw in us-east-1; create it and push tag"));
    strike(&app, "DescribeImages", refusal("ServerException"));
    assert_eq!(of(&examined(&app).await, "image"), [fail("aws_unavailable")]);
    app.emulator.clear_faults();
    push(&app, "openclaw", "2026.4.22");
    let told = examined(&app).await;
    assert_eq!(of(&told, "image"), [fail("image_not_found")]);
    assert!(said(&told, "image").contains("has no tag 2026.4.21; push it"), "{}", said(&told, "image"));
    push(&app, "openclaw", "2026.4.21");
    assert_eq!(of(&examined(&app).await, "image"), [PASS]);
    image("ghcr.io/openclaw/openclaw");
    assert_eq!(of(&examined(&app).await, "image"), [warn("image_not_pinned")]);
    image(&format!("{REGISTRY}/openclaw:2026.4.23"));
    strike(&app, "DescribeImages", refusal("AccessDeniedException"));
    assert_eq!(of(&examined(&app).await, "image"), [warn("aws_denied")]);
}

#[tokio::test(start_paused = true)]
async fn subnets_and_security_groups_must_be_ids_and_within_the_limits_of_ecs() {
    let app = TestApp::start().await;
    let told = async |subnets: String, groups: &str| {
        let doctor = doctor_with(&app, |doctor| {
            doctor.coordinates.subnets = Some(subnets);
            doctor.coordinates.security_groups = Some(groups.into());
        });
        of(&doctor.examine().await, "network")
    };
    assert_eq!(told("subnet-0a, subnet-0b".into(), "sg-0a").await, [PASS]);
    assert_eq!(told("sg-0a".into(), "sg-0a").await, [fail("not_an_id")]);
    assert_eq!(told("subnet-0a".into(), "default").await, [fail("not_an_id")]);
    assert_eq!(told(vec!["subnet-0a"; 17].join(","), "sg-0a").await, [fail("too_many")]);
    assert_eq!(told("subnet-0a".into(), "sg-1,sg-2,sg-3,sg-4,sg-5,sg-6").await, [fail("too_many")]);
    assert_eq!(told(",".into(), "sg-0a").await, [SKIP]);
}

#[tokio::test]
async fn the_file_system_must_allow_files_of_their_owner() {
    use std::os::unix::fs::MetadataExt;
    let app = TestApp::start().await;
    let told = async |change: &dyn Fn(&mut Doctor)| {
        let checks = doctor_with(&app, |doctor| change(doctor)).examine().await;
        (of(&checks, "efs_root"), said(&checks, "efs_root"))
    };
    assert_eq!(told(&|_| {}).await.0, [PASS]);
    assert_eq!(told(&|doctor| doctor.files = None).await.0, [SKIP]);
    let missing = told(&|doctor| doctor.files = Some(app.file_work("missing"))).await;
    assert_eq!(missing.0, [fail("unusable")], "{}", missing.1);
    assert!(missing.1.contains("No such file or directory") && missing.1.contains("PROVISIONER_EFS_ROOT"));
    let bare = tempfile::tempdir().unwrap();
    let unmounted = told(&|doctor| doctor.files = Some(Files::on_this_runtime(bare.path(), Metrics::default()))).await;
    assert_eq!(unmounted.0, [fail("not_initialized")], "{}", unmounted.1);
    assert_eq!(std::fs::read_dir(bare.path()).unwrap().count(), 0, "nothing is made where nothing may be mounted");
    let other = told(&|doctor| doctor.coordinates.file_system_id = Some("fs-other".into())).await;
    assert_eq!(other.0, [fail("other_file_system")], "{}", other.1);
    assert!(other.1.contains("fs-other") && other.1.contains(&app.file_system_id), "{}", other.1);
    // Any user can own the files that they create; only root can set another owner.
    let own = std::fs::metadata(app.path("")).unwrap();
    let mut owner: OwnerArg = "1:1".parse().unwrap();
    let to_others = told(&|doctor| doctor.owner = owner).await;
    let root = rustix::process::geteuid().is_root();
    assert_eq!(to_others.0, [if root { warn("not_nfs") } else { fail("owner_not_settable") }], "{}", to_others.1);
    (owner.owner.uid, owner.owner.gid) = (own.uid(), own.gid());
    assert_eq!(told(&|doctor| doctor.owner = owner).await.0, [warn("not_nfs")]);
    assert_eq!(std::fs::read_dir(app.path(".provisioner/locks")).unwrap().count(), 0, "nothing is left behind");
}

fn push(app: &TestApp, repository: &str, tag: &str) {
    // A second push finds the repository.
    let _made_or_there = app.emulator.call("ecr", "CreateRepository", json!({"repositoryName": repository}));
    let manifest = json!({"config": tag}).to_string();
    app.aws("ecr", "PutImage", json!({"repositoryName": repository, "imageManifest": manifest, "imageTag": tag}));
}

/// Publishes a parameter under `/openclaw/test`.
fn publish(app: &TestApp, name: &str, value: &str, kind: &str) {
    let parameter = json!({"Name": format!("/openclaw/test/{name}"), "Value": value, "Type": kind, "Overwrite": true});
    app.aws("ssm", "PutParameter", parameter);
}
