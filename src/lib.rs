//! crate docs to come

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod aws;
pub mod cli;
pub mod config;
pub mod domain;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod http;
pub mod reconcile;
pub mod staging;
