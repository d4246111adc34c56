//! The commands on containers.

use clap::Subcommand;

use super::args::{
    ChangeArgs, DeleteArgs, FleetArgs, ListArgs, OneArgs, PromoteArgs, ProvisionArgs, RedeployArgs, ResizeArgs,
    WaitForArgs,
};
use super::{cost, gc, rollout_args, sign_in};

/// The commands on containers.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ContainerCommand {
    /// Show a user's container
    Status(OneArgs),
    /// List all containers
    List(ListArgs),
    /// Wait until a user's container is in a state
    Wait(WaitForArgs),
    /// Create a user's container, or bring it up to date; reads the sign-in from a file or from standard input
    Provision(Box<ProvisionArgs>),
    /// Change the size of a user's container
    Resize(ResizeArgs),
    /// Deploy the promoted base for a user, or the newest base if none is promoted
    Redeploy(RedeployArgs),
    /// Stop a user's container; its files stay
    Stop(ChangeArgs),
    /// Start a user's container again
    Start(ChangeArgs),
    /// Cancel a user's pending operations and in-progress deployment
    Cancel(OneArgs),
    /// Delete a user's container; its files stay unless they are purged
    Delete(DeleteArgs),
    /// Show, replace, remove or repair a user's sign-in
    Credentials(sign_in::CredentialsArgs),
    /// Show the promoted base, the newest base, and how many users are on each base
    Base(FleetArgs),
    /// Show the account's quotas, how much of each is used, and how much is left
    Capacity(FleetArgs),
    /// Estimate what the fleet costs a month on Fargate, by state and size
    Cost(cost::CostArgs),
    /// Promote a base: new users get it. Existing containers move to it only by a redeploy or a rollout
    Promote(PromoteArgs),
    /// Change the whole fleet, or a part of it, in waves; a running serve does the work
    #[command(subcommand)]
    Rollout(Box<rollout_args::RolloutCommand>),
    /// List what belongs to no user, and remove it with --apply: revisions, access points, services, locks. Never removes a user's directory
    Gc(gc::GcArgs),
}
