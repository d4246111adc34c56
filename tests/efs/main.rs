//! The service over a file system that behaves like a failing EFS: [`fuse`] provides one, the other modules test with it.
//!
//! Without FUSE, `fuse_is_here` says so, and every other test passes without testing anything.
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

/// How long an NFS client caches attributes, with its default `acregmin`.
const BELIEVED: Duration = Duration::from_secs(3);

/// A mount of `backing`, as in a container; `None` without FUSE.
fn mount(backing: &Path) -> Option<Mount> {
    mount_believing(backing, BELIEVED)
}

/// A mount whose names and attributes are cached for this long.
fn mount_believing(backing: &Path, cached_for: Duration) -> Option<Mount> {
    match missing() {
        None => Some(Mount::new(backing, cached_for, &["--exact", "is_started_again_to_serve", "--ignored"])),
        Some(why) => {
            eprintln!("!!!!!!!! SKIPPED: {why}");
            None
        }
    }
}

/// This test is started again as the server of every mount.
#[test]
#[ignore = "nothing to test; mounts start it"]
fn is_started_again_to_serve() {
    fuse::serve_if_asked();
}

/// nextest shows its output even if it passes (.config/nextest.toml).
#[test]
fn fuse_is_here() {
    if let Some(why) = missing() {
        eprintln!("!!!!!!!! SKIPPED: no test of the `efs` binary tests anything here, because there is no FUSE: {why}");
        assert_ne!(std::env::var("PROVISIONER_TESTS_NEED_FUSE").as_deref(), Ok("1"), "FUSE is required here");
    }
}
