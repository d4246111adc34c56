//! `openclaw-provisioner` gives every user of a web application their own long-lived OpenClaw container on AWS ECS
//! Fargate, with their own directory on EFS and their ChatGPT sign-in in place before the container first starts.
//!
//! This page is the map for whoever changes the code; README.md is for whoever runs it.
//!
//! # One way for everything
//! Provision, resize, redeploy, start, stop and delete are one operation, *converge*, with different targets:
//!
//! ```text
//! HTTP request ── http ──▶ Target ── reconcile ──▶ observe ──▶ plan ──▶ execute ──▶ plan ──▶ … ──▶ converged
//!                                                  AWS, live   pure     one step,
//!                                                  every time           answer folded in
//! ```
//!
//! - [`reconcile::plan`] is pure and makes every choice. It answers one next step, so there is nothing to roll back:
//!   whatever interrupts a converge, the next call plans from what it finds.
//! - The executor takes the step, folds AWS's answer into [`reconcile::Observed`], and makes no choice.
//! - [`domain::render`] is the only way from the base task definition to a user's. The *spec* (size, pin, secrets, …)
//!   is read back from labels of the current revision; the *definition* always comes from the live base. That is why
//!   CODEX_HOME, secrets and pins survive every registration.
//!
//! # Where things are
//! | module | what it holds | imports |
//! |---|---|---|
//! | [`domain`] | words, parsing, rendering, status, freshness of sign-ins: pure | nothing of ours |
//! | [`aws`] | one adapter an API area, rate limits, errors sorted by what to do about them; SDK types stay inside | `metrics`, `domain` |
//! | [`files`] | runs all file work: threads of its own, turns, deadlines, and what happens while the mount does not answer | `metrics`, `domain` |
//! | [`staging`] | users' files on EFS, by descriptor, against a hostile tenant | `files`, `metrics`, `domain` |
//! | [`ledger`] | who works on a user, and what is remembered of them beside AWS | `staging`, `files`, `metrics`, `domain` |
//! | [`probe`] | does a user's gateway answer, or this service itself | `domain` |
//! | [`reconcile`] | observe, plan, execute | `aws`, `ledger`, `staging`, `files`, `probe`, `metrics`, `domain` |
//! | [`fleet`] | looking at many containers at a time: one poller for all who wait or follow, a snapshot for the list | `reconcile`, `aws`, `metrics`, `domain` |
//! | [`config`] | settings from environment and SSM, token file | `aws`, `probe`, `domain` |
//! | [`doctor`] | checks of all that has to be right before a user comes, for the command and for `/readyz?verbose` | `aws`, `staging`, `files`, `config`, `domain` |
//! | [`http`] | routes, bearer tokens, problem documents, the operators' page; the one place that knows status codes | `reconcile`, `fleet`, `doctor`, `config`, what errors and answers are made of |
//! | [`metrics`] | what is counted and timed, for `/metrics` | `domain` |
//! | [`egress`] | can this network reach ChatGPT, and what stands in the way: for `doctor` | nothing of ours |
//! | [`cli`] | `serve`, `dev`, `doctor`, `healthcheck`, `codex-login` | all of them |
//! | `emulator` | AWS in miniature, for `dev` and for tests; feature `emulator` | nothing of ours |
//!
//! `tests/it/architecture.rs` holds the code to these imports.
//!
//! # Where state is
//! In AWS and nowhere else. A task definition describes itself (labels `openclaw.provisioner.*`), the service's name is
//! a function of the user id, and the access point is found by a deterministic ClientToken. Beside users' directories
//! the file system holds the [`ledger`]: one lock file a user. Its existence says that the user may have resources in AWS,
//! and in it stand who holds it and the ARNs of revisions that were registered for them: those that no service names
//! would be found by nothing else. Beside it, `<user>.stop` keeps why the container last stopped, which ECS forgets after
//! an hour. The end of a delete removes both. Losing them loses no user, only such revisions and explanations.
//!
//! The list of all containers is the one answer that is not read from AWS at the moment it is given: [`fleet`] keeps a
//! snapshot for it, and the answer says how old that is. Nothing else reads the snapshot, and nothing is decided by it.
//!
//! # What to keep in mind
//! - What is known of AWS, and from where, is in `docs/facts/aws.md`; comments cite it as aws-facts.
//! - Files first: no step that can start a task is taken before the user's files are in place (incident 23).
//! - Every AWS call can be lost after it took effect. Tokens, names and digests are deterministic so that the next
//!   call finds what the lost one made; `tests/it/interruptions.rs` loses every single one of them.
//! - A lock can be lost while its holder does not run. So it is verified before every step, before every change of a file
//!   and before every request that changes something in AWS is sent; whoever has lost it stops at once.
//! - A task definition passes through as raw JSON ([`aws`], `raw.rs`): a clone must keep members that the SDK does not
//!   know yet.
//! - An operation is counted and written down for the audit where it ends (`operation.rs`), which may be
//!   long after its caller was answered; an AWS call in the SDK's interceptor (`aws/attempts.rs`), once an attempt.
//! - A value that may be a secret has no `Debug`, `Display` or `Serialize` that shows it; errors name fields, never
//!   values.

pub mod aws;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod egress;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod files;
pub mod fleet;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod probe;
pub mod reconcile;
pub mod staging;
