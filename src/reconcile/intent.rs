//! What somebody wants of a user: one value, from the edge to the end.

use std::fmt;

use openclaw::ChatGptAuth;

use super::operation::Caller;
use super::target::{Redeploy, Target};
use crate::domain::{RolloutOrder, Size, SpecPatch, State, UserId};

/// What an operation is called: in the audit log, in metrics and in accepted work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Made, if need be, and running.
    Provision,
    /// Another size.
    Resize,
    /// Rendered anew.
    Redeploy,
    /// Running.
    Start,
    /// Stopped.
    Stop,
    /// The same, by another task.
    Restart,
    /// Gone.
    Delete,
    /// A sign-in is staged.
    Credentials,
    /// The sign-in is taken away.
    RemoveCredentials,
    /// What shadows the sign-in is moved aside.
    RepairCredentials,
    /// The gateway gets another token.
    RotateGatewayToken,
    /// What goes on is stopped.
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

    /// By its stable name.
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

/// What a converge does to the user's sign-in, beside putting it where the release looks for it.
#[derive(Debug, Clone)]
pub enum SignInChange {
    /// Nothing.
    None,
    /// Stage this one.
    Send {
        /// The sign-in.
        auth: Box<ChatGptAuth>,
        /// Also over a fresher one.
        force: bool,
    },
    /// Take it away.
    Remove,
    /// Move aside what shadows it.
    Repair,
    /// Leave it, and give the gateway a new token.
    RotateGatewayToken,
}

/// Who wants what of whom.
#[derive(Clone)]
pub struct Intent {
    pub(super) verb: Verb,
    pub(super) user: UserId,
    pub(super) target: Target,
    pub(super) sign_in: SignInChange,
    pub(super) caller: Caller,
}

/// Variables are in plain sight in AWS, and not in a log.
impl fmt::Debug for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intent").field("verb", &self.verb).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Intent {
    /// To take a user to `target`, their sign-in unchanged.
    #[must_use]
    pub fn new(verb: Verb, caller: &Caller, user: UserId, target: Target) -> Self {
        Self { verb, user, target, sign_in: SignInChange::None, caller: caller.clone() }
    }

    /// Running, from the live base and the patched spec, with this sign-in; made if need be.
    #[must_use]
    pub fn provision(caller: &Caller, user: UserId, patch: SpecPatch, auth: Option<ChatGptAuth>) -> Self {
        let intent = Self::new(Verb::Provision, caller, user, Target::provision(patch));
        match auth {
            Some(auth) => intent.with(SignInChange::Send { auth: Box::new(auth), force: false }),
            None => intent,
        }
    }

    /// Another size.
    #[must_use]
    pub fn resize(caller: &Caller, user: UserId, size: Size) -> Self {
        Self::new(Verb::Resize, caller, user, Target::resize(size))
    }

    /// Rendered anew.
    #[must_use]
    pub fn redeploy(caller: &Caller, user: UserId, redeploy: Redeploy) -> Self {
        Self::new(Verb::Redeploy, caller, user, Target::redeploy(redeploy))
    }

    /// One task of what is registered.
    #[must_use]
    pub fn start(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::Start, caller, user, Target::start())
    }

    /// No task.
    #[must_use]
    pub fn stop(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::Stop, caller, user, Target::stop())
    }

    /// Nothing left of it. `purge`: the user's files neither; `force`: without waiting, and past what cannot be removed.
    #[must_use]
    pub fn delete(caller: &Caller, user: UserId, purge: bool, force: bool) -> Self {
        Self::new(Verb::Delete, caller, user, Target::delete(purge, force))
    }

    /// This sign-in staged. `force`: also over a fresher one.
    #[must_use]
    pub fn put_credentials(caller: &Caller, user: UserId, auth: ChatGptAuth, force: bool) -> Self {
        Self::stage(caller, user).with(SignInChange::Send { auth: Box::new(auth), force })
    }

    /// The sign-in that is there, put where the release looks for it.
    #[must_use]
    pub fn stage(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::Credentials, caller, user, Target::unchanged())
    }

    /// The sign-in taken away.
    #[must_use]
    pub fn remove_credentials(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::RemoveCredentials, caller, user, Target::unchanged()).with(SignInChange::Remove)
    }

    /// What shadows the sign-in that the release uses moved aside, and that one put where the release looks for it.
    #[must_use]
    pub fn repair_credentials(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::RepairCredentials, caller, user, Target::unchanged()).with(SignInChange::Repair)
    }

    /// Another token of the gateway, and the container restarted with it.
    #[must_use]
    pub fn rotate_gateway_token(caller: &Caller, user: UserId) -> Self {
        Self::new(Verb::RotateGatewayToken, caller, user, Target::restart()).with(SignInChange::RotateGatewayToken)
    }

    /// The same in that order.
    #[must_use]
    pub fn in_order(mut self, order: Option<RolloutOrder>) -> Self {
        self.target = self.target.in_order(order);
        self
    }

    /// Of whom.
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
