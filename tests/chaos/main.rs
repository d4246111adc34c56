//! The service as a process, with AWS behind a proxy that damages chosen calls, killed at random, with two replicas. After
//! each fault nothing is sent again: accepted work has to finish by itself, and other work must leave nothing behind.
//!
//! `cargo nextest run --profile chaos --test chaos` prints the tables. By hand: `CHAOS_ROUNDS` kills (40), `CHAOS_SEED`,
//! `CHAOS_OPERATIONS` of two replicas (2000), `CHAOS_OPERATION`, the only operation whose calls are damaged, and `CHAOS_EVERY`:
//! with n, one in n faults is made (1). A rollout has `CHAOS_USERS` users (24) and `CHAOS_KILLS` kills (12).
#![cfg(unix)]
#![allow(unreachable_pub, reason = "in a test binary every module is private, and `pub` says who may use what")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests, too")]

#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "the tests of the other binary use more of it")]
mod harness;
mod history;
mod kills;
mod matrix;
mod proxy;
mod rollout;
mod state;
mod verdict;
#[path = "../efs/world.rs"]
#[allow(dead_code, reason = "the tests of the other binary use more of it")]
mod world;

/// A number from the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}
