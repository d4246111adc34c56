//! The service over a file system that behaves like EFS on a bad day: [`fuse`] makes one, the rest tests on it.
//!
//! Where there is no FUSE, `fuse_is_here` says so, and every other test passes without having tested anything.
#![cfg(target_os = "linux")]
#![allow(unreachable_pub, reason = "in a test binary every module is private, and `pub` says who may use what")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests, too")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod accepted;
mod errors;
mod file_calls;
mod fuse;
mod fuse_itself;
#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "the tests of the other binary use more of it")]
mod harness;
mod hung;
mod lost_locks;
mod world;

use std::path::Path;
use std::time::Duration;

use fuse::{Mount, missing};

/// How long an NFS client believes what it looked up, with its default `acregmin`.
const BELIEVED: Duration = Duration::from_secs(3);

/// A mount of `backing`, as a container would have it; `None` where there is no FUSE.
fn mount(backing: &Path) -> Option<Mount> {
    mount_believing(backing, BELIEVED)
}

/// A mount whose names and attributes are believed for so long.
fn mount_believing(backing: &Path, cached_for: Duration) -> Option<Mount> {
    match missing() {
        None => Some(Mount::new(backing, cached_for, &["--exact", "is_started_anew_to_serve", "--ignored"])),
        Some(why) => {
            eprintln!("!!!!!!!! SKIPPED: {why}");
            None
        }
    }
}

/// The server of every mount here is this very test, started once more.
#[test]
#[ignore = "nothing to test; mounts start it"]
fn is_started_anew_to_serve() {
    fuse::serve_if_asked();
}

/// Shown by nextest even where it passes (.config/nextest.toml).
#[test]
fn fuse_is_here() {
    if let Some(why) = missing() {
        eprintln!("!!!!!!!! SKIPPED: no test of the `efs` binary tests anything here, because there is no FUSE: {why}");
        assert_ne!(std::env::var("PROVISIONER_TESTS_NEED_FUSE").as_deref(), Ok("1"), "it was said to be there");
    }
}
