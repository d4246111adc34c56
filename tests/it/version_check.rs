//! `openclaw-provisioner version check`: prints what is known of a release before it is pinned.

use std::process::{Command, Output};

use serde_json::{Value, json};

fn version_check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-provisioner"));
    let directory = env!("CARGO_MANIFEST_DIR");
    command.current_dir(directory).args(["version", "check"]).args(arguments).output().unwrap()
}

fn report(release: &str) -> Value {
    let output = version_check(&["--release", release, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn warnings(release: &str) -> Vec<String> {
    let report = report(release);
    let warnings = report["warnings"].as_array().unwrap().iter();
    warnings.map(|warning| warning["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_pinned_release_is_proved_and_has_no_warnings() {
    let output = version_check(&[]);
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && words.contains("pinned by openclaw-version.json"), "{words}");
    assert!(words.contains("all checks yes on") && !words.contains("warning"), "{words}");
}

#[test]
fn a_release_that_hangs_or_was_never_run_warns_with_the_reason() {
    assert!(warnings("2026.4.25").contains(&"release_hangs_on_network_file_systems".to_owned()));
    assert_eq!(warnings("2026.4.9"), ["release_not_run"]);
    assert_eq!(warnings("2026.12.1"), ["release_newer_than_known", "release_not_run"]);
    let report = report("2026.5.12");
    assert_eq!(report["plan"]["auth_profile_secret_key"], true);
    assert_eq!(report["plan"]["authority"], json!("auth_profiles"));
}

#[test]
fn a_release_that_cannot_be_asked_about_is_refused_by_the_flag() {
    for (release, words) in [("2026.3.1", "older than 2026.4.7"), ("latest", "names no release")] {
        let output = version_check(&["--release", release]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains("--release") && error.contains(words), "{error}");
    }
}
