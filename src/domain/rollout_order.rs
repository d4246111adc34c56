//! In which order tasks are replaced.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// In which order a task is replaced by another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum RolloutOrder {
    /// ECS tells the old task to stop before it starts the new one, and does not wait for its end: for as long as the old one
    /// takes to stop there may be two.
    #[default]
    StopFirst,
    /// The new one starts once the old one has ended. There is never more than one, and the outage is longer by `stopTimeout`.
    Strict,
}
