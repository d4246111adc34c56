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
    /// Make a user's container, or bring it up to date; the sign-in comes from a file or from standard input
    Provision(Box<ProvisionArgs>),
    /// Change the size of a user's container
    Resize(ResizeArgs),
    /// Deploy the promoted base, or the newest where none is, for a user
    Redeploy(RedeployArgs),
    /// Stop a user's container; its files stay
    Stop(ChangeArgs),
    /// Start a user's container again
    Start(ChangeArgs),
    /// Stop the operations and the deployment that are under way for a user
    Cancel(OneArgs),
    /// Delete a user's container; its files stay unless they are purged
    Delete(DeleteArgs),
    /// Show, replace, remove or repair a user's sign-in
    Credentials(sign_in::CredentialsArgs),
    /// Show which base is promoted, which is newest, and how many users are on which
    Base(FleetArgs),
    /// Show what the account has room for: quotas, what is used of them, and what is left
    Capacity(FleetArgs),
    /// Estimate what the fleet costs a month on Fargate, by state and size
    Cost(cost::CostArgs),
    /// Promote a base: new users get it. Whoever has a container is moved by a redeploy or a rollout alone
    Promote(PromoteArgs),
    /// Take the whole fleet, or a part of it, along in waves; a serve that runs does the work
    #[command(subcommand)]
    Rollout(Box<rollout_args::RolloutCommand>),
    /// Tell what belongs to nobody, and remove it with --apply: revisions, access points, services, locks. A user's directory never goes
    Gc(gc::GcArgs),
}
