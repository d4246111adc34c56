//! The service as a whole over the embedded emulator, in one test binary: linking the AWS SDKs takes longer than
//! running the tests.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may panic, and nothing imports this crate")]

mod bad_input;
mod budget;
mod concurrency;
mod harness;
mod interruptions;
mod registration;
mod smoke_of_the_harness;
