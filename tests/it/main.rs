//! The service as a whole over the embedded emulator, in one test binary: linking the AWS SDKs takes longer than
//! running the tests.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may panic, and nothing imports this crate")]

mod bad_input;
mod architecture;
mod budget;
mod concurrency;
#![allow(unreachable_pub, reason = "in a test binary every module is private, and `pub` says who may use what")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests, too")]

mod bad_input;
mod containers;
mod credentials;
mod harness;
mod interruptions;
mod planner;
mod registration;
mod smoke_of_the_harness;
