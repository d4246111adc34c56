//! Which file may import what. Reads the source, so that a wrong import fails a test and not a review.

mod circles;
mod paths;

use std::fs;
use std::path::Path;

use circles::circles;
use paths::paths_in;

/// Each layer, and the layers that it may import: `main → cli → http → rollout → reconcile → aws, ledger, staging → files → domain`,
/// with `fleet` above `reconcile` for looking at many, `capacity` above `aws` for looking at the account,
/// `config` and `doctor` beside them for `cli` and `http`,
/// `metrics` for all that is measured, `probe` below `reconcile`, and `egress` for `cli` alone.
pub const LAYERS: [(&str, &[&str]); 18] = [
    ("main", &["cli"]),
    (
        "cli",
        &[
            "aws",
            "capacity",
            "config",
            "doctor",
            "domain",
            "egress",
            "files",
            "fleet",
            "http",
            "ledger",
            "metrics",
            "probe",
            "reconcile",
            "rollout",
            "staging",
            "storage",
        ],
    ),
    (
        "http",
        &[
            "aws",
            "capacity",
            "config",
            "doctor",
            "domain",
            "fleet",
            "metrics",
            "reconcile",
            "rollout",
            "staging",
            "storage",
        ],
    ),
    ("doctor", &["aws", "capacity", "config", "domain", "files", "ledger", "metrics", "staging"]),
    ("config", &["aws", "domain", "probe"]),
    ("rollout", &["aws", "domain", "fleet", "ledger", "metrics", "reconcile", "staging"]),
    ("reconcile", &["aws", "domain", "files", "ledger", "metrics", "probe", "staging"]),
    ("fleet", &["aws", "domain", "metrics", "reconcile"]),
    ("capacity", &["aws", "domain", "metrics"]),
    ("aws", &["domain", "metrics"]),
    ("storage", &["domain", "files", "ledger", "metrics", "staging"]),
    ("metrics", &["domain"]),
    ("staging", &["domain", "files", "metrics"]),
    ("ledger", &["domain", "files", "metrics", "staging"]),
    ("files", &["domain", "metrics"]),
    ("domain", &[]),
    ("probe", &[]),
    ("egress", &[]),
];

/// The only file that names the emulator, a separate crate.
const STARTS_THE_EMULATOR: &str = "cli/dev.rs";

const SDK: [&str; 3] = ["aws_sdk_", "aws_config", "aws_smithy_"];

/// What a pure file must not name: anything that waits, uses the network, reads the clock or touches a file.
const IMPURE: [&str; 14] = [
    "tokio",
    "tokio_util",
    "axum",
    "hyper",
    "rustix",
    "aws_",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::time::Instant",
    "std::time::SystemTime",
    "fastrand",
];

/// The violations in the file at `path` beneath src/, one line each.
fn violations(path: &str, text: &str) -> Vec<String> {
    let layer = path.split(['/', '.']).next().unwrap();
    if layer == "lib" {
        return vec![];
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("{path}: no layer is called {layer}; give it a place in tests/it/architecture.rs")];
    };
    let mut found = Vec::new();
    for name in paths_in(text) {
        let mut complain = |why: &str| found.push(format!("{path}: {name}: {why}"));
        if let Some(other) = layer_of(path, &name)
            && other != layer
            && !allowed.contains(&other)
        {
            complain(&format!("{layer} may not import {other}"));
        }
        if is_within(&name, "aws_emulator") && path != STARTS_THE_EMULATOR {
            complain("only `dev` starts the emulator");
        }
        if SDK.iter().any(|sdk| name.starts_with(sdk)) && layer != "aws" {
            complain("SDK types stay in src/aws/");
        }
        if is_pure(path) && IMPURE.iter().any(|impure| is_within(&name, impure)) {
            complain("this file is pure");
        }
        if name.split("::").any(|part| part == "StatusCode") && layer != "http" {
            complain("only src/http/ knows status codes");
        }
    }
    found
}

fn is_pure(path: &str) -> bool {
    path.starts_with("domain/") || path.ends_with("/plan.rs") || path.contains("/plan/")
}

/// Whether a path names the module or something in it; `aws_` stands for every crate with this prefix.
fn is_within(name: &str, module: &str) -> bool {
    match name.strip_prefix(module) {
        Some(rest) => module.ends_with('_') || rest.is_empty() || rest.starts_with("::"),
        None => false,
    }
}

/// The layer to which a path leads, if it is one of ours.
fn layer_of(path: &str, name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.split("::").collect();
    let supers = parts.iter().take_while(|part| **part == "super").count();
    let in_crate = match parts[0] {
        "crate" | "openclaw_provisioner" => parts.get(1),
        // Enough steps up to leave the file's own layer.
        "super" if supers >= depth(path) => parts.get(supers),
        _ => None,
    };
    in_crate.and_then(|first| LAYERS.iter().map(|(layer, _)| *layer).find(|layer| layer == first))
}

/// How many modules the file is beneath the root of the crate.
fn depth(path: &str) -> usize {
    let below = path.split('/').count();
    if path.ends_with("/mod.rs") { below - 1 } else { below }
}

/// Every Rust file beneath src/, by its path there.
pub fn rust_files() -> Vec<(String, String)> {
    rust_files_beneath("src")
}

fn rust_files_beneath(directory: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, root: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    found.sort();
    found
}

#[test]
fn every_file_imports_only_what_its_layer_may() {
    let sources = rust_files();
    for layer in ["cli/", "http/", "doctor/", "reconcile/plan.rs", "aws/", "staging/", "domain/"] {
        assert!(sources.iter().any(|(path, _)| path.starts_with(layer)), "nothing was read of {layer}");
    }
    let found: Vec<String> = sources.iter().flat_map(|(path, text)| violations(path, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_modules_import_one_another() {
    for crate_of in ["src", "crates/openclaw/src", "crates/aws-emulator/src"] {
        let found = circles(&rust_files_beneath(crate_of));
        assert!(found.is_empty(), "{crate_of}: {}", found.join("\n"));
    }
}

/// Cargo limits the crates that it uses; this test checks that it is pure with the standard library, too.
#[test]
fn the_openclaw_crate_is_pure() {
    let sources = rust_files_beneath("crates/openclaw/src");
    assert!(sources.iter().any(|(path, _)| path == "table.rs"));
    let found: Vec<String> = sources
        .iter()
        .flat_map(|(path, text)| paths_in(text).into_iter().map(move |name| format!("{path}: {name}")))
        .filter(|found| IMPURE.iter().any(|impure| is_within(found.split_once(": ").unwrap().1, impure)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The checker finds planted violations, however they are written.
#[test]
fn a_planted_violation_is_found() {
    let planted = [
        ("domain/size.rs", "use crate::aws::Aws;", "domain may not import aws"),
        ("domain/size.rs", "use tokio::time::sleep;", "pure"),
        ("domain/size.rs", "use std::{collections::BTreeMap, fs};", "pure"),
        ("domain/size.rs", "fn now() { let _ = std::time::SystemTime::now(); }", "pure"),
        ("domain/size.rs", "let x: aws_sdk_ecs::types::Task;", "pure"),
        ("reconcile/plan.rs", "use axum::Router;", "pure"),
        ("rollout/plan/order.rs", "rustix::fs::fsync(file)", "pure"),
        ("reconcile/mod.rs", "use crate::{domain::UserId, http::Problem};", "reconcile may not import http"),
        ("reconcile/mod.rs", "use super::http::Problem;", "reconcile may not import http"),
        ("reconcile/plan.rs", "mod tests { use super::super::super::cli::Args; }", "reconcile may not import cli"),
        ("reconcile/mod.rs", "fn f() -> Result<(), aws_sdk_ecs::Error> {}", "SDK"),
        ("cli/dev.rs", "let config = aws_config::load_defaults(version);", "SDK"),
        ("cli/doctor.rs", "use aws_emulator::Emulator;", "only `dev`"),
        ("cli/dev.rs", "use crate::rollouts::Plan; use crate::main::x;", "cli may not import main"),
        ("staging/write.rs", "use crate::aws::AwsError;", "staging may not import aws"),
        ("aws/ecs/mod.rs", "use super::super::staging::Staging;", "aws may not import staging"),
        ("aws/error.rs", "use crate::reconcile::Plan;", "aws may not import reconcile"),
        ("fleet/poller.rs", "use crate::http::App;", "fleet may not import http"),
        ("reconcile/status.rs", "use crate::fleet::Watch;", "reconcile may not import fleet"),
        ("doctor/mod.rs", "use crate::http::App;", "doctor may not import http"),
        ("reconcile/mod.rs", "use crate::doctor::Check;", "reconcile may not import doctor"),
        ("config/mod.rs", "use crate::http::App;", "config may not import http"),
        ("main.rs", "use openclaw_provisioner::reconcile::plan;", "main may not import reconcile"),
        ("reconcile/error.rs", "use axum::http::StatusCode;", "status codes"),
        ("jobs/mod.rs", "", "no layer is called jobs"),
    ];
    for (path, text, why) in planted {
        let found = violations(path, text);
        assert!(found.iter().any(|violation| violation.contains(why)), "{path}: {text}: {found:?}");
    }
}

/// The checker ignores words that are not code, and accepts what is allowed.
#[test]
fn allowed_paths_and_text_outside_code_are_accepted() {
    let allowed = [
        (
            "domain/size.rs",
            "//! without tokio::time or crate::aws\n/* use axum::Router; */ let s = \"crate::aws::Aws\";",
        ),
        (
            "domain/size.rs",
            "let raw = r#\"use \"tokio::x\" now\"#; let c = '\"'; let l: &'static str = \"rustix::fs\";",
        ),
        ("domain/size.rs", "use super::invalid::Invalid; use crate::domain::UserId; use std::collections::BTreeMap;"),
        ("domain/task_definition/base.rs", "mod tests { use super::super::LABEL_USER; }"),
        ("cli/dev.rs", "use aws_emulator::{Emulator, Options}; use crate::http::App;"),
        ("http/error.rs", "use axum::http::StatusCode; use crate::reconcile::Refusal;"),
        ("aws/efs.rs", "use aws_sdk_efs::config::http::HttpResponse; use crate::domain::UserId;"),
        ("reconcile/execute.rs", "use super::plan::Step; use crate::aws::AwsError; use tokio::time::Instant;"),
    ];
    for (path, text) in allowed {
        assert_eq!(violations(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
