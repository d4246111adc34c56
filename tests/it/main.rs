//! The service as a whole over the embedded emulator, in one test binary: linking the AWS SDKs takes longer than
//! running the tests.
#![allow(unreachable_pub, reason = "in a test binary every module is private, and `pub` says who may use what")]

mod bad_input;
mod harness;
mod smoke_of_the_harness;
