//! Settings that are missing, wrong or secret.

use aws_emulator::FaultKind;
use openclaw_provisioner::config::{CoordinatesArgs, GivenTokens};
use openclaw_provisioner::doctor::Check;

use super::{PASS, SKIP, doctor_with, fail, of, publish, refusal, said, strike, warn};
use crate::harness::{BASE, CLUSTER, TestApp};

/// The checks with SSM as the only source.
async fn from_ssm(app: &TestApp) -> Vec<Check> {
    let coordinates = CoordinatesArgs { ssm_path: Some("/openclaw/test".into()), ..CoordinatesArgs::default() };
    doctor_with(app, |doctor| doctor.coordinates = coordinates).examine().await
}

#[tokio::test(start_paused = true)]
async fn missing_parameters_are_named_and_known_ones_are_checked() {
    let app = TestApp::start().await;
    let told = from_ssm(&app).await;
    assert_eq!(of(&told, "ssm_parameters"), [warn("nothing_published")]);
    assert_eq!(of(&told, "settings"), [fail("setting_unusable"); 5]);
    publish(&app, "cluster", CLUSTER, "String");
    publish(&app, "baseFamily", BASE, "String");
    let told = from_ssm(&app).await;
    assert_eq!(of(&told, "ssm_parameters"), [warn("misspelt")]);
    assert!(said(&told, "ssm_parameters").ends_with("publish baseFamily as base-family"));
    assert_eq!(of(&told, "settings"), [fail("setting_unusable"); 4]);
    assert!(
        said(&told, "settings")
            .contains("set PROVISIONER_SUBNETS, or publish the SSM parameter /openclaw/test/subnets")
    );
    assert_eq!(of(&told, "cluster"), [PASS]);
    for name in ["base_family", "image", "network"] {
        assert_eq!(of(&told, name), [SKIP]);
    }
    assert!(said(&told, "base_family").ends_with("set PROVISIONER_BASE_FAMILY"));
}

#[tokio::test(start_paused = true)]
async fn while_ssm_fails_settings_of_the_environment_are_checked() {
    let app = TestApp::start().await;
    let doctor = doctor_with(&app, |doctor| doctor.coordinates.ssm_path = Some("/openclaw/test".into()));
    for (kind, finding) in [
        (refusal("AccessDeniedException"), "aws_denied"),
        (refusal("ValidationException"), "aws_refused"),
        (FaultKind::DropBefore, "aws_unanswered"),
        (FaultKind::Hang, "timed_out"),
    ] {
        strike(&app, "GetParametersByPath", kind);
        let told = doctor.examine().await;
        assert_eq!(of(&told, "ssm_parameters"), [fail(finding)]);
        assert_eq!((of(&told, "settings"), of(&told, "cluster")), (vec![PASS], vec![PASS]));
        assert_eq!(of(&from_ssm(&app).await, "settings"), [SKIP], "nobody knows what is published");
        app.emulator.clear_faults();
    }
}

#[tokio::test(start_paused = true)]
async fn without_settings_everything_that_needs_one_is_skipped_with_its_name() {
    let app = TestApp::start().await;
    let told = doctor_with(&app, |doctor| doctor.coordinates = CoordinatesArgs::default()).examine().await;
    for (name, variable) in [
        ("ssm_parameters", "PROVISIONER_SSM_PATH"),
        ("tokens_file", "PROVISIONER_TOKENS_FILE"),
        ("cluster", "PROVISIONER_CLUSTER"),
        ("base_family", "PROVISIONER_BASE_FAMILY"),
        ("network", "PROVISIONER_SUBNETS"),
    ] {
        assert_eq!(of(&told, name), [SKIP]);
        assert!(said(&told, name).ends_with(&format!("set {variable}")), "{}", said(&told, name));
    }
    assert_eq!(of(&told, "settings"), [fail("no_settings")]);
}

/// Coordinates are no secrets, but one published as a SecureString is treated as a secret.
#[tokio::test(start_paused = true)]
async fn no_value_of_a_secure_string_is_ever_printed() {
    let app = TestApp::start().await;
    let everything = |checks: &[Check]| serde_json::to_string(checks).unwrap();
    for (name, value) in [
        ("cluster", "sentinel-cluster"),
        ("base-family", BASE),
        ("file-system-id", "sentinel-file-system"),
        ("subnets", "sentinel-subnet-1,sentinel-subnet-2"),
        ("security-groups", "sg-sentinel"),
        ("api-key", "sentinel-api-key"),
    ] {
        publish(&app, name, value, "SecureString");
    }
    let told = from_ssm(&app).await;
    assert_eq!(of(&told, "settings"), [PASS]);
    assert_eq!(said(&told, "cluster").split(';').next(), Some("there is no cluster (SecureString)"));
    assert_eq!(of(&told, "base_family")[0], fail("other_file_system"));
    assert_eq!(of(&told, "network"), [fail("not_an_id")]);
    assert!(!everything(&told).contains("sentinel"), "{}", everything(&told));

    for (name, value) in [
        ("base-family", "sentinel-family:3"),
        ("openclaw-version", "sentinel-that-is-longer-than-what-errors-show-of-a-value"),
        ("auth-profile-secret-arn", "sentinel-key"),
    ] {
        publish(&app, name, value, "SecureString");
    }
    let told = from_ssm(&app).await;
    assert_eq!(of(&told, "settings"), [fail("setting_unusable"); 3]);
    assert!(!everything(&told).contains("sentinel"), "{}", everything(&told));
    publish(&app, "base-family", "plain-family:3", "String");
    assert!(everything(&from_ssm(&app).await).contains("plain-family:3"), "what is no secret is quoted");
}

#[tokio::test(start_paused = true)]
async fn a_token_file_is_read_and_no_token_is_printed() {
    let app = TestApp::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let told = async |path: std::path::PathBuf| {
        let checks = doctor_with(&app, |doctor| doctor.tokens.file = Some(path)).examine().await;
        (of(&checks, "tokens_file"), said(&checks, "tokens_file"))
    };
    std::fs::write(file.path(), "web:provision:sentinel-of-sixteen\ndashboard:read:sentinel-of-another\n").unwrap();
    let good = told(file.path().into()).await;
    assert_eq!(good.0, [PASS]);
    assert!(good.1.ends_with("accepts tokens of 2 callers"), "{}", good.1);
    for content in ["web:sentinel", "web:provision:sentinel", "# nobody\n"] {
        std::fs::write(file.path(), content).unwrap();
        let (outcome, message) = told(file.path().into()).await;
        assert_eq!(outcome, [fail("unusable")]);
        assert!(!message.contains("sentinel") && message.contains("name:scope[,scope]:token"), "{message}");
    }
    assert_eq!(told("/nowhere/tokens".into()).await.0, [fail("unusable")]);
}

#[tokio::test(start_paused = true)]
async fn tokens_come_from_the_variable_or_a_file_but_not_both() {
    let app = TestApp::start().await;
    let lines = Some("web:provision:sentinel-of-sixteen\n".to_owned());
    for (file, outcome, words) in [
        (None, PASS, "PROVISIONER_TOKENS accepts tokens of 1 callers"),
        (Some("/run/tokens".into()), fail("set_twice"), "both set"),
    ] {
        let given = GivenTokens { file, lines: lines.clone() };
        let checks = doctor_with(&app, |doctor| doctor.tokens = given).examine().await;
        assert_eq!(of(&checks, "tokens_file"), [outcome]);
        let message = said(&checks, "tokens_file");
        assert!(message.contains(words) && !message.contains("sentinel"), "{message}");
    }
}
