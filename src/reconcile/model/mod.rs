//! A model: the real planner and the real rules of accepted work, over AWS and a file system of a few numbers. Every order in
//! which two replicas, ECS, time and misfortune can come is searched, to a depth that each test states.
//!
//! What holds in every state: there is one service and one access point (AWS sees to both by name and token); no revision that
//! runs, is being deployed or may be gone back to is deregistered; no task starts before its files; no service, access point or file goes
//! under a task; in strict order there is one task. Deployments may fail, so that ECS goes back or gives up, and a cancel may stop them.
//! What holds whenever nothing goes on: what there is, is what was acknowledged last, with or without requests that nobody was
//! answered; nothing is left that nothing remembers. And from everywhere it comes to that.

mod cloud;
mod real;
mod search;
mod world;
