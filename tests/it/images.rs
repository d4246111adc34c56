//! Facts in the Dockerfiles that must agree with other files.

use std::fs;
use std::path::Path;

use openclaw::entry::UPSTREAM_COMMAND;
use openclaw_provisioner::domain::VersionFile;
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rest of the one line that begins with `start`.
fn line<'a>(text: &'a str, start: &str) -> &'a str {
    let mut found = text.lines().filter_map(|line| line.trim_start().strip_prefix(start));
    let rest = found.next().unwrap_or_else(|| panic!("no line begins with {start}"));
    assert_eq!(found.next(), None, "{start}");
    rest
}

#[test]
fn the_extended_image_is_built_from_the_pinned_release_and_runs_upstreams_command() {
    let dockerfile = read("infra/openclaw/Dockerfile");
    let pinned = VersionFile::parse(&read("openclaw-version.json")).unwrap().upstream;
    assert_eq!(line(&dockerfile, "ARG OPENCLAW_UPSTREAM="), pinned.as_str());
    assert_eq!(line(&dockerfile, "FROM "), "${OPENCLAW_UPSTREAM}");
    let command: Vec<&str> = UPSTREAM_COMMAND.split(' ').collect();
    let commands: Vec<Value> =
        dockerfile.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("CMD ")?).ok()).collect();
    assert_eq!(commands, [serde_json::json!(command)]);
}

#[test]
fn the_service_is_built_with_the_rust_that_it_asks_for_and_without_the_emulator() {
    let dockerfile = read("Dockerfile");
    let wanted = format!("docker.io/library/rust:{}.", env!("CARGO_PKG_RUST_VERSION"));
    assert!(line(&dockerfile, "ARG RUST_IMAGE=").starts_with(&wanted), "{wanted}");
    let builds: Vec<&str> = dockerfile.lines().filter(|line| line.contains("auditable build")).collect();
    assert!(builds.len() == 2 && builds.iter().all(|line| line.contains("--release --no-default-features")));
    assert_eq!(line(&dockerfile, "ARG FEATURES="), "");
}

/// A tag can move, a digest cannot, so images are pinned by both.
#[test]
fn the_base_images_of_the_service_are_pinned_by_tag_and_digest() {
    let dockerfile = read("Dockerfile");
    for argument in ["ARG RUST_IMAGE=", "ARG RUNTIME_IMAGE="] {
        let (name, digest) = line(&dockerfile, argument).split_once("@sha256:").unwrap();
        assert!(name.rsplit('/').next().unwrap().contains(':') && digest.len() == 64, "{argument}{name}");
    }
    let stages: Vec<&str> = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(stages, ["${RUST_IMAGE} AS build", "${RUNTIME_IMAGE}"]);
}
