//! The order in which tasks are replaced.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The order in which a task is replaced by another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum RolloutOrder {
    /// ECS stops the old task before it starts the new one, but does not wait until it has stopped: until then two tasks may
    /// run.
    #[default]
    StopFirst,
    /// The new task starts only after the old one has stopped. There is never more than one; the outage is longer by
    /// `stopTimeout`.
    Strict,
}
