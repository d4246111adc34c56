//! A model: the real planner and the real rules of accepted work, over an AWS and a file system reduced to a few numbers. It
//! searches every order in which two replicas, ECS, time and faults can act, to a depth that each test states.
//!
//! In every state: there is one service and one access point (AWS guarantees both by name and token); no revision that runs,
//! is being deployed or may be gone back to is deregistered; no task starts before its files; no service, access point or
//! file is removed under a task; in strict order there is one task. Deployments may fail, so that ECS goes back or gives up,
//! and a cancel may stop them.
//! Whenever nothing goes on: what exists is what was acknowledged last, with or without requests that got no answer; nothing
//! is left that nothing remembers. From every state, such a state can be reached.

mod cloud;
mod real;
mod search;
mod world;
