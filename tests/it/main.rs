//! The service as a whole over the embedded emulator, in one test binary: linking the AWS SDKs takes longer than
//! running the tests.
#![allow(unreachable_pub, reason = "in a test binary every module is private, and `pub` says who may use what")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests, too")]

mod accepted;
mod architecture;
mod aws_actions;
mod bad_input;
mod bases;
mod budget;
mod capacity;
mod codex_login;
mod command_line;
mod concurrency;
mod connections;
mod containers;
mod credential_plans;
mod credentials;
mod directories;
mod doctor;
mod documentation;
mod egress;
mod file_system;
mod gateway;
mod gc;
mod half_done;
mod harness;
mod images;
mod interruptions;
mod late;
mod left_over;
mod listing;
mod many_connections;
mod metrics;
mod openapi;
mod orphans;
mod planner;
mod promoted;
mod providers;
mod queue;
mod readiness;
mod registration;
mod rollout_order;
mod rollouts;
mod seed;
mod sign_ins;
mod smoke_of_the_harness;
mod stale;
mod stale_views;
mod telemetry;
mod ui;
mod unkind;
mod user_roles;
mod version_check;
mod watching;
mod wedged_files;
