//! The service as a whole over the embedded emulator, in one test binary: linking the AWS SDKs takes longer than
//! running the tests.

mod credential_plans;
mod harness;
mod smoke_of_the_harness;
