//! `openclaw-provisioner` gives every user of a web application their own long-lived OpenClaw container on AWS ECS
//! Fargate, with their own directory on EFS and their ChatGPT sign-in in place before the container first starts.
//!
//! This page and `docs/architecture.md` are for people who change the code; README.md is for people who run it.
//!
//! # One way for everything
//! Provision, resize, redeploy, start, stop and delete are one operation, *converge*, with different targets:
//!
//! ```text
//! HTTP request ── http ──▶ Intent ── reconcile ──▶ observe ──▶ plan ──▶ execute ──▶ plan ──▶ … ──▶ converged
//!                                                  AWS, live   pure     one step,
//!                                                  every time           answer folded in
//! ```
//!
//! - [`reconcile::plan`] is pure and makes every choice. It returns one next step, so there is nothing to roll back:
//!   after any interruption, the next call plans from the state that it finds.
//! - The executor takes the step, adds AWS's answer to [`reconcile::Observed`], and makes no choice.
//! - [`domain::render`] is the only way from the base task definition to a user's. The *spec* (size, pin, secrets, …)
//!   is read back from labels of the current revision; the *definition* always comes from the live base. That is why
//!   CODEX_HOME, secrets and pins survive every registration.
//!
//! `docs/architecture.md` has the rest on one page: every module and its allowed imports, where state lives, what another
//! store for locks must guarantee, and the glossary.
//!
//! # What to keep in mind
//! - Facts about AWS and OpenClaw's releases, with their sources, are in `docs/facts/`; comments cite them as aws-facts and
//!   openclaw-facts. "Incident 28" is number 28 of `docs/incidents.md`, and `docs/decisions/` has the decisions and reasons.
//! - Files first: no step that can start a task is taken before the user's files are in place (incident 23). A new user's
//!   files are staged while their revision is registered.
//! - Every AWS call can be lost after it took effect. Tokens, names and digests are deterministic so that the next
//!   call finds what the lost one created; `tests/it/interruptions.rs` loses every single call.
//! - A lock can be lost while its holder does not run. So it is verified before every step, before every change of a file
//!   and before every request that changes something in AWS; a holder that lost it stops at once.
//! - A task definition passes through as raw JSON ([`aws`], `raw.rs`): a clone must keep members that the SDK does not
//!   know yet.
//! - An operation is counted and logged for the audit when it ends (`operation.rs`), which may be long after its caller got
//!   an answer. An AWS call is counted in the SDK's interceptor (`aws/attempts.rs`), once per attempt.
//! - A value that may be a secret has no `Debug`, `Display` or `Serialize` that shows it; errors name fields, never
//!   values.

pub mod aws;
pub mod capacity;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod egress;
pub mod files;
pub mod fleet;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod probe;
pub mod reconcile;
pub mod rollout;
pub mod staging;
pub mod storage;
