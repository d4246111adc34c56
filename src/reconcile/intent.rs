//! What a caller wants of a user: one value, from the edge to the end.

use std::fmt;

use openclaw::ChatGptAuth;

use super::operation::Caller;
use super::target::{Redeploy, Target};
use crate::domain::{RolloutOrder, Size, SpecPatch, State, UserId};

/// The name of an operation in the audit log, in metrics and in accepted work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Create the container if there is none, and run it.
    Provision,
    /// Change the size.
    Resize,
    /// Render the definition again.
    Redeploy,
    /// Run it.
    Start,
    /// Stop it.
    Stop,
    /// Replace the task by another one of the same revision.
    Restart,
    /// Delete it.
    Delete,
    /// Stage a sign-in.
    Credentials,
    /// Remove the sign-in.
    RemoveCredentials,
    /// Move aside what shadows the sign-in.
    RepairCredentials,
    /// Give the gateway another token.
    RotateGatewayToken,
    /// Stop what is under way.
    Cancel,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Provision,
        Self::Resize,
        Self::Redeploy,
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Delete,
        Self::Credentials,
        Self::RemoveCredentials,
        Self::RepairCredentials,
        Self::RotateGatewayToken,
        Self::Cancel,
    ];

    /// The verb with that stable name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// The stable name, in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Resize => "resize",
            Self::Redeploy => "redeploy",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Delete => "delete",
            Self::Credentials => "credentials",
            Self::RemoveCredentials => "remove_credentials",
            Self::RepairCredentials => "repair_credentials",
            Self::RotateGatewayToken => "rotate_gateway_token",
            Self::Cancel => "cancel",
        }
    }
}

/// What a converge does to the user's sign-in, besides putting it where the release looks for it.
#[derive(Debug, Clone)]
pub enum SignInChange {
    /// Nothing.
    None,
    /// Stage this one.
    Send {
        /// The sign-in.
        auth: Box<ChatGptAuth>,
        /// Whether it may replace a fresher one.
        force: bool,
    },
    /// Remove it.
    Remove,
    /// Move aside what shadows it.
    Repair,
    /// Leave it, and give the gateway a new token.
    RotateGatewayToken,
}

/// Who wants what, and of which user.
#[derive(Clone)]
pub struct Intent {
    pub(super) verb: Verb,
    pub(super) user: UserId,
    pub(super) target: Target,
    pub(super) sign_in: SignInChange,
    pub(super) caller: Caller,
}

/// Leaves out variables: AWS shows them, but logs must not.
impl fmt::Debug for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intent").field("verb", &self.verb).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Intent {
    /// To bring a user to `target` with their sign-in unchanged.
    #[must_use]
    pub fn new(verb: Verb, caller: &Caller, user: UserId, target: Target) -> Self {
        Self { verb, user, target, sign_in: SignInChange::None, caller: caller.clone() }
    }

    /// To run, from the live base and the patched spec, with this sign-in; created if need be.
    #[must_use]
    pub fn provision(caller: &Caller, user: UserId, patch: SpecPatch, auth: Option<ChatGptAuth>) -> Self {
        let intent = Self::new(Verb::Provision, caller, user, Target::provision(patch));
        match auth {
            Some(auth) => intent.with(SignInChange::Send { auth: Box::new(auth), force: false }),
            None => intent,
        }
    }

    /// To change the size.
    #[must_use]
    pub fn resize(caller: &Caller, user: UserId, size: Size) -> Self {
        Self::new(Verb::Resize, caller, user, Target::resize(size))
    }

    /// To render the definition again.
    #[must_use]
    pub fn redeploy(caller: &Caller, user: UserId, redeploy: Redeploy) -> Self {
        Self::new(Verb::Redeploy, caller, user, Target::redeploy(redeploy))
    }

    /// To run one task of what is registered.
    #[must_use]
    pub fn start(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::Start, caller, user, Target::start())
    }

    /// To run no task.
    #[must_use]
    pub fn stop(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::Stop, caller, user, Target::stop())
    }

    /// To delete the container. `purge`: the user's files too; `force`: without waiting, and past what cannot be removed.
    #[must_use]
    pub fn delete(caller: &Caller, user: UserId, purge: bool, force: bool) -> Self {
        Self::new(Verb::Delete, caller, user, Target::delete(purge, force))
    }

    /// To stage this sign-in. `force`: also over a fresher one.
    #[must_use]
    pub fn put_credentials(caller: &Caller, user: UserId, auth: ChatGptAuth, force: bool) -> Self {
        Self::stage(caller, user).with(SignInChange::Send { auth: Box::new(auth), force })
    }

    /// To put the existing sign-in where the release looks for it.
    #[must_use]
    pub fn stage(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::Credentials, caller, user, Target::unchanged())
    }

    /// To remove the sign-in.
    #[must_use]
    pub fn remove_credentials(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::RemoveCredentials, caller, user, Target::unchanged()).with(SignInChange::Remove)
    }

    /// To move aside what shadows the sign-in that the release uses, and to put that one where the release looks for it.
    #[must_use]
    pub fn repair_credentials(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::RepairCredentials, caller, user, Target::unchanged()).with(SignInChange::Repair)
    }

    /// To give the gateway another token, and to restart the container with it.
    #[must_use]
    pub fn rotate_gateway_token(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::RotateGatewayToken, caller, user, Target::restart()).with(SignInChange::RotateGatewayToken)
    }

    /// The same intent, replacing tasks in that order.
    #[must_use]
    pub fn in_order(mut self, order: Option<RolloutOrder>) -> Self {
        self.target = self.target.in_order(order);
        self
    }

    /// The user that it is about.
    #[must_use]
    pub const fn user(&self) -> &UserId {
        &self.user
    }

    /// The state that the container is in on its way there, whatever it was before.
    #[must_use]
    pub const fn on_the_way(&self) -> State {
        self.target.on_the_way()
    }

    fn with(self, sign_in: SignInChange) -> Self {
        Self { sign_in, ..self }
    }
}
